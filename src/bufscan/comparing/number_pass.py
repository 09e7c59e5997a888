"""By how much pairs of tensors differ whose bytes do."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from bufscan.comparing.frame import CHUNK, Comparison, Frame, Room
from bufscan.comparing.statistics import statistics_of
from bufscan.comparing.sums import Sums, add_frame
from bufscan.comparing.verdict import Verdict
from bufscan.comparing.workers import run_jobs, stretches
from bufscan.dtypes import DTYPES
from bufscan.errors import UnreadableError
from bufscan.values.decoding import Channels, Decoder
from bufscan.values.reading import read_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bufscan.comparing.difference import Tolerance
    from bufscan.comparing.pieces import Content, Piece
    from bufscan.comparing.workers import Meter
    from bufscan.inventory import Tensor
    from bufscan.opening.artefact import Artefact, Sides
    from bufscan.values.strided import Walk

_JOB_CHUNKS = 10
_MOST_FRAMES = 32


class _Job(NamedTuple):
    content: int
    piece: Piece
    comparison: Comparison
    start: int
    length: int


class NumberPass:
    """Adds up the differences of contents, each stretch by one thread."""

    def __init__(self, contents: Sequence[Content], sides: Sides, tolerance: Tolerance | None) -> None:
        self._contents = contents
        self._sides = sides
        self._tolerance = tolerance
        self._failures: dict[int, str] = {}
        self._usual: dict[object, Comparison] = {}

    def run(self, meter: Meter) -> list[Verdict]:
        """A verdict for each content."""
        import torch

        jobs = [job for at, content in enumerate(self._contents) for job in self._jobs_of(at, content)]
        sums: list[Sums | None] = [None] * len(jobs)

        def work(numbered: Iterator[tuple[int, _Job]]) -> None:
            torch.set_num_threads(1)  # part of it is kept for each thread
            reader = _Reader()
            for number, job in numbered:
                sums[number] = self._sums_of(job, reader, meter)

        with _one_torch_thread():
            run_jobs(enumerate(jobs), work, meter, sum(content.nbytes for content in self._contents))
        totals = [_Total() for _ in self._contents]
        for job, found in zip(jobs, sums, strict=True):
            if found is not None:
                totals[job.content].add(found, job)
        return [self._verdict(at, total) for at, total in enumerate(totals)]

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

    def _comparison(self, content: Content, walk: Walk) -> Comparison:
        """The same object for all tensors of the same types: frames are made for it."""
        tensors = (content.old, content.new)
        key = [(tensor.dtype, tensor.quantization, tensor.pending) for tensor in tensors]
        usual = self._usual.get((*key, content.comparable_bytes))
        if usual is not None:
            return usual
        old, new = (_decoder(tensor, side, walk) for tensor, side in zip(tensors, self._sides, strict=True))
        plain = old.channels is None and new.channels is None
        comparison = Comparison(
            old=old, new=new, same_decoding=content.comparable_bytes and plain, tolerance=self._tolerance
        )
        if plain:
            self._usual[(*key, content.comparable_bytes)] = comparison
        return comparison

    def _sums_of(self, job: _Job, reader: _Reader, meter: Meter) -> Sums | None:
        if job.content in self._failures:
            return None
        try:
            return reader.sums_of(job, meter)
        except UnreadableError as error:
            self._failures[job.content] = error.message
            return None

    def _verdict(self, at: int, total: _Total) -> Verdict:
        if at in self._failures:
            return Verdict(same=False, failure=self._failures[at])
        content, sums = self._contents[at], total.sums
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


class _Reader:
    """Reads chunks of both sides and adds up what they differ; one for each thread."""

    def __init__(self) -> None:
        self._room = Room()
        self._frames: dict[tuple[int, int], Frame] = {}  # a frame keeps its comparison alive, so its id is taken

    def sums_of(self, job: _Job, meter: Meter) -> Sums:
        """Go through the job's elements, chunk by chunk."""
        sums = Sums()
        for position, count in stretches(job.length, CHUNK):
            frame = self._frame_for(job.comparison, count)
            start = job.start + position
            for reader, raw in zip((job.piece.old, job.piece.new), frame.raw, strict=True):
                reader.read_into(start, raw)
            add_frame(sums, frame, start)
            meter.advance(len(frame.raw[0]))
        return sums

    def _frame_for(self, comparison: Comparison, count: int) -> Frame:
        frame = self._frames.get((id(comparison), count))
        if frame is None:
            if len(self._frames) >= _MOST_FRAMES:
                self._frames.clear()
            frame = self._frames[id(comparison), count] = Frame(comparison, count, self._room)
        return frame


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


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Keep torch from starting threads of its own beside ours."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
