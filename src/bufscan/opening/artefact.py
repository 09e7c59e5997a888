"""Open a target: read the file or build the model, and decide the roles that are left open."""

from __future__ import annotations

import gc
import os
import re
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import msgspec

from bufscan.bytesource import FileObjectSource, MemorySource, exists
from bufscan.errors import UnreadableError, UsageError, did_you_mean
from bufscan.formats.listing import skip_each
from bufscan.formats.reading import is_unzipped, read_file, read_path
from bufscan.roles.deciding import decide
from bufscan.target import (
    FileTarget,
    FolderTarget,
    LoadedCheckpoint,
    MemberTarget,
    ModuleTarget,
    ObjectTarget,
    OpenedFile,
    RemoteTarget,
    StandardInput,
    name_of,
    parse_code_or_target,
    parse_target,
)
from bufscan.values.storages import FileStorages, LiveStorages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import nn

    from bufscan.bytesource import ByteSource, OpenFiles
    from bufscan.inventory import Inventory
    from bufscan.ranks import Ranks
    from bufscan.target import Taken, Target
    from bufscan.values.storages import StorageReader

_MOST_BESIDE = 1000
_MOST_PIPED_BYTES = 1 << 30

# `torch.nn.Linear`: like no file name that people give, for these end in something like `.pt`.
_DOTTED_NAME = r"[a-z_]\w*(?:\.[a-z_]\w*)*\.[A-Z]\w*"


class BuildOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How named models are built.

    Attributes:
        device: where; None for torch's default.
        dtype: the default dtype meanwhile; None for torch's default.
        configs: whether configurations that are asked for are given with all their defaults.
    """

    device: str | None = None
    dtype: str | None = None
    configs: bool = False

    def require_model(self, targets: Sequence[Taken], model: object = None) -> None:
        """Make sure that there is something to build.

        Raises:
            UsageError: a device or a dtype is given, and neither a target nor the `model` to join is a name.
        """
        builds = isinstance(model, str) or any(isinstance(target, str) and is_code(target) for target in targets)
        if not builds and (self.device is not None or self.dtype is not None):
            raise UsageError("a device and a dtype are for models that are built, and nothing is built here")


class Artefact(NamedTuple):
    """One opened target.

    Attributes:
        target: what it is, as it was parsed; None for what was handed over.
        inventory: what it holds.
        reader: reads the inventory's storages.
        model: of a model, the module itself.
    """

    target: Target | None
    inventory: Inventory
    reader: StorageReader
    model: nn.Module | None = None

    @property
    def is_live(self) -> bool:
        """Whether it is a model in memory rather than an artefact."""
        return self.model is not None

    @property
    def has_values(self) -> bool:
        """Whether values were ever written; `torch.serialization.skip_data` leaves room for them alone."""
        return all(anomaly.kind != "no_values" for anomaly in self.inventory.anomalies)

    @property
    def path(self) -> Path | None:
        """Of the file, archive or folder; None for anything else."""
        return self.target.path if isinstance(self.target, FileTarget | FolderTarget | MemberTarget) else None

    def require_same(self, ranks: Ranks) -> None:
        """Make sure that all ranks have the same before them; a model is each rank's own.

        Raises:
            RanksError: some have something else.
        """
        if ranks.size > 1 and not self.is_live:
            seen = repr((self.inventory.tensors, self.inventory.storages))
            ranks.require_same(f"`{self.inventory.target}`", seen.encode())


Sides: TypeAlias = tuple[Artefact, Artefact]
"""The old artefact of a comparison, and the new one."""


def open_target(target: Taken, files: OpenFiles, build: BuildOptions, *, plain: bool = False) -> Artefact:
    """Open one target. Of a file or a folder, what was opened stays open in `files`.

    `plain`: whether the inventory is to have the values beside the tensors.

    Raises:
        UsageError: it names nothing that can be opened.
        UnreadableError: it cannot be read or built.
    """
    match target:
        case LoadedCheckpoint():
            return _loaded(target, plain=plain)
        case OpenedFile():
            opened = FileObjectSource(target.file, name_of(target))
            return _in_one(None, opened, lambda: read_file(opened, opened.name, plain=plain))
        case str():
            return _named(target, files, build, plain=plain)
        case _:
            return _scanned(target, name_of(target), None)


def _named(target: str, files: OpenFiles, build: BuildOptions, *, plain: bool) -> Artefact:
    match parse_target(target):
        case ObjectTarget() as named:
            return build_target(named, target, files, build)
        case StandardInput() as piped:
            source = _standard_input()
            return _in_one(piped, source, lambda: read_file(source, target, plain=plain))
        case RemoteTarget(url) as remote:
            return _remote(remote, url, plain=plain)
        case MemberTarget() as member:
            return _member(member, target, files, plain=plain)
        case FolderTarget(path) as folder if is_unzipped(path):
            return _unzipped(folder, target, files, plain=plain)
        case FileTarget(path) | FolderTarget(path) as named:
            _require_checkpoint_name(path, target)
            inventory = _decided(lambda: read_path(path, target, files, plain=plain))
            home = path.parent if isinstance(named, FileTarget) else path
            return Artefact(named, inventory, FileStorages(_opener(path, home, files)))


# Few targets are of these two kinds: the others do not wait for what reads them.


def _remote(remote: RemoteTarget, url: str, *, plain: bool) -> Artefact:
    from bufscan.opening.remote_artefact import read_url

    openers: list[Callable[[str | None], ByteSource]] = []

    def read() -> Inventory:
        inventory, opener = read_url(url, plain=plain)
        openers.append(opener)
        return inventory

    inventory = _decided(read)
    return Artefact(remote, inventory, FileStorages(openers[0]))


def _member(member: MemberTarget, target: str, files: OpenFiles, *, plain: bool) -> Artefact:
    from bufscan.formats.containers.archives import open_member

    source, others = open_member(files.open(member.path), member.member)
    artefact = _in_one(member, source, lambda: read_file(source, target, plain=plain))
    reason = "another member of the archive: name it to look at it"
    skipped = (*artefact.inventory.skipped, *skip_each(others, reason))
    return artefact._replace(inventory=msgspec.structs.replace(artefact.inventory, skipped=skipped))


def _unzipped(folder: FolderTarget, target: str, files: OpenFiles, *, plain: bool) -> Artefact:
    from bufscan.formats.containers.torch_zip import read_unzipped
    from bufscan.formats.containers.unzipped import UnzippedFolder

    source = UnzippedFolder(folder.path, files)
    return _in_one(folder, source, lambda: read_unzipped(source, target, plain=plain))


def _loaded(loaded: LoadedCheckpoint, *, plain: bool) -> Artefact:
    from bufscan.formats.containers.in_memory import read_memory
    from bufscan.live.reach.pickling import pickled

    written, storages = pickled(loaded.contents)
    nbytes = {key: storage.nbytes() for key, storage in storages.items()}
    inventory = _decided(lambda: read_memory(written, nbytes, name_of(loaded), plain=plain))
    return Artefact(None, inventory, LiveStorages(storages))


def _in_one(target: Target | None, source: ByteSource, read: Callable[[], Inventory]) -> Artefact:
    """An artefact whose bytes all lie in one source."""
    return Artefact(target, _decided(read), FileStorages(lambda _: source))


def build_target(named: ObjectTarget, target: str, files: OpenFiles, build: BuildOptions) -> Artefact:
    """Build and measure a model; `target` is what reports call it.

    Raises:
        UsageError, UnreadableError: it cannot be built.
    """
    from bufscan.live.building.importing import build as build_model

    files.note(Path(named.source))
    return _scanned(
        build_model(named, device=build.device, dtype=build.dtype, configs=build.configs), target, named
    )


def is_code(target: Taken) -> bool:
    """Whether opening it runs the user's code."""
    if not isinstance(target, str):
        return not isinstance(target, LoadedCheckpoint | OpenedFile)
    try:
        return isinstance(parse_code_or_target(target), ObjectTarget | ModuleTarget)
    except UsageError:
        return False


