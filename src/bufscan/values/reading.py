"""Elements along a walk, as contiguous bytes in this machine's byte order."""

from __future__ import annotations

import sys
from array import array
from functools import cached_property
from typing import TYPE_CHECKING

from bufscan.errors import UnreadableError
from bufscan.values.decoding import Decoder
from bufscan.values.strided import strided_of, walk_alone

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from bufscan.inventory import Part, Storage
    from bufscan.values.storages import StorageReader
    from bufscan.values.strided import Strided, Walk

_ARRAY_CODES = {array(code).itemsize: code for code in "BHIQ"}
_WIDEST_WORD = 8
_MOST_AT_ONCE = 1 << 24


class ElementReader:
    """Reads one side of a walk. Several threads may read at once.

    Attributes:
        itemsize: bytes of an element.
    """

    def __init__(self, strided: Strided, walk: Walk, side: int) -> None:
        self.itemsize = strided.dtype.bits // 8
        self._strided = strided
        self._dimensions = [(dimension.size, dimension.strides[side]) for dimension in walk.dimensions]
        self._is_run = not self._dimensions or [step for _, step in self._dimensions] == [1]
        component = self.itemsize // 2 if strided.dtype.kind == "complex" else self.itemsize
        self._swapped = component if strided.storage.byteorder != sys.byteorder and component > 1 else None

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill `buffer` with elements from position `start` of the walk on.

        Raises:
            UnreadableError: the file that holds them has changed.
        """
        if self._is_run:
            first = (self._strided.offset + start) * self.itemsize
            self._strided.reader.read_into(self._strided.storage, first, buffer)
        else:
            self._gather_into(start, buffer)
        if self._swapped is not None:
            words = array(_ARRAY_CODES[self._swapped], bytes(buffer))
            words.byteswap()
            buffer[:] = memoryview(words).cast("B")

    def _gather_into(self, start: int, buffer: memoryview) -> None:
        import torch

        position = torch.arange(start, start + len(buffer) // self.itemsize)
        offsets = torch.full_like(position, self._strided.offset)
        for size, step in reversed(self._dimensions):
            offsets += (position % size) * step
            position //= size
        if self.itemsize > _WIDEST_WORD:
            offsets = torch.stack((2 * offsets, 2 * offsets + 1), dim=1).flatten()
        found = self._words[offsets.to(self._words.device)]
        torch.frombuffer(buffer, dtype=torch.uint8).copy_(found.view(torch.uint8))

    @cached_property
    def _words(self) -> torch.Tensor:
        strided = self._strided
        return strided.reader.words(strided.storage, min(self.itemsize, _WIDEST_WORD))


def read_all(record: Part, storages: Mapping[str, Storage], reader: StorageReader) -> torch.Tensor:
    """All values of a small tensor as float64, in one dimension.

    Raises:
        UnreadableError: they cannot be read, or are too many to be held.
    """
    import torch

    elements = strided_of(record, storages, reader)
    if elements.numel > _MOST_AT_ONCE:
        raise UnreadableError(f"its part `{record.name}` is too large")
    if elements.numel == 0:
        return torch.empty(0, dtype=torch.float64)
    decoder = Decoder(dtype=elements.dtype)
    raw = bytearray(elements.dtype.nbytes(elements.numel))
    ElementReader(elements, walk_alone(elements), 0).read_into(0, memoryview(raw))
    values = torch.empty(elements.numel, dtype=torch.float64)
    decoder.decode(decoder.typed(torch.frombuffer(raw, dtype=torch.uint8)), 0, values)
    return values
