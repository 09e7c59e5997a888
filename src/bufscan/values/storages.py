"""Bytes of storages by key: ranges of files, or memory of a live model. No storage is ever held as a whole."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Protocol

from bufscan.errors import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    import torch
    from numpy.typing import NDArray

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

    def held(self, storage: Storage) -> NDArray[np.uint8] | None:
        """The bytes of a storage that lies in this machine's memory; None for any other."""


class FileStorages:
    """Storages in files. `open_file` opens the file that a storage names, None for the target itself."""

    def __init__(self, open_file: Callable[[str | None], ByteSource]) -> None:
        self._open_file = open_file
        self._opened: dict[str | None, ByteSource] = {}
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

    def held(self, storage: Storage) -> NDArray[np.uint8] | None:
        import numpy as np

        return None if storage.data is None else np.frombuffer(storage.data, np.uint8)

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
        if storage.data is not None:  # of an array beside the tensors
            buffer[:] = storage.data[start : start + len(buffer)]
            return
        import torch

        target = torch.frombuffer(buffer, dtype=torch.uint8)
        target.copy_(self._bytes(storage)[start : start + len(buffer)])

    def held(self, storage: Storage) -> NDArray[np.uint8] | None:
        held: NDArray[np.uint8] | None = None
        if storage.data is not None:
            import numpy as np

            return np.frombuffer(storage.data, np.uint8)
        if self._storages[storage.key].device.type == "cpu":
            held = self._bytes(storage).numpy()
        return held

    def _bytes(self, storage: Storage) -> torch.Tensor:
        import torch

        held = self._storages[storage.key]
        return torch.empty(0, dtype=torch.uint8, device=held.device).set_(held)