def files_first(targets: Sequence[Taken]) -> list[int]:
    """The positions of the targets in the order to open them: all files are read before any code runs."""
    return sorted(range(len(targets)), key=lambda position: is_code(targets[position]))


def _scanned(model: nn.Module, name: str, target: ObjectTarget | None) -> Artefact:
    from bufscan.live.reach.describing import StorageTable
    from bufscan.live.scanning import scan

    storages = StorageTable()
    with _not_collecting():
        inventory = scan(model, name, storages)
    return Artefact(target, inventory, LiveStorages(storages.live), model)


def _decided(read: Callable[[], Inventory]) -> Inventory:
    """What was read, with its roles."""
    with _not_collecting():
        return decide(read())


@contextmanager
def _not_collecting() -> Iterator[None]:
    """Reading makes hundreds of thousands of records and no cycles; collecting meanwhile only walks them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _require_checkpoint_name(path: Path, text: str) -> None:
    if path.suffix == ".py" and exists(path):
        raise UsageError("a Python file, not a checkpoint", hint=f"name a model in it: `{text}:Model`")
    if not exists(path) and re.fullmatch(_DOTTED_NAME, text):
        module, _, name = text.rpartition(".")
        raise UnreadableError("no such file", hint=f"if it is a model, name it so: `{module}:{name}`")
    if not exists(path) and (known := _alike(path)) is not None:
        raise UnreadableError("no such file", hint=known)


def _alike(path: Path) -> str | None:
    """A question about the file beside it whose name is most like its own."""
    with suppress(OSError, ValueError):
        beside = [name for name in os.listdir(path.parent) if not name.startswith(".")]  # noqa: PTH208 - names alone
        return did_you_mean(str(path), (str(path.with_name(name)) for name in beside[:_MOST_BESIDE]))
    return None


def _standard_input() -> MemorySource:
    if sys.stdin is None:
        raise UnreadableError("standard input is closed")
    try:
        data = sys.stdin.buffer.read(_MOST_PIPED_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise UnreadableError(f"standard input cannot be read: {reason}") from error
    if not data:
        raise UnreadableError("nothing came from standard input")
    if len(data) > _MOST_PIPED_BYTES:
        raise UnreadableError("more than 1 GiB came from standard input", hint="write it to a file first")
    return MemorySource("standard input", data)


def _opener(path: Path, folder: Path, files: OpenFiles) -> Callable[[str | None], ByteSource]:
    """What opens the target itself, or the file of that name in the folder of its shards."""

    def open_file(file: str | None) -> ByteSource:
        if file is None:
            return files.open(path)
        from bufscan.formats.folders.shard_files import shard_folder  # whoever has shards has read their folder

        return shard_folder(folder, files).open_below(file)

    return open_file
