"""Which pairs of tensors have the same bytes. Needs no NumPy where tensors are stored in one run."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bufscan.comparing.difference import ValueStatistics
from bufscan.comparing.verdict import Verdict
from bufscan.errors import UnreadableError
from bufscan.values.workers import stretches

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bufscan.comparing.pieces import Content, Piece
    from bufscan.values.workers import Meter, Workers

# Both sides fit the second-level cache, and system calls cost little of the time.
_CHUNK_BYTES = 1 << 18
_JOB_BYTES = 16 << 20


class _Job(NamedTuple):
    content: int
    piece: Piece
    is_value: bool
    start: int
    length: int

    def size(self) -> int:
        """Bytes of the old side."""
        return self.length * self.piece.old.itemsize


def _jobs_of(at: int, content: Content) -> Iterator[_Job]:
    if not content.comparable_bytes:
        return
    for piece in content.pieces:
        for start, count in stretches(piece.walk.numel, _JOB_BYTES // piece.old.itemsize):
            yield _Job(at, piece, True, start, count)
    for piece in content.others:
        yield _Job(at, piece, False, 0, piece.walk.numel)


class BytePass:
    """Compares contents byte by byte, each up to its first difference."""

    def __init__(self, contents: Sequence[Content]) -> None:
        self._contents = contents
        self._values_differ = [not content.comparable_bytes for content in contents]
        self._others_differ = [content.reshaped is not None for content in contents]
        self._failures: dict[int, str] = {}

    def run(self, workers: Workers) -> list[Verdict | None]:
        """A verdict for each content; None where numbers are wanted."""
        jobs = [job for at, content in enumerate(self._contents) for job in _jobs_of(at, content)]
        found = workers.map(jobs, self._work, _Job.size, bool | str)
        for job, same in zip(jobs, found, strict=True):
            if isinstance(same, str):
                self._failures.setdefault(job.content, same)
            elif not same:
                self._differ(job)[job.content] = True
        return [self._verdict(at) for at in range(len(self._contents))]

    def _work(self, jobs: Iterator[_Job], meter: Meter) -> Iterator[bool | str]:
        """Whether the bytes of each job are the same, or why that is not known; False where it matters no more."""
        buffers = _Buffers()
        for job in jobs:
            differ = self._differ(job)
            try:
                same = not differ[job.content] and buffers.are_equal(job, meter)
            except UnreadableError as error:
                yield error.message
                continue
            differ[job.content] |= not same
            yield same

    def _differ(self, job: _Job) -> list[bool]:
        return self._values_differ if job.is_value else self._others_differ

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

    def are_equal(self, job: _Job, meter: Meter) -> bool:
        """Whether both sides have the same bytes; stops at the first that differ."""
        itemsize = job.piece.old.itemsize
        readers = [each.stretch(job.start, job.length) for each in (job.piece.old, job.piece.new)]
        for position, taken in stretches(job.length, _CHUNK_BYTES // itemsize):
            nbytes = taken * itemsize
            left, right = memoryview(self._old)[:nbytes], memoryview(self._new)[:nbytes]
            readers[0].read_into(job.start + position, left)
            readers[1].read_into(job.start + position, right)
            # Of whole arrays that is one memcmp; memoryviews Python would compare element by element.
            same = self._old == self._new if nbytes == _CHUNK_BYTES else bytes(left) == bytes(right)
            if not same:
                return False
            meter.advance(nbytes)
        return True
