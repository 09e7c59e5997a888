"""By how much pairs of tensors differ whose bytes do."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from bufscan.comparing.rounding import Side, is_rounded
from bufscan.comparing.statistics import statistics_of
from bufscan.comparing.sums import WIDE_INTEGERS, Chunk, Sums, add_chunk, add_equal, odd_bits
from bufscan.comparing.verdict import Verdict
from bufscan.dtypes import DTYPES
from bufscan.errors import UnreadableError
from bufscan.values.decoding import Channels, Decoder
from bufscan.values.reading import read_all
from bufscan.values.workers import stretches

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bufscan.comparing.difference import Tolerance
    from bufscan.comparing.pieces import Content, Piece
    from bufscan.inventory import Tensor
    from bufscan.opening.artefact import Artefact, Sides
    from bufscan.values.strided import Walk
    from bufscan.values.workers import Meter, Workers

CHUNK = 128 << 10
"""Elements looked at in one go: few enough that most of the work is done in the cache, and enough that a thread
works far longer on each step than it waits for the interpreter, which starts one step at a time.

Sums depend on it in their last digits, so it is the same everywhere.
"""

_JOB_CHUNKS = 10
_WIDEST = 16  # bytes of a complex128


class _Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """How to compare the elements of a pair of tensors.

    Attributes:
        old, new: how the bits of either side become values.
        same_decoding: whether equal bits mean equal values.
        tolerance: None when every bit counts.
    """

    old: Decoder
    new: Decoder
    same_decoding: bool
    tolerance: Tolerance | None


class _Job(NamedTuple):
    content: int
    piece: Piece
    comparison: _Comparison
    start: int
    length: int

    def size(self) -> int:
        """Bytes of the old side."""
        return self.length * self.piece.old.itemsize


class NumberPass:
    """Adds up the differences of contents, each stretch by one thread."""

    def __init__(self, contents: Sequence[Content], sides: Sides, tolerance: Tolerance | None) -> None:
        self._contents = contents
        self._sides = sides
        self._tolerance = tolerance
        self._failures: dict[int, str] = {}

    def run(self, workers: Workers) -> list[Verdict]:
        """A verdict for each content."""
        jobs = [job for at, content in enumerate(self._contents) for job in self._jobs_of(at, content)]
        totals = [_Total() for _ in self._contents]
        for job, found in zip(jobs, workers.map(jobs, self._work, _Job.size, Sums | str), strict=True):
            if isinstance(found, str):
                self._failures.setdefault(job.content, found)
            else:
                totals[job.content].add(found, job)
        return [self._verdict(at, total) for at, total in enumerate(totals)]

    def _work(self, jobs: Iterator[_Job], meter: Meter) -> Iterator[Sums | str]:
        """What each job comes to, or why that is not known."""
        import numpy as np

        room = _Room()
        for job in jobs:
            try:
                with np.errstate(all="ignore"):  # what overflows is told as None
                    found: Sums | str = room.sums_of(job, meter)
            except UnreadableError as error:
                found = error.message
            yield found

    def _jobs_of(self, at: int, content: Content) -> list[_Job]:
        jobs = []
        for piece in content.pieces:
            try:
                comparison = self._comparison(content, piece.walk)
            except UnreadableError as error:
                self._failures[at] = error.message
                return []
            for start, count in stretches(piece.walk.numel, _JOB_CHUNKS * CHUNK):
                jobs.append(_Job(at, piece, comparison, start, count))
        return jobs

    def _comparison(self, content: Content, walk: Walk) -> _Comparison:
        old, new = (
            _decoder(tensor, side, walk)
            for tensor, side in zip((content.old, content.new), self._sides, strict=True)
        )
        plain = old.channels is None and new.channels is None
        return _Comparison(
            old=old, new=new, same_decoding=content.comparable_bytes and plain, tolerance=self._tolerance
        )

    def _verdict(self, at: int, total: _Total) -> Verdict:
        if at in self._failures:
            return Verdict(same=False, failure=self._failures[at])
        content, sums = self._contents[at], total.sums
        if content.old.dtype != content.new.dtype:
            sums.nan_payloads = 0  # another type has other bits for what is no number
        same = not (sums.differing or sums.zero_signs or sums.nan_payloads)
        close = not same and self._tolerance is not None and not sums.changed
        old, new = content.old.dtype, content.new.dtype
        index = None if content.is_compound else total.index
        values = statistics_of(sums, total.numel * total.values_per_element, index, (old, new))
        if same and content.comparable_bytes and content.old.quantization is None and self._tolerance is None:
            return Verdict(same=False, values=values, remark="bytes differ that stand for the same values")
        return Verdict(same=same or close, close=close, values=values)


class _Total:
    """The sums of one content, and where its largest difference is."""

    def __init__(self) -> None:
        self.sums = Sums()
        self.index: tuple[int, ...] | None = None
        self.numel = 0
        self.values_per_element = 1

    def add(self, sums: Sums, job: _Job) -> None:
        """Add what a stretch came to."""
        per_element = job.comparison.old.values_per_element
        sums.scale(job.piece.walk.repeats)
        if sums.max_abs > self.sums.max_abs or self.index is None:
            element, inside = divmod(sums.max_position or 0, per_element)
            index = job.piece.index_of(element)
            # The values that an element packs count as its last dimension does.
            self.index = (*index[:-1], index[-1] * per_element + inside) if index else ()
        self.sums.merge(sums)
        self.numel += job.length * job.piece.walk.repeats
        self.values_per_element = per_element


class _Room:
    """Memory for a chunk: the bytes of both sides, and both as float64; one for each thread."""

    def __init__(self) -> None:
        import numpy as np

        self._raw = [memoryview(bytearray(CHUNK * _WIDEST)) for _ in range(2)]
        self._numbers = np.empty((2, 2 * CHUNK))  # complex and packed elements are two numbers

    def sums_of(self, job: _Job, meter: Meter) -> Sums:
        """Go through the job's elements, chunk by chunk."""
        sums = Sums()
        readers = [each.stretch(job.start, job.length) for each in (job.piece.old, job.piece.new)]
        sizes = job.piece.old.itemsize, job.piece.new.itemsize
        for position, count in stretches(job.length, CHUNK):
            raw = [room[: count * size] for room, size in zip(self._raw, sizes, strict=True)]
            for reader, buffer in zip(readers, raw, strict=True):
                reader.read_into(job.start + position, buffer)
            self._add(sums, job.comparison, raw, job.start + position)
            meter.advance(len(raw[0]))
        return sums

    def _add(self, sums: Sums, comparison: _Comparison, raw: list[memoryview], start: int) -> None:
        """Compare the elements whose bytes are given, which begin at position `start` of the walk."""
        decoders = comparison.old, comparison.new
        stored = [decoder.stored(each) for decoder, each in zip(decoders, raw, strict=True)]
        width = decoders[0].numbers_per_value
        per_element = decoders[0].values_per_element
        values = len(stored[0]) // width * per_element
        old, new = self._numbers[:, : values * width]
        odd = None
        # Packed values have no bits of their own.
        if comparison.same_decoding and per_element == 1:
            odd = odd_bits(stored[0], stored[1], values)
            if not odd.any():
                decoders[0].decode(stored[0], start, old)
                if add_equal(sums, old, width):
                    return
        decoders[0].decode(stored[0], start, old)
        decoders[1].decode(stored[1], start, new)
        is_signed = decoders[0].dtype.kind in ("float", "complex")
        if is_signed and odd is None:
            odd = odd_bits(old, new, values)
        if sums.rounded and decoders[0].dtype != decoders[1].dtype:
            sums.rounded = is_rounded(Side(decoders[0], stored[0], old), Side(decoders[1], stored[1], new), start)
        exact = None
        if all(decoder.dtype.name in WIDE_INTEGERS for decoder in decoders):
            exact = stored[1].view("i8") - stored[0].view("i8")
        chunk = Chunk(old, new, start * per_element, width, odd if is_signed else None, exact)
        add_chunk(sums, chunk, comparison.tolerance)


def _decoder(tensor: Tensor, side: Artefact, walk: Walk) -> Decoder:
    assert tensor.dtype is not None  # noqa: S101 - what is compared has a type
    quantization = tensor.quantization
    channels = None
    if quantization is not None and quantization.axis is not None:
        parts = {part.name: read_all(part, side.inventory.storages, side.reader) for part in tensor.parts}
        if not {"scales", "zero_points"} <= parts.keys():
            raise UnreadableError("the scales of its channels are missing")
        axis = quantization.axis
        if not 0 <= axis < len(tensor.shape or ()):
            raise UnreadableError("it has no dimension for the channels that it names")
        if {len(parts["scales"]), len(parts["zero_points"])} != {(tensor.shape or ())[axis]}:
            raise UnreadableError("it has not as many scales as channels")
        channels = Channels(parts["scales"], parts["zero_points"], walk.steps_below(axis))
    return Decoder(
        dtype=DTYPES[tensor.dtype], quantization=quantization, channels=channels, pending=tensor.pending
    )
