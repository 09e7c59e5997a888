"""Which Python files a user means by paths: `.gitignore`, the usual folders and what is excluded left out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from bufscan.errors import TargetError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pathspec import GitIgnoreSpec

_USUALLY_LEFT_OUT = frozenset(
    (
        *(
            "__pycache__",
            "__pypackages__",
            "_build",
            "build",
            "dist",
            "node_modules",
            "site-packages",
            "venv",
            "env",
        ),
        *("buck-out",),
    )
)
"""Folders of what others made, beside all whose name begins with a dot."""


_INSTALLED = frozenset(("site-packages", "dist-packages"))


def is_installed(file: str) -> bool:
    """Whether the file is part of an installed package, in this environment or in one that it builds on."""
    return not _INSTALLED.isdisjoint(Path(file).parts)


def shown(path: str | Path) -> str:
    """A path as findings name it: from the current folder on, where it lies in it."""
    absolute = os.path.abspath(path)  # noqa: PTH100 - links stay
    try:
        here = os.path.join(os.getcwd(), "")  # noqa: PTH109, PTH118 - Path.cwd() says no more, and takes longer
    except OSError:  # the folder is gone
        return absolute
    return absolute[len(here) :].replace(os.sep, "/") if absolute.startswith(here) else absolute


def python_files(paths: Sequence[str], exclude: Sequence[str] = (), root: str = os.curdir) -> list[Path]:
    """The files that are meant, each once: those that are named, and all `.py` in folders that are named.

    Args:
        paths: files and folders, as the user wrote them.
        exclude: patterns as in a `.gitignore` in the folder `root`; they count for named files too.
        root: the folder that these patterns are seen from.

    Raises:
        TargetError: a path names nothing.
        UsageError: a pattern makes no sense.
    """
    excluded = _spec(exclude)
    here = Path(os.path.realpath(root))
    found: dict[Path, None] = {}
    for given in paths:
        path = Path(given)
        if path.is_dir():
            files: Iterable[Path] = _below(path, here, excluded)
        elif path.exists():
            files = (path,) if not _is_excluded(path, here, excluded, is_folder=False) else ()
        else:
            raise TargetError(given, UsageError("there is no such file or folder"))
        found.update(dict.fromkeys(files))
    return list(found)


def _below(folder: Path, here: Path, excluded: GitIgnoreSpec | None) -> Iterator[Path]:
    """Files in the order of their names, those of a folder before those of its folders."""
    ignores = list(_ignores_above(folder.absolute()))
    pending: list[tuple[Path, list[tuple[Path, GitIgnoreSpec]]]] = [(folder, ignores)]
    while pending:
        current, known = pending.pop()
        own = _ignore_in(current)
        known = [*known, (current.absolute(), own)] if own is not None else known
        folders: list[Path] = []
        for entry in _entries(current):
            path = current / entry.name
            is_folder = entry.is_dir(follow_symlinks=False)
            if not is_folder and not entry.name.endswith(".py"):
                continue
            if _is_ignored(path, known, is_folder=is_folder) or _is_excluded(
                path, here, excluded, is_folder=is_folder
            ):
                continue
            if not is_folder:
                yield path
            elif not _is_left_out(path):
                folders.append(path)
        pending += [(path, known) for path in reversed(folders)]


def _is_left_out(folder: Path) -> bool:
    """Whether others made what is in it; a virtual environment may have any name."""
    name = folder.name
    return name in _USUALLY_LEFT_OUT or name.startswith(".") or (folder / "pyvenv.cfg").exists()


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []


def _ignores_above(folder: Path) -> Iterator[tuple[Path, GitIgnoreSpec]]:
    """The `.gitignore` files that count for a folder, from its repository's root down to the folder above it."""
    if (folder / ".git").exists():
        return
    around = list(folder.parents)
    root = next((place for place, parent in enumerate(around) if (parent / ".git").exists()), None)
    for parent in reversed(around[: root + 1]) if root is not None else ():
        own = _ignore_in(parent)
        if own is not None:
            yield parent, own


def _ignore_in(folder: Path) -> GitIgnoreSpec | None:
    try:
        lines = (folder / ".gitignore").read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(lines)


def _is_ignored(path: Path, ignores: Sequence[tuple[Path, GitIgnoreSpec]], *, is_folder: bool) -> bool:
    """The `.gitignore` that is nearest and says anything decides."""
    absolute = path.absolute() if ignores else path
    for base, spec in reversed(ignores):
        name = absolute.relative_to(base).as_posix() + "/" * is_folder
        decided = spec.check_file(name).include
        if decided is not None:
            return decided
    return False


def _is_excluded(path: Path, here: Path, excluded: GitIgnoreSpec | None, *, is_folder: bool) -> bool:
    if excluded is None:
        return False
    absolute = Path(os.path.normpath(path.absolute()))
    name = absolute.relative_to(here) if absolute.is_relative_to(here) else Path(*absolute.parts[1:])
    return excluded.match_file(name.as_posix() + "/" * is_folder)


def _spec(patterns: Sequence[str]) -> GitIgnoreSpec | None:
    if not patterns:
        return None
    from pathspec import GitIgnoreSpec

    try:
        return GitIgnoreSpec.from_lines(patterns)
    except ValueError as error:
        raise UsageError(f"no pattern of files: {error}") from error
