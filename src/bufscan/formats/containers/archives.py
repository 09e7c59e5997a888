"""Checkpoints inside zip and tar archives, read where they lie: `archive.zip!folder/model.pth`."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

from bufscan.bytesource import MemorySource, SliceSource
from bufscan.errors import UnreadableError
from bufscan.formats.containers.anomaly_log import AnomalyLog
from bufscan.formats.containers.zip_directory import STORED, ZipDirectory
from bufscan.formats.folders.folder_choice import is_checkpoint_name
from bufscan.formats.listing import counted, listed, quoted
from bufscan.formats.signatures import HEAD_BYTES, is_tar, is_zip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bufscan.bytesource import ByteSource

_MOST_MEMBERS = 100_000
# A compressed member is held in memory; what that costs stays in proportion to the archive.
_FREE_BYTES = 50_000_000
_MOST_BYTES = 1 << 32


class Members(NamedTuple):
    """What an archive holds.

    Attributes:
        kind: of the archive, in words.
        names: of its files, in order.
        open: the bytes of the one with a given name.
    """

    kind: str
    names: tuple[str, ...]
    open: Callable[[str], ByteSource]

    @property
    def checkpoints(self) -> list[str]:
        """The names of those that may be checkpoints."""
        return [name for name in self.names if is_checkpoint_name(name)]


def read_members(source: ByteSource) -> Members:
    """The members of a zip or tar archive.

    Raises:
        UnreadableError: it is neither, or broken.
    """
    head = source.read(0, min(HEAD_BYTES, source.size))
    if is_zip(head):
        return _in_zip(source)
    if is_tar(head):
        return _in_tar(source)
    raise UnreadableError("neither a zip nor a tar archive, so nothing can be named in it")


def open_member(source: ByteSource, name: str) -> tuple[ByteSource, list[str]]:
    """The bytes of one member of an archive, and the names of its other checkpoints.

    Raises:
        UnreadableError: there is no such archive or member, or it cannot be read in place.
    """
    members = read_members(source)
    if name not in members.names:
        there = members.checkpoints or list(members.names)
        hint = f"it holds {listed(there)}" if there else None
        raise UnreadableError(f"{members.kind} without a member {quoted(name)}", hint=hint)
    return members.open(name), [each for each in members.checkpoints if each != name]


def holding(kind: str, names: Iterable[str], target: str) -> UnreadableError | None:
    """That an archive is no checkpoint but holds some, and how to name one; None where it holds none."""
    inside = [name for name in names if is_checkpoint_name(name)]
    if not inside:
        return None
    what = counted(len(inside), "checkpoint")
    return UnreadableError(f"{kind} that holds {what}: {listed(inside)}", hint=f"name it: `{target}!{inside[0]}`")


def what_tar_is(source: ByteSource, target: str) -> UnreadableError:
    """What a tar archive is: torch 0.1 wrote such, which nobody has met in years; others may hold checkpoints."""
    try:
        names = _in_tar(source).names
    except UnreadableError as error:
        return error
    if {"storages", "tensors", "pickle"} <= set(names):
        return UnreadableError(
            "a checkpoint of torch 0.1, a tar archive, which bufscan does not read",
            hint="convert it: `torch.save(torch.load(path, weights_only=False), new_path)`, if you trust it",
        )
    return holding("a tar archive", names, target) or UnreadableError(
        "a tar archive, but not a PyTorch checkpoint"
    )


def _in_zip(source: ByteSource) -> Members:
    directory = ZipDirectory(source, AnomalyLog())
    records = {record.name: record for record in directory.records.values() if not record.name.endswith("/")}

    def read(name: str) -> ByteSource:
        record = records[name]
        if record.method == STORED:
            return SliceSource(source, directory.data_offset(record), record.size, name)
        most = min(_MOST_BYTES, max(_FREE_BYTES, source.size))
        if record.size > most:
            raise UnreadableError(
                f"member {quoted(name)} is compressed, and too large to be read in place", hint="unpack it first"
            )
        return MemorySource(name, directory.read(record, limit=most))

    return Members("a zip archive", tuple(records), read)


def _in_tar(source: ByteSource) -> Members:
    import tarfile  # it brings a dozen modules along

    places: dict[str, tuple[int, int]] = {}
    try:
        with tarfile.TarFile(fileobj=_AsFile(source)) as archive:
            for number, member in enumerate(archive):
                if number == _MOST_MEMBERS:
                    raise UnreadableError(f"a tar archive of more than {_MOST_MEMBERS:,} members")
                if member.isreg() and not member.issparse():
                    places[member.name.removeprefix("./")] = (member.offset_data, member.size)
    # tarfile lets numbers and texts that it cannot read through as what they are.
    except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
        raise UnreadableError("a broken tar archive") from error

    def read(name: str) -> ByteSource:
        start, size = places[name]
        if start + size > source.size:
            raise UnreadableError(f"member {quoted(name)} ends after the archive")
        return SliceSource(source, start, size, name)

    return Members("a tar archive", tuple(places), read)


class _AsFile(io.RawIOBase):
    """A byte source as the file that tarfile wants."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._position = 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._source.size}[whence]
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        left = max(self._source.size - self._position, 0)
        length = left if size is None or size < 0 else min(size, left)
        data = self._source.read(self._position, length)
        self._position += length
        return data
