"""The files of one folder, opened only when they lie in it: their names may come from an index."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from bufscan.bytesource import is_folder
from bufscan.errors import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bufscan.bytesource import ByteSource, FileSource, OpenFiles

_CACHE_NOTE = "a snapshot in a Hugging Face cache: links to its `blobs` are followed"


def is_bare(name: str) -> bool:
    """Whether it can only be the name of a file directly in a folder."""
    # A colon is a drive or a stream on Windows, and part of every URL.
    return name not in ("", ".", "..") and not any(character in name for character in "/\\:\0")


class Opener(Protocol):
    """Opens the files of one folder, wherever that is.

    Attributes:
        notes: what a person should know of how they are opened.
    """

    @property
    def notes(self) -> tuple[str, ...]: ...

    def open(self, name: str) -> ByteSource:
        """The file of that name, directly in the folder.

        Raises:
            UnreadableError: the name is no bare file name, or there is no such file.
        """

    def prefetch(self, names: Sequence[str]) -> None:
        """Be told which files will be opened; nothing fails here."""


class ShardFolder(NamedTuple):
    """A folder and the place that links in it may not leave.

    Attributes:
        path: as the user named it.
        files: keeps what is opened.
        boundary: the folder itself, links resolved; in a Hugging Face cache the repository's folder, for there
            every file of a snapshot is a link into `blobs`.
        notes: what a person should know of links that are followed out of the folder.
    """

    path: Path
    files: OpenFiles
    boundary: Path
    notes: tuple[str, ...] = ()

    def open(self, name: str) -> FileSource:
        """The file of that name, directly in the folder.

        Raises:
            UnreadableError: the name is no bare file name, a link leaves the boundary, or there is no such file.
        """
        if not is_bare(name):
            raise UnreadableError("not a bare file name, so it is not opened")
        path = self.path / name
        if os.path.islink(path):  # noqa: PTH114 - Path.is_symlink raises for a name that is too long
            path = self._follow(path)
        return self.files.open(path, name=name)

    def prefetch(self, names: Sequence[str]) -> None:
        """Files on this machine are there at once."""

    def open_below(self, name: str) -> FileSource:
        """The same, or a file in a folder of the folder, by a path that a reader made: `unet/model.safetensors`.

        Raises:
            UnreadableError: as `open`.
        """
        *folders, base = name.split("/")
        if any(each in ("", ".", "..") for each in folders):
            raise UnreadableError("not a bare file name, so it is not opened")
        return self._replace(path=self.path.joinpath(*folders)).open(base)

    def _follow(self, link: Path) -> Path:
        resolved = Path(os.path.realpath(link))
        if not resolved.is_relative_to(self.boundary):
            raise UnreadableError(
                "a link that leaves the folder, so it is not followed", hint="name the folder that it leads to"
            )
        return resolved


def shard_folder(path: Path, files: OpenFiles) -> ShardFolder:
    """The folder at `path`; `<repository>/snapshots/<revision>` with `<repository>/blobs` is a cached snapshot."""
    resolved = Path(os.path.realpath(path))
    for ancestor in resolved.parents:
        if ancestor.name == "snapshots" and is_folder(ancestor.parent / "blobs"):
            return ShardFolder(path, files, ancestor.parent, (_CACHE_NOTE,))
    return ShardFolder(path, files, resolved)
