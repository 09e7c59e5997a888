"""How many elements of tensors are NaN or infinite."""

from __future__ import annotations

from math import inf, prod
from typing import TYPE_CHECKING, NamedTuple

from bufscan.dtypes import DTYPES
from bufscan.errors import UnreadableError
from bufscan.findings import NonFinite
from bufscan.values.decoding import Decoder, has_values
from bufscan.values.reading import ElementReader
from bufscan.values.strided import strided_of, walk_alone
from bufscan.values.workers import stretches

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bufscan.inventory import Inventory, Part, Tensor
    from bufscan.values.storages import StorageReader
    from bufscan.values.strided import Strided
    from bufscan.values.workers import Meter, Workers

_CHUNK = 1 << 17  # elements: they fit the cache, and a thread works far longer on each than it waits for the next
_JOB_CHUNKS = 32
# A crafted file can show its few bytes again and again, in tensors of any size. Real views overlap a few times.
_MOST_READINGS = 16
_FREE_BYTES = 64 << 20
_WIDEST = 16  # bytes of a complex128


class NonFiniteCounter:
    """Counts in the tensors of one inventory, and reads no more than a few times what is stored.

    All are counted when the first is asked for, for then the work can be shared out.
    """

    def __init__(self, inventory: Inventory, reader: StorageReader, workers: Workers) -> None:
        self._inventory = inventory
        self._reader = reader
        self._workers = workers
        self._left = _FREE_BYTES + _MOST_READINGS * inventory.stored_bytes
        self._counts: Mapping[str, NonFinite | str] | None = None

    def __call__(self, tensor: Tensor) -> NonFinite | None:
        """The counts over all parts of the tensor; None where its type has only finite values.

        Raises:
            UnreadableError: the values cannot be read.
        """
        if self._counts is None:
            self._counts = self._counted_in_all()
        counts = [self._counts[_elements(view)] for view in tensor.parts or (tensor,) if _may_be_nonfinite(view)]
        for count in counts:
            if isinstance(count, str):
                raise UnreadableError(count)
        found = [count for count in counts if not isinstance(count, str)]
        nan, infinite = sum(count.nan for count in found), sum(count.infinite for count in found)
        return NonFinite(nan, infinite, any(count.is_mask for count in found)) if found else None

    def _counted_in_all(self) -> Mapping[str, NonFinite | str]:
        """By what a view shows: its counts, or why there are none."""
        counts: dict[str, NonFinite | str] = {}
        shown: dict[str, Strided] = {}
        for tensor in self._inventory.tensors:
            for view in filter(_may_be_nonfinite, tensor.parts or (tensor,)):
                try:
                    shown[_elements(view)] = strided_of(view, self._inventory.storages, self._reader)
                except UnreadableError as error:
                    counts[_elements(view)] = error.message
        nbytes = self._shown_bytes()
        crowded = (each for each in shown.values() if nbytes.get(each.storage.key, 0) > each.storage.nbytes)
        whole = {_kind(each): _whole(each) for each in crowded if each.numel}
        clean = {kind for kind, found in self._counted(whole).items() if found == NonFinite(0, 0)}
        counts |= {key: NonFinite(0, 0) for key, each in shown.items() if _kind(each) in clean}
        return counts | self._counted({key: each for key, each in shown.items() if key not in counts})

    def _counted(self, all_: Mapping[str, Strided]) -> dict[str, NonFinite | str]:
        """What is in each, or why that is not known."""
        counts: dict[str, NonFinite | str] = dict.fromkeys(all_, NonFinite(0, 0, is_mask=True))
        jobs: list[_Job] = []
        for key, each in all_.items():
            distinct = each.folded()
            self._left -= distinct.dtype.nbytes(distinct.numel)
            if self._left < 0:
                counts[key] = "all tensors together show far more elements than are stored"
            else:
                jobs += _jobs_of(key, distinct)
        for job, found in zip(jobs, self._workers.map(jobs, _work, _Job.size, NonFinite | str), strict=True):
            before = counts[job.key]
            if isinstance(before, str) or isinstance(found, str):
                counts[job.key] = before if isinstance(before, str) else found
            else:
                both = before.is_mask and found.is_mask
                counts[job.key] = NonFinite(before.nan + found.nan, before.infinite + found.infinite, both)
        return {key: _in_all(found, all_[key]) for key, found in counts.items()}

    def _shown_bytes(self) -> dict[str, int]:
        """Bytes that all tensors together show of each storage."""
        shown: dict[str, int] = {}
        for tensor in self._inventory.tensors:
            for view in tensor.parts or (tensor,):
                if view.storage is not None and view.shape and view.stride and view.dtype:
                    sizes = (size for size, step in zip(view.shape, view.stride, strict=True) if step)
                    nbytes = DTYPES[view.dtype].nbytes(prod(sizes))
                    shown[view.storage] = shown.get(view.storage, 0) + nbytes
        return shown


