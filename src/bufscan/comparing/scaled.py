"""By how much the values of two tensors differ where those of one side are codes with a scale."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from bufscan.comparing.statistics import statistics_of
from bufscan.comparing.sums import Chunk, Sums, add_chunk
from bufscan.comparing.verdict import Verdict
from bufscan.comparing.workers import Meter, stretches
from bufscan.errors import UnreadableError
from bufscan.values.reading import read_numbers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bufscan.comparing.difference import Tolerance
    from bufscan.comparing.matching import Match
    from bufscan.comparing.proof import Proof
    from bufscan.comparing.scales import Scale, Scaled
    from bufscan.comparing.workers import Progress
    from bufscan.values.decoding import Numbers
    from bufscan.values.strided import Strided

_CHUNK = 1 << 18  # values; a few arrays of them at a time
_LONGEST_ROW = 1 << 20
_MOST_SCALES = 1 << 22


def compare_scaled(
    pairs: Mapping[int, tuple[Match, Scaled]],
    proof: Proof,
    tolerance: Tolerance | None,
    progress: Progress | None = None,
) -> dict[int, Verdict]:
    """The verdicts on pairs whose scale is to be applied, by their positions."""
    meter = Meter(sum(match.old.nbytes or 0 for match, _ in pairs.values()), progress)
    verdicts = {}
    for at, (match, scaled) in pairs.items():
        try:
            verdicts[at] = _verdict(match, scaled, proof, tolerance, meter)
        except UnreadableError as error:
            verdicts[at] = Verdict(same=False, failure=error.message)
    return verdicts


def _verdict(match: Match, scaled: Scaled, proof: Proof, tolerance: Tolerance | None, meter: Meter) -> Verdict:
    import numpy as np

    assert scaled.scale is not None  # noqa: S101 - the caller chose
    elements = [proof.elements(tensor, side) for side, tensor in enumerate((match.old, match.new))]
    factors = _Factors(scaled.scale, elements[scaled.side], proof.elements(scaled.scale.tensor, scaled.side))
    sums = Sums(rounded=False)
    for position, count in stretches(elements[0].numel, factors.columns * max(_CHUNK // factors.columns, 1)):
        proof.spend(sum(each.dtype.nbytes(count) for each in elements))
        sides = [read_numbers(each, position, count) for each in elements]
        with np.errstate(all="ignore"):
            sides[scaled.side] *= factors.of(position, count)
            add_chunk(sums, Chunk(sides[0], sides[1], position), tolerance)
        meter.advance(elements[0].dtype.nbytes(count))
        meter.report()
    index = _index(sums.max_position, elements[0].shape)
    values = statistics_of(sums, elements[0].numel, index, (match.old.dtype, match.new.dtype))
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
