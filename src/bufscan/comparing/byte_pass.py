"""Which pairs of tensors have the same bytes. Needs no NumPy where tensors are stored in one run."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bufscan.comparing.difference import ValueStatistics
from bufscan.comparing.verdict import Verdict
from bufscan.comparing.workers import run_jobs, stretches
from bufscan.errors import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bufscan.comparing.pieces import Content, Piece
    from bufscan.comparing.workers import Meter
    from bufscan.values.reading import ElementReader

# Both sides fit the second-level cache, and system calls cost little of the time.
_CHUNK_BYTES = 1 << 18
_JOB_BYTES = 16 << 20


class _Job(NamedTuple):
    content: int
    piece: Piece
    is_value: bool
    start: int
    length: int


class BytePass:
    """Compares contents byte by byte, each up to its first difference."""

    def __init__(self, contents: Sequence[Content]) -> None:
        self._contents = contents
        self._values_differ = [not content.comparable_bytes for content in contents]
        self._others_differ = [content.reshaped is not None for content in contents]
        self._failures: dict[int, str] = {}

    def run(self, meter: Meter) -> list[Verdict | None]:
        """A verdict for each content; None where numbers are wanted."""

        def work(jobs: Iterator[_Job]) -> None:
            buffers = _Buffers()
            for job in jobs:
                self._do(job, buffers, meter)

        nbytes = sum(content.nbytes for content in self._contents if content.comparable_bytes)
        run_jobs(self._jobs(), work, meter, nbytes)
        return [self._verdict(at) for at in range(len(self._contents))]

    def _jobs(self) -> Iterator[_Job]:
        for at, content in enumerate(self._contents):
            if content.comparable_bytes:
                for piece in content.pieces:
                    for start, count in stretches(piece.walk.numel, _JOB_BYTES // piece.old.itemsize):
                        yield _Job(at, piece, True, start, count)
                for piece in content.others:
                    yield _Job(at, piece, False, 0, piece.walk.numel)

    def _do(self, job: _Job, buffers: _Buffers, meter: Meter) -> None:
        differ = self._values_differ if job.is_value else self._others_differ
        if differ[job.content] or job.content in self._failures:
            return
        try:
            if not buffers.are_equal(job.piece.old, job.piece.new, job.start, job.length, meter):
                differ[job.content] = True
        except UnreadableError as error:
            self._failures[job.content] = error.message

    def _verdict(self, at: int) -> Verdict | None:
        content = self._contents[at]
        if at in self._failures:
            return Verdict(same=False, failure=self._failures[at])
        if not (self._values_differ[at] or self._others_differ[at]):
            return Verdict(same=True)
        if content.reshaped is not None:
            return Verdict(same=False, remark=f"its `{content.reshaped}` has another shape or type")
        if self._others_differ[at] and content.new.quantization is None:
            return Verdict(same=False, remark="what differs is where its values belong")
        if not content.has_values:
            values = ValueStatistics(numel=content.new.numel or 0)
            return Verdict(
                same=False, values=values, remark=f"values of {content.new.dtype} are compared bit by bit alone"
            )
        return None


class _Buffers:
    """Room for a chunk of either side; one for each thread."""

    def __init__(self) -> None:
        self._old, self._new = bytearray(_CHUNK_BYTES), bytearray(_CHUNK_BYTES)

    def are_equal(self, old: ElementReader, new: ElementReader, start: int, count: int, meter: Meter) -> bool:
        """Whether `count` elements from position `start` have the same bytes; stops at the first that differ."""
        step = _CHUNK_BYTES // old.itemsize
        readers = old.stretch(start, count), new.stretch(start, count)
        for position, taken in stretches(count, step):
            nbytes = taken * old.itemsize
            left, right = memoryview(self._old)[:nbytes], memoryview(self._new)[:nbytes]
            readers[0].read_into(start + position, left)
            readers[1].read_into(start + position, right)
            # Of whole arrays that is one memcmp; memoryviews Python would compare element by element.
            same = self._old == self._new if nbytes == _CHUNK_BYTES else bytes(left) == bytes(right)
            if not same:
                return False
            meter.advance(nbytes)
        return True
