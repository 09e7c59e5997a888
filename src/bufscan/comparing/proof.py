"""Whether stretches of the two sides hold the same bytes, read within bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.comparing.workers import stretches
from bufscan.errors import UnreadableError
from bufscan.values.reading import ElementReader
from bufscan.values.strided import strided_of, walk_alone, walk_together

if TYPE_CHECKING:
    from bufscan.inventory import Tensor
    from bufscan.opening.artefact import Sides
    from bufscan.values.strided import Strided

_CHUNK_BYTES = 1 << 18
# A crafted file can show its few bytes again and again, in tensors of any size.
_MOST_READINGS = 16
_FREE_BYTES = 64 << 20


class Proof:
    """Reads what comparing pairs of one shape does not: other shapes, and several tensors as one."""

    def __init__(self, sides: Sides) -> None:
        self._sides = sides
        self._left = _FREE_BYTES + _MOST_READINGS * sum(side.inventory.stored_bytes for side in sides)

    def spend(self, nbytes: int) -> None:
        """Count bytes that are read.

        Raises:
            UnreadableError: far more are read than are stored.
        """
        self._left -= nbytes
        if self._left < 0:
            raise UnreadableError("all tensors together show far more elements than are stored")

    def elements(self, tensor: Tensor, side: int) -> Strided:
        """Where the tensor's elements lie.

        Raises:
            UnreadableError: they are not values that lie there one by one, or cannot be read.
        """
        plain = not (tensor.parts or tensor.placements or tensor.pending) and tensor.quantization is None
        if not plain or tensor.layout not in ("strided", "storage") or not self._sides[side].has_values:
            raise UnreadableError("its elements are not stored as they are")
        found = strided_of(tensor, self._sides[side].inventory.storages, self._sides[side].reader)
        if found.shape != tensor.shape or not found.numel:
            raise UnreadableError("it has no elements that bytes of their own stand for")
        return found

    def are_equal(self, one: Strided, other: Strided) -> bool:
        """Whether two tensors of equal shape and type have the same bytes, element by element."""
        walk = walk_together(one, other)
        readers = ElementReader(one, walk, 0), ElementReader(other, walk, 1)
        return self._same_until(readers, walk.numel) == walk.numel

    def same_at_start(self, one: Strided, other: Strided) -> int:
        """How many elements are the same at the start of both, in the order of their indices."""
        readers = ElementReader(one, walk_alone(one), 0), ElementReader(other, walk_alone(other), 0)
        return self._same_until(readers, min(one.numel, other.numel))

    def _same_until(self, readers: tuple[ElementReader, ElementReader], count: int) -> int:
        itemsize = readers[0].itemsize
        for position, taken in stretches(count, _CHUNK_BYTES // itemsize):
            self.spend(2 * taken * itemsize)
            chunks = bytearray(taken * itemsize), bytearray(taken * itemsize)
            for reader, chunk in zip(readers, chunks, strict=True):
                reader.read_into(position, memoryview(chunk))
            if chunks[0] != chunks[1]:
                return position + _first_odd(*chunks) // itemsize
        return count


def _first_odd(one: bytearray, other: bytearray) -> int:
    """The first byte that differs, of two runs that do."""
    begin, end = 0, len(one)
    while end - begin > 1:
        middle = (begin + end) // 2
        if one[begin:middle] == other[begin:middle]:
            begin = middle
        else:
            end = middle
    return begin
