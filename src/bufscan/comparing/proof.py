"""Whether stretches of the two sides hold the same bytes, read within bounds."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from bufscan.errors import UnreadableError
from bufscan.values.reading import ElementReader
from bufscan.values.strided import strided_of, walk_alone, walk_together
from bufscan.values.workers import stretches

if TYPE_CHECKING:
    from bufscan.inventory import Tensor
    from bufscan.opening.artefact import Sides
    from bufscan.values.strided import Strided

_CHUNK_BYTES = 1 << 18
_RUN_BYTES = 1 << 12  # read in one go of a row: enough to be worth the call, and its square fits memory
_FIRST_LOOK = 16  # elements on either side
_WIDEST_WORD = 8  # of NumPy's integers
# A crafted file can show its few bytes again and again, in tensors of any size.
_MOST_READINGS = 8
_FREE_BYTES = 1 << 20


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
        """Where the tensor's elements lie, each in bytes of its own.

        Raises:
            UnreadableError: they do not, or cannot be read.
        """
        plain = not (tensor.parts or tensor.placements or tensor.pending) and tensor.quantization is None
        if not plain or tensor.layout not in ("strided", "storage") or not self._sides[side].has_values:
            raise UnreadableError("its elements are not stored as they are")
        found = strided_of(tensor, self._sides[side].inventory.storages, self._sides[side].reader)
        if found.shape != tensor.shape or not found.numel:
            raise UnreadableError("it has no elements that bytes stand for one by one")
        if found.dtype.nbytes(found.numel) > found.storage.nbytes:
            raise UnreadableError("it shows the same bytes several times")
        return found

    def are_equal(self, one: Strided, other: Strided) -> bool:
        """Whether two tensors of equal shape and type have the same bytes, element by element."""
        walk = walk_together(one, other)
        readers = ElementReader(one, walk, 0), ElementReader(other, walk, 1)
        return self._same_until(readers, walk.numel) == walk.numel

    def are_transposed(self, one: Strided, other: Strided) -> bool:
        """Whether a matrix has the bytes of the other turned about its diagonal."""
        if not (one.is_contiguous and other.is_contiguous):
            return self.are_equal(one._replace(shape=one.shape[::-1], stride=one.stride[::-1]), other)
        rows, columns = one.shape
        side = max(_RUN_BYTES // (one.dtype.bits // 8), 1)
        corners = product(range(0, rows, side), range(0, columns, side))
        return self._begins_turned(one, other) and all(
            self._is_turned(one, other, corner, side) for corner in corners
        )

    def _begins_turned(self, one: Strided, other: Strided) -> bool:
        """Whether the first square is turned: few elements, and most that are no transpose fail here."""
        rows, columns = (min(size, _FIRST_LOOK) for size in one.shape)
        here, there = self._square(one, (0, 0), (rows, columns)), self._square(other, (0, 0), (columns, rows))
        size = one.dtype.bits // 8
        places = (
            (row * columns + column, column * rows + row) for row in range(rows) for column in range(columns)
        )
        return all(
            here[left * size : (left + 1) * size] == there[right * size : (right + 1) * size]
            for left, right in places
        )

    def _is_turned(self, one: Strided, other: Strided, corner: tuple[int, int], side: int) -> bool:
        """Whether a square of a matrix, as far as there is one, has the bytes of that of the other."""
        import numpy as np

        shape = min(side, one.shape[0] - corner[0]), min(side, one.shape[1] - corner[1])
        here, there = self._square(one, corner, shape), self._square(other, corner[::-1], shape[::-1])
        itemsize = one.dtype.bits // 8
        word = min(itemsize, _WIDEST_WORD)
        left = np.frombuffer(here, f"u{word}").reshape(*shape, itemsize // word)
        right = np.frombuffer(there, f"u{word}").reshape(*shape[::-1], itemsize // word)
        return bool((left.swapaxes(0, 1) == right).all())

    def _square(self, matrix: Strided, corner: tuple[int, int], shape: tuple[int, int]) -> bytearray:
        """The elements of some rows and columns, row by row."""
        itemsize = matrix.dtype.bits // 8
        raw = bytearray(shape[0] * shape[1] * itemsize)
        self.spend(len(raw))
        run = shape[1] * itemsize
        for row in range(shape[0]):
            line = matrix.narrowed((corner[0] + row, corner[1]), (1, shape[1]))
            ElementReader(line, walk_alone(line), 0).read_into(0, memoryview(raw)[row * run : (row + 1) * run])
        return raw

    def same_at_start(self, one: Strided, other: Strided) -> int:
        """How many elements are the same at the start of both, in the order of their indices."""
        readers = ElementReader(one, walk_alone(one), 0), ElementReader(other, walk_alone(other), 0)
        return self._same_until(readers, min(one.numel, other.numel))

    def _same_until(self, readers: tuple[ElementReader, ElementReader], count: int) -> int:
        itemsize = readers[0].itemsize
        within = [reader.stretch(0, count) for reader in readers]
        for position, taken in stretches(count, _CHUNK_BYTES // itemsize):
            self.spend(2 * taken * itemsize)
            chunks = bytearray(taken * itemsize), bytearray(taken * itemsize)
            for reader, chunk in zip(within, chunks, strict=True):
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
