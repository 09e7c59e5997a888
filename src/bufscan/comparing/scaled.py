"""By how much the values of two tensors differ where those of one side are codes with a scale."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NamedTuple

from bufscan.comparing.statistics import statistics_of
from bufscan.comparing.sums import Chunk, Sums, add_chunk
from bufscan.comparing.verdict import Verdict
from bufscan.errors import UnreadableError
from bufscan.values.reading import read_numbers
from bufscan.values.workers import stretches

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bufscan.comparing.difference import Tolerance
    from bufscan.comparing.matching import Match
    from bufscan.comparing.proof import Proof
    from bufscan.comparing.scales import Scale, Scaled
    from bufscan.values.decoding import Numbers
    from bufscan.values.strided import Strided
    from bufscan.values.workers import Meter, Workers

_CHUNK = 1 << 18  # values; a few arrays of them at a time
_JOB_CHUNKS = 8
_LONGEST_ROW = 1 << 20
_MOST_SCALES = 1 << 22


class _Pair(NamedTuple):
    """What is read of a pair: the elements of both sides, and the factors of those that are codes."""

    elements: tuple[Strided, Strided]
    side: int
    factors: _Factors

    @property
    def chunk(self) -> int:
        """Values looked at in one go: whole rows."""
        return self.factors.columns * max(_CHUNK // self.factors.columns, 1)

    def sums_of(self, start: int, length: int, tolerance: Tolerance | None, meter: Meter) -> Sums:
        """What a stretch of whole rows comes to."""
        import numpy as np

        sums = Sums(rounded=False)
        for position, count in stretches(length, self.chunk):
            sides = [read_numbers(each, start + position, count) for each in self.elements]
            with np.errstate(all="ignore"):
                sides[self.side] *= self.factors.of(start + position, count)
                add_chunk(sums, Chunk(sides[0], sides[1], start + position), tolerance)
            meter.advance(self.elements[0].dtype.nbytes(count))
        return sums


class _Job(NamedTuple):
    at: int
    pair: _Pair
    start: int
    length: int

    def size(self) -> int:
        """Bytes of the old side."""
        return self.pair.elements[0].dtype.nbytes(self.length)


def compare_scaled(
    pairs: Mapping[int, tuple[Match, Scaled]], proof: Proof, tolerance: Tolerance | None, workers: Workers
) -> dict[int, Verdict]:
    """The verdicts on pairs whose scale is to be applied, by their positions."""
    jobs: list[_Job] = []
    failures: dict[int, str] = {}
    for at, (match, scaled) in pairs.items():
        try:
            pair = _pair(match, scaled, proof)
        except UnreadableError as error:
            failures[at] = error.message
        else:
            numel = pair.elements[0].numel
            jobs += (_Job(at, pair, *each) for each in stretches(numel, pair.chunk * _JOB_CHUNKS))

    def work(jobs: Iterator[_Job], meter: Meter) -> Iterator[Sums | str]:
        for job in jobs:
            try:
                found: Sums | str = job.pair.sums_of(job.start, job.length, tolerance, meter)
            except UnreadableError as error:
                found = error.message
            yield found

    totals = {at: Sums(rounded=False) for at in pairs}
    for job, found in zip(jobs, workers.map(jobs, work, _Job.size, Sums | str), strict=True):
        if isinstance(found, str):
            failures.setdefault(job.at, found)
        else:
            totals[job.at].merge(found)
    return {
        at: Verdict(same=False, failure=failures[at])
        if at in failures
        else _verdict(match, scaled, totals[at], tolerance)
        for at, (match, scaled) in pairs.items()
    }


def _pair(match: Match, scaled: Scaled, proof: Proof) -> _Pair:
    assert scaled.scale is not None  # noqa: S101 - the caller chose
    elements = proof.elements(match.old, 0), proof.elements(match.new, 1)
    factors = _Factors(scaled.scale, elements[scaled.side], proof.elements(scaled.scale.tensor, scaled.side))
    proof.spend(sum(each.dtype.nbytes(each.numel) for each in elements))
    return _Pair(elements, scaled.side, factors)


def _verdict(match: Match, scaled: Scaled, sums: Sums, tolerance: Tolerance | None) -> Verdict:
    shape = match.old.shape or ()
    values = statistics_of(sums, prod(shape), _index(sums.max_position, shape), (match.old.dtype, match.new.dtype))
    same = not sums.differing
    close = not same and tolerance is not None and not sums.changed
    relation = scaled.relation
    return Verdict(same=same or close, close=close, values=values, remark=relation.words, relation=relation)


class _Factors:
    """What each code is multiplied by.

    Attributes:
        columns: codes in a row; stretches are of whole rows.
    """

    def __init__(self, scale: Scale, codes: Strided, numbers: Strided) -> None:
        import numpy as np

        self._rows, self.columns = codes.shape[:-1], codes.shape[-1]
        if self.columns > _LONGEST_ROW or numbers.numel > _MOST_SCALES:
            raise UnreadableError("its scale is too large to be held")
        self._scale = scale
        self._numbers = (read_numbers(numbers, 0, numbers.numel) / scale.peak).reshape(-1, scale.grid[-1])
        self._column_blocks = np.arange(self.columns) // scale.blocks[-1]

    def of(self, position: int, count: int) -> Numbers:
        """The factors of whole rows, from position `position` on."""
        import numpy as np

        row = np.arange(position // self.columns, (position + count) // self.columns)
        place = np.zeros_like(row)
        step = 1
        sizes = zip(self._rows, self._scale.blocks[:-1], self._scale.grid[:-1], strict=True)
        for size, block, number in reversed(list(sizes)):
            place += row % size // block * step
            row //= size
            step *= number
        return self._numbers[place][:, self._column_blocks].reshape(-1)


def _index(position: int | None, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    if position is None:
        return None
    index = []
    for axis in range(len(shape)):
        place, position = divmod(position, prod(shape[axis + 1 :]))
        index.append(place)
    return tuple(index)
