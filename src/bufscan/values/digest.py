"""A hash of what a tensor holds: the same wherever and however its elements are stored."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from bufscan.errors import UnreadableError
from bufscan.values.reading import ElementReader
from bufscan.values.strided import strided_of, walk_alone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bufscan.inventory import Part, Storage, Tensor
    from bufscan.values.storages import StorageReader

_CHUNK_BYTES = 1 << 18
# A crafted file can show its few bytes again and again, in tensors of any size. Real views overlap a few times.
_MOST_READINGS = 16
_FREE_BYTES = 64 << 20


class Digester:
    """Hashes tensors one after the other; one for each thread. `advance` is told of bytes as they are done."""

    def __init__(
        self, storages: Mapping[str, Storage], reader: StorageReader, advance: Callable[[int], None]
    ) -> None:
        self._storages = storages
        self._reader = reader
        self._advance = advance
        self._buffer = bytearray(_CHUNK_BYTES)
        self._left = _FREE_BYTES + _MOST_READINGS * sum(storage.nbytes for storage in storages.values())

    def digest(self, tensor: Tensor) -> bytes:
        """SHA-256 of the elements in the order of their indices, in this machine's byte order.

        Of a compound tensor, of those of its parts; shape and type are not part of it.

        Raises:
            UnreadableError: the elements cannot be read.
        """
        if not tensor.parts:
            return self._digest(tensor)
        whole = hashlib.sha256()
        if tensor.storage is not None:  # the codes of a quantised tensor
            whole.update(self._digest(tensor))
        for part in tensor.parts:
            whole.update(self._digest(part))
        return whole.digest()

    def _digest(self, record: Tensor | Part) -> bytes:
        elements = strided_of(record, self._storages, self._reader)
        self._left -= elements.dtype.nbytes(elements.numel)
        if self._left < 0:
            raise UnreadableError("all tensors together show far more elements than are stored")
        found = ElementReader(elements, walk_alone(elements), 0)
        within = found.stretch(0, elements.numel)
        digest = hashlib.sha256()
        step = _CHUNK_BYTES // found.itemsize
        for start in range(0, elements.numel, step):
            view = memoryview(self._buffer)[: min(step, elements.numel - start) * found.itemsize]
            within.read_into(start, view)
            digest.update(view)
            self._advance(len(view))
        return digest.digest()
