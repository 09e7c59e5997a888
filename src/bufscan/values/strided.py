"""Where the elements of a tensor lie in its storage, and how to walk two tensors in step."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NamedTuple

from bufscan.dtypes import DTYPES, DType
from bufscan.errors import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bufscan.inventory import Part, Storage, Tensor
    from bufscan.values.storages import StorageReader


class Strided(NamedTuple):
    """A strided look at a storage. `stride` and `offset` count elements."""

    storage: Storage
    reader: StorageReader
    dtype: DType
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    @property
    def numel(self) -> int:
        """Elements in all."""
        return prod(self.shape)

    @property
    def is_contiguous(self) -> bool:
        """Whether the elements follow each other in the order of their indices."""
        step = 1
        for size, stride in zip(reversed(self.shape), reversed(self.stride), strict=True):
            if size != 1 and stride != step:
                return False
            step *= size
        return True

    def folded(self) -> Strided:
        """The same without the dimensions that show one element again and again (stride 0)."""
        kept = [each for each in zip(self.shape, self.stride, strict=True) if each[1] or not each[0]]
        return self._replace(shape=tuple(size for size, _ in kept), stride=tuple(step for _, step in kept))

    def narrowed(self, begin: Sequence[int], shape: Sequence[int]) -> Strided:
        """The block of that shape whose first element has the index `begin`."""
        start = self.offset + sum(index * step for index, step in zip(begin, self.stride, strict=True))
        return self._replace(shape=tuple(shape), offset=start)


def strided_of(record: Tensor | Part, storages: Mapping[str, Storage], reader: StorageReader) -> Strided:
    """How the record's elements lie in its storage; those that share bytes are taken as the bytes.

    Raises:
        UnreadableError: they cannot be read; the message says why, in words that follow the tensor's name.
    """
    if record.shape is None or record.dtype is None:
        raise UnreadableError("it has no elements yet")
    if record.stride is None:
        raise UnreadableError("its elements are not laid out as torch could hold them")
    if record.device == "meta" and record.storage is None:
        raise UnreadableError("a meta tensor has no values")
    storage = None if record.storage is None else storages.get(record.storage)
    if storage is None:
        raise UnreadableError("its storage is missing")
    strided = Strided(storage, reader, DTYPES[record.dtype], record.shape, record.stride, record.storage_offset)
    if not strided.numel:
        return strided
    reader.require(storage)
    steps = zip(strided.shape, strided.stride, strict=True)
    last = strided.offset + sum((size - 1) * step for size, step in steps)
    if strided.dtype.nbytes(last + 1) > storage.nbytes:
        raise UnreadableError(f"it reaches beyond the {storage.nbytes:,} bytes of its storage")
    return strided if strided.dtype.bits % 8 == 0 else _as_bytes(strided)


def _as_bytes(packed: Strided) -> Strided:
    # Only safetensors packs elements so, and it stores every tensor in one run that begins its storage.
    nbytes = packed.dtype.nbytes(packed.numel)
    return packed._replace(dtype=DTYPES["uint8"], shape=(nbytes,), stride=(1,), offset=0)


class Dimension(NamedTuple):
    """One dimension that two tensors share: its size and each side's stride, both in elements."""

    size: int
    strides: tuple[int, int]


class Walk(NamedTuple):
    """An order in which to walk the elements of two tensors of equal shape.

    Dimensions are taken in the order in which one side stores them, so that tensors transposed in the same way are
    still read from front to back.

    Attributes:
        axes: the tensors' dimensions in the order of the walk, each with its size.
        dimensions: the same with neighbours merged where both sides allow it.
        repeats: how often both sides show each element because both expand the same dimensions, which are left
            out of the walk.
    """

    axes: tuple[tuple[int, int], ...]
    dimensions: tuple[Dimension, ...]
    repeats: int

    @property
    def numel(self) -> int:
        """Elements that the walk meets."""
        return prod(dimension.size for dimension in self.dimensions)

    def index_of(self, position: int, ndim: int) -> tuple[int, ...]:
        """Where in the tensors the walk is after `position` elements."""
        index = [0] * ndim
        for axis, size in reversed(self.axes):
            position, index[axis] = divmod(position, size)
        return tuple(index)

    def steps_below(self, axis: int) -> int:
        """Elements that the walk meets before the index along `axis` changes; 0 when it never does."""
        below = 1
        for other, size in reversed(self.axes):
            if other == axis:
                return below
            below *= size
        return 0


def walk_together(old: Strided, new: Strided) -> Walk:
    """The walk over two tensors of equal shape."""
    if old.stride == new.stride and old.is_contiguous:
        return walk_alone(old)
    axes: list[tuple[int, Dimension]] = []
    repeats = 1
    for axis, size in enumerate(old.shape):
        strides = (old.stride[axis], new.stride[axis])
        if size > 1 and strides == (0, 0):
            repeats *= size
        elif size != 1:
            axes.append((axis, Dimension(size, strides)))
    # Stable: equal strides stay as they are.
    orders = (sorted(axes, key=lambda each: each[1].strides[::direction], reverse=True) for direction in (1, -1))
    # The other side is then read at as many places at once as the last dimension has indices.
    axes = min(orders, key=lambda order: order[-1][1].size if order else 0)
    merged: list[Dimension] = []
    for _, dimension in axes:
        if merged and _follow_on(merged[-1], dimension):
            merged[-1] = Dimension(merged[-1].size * dimension.size, dimension.strides)
        else:
            merged.append(dimension)
    return Walk(tuple((axis, dimension.size) for axis, dimension in axes), tuple(merged), repeats)


def walk_alone(elements: Strided) -> Walk:
    """The walk over one tensor in the order of its indices."""
    dimensions: tuple[Dimension, ...]
    if elements.is_contiguous:
        dimensions = (Dimension(elements.numel, (1, 1)),)
    else:
        steps = zip(elements.shape, elements.stride, strict=True)
        dimensions = tuple(Dimension(size, (step, step)) for size, step in steps if size != 1)
    return Walk(tuple(enumerate(elements.shape)), dimensions, 1)


def _follow_on(outer: Dimension, inner: Dimension) -> bool:
    return all(far == near * inner.size for far, near in zip(outer.strides, inner.strides, strict=True))
