"""Elements along a walk, as contiguous bytes in this machine's byte order."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from bufscan.errors import UnreadableError
from bufscan.values.decoding import Decoder
from bufscan.values.strided import strided_of, walk_alone

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from bufscan.inventory import Part, Storage
    from bufscan.values.decoding import Numbers
    from bufscan.values.storages import StorageReader
    from bufscan.values.strided import Strided, Walk

_MOST_AT_ONCE = 1 << 24

# Elements that do not lie side by side are looked for in many places at once, so that one read finds several.
_GATHERED = 1 << 19  # elements
_BLOCK = 1 << 8  # bytes, the least that is read of a place
_MOST_BLOCKS = 1 << 16
_LONGEST_SPAN = 1 << 22  # blocks
_TWO_WORDS = 16  # bytes of a complex128


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

    def stretch(self, start: int, count: int) -> ElementReader | _Gathered:
        """A reader for `count` elements from position `start` on, for one thread that takes them in order."""
        return self if self._is_run else _Gathered(self, start + count)

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill `buffer` with elements from position `start` of the walk on.

        Raises:
            UnreadableError: the file that holds them has changed.
        """
        if self._is_run:
            first = (self._strided.offset + start) * self.itemsize
            self._strided.reader.read_into(self._strided.storage, first, buffer)
        else:
            buffer[:] = self.gather(start, len(buffer) // self.itemsize).data
        if self._swapped is not None:
            import numpy as np

            np.frombuffer(buffer, f"u{self._swapped}").byteswap(inplace=True)

    def gather(self, start: int, count: int) -> NDArray[Any]:
        """The bytes of `count` elements from position `start` on, in the order in which they are stored."""
        import numpy as np

        strided = self._strided
        places = np.full(count, strided.offset)
        index = np.unravel_index(np.arange(start, start + count), [size for size, _ in self._dimensions])
        for along, (_, step) in zip(index, self._dimensions, strict=True):
            places += along * step
        word = np.dtype(np.complex128 if self.itemsize == _TWO_WORDS else f"u{self.itemsize}")
        held = strided.reader.held(strided.storage)
        if held is not None:
            picked: NDArray[Any] = held[: len(held) // self.itemsize * self.itemsize].view(word)[places]
            return picked.view(np.uint8)
        return self._picked(places, word)

    def _picked(self, places: NDArray[np.int64], word: np.dtype[Any]) -> NDArray[Any]:
        """The elements at these places of a storage of which only the blocks around them are read."""
        import numpy as np

        in_block = _BLOCK // self.itemsize
        blocks, rank = _ranked(places // in_block)
        if len(blocks) > _MOST_BLOCKS:
            half = len(places) // 2
            return np.concatenate((self._picked(places[:half], word), self._picked(places[half:], word)))
        found = np.empty(len(blocks) * _BLOCK, np.uint8)
        storage = self._strided.storage
        edges = [0, *(np.flatnonzero(np.diff(blocks) != 1) + 1).tolist(), len(blocks)]
        for begin, end in pairwise(edges):
            start, to = int(blocks[begin]) * _BLOCK, begin * _BLOCK
            nbytes = min((end - begin) * _BLOCK, storage.nbytes - start)
            self._strided.reader.read_into(storage, start, found.data[to : to + nbytes])
        picked: NDArray[Any] = found.view(word)[rank * in_block + places % in_block]
        return picked.view(np.uint8)


def _ranked(numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.integer[Any]]]:
    """The distinct ones in ascending order, and the place of each number among them."""
    import numpy as np

    first = int(numbers.min())
    span = int(numbers.max()) - first + 1
    if span > _LONGEST_SPAN:
        return np.unique(numbers, return_inverse=True)
    marks = np.zeros(span, bool)  # in so narrow a range sorting takes longer
    marks[numbers - first] = True
    rank = np.cumsum(marks, dtype=np.int32) - 1
    return np.flatnonzero(marks) + first, rank[numbers - first]


class _Gathered:
    """Elements that do not lie side by side, many of them gathered ahead of those that are asked for."""

    def __init__(self, reader: ElementReader, end: int) -> None:
        self._reader = reader
        self._end = end
        self._start = 0
        self._ahead = bytearray()

    def read_into(self, start: int, buffer: memoryview) -> None:
        """As `ElementReader.read_into`."""
        itemsize = self._reader.itemsize
        at = (start - self._start) * itemsize
        if not 0 <= at <= len(self._ahead) - len(buffer):
            count = max(min(self._end - start, _GATHERED), len(buffer) // itemsize)
            ahead = bytearray(count * itemsize)
            self._reader.read_into(start, memoryview(ahead))
            self._start, self._ahead, at = start, ahead, 0
        buffer[:] = memoryview(self._ahead)[at : at + len(buffer)]


def read_all(record: Part, storages: Mapping[str, Storage], reader: StorageReader) -> Numbers:
    """All values of a small tensor as float64, in one dimension.

    Raises:
        UnreadableError: they cannot be read, or are too many to be held.
    """
    elements = strided_of(record, storages, reader)
    if elements.numel > _MOST_AT_ONCE:
        raise UnreadableError(f"its part `{record.name}` is too large")
    return read_numbers(elements, 0, elements.numel)


def read_numbers(elements: Strided, start: int, count: int) -> Numbers:
    """`count` elements from position `start` on as float64, in the order of their indices.

    Raises:
        UnreadableError: the file that holds them has changed.
    """
    import numpy as np

    decoder = Decoder(dtype=elements.dtype)
    raw = bytearray(elements.dtype.nbytes(count))
    if count:
        ElementReader(elements, walk_alone(elements), 0).read_into(start, memoryview(raw))
    return decoder.numbers(decoder.stored(raw)).astype(np.float64)