class _Job(NamedTuple):
    """A stretch of the walk over what a view shows."""

    key: str
    reader: ElementReader
    decoder: Decoder
    start: int
    length: int

    def size(self) -> int:
        """Its bytes."""
        return self.length * self.reader.itemsize


def _jobs_of(key: str, elements: Strided) -> Iterator[_Job]:
    reader, decoder = ElementReader(elements, walk_alone(elements), 0), Decoder(dtype=elements.dtype)
    return (_Job(key, reader, decoder, *each) for each in stretches(elements.numel, _JOB_CHUNKS * _CHUNK))


def _work(jobs: Iterator[_Job], meter: Meter) -> Iterator[NonFinite | str]:
    raw = bytearray(_CHUNK * _WIDEST)
    for job in jobs:
        try:
            found: NonFinite | str = _counts_in(job, memoryview(raw), meter)
        except UnreadableError as error:
            found = error.message
        yield found


def _counts_in(job: _Job, raw: memoryview, meter: Meter) -> NonFinite:
    """What is in a stretch; `is_mask`: nothing but what a mask has."""
    import numpy as np

    nan = infinite = 0
    is_mask = True
    within = job.reader.stretch(job.start, job.length)
    for position, count in stretches(job.length, _CHUNK):
        part = raw[: count * job.reader.itemsize]
        within.read_into(job.start + position, part)
        numbers = job.decoder.numbers(job.decoder.stored(part))
        is_mask = is_mask and numbers[0] in (0, -inf) and bool(((numbers == 0) | (numbers == -inf)).all())
        if not np.isfinite(numbers).all():
            values = numbers.reshape(-1, job.decoder.numbers_per_value)
            is_nan, is_infinite = np.isnan(values).any(1), np.isinf(values).any(1)
            nan += int(is_nan.sum())
            infinite += int((is_infinite & ~is_nan).sum())
        meter.advance(len(part))
    return NonFinite(nan, infinite, is_mask)


def _in_all(counts: NonFinite | str, elements: Strided) -> NonFinite | str:
    """The counts of distinct elements as those of all that the view shows."""
    if isinstance(counts, str):
        return counts
    nan, infinite, is_mask = counts
    repeats = elements.numel // (elements.folded().numel or 1)
    return NonFinite(nan * repeats, infinite * repeats, is_mask=is_mask and infinite > 0 and not nan)


def _may_be_nonfinite(view: Tensor | Part) -> bool:
    dtype = DTYPES[view.dtype] if view.dtype is not None else None
    return dtype is not None and dtype.kind in ("float", "complex") and has_values(dtype)


def _elements(view: Tensor | Part) -> str:
    """Which elements it shows. As text: hashes of numbers can be foreseen, those of texts are salted."""
    return repr((view.storage, view.storage_offset, view.shape, view.stride, view.dtype, view.device))


def _kind(elements: Strided) -> str:
    """The storage, as numbers of that type."""
    return f"{elements.dtype.name} {elements.storage.key}"


def _whole(elements: Strided) -> Strided:
    """All of its storage."""
    count = elements.storage.nbytes // (elements.dtype.bits // 8)
    return elements._replace(shape=(count,), stride=(1,), offset=0)
