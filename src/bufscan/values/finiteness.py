"""How many elements of a tensor are NaN or infinite."""

from __future__ import annotations

from functools import cached_property
from math import inf, prod
from typing import TYPE_CHECKING, Any

from bufscan.dtypes import DTYPES
from bufscan.errors import UnreadableError
from bufscan.findings import NonFinite
from bufscan.values.decoding import Decoder, has_values
from bufscan.values.reading import ElementReader
from bufscan.values.strided import strided_of, walk_alone

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from bufscan.inventory import Inventory, Part, Tensor
    from bufscan.values.storages import StorageReader
    from bufscan.values.strided import Strided

_CHUNK = 1 << 16  # elements: they fit the cache
# A crafted file can show its few bytes again and again, in tensors of any size. Real views overlap a few times.
_MOST_READINGS = 16
_FREE_BYTES = 64 << 20


class NonFiniteCounter:
    """Counts in the tensors of one inventory, and reads no more than a few times what is stored."""

    def __init__(self, inventory: Inventory, reader: StorageReader) -> None:
        self._inventory = inventory
        self._reader = reader
        self._clean: dict[tuple[str, str], bool] = {}
        self._left = _FREE_BYTES + _MOST_READINGS * inventory.stored_bytes

    def __call__(self, tensor: Tensor) -> NonFinite | None:
        """The counts over all parts of the tensor; None where its type has only finite values.

        Raises:
            UnreadableError: the values cannot be read.
        """
        views = [view for view in tensor.parts or (tensor,) if _may_be_nonfinite(view)]
        if not views:
            return None
        counts = [self._count(strided_of(view, self._inventory.storages, self._reader)) for view in views]
        nan, infinite = sum(count.nan for count in counts), sum(count.infinite for count in counts)
        return NonFinite(nan, infinite, any(count.is_mask for count in counts))

    def _count(self, elements: Strided) -> NonFinite:
        distinct = elements.folded()
        if self._lies_in_clean_storage(distinct):
            return NonFinite(0, 0)
        self._spend(distinct.dtype.nbytes(distinct.numel))
        counts = _counts(distinct)
        repeats = elements.numel // distinct.numel if distinct.numel else 1
        return NonFinite(counts.nan * repeats, counts.infinite * repeats, counts.is_mask)

    def _lies_in_clean_storage(self, elements: Strided) -> bool:
        """Whether all its storage is finite, where several tensors show more than there is of it."""
        storage, width = elements.storage, elements.dtype.bits // 8
        if self._shown.get(storage.key, 0) <= storage.nbytes or not elements.numel:
            return False
        key = (storage.key, elements.dtype.name)
        if key not in self._clean:
            whole = elements._replace(shape=(storage.nbytes // width,), stride=(1,), offset=0)
            self._spend(storage.nbytes)
            counts = _counts(whole)
            self._clean[key] = not (counts.nan or counts.infinite)
        return self._clean[key]

    @cached_property
    def _shown(self) -> dict[str, int]:
        """Bytes that all tensors together show of each storage."""
        shown: dict[str, int] = {}
        for tensor in self._inventory.tensors:
            for view in tensor.parts or (tensor,):
                if view.storage is not None and view.shape and view.stride and view.dtype:
                    sizes = (size for size, step in zip(view.shape, view.stride, strict=True) if step)
                    nbytes = DTYPES[view.dtype].nbytes(prod(sizes))
                    shown[view.storage] = shown.get(view.storage, 0) + nbytes
        return shown

    def _spend(self, nbytes: int) -> None:
        self._left -= nbytes
        if self._left < 0:
            raise UnreadableError("all tensors together show far more elements than are stored")


def _may_be_nonfinite(view: Tensor | Part) -> bool:
    dtype = DTYPES[view.dtype] if view.dtype is not None else None
    return dtype is not None and dtype.kind in ("float", "complex") and has_values(dtype)


def _counts(elements: Strided) -> NonFinite:
    import numpy as np

    nan = infinite = 0
    for numbers in _chunks(elements):
        if np.isfinite(numbers).all():
            continue
        is_nan, is_infinite = np.isnan(numbers).any(1), np.isinf(numbers).any(1)
        nan += int(is_nan.sum())
        infinite += int((is_infinite & ~is_nan).sum())
    return NonFinite(nan, infinite, is_mask=infinite > 0 and not nan and _is_mask(elements))


def _is_mask(elements: Strided) -> bool:
    return all(bool(((numbers == 0) | (numbers == -inf)).all()) for numbers in _chunks(elements))


def _chunks(elements: Strided) -> Iterator[NDArray[np.floating[Any]]]:
    """The numbers of each stretch of elements, a row for each value."""
    walk = walk_alone(elements)
    reader = ElementReader(elements, walk, 0)
    within = reader.stretch(0, walk.numel)
    decoder = Decoder(dtype=elements.dtype)
    raw = bytearray(min(_CHUNK, walk.numel) * reader.itemsize)
    for start in range(0, walk.numel, _CHUNK):
        part = memoryview(raw)[: min(_CHUNK, walk.numel - start) * reader.itemsize]
        within.read_into(start, part)
        yield decoder.numbers(decoder.stored(part)).reshape(-1, decoder.numbers_per_value)
