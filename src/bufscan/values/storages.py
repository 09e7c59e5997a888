"""Bytes of storages by key: ranges of files, or memory of a live model. No storage is ever held as a whole."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Protocol

from bufscan.errors import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from mmap import mmap

    import torch

    from bufscan.bytesource import ByteSource
    from bufscan.inventory import Storage


class StorageReader(Protocol):
    """Reads the storages of one inventory. Several threads may read at once."""

    def require(self, storage: Storage) -> None:
        """Make sure that the storage's bytes lie somewhere as they are.

        Raises:
            UnreadableError: they do not.
        """

    def read_into(self, storage: Storage, start: int, buffer: memoryview) -> None:
        """Fill `buffer` with the storage's bytes from `start` on.

        Raises:
            UnreadableError: they are not there.
        """

    def words(self, storage: Storage, width: int) -> torch.Tensor:
        """The whole storage, not read yet, as integers of `width` bytes (1, 2, 4 or 8)."""


class FileStorages:
    """Storages in files. `open_file` opens the file that a storage names, None for the target itself."""

    def __init__(self, open_file: Callable[[str | None], ByteSource]) -> None:
        self._open_file = open_file
        self._opened: dict[str | None, ByteSource] = {}
        self._mapped: dict[str | None, mmap | bytearray | memoryview] = {}
        self._lock = Lock()

    def require(self, storage: Storage) -> None:
        if storage.data is not None:
            return
        if storage.offset is None:
            raise UnreadableError("its bytes are compressed in the file")
        if storage.offset + storage.nbytes > self._source(storage.file).size:
            raise UnreadableError("its bytes lie outside the file")

    def read_into(self, storage: Storage, start: int, buffer: memoryview) -> None:
        if storage.data is not None:
            buffer[:] = storage.data[start : start + len(buffer)]
            return
        self._source(storage.file).read_into((storage.offset or 0) + start, buffer)

    def words(self, storage: Storage, width: int) -> torch.Tensor:
        import torch

        dtype, count = _word_dtype(width), storage.nbytes // width
        if not count:
            return torch.empty(0, dtype=dtype)
        if storage.data is not None:
            return torch.frombuffer(bytearray(storage.data), dtype=dtype, count=count)
        mapped = self._map(storage.file)
        return torch.frombuffer(mapped, dtype=dtype, offset=storage.offset or 0, count=count)

    def _map(self, file: str | None) -> mmap | bytearray | memoryview:
        source = self._source(file)
        with self._lock:
            if file not in self._mapped:
                self._mapped[file] = source.map()
            return self._mapped[file]

    def _source(self, file: str | None) -> ByteSource:
        source = self._opened.get(file)
        if source is None:
            with self._lock:
                source = self._opened.get(file)
                if source is None:
                    source = self._opened[file] = self._open_file(file)
        return source


class LiveStorages:
    """Storages of a model in memory, on whatever device; `storages` is by the inventory's keys."""

    def __init__(self, storages: Mapping[str, torch.UntypedStorage]) -> None:
        self._storages = storages

    def require(self, storage: Storage) -> None:
        """Memory is always there."""

    def read_into(self, storage: Storage, start: int, buffer: memoryview) -> None:
        import torch

        target = torch.frombuffer(buffer, dtype=torch.uint8)
        target.copy_(self._bytes(storage)[start : start + len(buffer)])

    def words(self, storage: Storage, width: int) -> torch.Tensor:
        return self._bytes(storage)[: storage.nbytes // width * width].view(_word_dtype(width))

    def _bytes(self, storage: Storage) -> torch.Tensor:
        import torch

        held = self._storages[storage.key]
        return torch.empty(0, dtype=torch.uint8, device=held.device).set_(held)


def _word_dtype(width: int) -> torch.dtype:
    import torch

    return {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[width]
