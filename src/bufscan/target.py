"""What the user meant by a target: the only place that guesses."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, Union, cast

import msgspec

from bufscan.bytesource import exists, is_file, is_folder
from bufscan.errors import UsageError, without_secrets
from bufscan.tensor_names import is_pattern

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn


class StandardInput(msgspec.Struct, frozen=True):
    """`-`: a small checkpoint piped in."""


class FileTarget(msgspec.Struct, frozen=True):
    """A file, or a path that names nothing: reading it says so."""

    path: Path


class FolderTarget(msgspec.Struct, frozen=True):
    """A folder that should hold a checkpoint."""

    path: Path


class MemberTarget(msgspec.Struct, frozen=True):
    """`archive.zip!folder/model.pth`: a checkpoint in an archive.

    Attributes:
        path: of the archive.
        member: its name in there.
    """

    path: Path
    member: str


class RemoteTarget(msgspec.Struct, frozen=True):
    """`https://…`, `hf://…`, `s3://…`: read by ranges."""

    url: str


class ObjectTarget(msgspec.Struct, frozen=True):
    """`pkg.module:expression` or `path/to/file.py:expression`: code to import because the user asks for it.

    Attributes:
        source: a dotted module name, or the path of a Python file when it ends in `.py`.
        expression: an attribute path, perhaps called with literal arguments (`Model(dim=64)`).
    """

    source: str
    expression: str


class ModuleTarget(msgspec.Struct, frozen=True):
    """`pkg.models` or `path/to/models.py`: code that defines models, not one of them.

    Attributes:
        source: as in `ObjectTarget`.
    """

    source: str


Target: TypeAlias = StandardInput | FileTarget | FolderTarget | MemberTarget | RemoteTarget | ObjectTarget


class LoadedCheckpoint(msgspec.Struct, frozen=True, eq=False):
    """A state_dict, or what `torch.load` gave."""

    contents: Mapping[Any, Any]


class OpenedFile(msgspec.Struct, frozen=True, eq=False):
    """A file object that a caller has opened in binary mode."""

    file: BinaryIO


Given: TypeAlias = Union[str, os.PathLike[str], "nn.Module", Mapping[Any, Any], BinaryIO]
"""What a Python caller gives as a target."""

Taken: TypeAlias = Union[str, "nn.Module", LoadedCheckpoint, OpenedFile]
"""The same, told apart: a text is still to be parsed."""

# Of a name that is no file: which one was mistyped.
_CHECKPOINT_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors", ".pt2")
_ENDINGS_IN_CHECKPOINT_FOLDERS = (*_CHECKPOINT_SUFFIXES, ".index.json", "config.json")
_LONGEST_REVISION = 100  # characters; a commit has 40
_MODULE = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_URL = re.compile(r"[a-z][a-z0-9+.-]+://")
_IN_MODULE = re.compile(rf"(?P<source>{_MODULE.pattern}):(?P<expression>[^\W\d].*)", re.DOTALL)
_AFTER_FILE = re.compile(r"(?<=\.py):(?=[^\W\d])")  # no path is too odd to come before it
_BEHIND_PATH = re.compile(rf"{_AFTER_FILE.pattern}|!")


def require_target(given: Given) -> Taken:
    """A target as a text to parse, or as what it is.

    Raises:
        UsageError: it is nothing that can be looked at: the class of a model, say, or a text file.
    """
    if isinstance(given, str | os.PathLike):
        return os.fspath(given)
    if isinstance(given, Mapping):
        return LoadedCheckpoint(given)
    torch = sys.modules.get("torch")  # who has a model has imported it
    model: nn.Module | None = given if torch is not None and isinstance(given, torch.nn.Module) else None
    if model is not None:
        return model
    if isinstance(given, io.TextIOBase):
        raise UsageError("a file that was opened as text", hint="open it in binary mode: `open(path, 'rb')`")
    if callable(getattr(given, "read", None)) and callable(getattr(given, "seek", None)):
        return OpenedFile(cast("BinaryIO", given))
    raise UsageError(
        f"{kind_in_words(given)} is not a target",
        hint="give a path, the name of a model, an nn.Module, a state_dict, or a file opened in binary mode",
    )


def name_of(target: Taken) -> str:
    """What messages call a target."""
    match target:
        case str():
            return without_secrets(target)
        case LoadedCheckpoint():
            return type(target.contents).__qualname__
        case OpenedFile():
            name = getattr(target.file, "name", None)
            return name if isinstance(name, str) else type(target.file).__qualname__
        case _:
            return type(target).__qualname__


def kind_in_words(given: object) -> str:
    """What a Python caller gave, where it is the wrong thing: `a dict`, `the class Linear`."""
    if isinstance(given, type):
        return f"the class {given.__name__}"
    name = type(given).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def parse_target(text: str) -> Target:
    """Decide what `text` names.

    An existing file or folder wins over every other reading, so a checkpoint whose name has a colon in it stays
    reachable.

    Raises:
        UsageError: an empty target.
    """
    if text == "-":
        return StandardInput()
    if not text:
        raise UsageError("the target is empty", hint="name a file, a folder or `package.module:Model`")
    path = Path(text)
    if exists(path):
        return FolderTarget(_snapshot_in(path)) if is_folder(path) else FileTarget(path)
    if (member := _member_in(text)) is not None:
        return member
    if _URL.match(text):
        return RemoteTarget(text)
    return _object_in(text) or FileTarget(path)


def _member_in(text: str) -> MemberTarget | None:
    """A member of an archive that exists."""
    splits = ((text[: mark.start()], text[mark.end() :]) for mark in re.finditer("!", text))
    return next((MemberTarget(Path(path), member) for path, member in splits if is_file(Path(path))), None)


def _snapshot_in(folder: Path) -> Path:
    """Of a repository in a Hugging Face cache, the files that its main branch names; any other folder itself.

    Layout: huggingface_hub, "Understand caching": `refs/main` holds the name of a folder in `snapshots`.
    """
    main, snapshots = folder / "refs" / "main", folder / "snapshots"
    if is_file(main) and is_folder(snapshots):
        with suppress(OSError, ValueError), main.open("rb") as file:
            revision = file.read(_LONGEST_REVISION).decode("ascii").strip()
            if re.fullmatch(r"\w+", revision) and is_folder(snapshots / revision):
                return snapshots / revision
    return folder


def _object_in(text: str) -> ObjectTarget | None:
    """An object in a Python file that exists; else in a module; else in a file that does not."""
    splits = [(text[: mark.start()], text[mark.end() :]) for mark in _AFTER_FILE.finditer(text)]
    in_module = _IN_MODULE.fullmatch(text)
    found = [
        *(split for split in splits if is_file(Path(split[0]))),
        *([in_module.group("source", "expression")] if in_module else []),
        *splits,
    ]
    return ObjectTarget(*found[0]) if found else None


def in_folder(text: str, folder: str) -> str:
    """A target that a file in `folder` names, as it is called here: `m.py:A` of `..` is `../m.py:A`.

    What is no path (the name of a module or of a package, an address) stays as it is.
    """
    if folder == os.curdir or "://" in text:
        return text
    path = _BEHIND_PATH.split(text, maxsplit=1)[0]
    there = Path(folder, path)
    is_package = path.isidentifier() and is_file(there / "__init__.py")
    is_path = path.endswith(".py") or "/" in path or (exists(there) and not is_package)
    return os.path.join(folder, text) if is_path else text  # noqa: PTH118 - a target is more than a path


def named_from_here(text: str, folder: str = os.curdir) -> str:  # noqa: PLR0911 - one for each kind of target
    """A target with its path as it is seen from the current folder, or another: `./m.py:A` is `m.py:A`.

    What is no path (the name of a module or of a class, arguments) stays as it is.
    """
    try:
        match parse_target(text):
            case ObjectTarget(source, expression) if source.endswith(".py"):
                return f"{_seen_from(folder, Path(source))}:{expression}"
            case MemberTarget(path, member):
                return f"{_seen_from(folder, path)}!{member}"
            case FileTarget(path):
                return _seen_from(folder, path)
            case FolderTarget():
                return _seen_from(folder, Path(text))
            case RemoteTarget(url):
                return without_secrets(url)
            case _:
                return text
    except (UsageError, ValueError):  # no target; no path either, or one on another drive
        return text


def _seen_from(folder: str, path: Path) -> str:
    # The current folder may be reached through a link, which `os.getcwd` does not show. What lies behind a link
    # inside it may lie elsewhere on another machine.
    resolved = Path(os.path.realpath(path.parent), path.name)
    found = [Path(os.path.relpath(each, folder)) for each in (path, resolved)]
    return next((each for each in found if os.pardir not in each.parts), found[0]).as_posix()


def parse_code_or_target(text: str) -> Target | ModuleTarget:
    """As `parse_target`, for a command that takes all the models of a module at once.

    A Python file is code. So is a package in the current folder, by its name alone: who names a folder by its
    path, or one with a checkpoint in it, is promised that nothing there is run, and what is downloaded may bring
    Python files along. What names no file is a module when its first part can be imported from the current folder
    or is installed; looking that up imports nothing.

    Raises:
        UsageError: as `parse_target`; the path of a package; neither a file nor a module.
    """
    target = parse_target(text)
    if isinstance(target, FolderTarget) and _is_package(target.path):
        if text.isidentifier():
            return ModuleTarget(text)
        raise UsageError("a Python package, not a checkpoint", hint="name it as Python does: `package.module`")
    if not isinstance(target, FileTarget):
        return target
    if target.path.suffix == ".py":
        return ModuleTarget(text)
    missing = not exists(target.path) and target.path.suffix not in _CHECKPOINT_SUFFIXES
    if not missing or not _MODULE.fullmatch(text):
        return target
    first = text.partition(".")[0]
    if not _is_importable(first):
        raise UsageError(
            f"no such file, and no module named `{first}`",
            hint=f"looked in `{Path.cwd()}` and the installed packages",
        )
    return ModuleTarget(text)


def _is_package(folder: Path) -> bool:
    """Whether a folder is there to be imported, and holds no checkpoint."""
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:
        return False  # reading it says why
    return "__init__.py" in names and not any(name.endswith(_ENDINGS_IN_CHECKPOINT_FOLDERS) for name in names)


def _is_importable(name: str) -> bool:
    from importlib import machinery, util  # only a check of models needs them

    if name in sys.modules or machinery.PathFinder.find_spec(name, [str(Path.cwd())]) is not None:
        return True
    return util.find_spec(name) is not None


def matching(given: Sequence[str]) -> list[str]:
    """The targets, with shell patterns that no shell has expanded (`'runs/*.ckpt'`) as the files that they match.

    What exists under the name itself, or matches nothing, stays as it is.
    """
    targets: list[str] = []
    for text in given:
        may_match = is_pattern(text) and not (_URL.match(text) or exists(Path(text)))
        targets += (_matches(text) if may_match else []) or [text]
    return targets


def _matches(pattern: str) -> list[str]:
    from glob import glob  # most targets are no patterns

    return sorted(glob(pattern, recursive=True))  # noqa: PTH207 - what matches is named as it was typed
