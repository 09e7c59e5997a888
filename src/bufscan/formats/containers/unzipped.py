"""A checkpoint of torch.save that somebody unpacked: a folder with `data.pkl` and the storages in `data/`."""

from __future__ import annotations

import os
from bisect import bisect_right
from typing import TYPE_CHECKING

from bufscan.bytesource import is_file
from bufscan.errors import UnreadableError
from bufscan.formats.containers.zip_directory import STORED, Record
from bufscan.formats.folders.shard_files import shard_folder
from bufscan.formats.listing import quoted

if TYPE_CHECKING:
    from pathlib import Path

    from bufscan.bytesource import FileSource, OpenFiles

_TOP = "archive"  # what torch calls the folder, which may be renamed
_MOST_RECORDS = 3_000_000
_RECORDS = ("data.pkl", "version", "byteorder", "constants.pkl", ".data/version")


class UnzippedFolder:
    """The files of an unpacked checkpoint behind each other, as one source of bytes.

    A storage is then a range of it, as it is in the archive. A file is opened when something of it is read.

    Attributes:
        records: as a zip archive's directory would list them.
    """

    def __init__(self, folder: Path, files: OpenFiles) -> None:
        self.name = folder.name
        self.size = 0
        self.records: dict[str, Record] = {}
        self._folder, self._files = folder, files
        self._names: list[str] = []
        self._starts: list[int] = []
        for name in _files_in(folder):
            size, key = (folder / name).stat().st_size, f"{_TOP}/{name}"
            self.records[key.lower()] = Record(key, size, size, STORED, 0, self.size, self.size + size)
            self._names.append(name)
            self._starts.append(self.size)
            self.size += size

    def read(self, offset: int, length: int) -> bytes:
        buffer = bytearray(length)
        self.read_into(offset, memoryview(buffer))
        return bytes(buffer)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        while buffer:
            number = bisect_right(self._starts, offset) - 1
            source, start = self._open(self._names[number]), offset - self._starts[number]
            length = min(len(buffer), source.size - start)
            if length <= 0:
                raise UnreadableError(f"{quoted(self._names[number])} shrank while it was read")
            source.read_into(start, buffer[:length])
            offset, buffer = offset + length, buffer[length:]

    def _open(self, name: str) -> FileSource:
        within, _, base = name.rpartition("/")
        return shard_folder(self._folder / within, self._files).open(base)


class UnzippedRecords:
    """The records of an unpacked checkpoint, read as those of an archive are."""

    def __init__(self, folder: UnzippedFolder) -> None:
        self.records = folder.records
        self._folder = folder

    def data_offset(self, record: Record) -> int:
        """Where the record's bytes start."""
        return record.header

    def read(self, record: Record, *, limit: int) -> bytes:
        """The record's bytes, at most `limit`.

        Raises:
            UnreadableError: there are more.
        """
        if record.size > limit:
            raise UnreadableError(f"{quoted(record.name)} is larger than {limit} bytes")
        return self._folder.read(record.header, record.size)


def _files_in(folder: Path) -> list[str]:
    """The files that torch writes, below the folder; a name in `data/` is a storage's key."""
    try:
        with os.scandir(folder / "data") as entries:
            data = sorted(f"data/{each.name}" for each in entries if each.is_file())
    except FileNotFoundError:
        data = []  # the checkpoint has no tensor
    except OSError as error:
        raise UnreadableError(f"data: {os.strerror(error.errno or 0).lower()}") from error
    if len(data) > _MOST_RECORDS:
        raise UnreadableError(f"more than {_MOST_RECORDS:,} files in `data`")
    return [*(name for name in _RECORDS if is_file(folder / name)), *data]
