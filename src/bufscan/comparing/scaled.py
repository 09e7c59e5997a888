"""By how much the values of two tensors differ where those of one side are codes with a scale."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from bufscan.comparing.statistics import statistics_of
from bufscan.comparing.sums import Sums
from bufscan.comparing.verdict import Verdict
from bufscan.comparing.workers import Meter, stretches
from bufscan.errors import UnreadableError
from bufscan.values.reading import ElementReader
from bufscan.values.strided import walk_alone

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from bufscan.comparing.difference import Tolerance
    from bufscan.comparing.matching import Match
    from bufscan.comparing.proof import Proof
    from bufscan.comparing.scales import Scale, Scaled
    from bufscan.comparing.workers import Progress
    from bufscan.values.strided import Strided

    Numbers = NDArray[np.float64]

_CHUNK = 1 << 18  # values; a few arrays of them at a time
_LONGEST_ROW = 1 << 20
_MOST_SCALES = 1 << 22

# Bits of the exponent and of the mantissa, and the exponent's bias.
_FLOAT8 = {
    "float8_e4m3fn": (4, 3, 7),
    "float8_e5m2": (5, 2, 15),
    "float8_e4m3fnuz": (4, 3, 8),
    "float8_e5m2fnuz": (5, 2, 16),
}


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
    assert scaled.scale is not None  # noqa: S101 - the caller chose
    elements = [proof.elements(tensor, side) for side, tensor in enumerate((match.old, match.new))]
    factors = _Factors(scaled.scale, elements[scaled.side], proof.elements(scaled.scale.tensor, scaled.side))
    sums = Sums(rounded=False)
    for position, count in stretches(elements[0].numel, factors.columns * max(_CHUNK // factors.columns, 1)):
        proof.spend(sum(each.dtype.nbytes(count) for each in elements))
        sides = [_numbers(each, position, count) for each in elements]
        sides[scaled.side] *= factors.of(position, count)
        _add(sums, sides[0], sides[1], position, tolerance)
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
        self._numbers = (_numbers(numbers, 0, numbers.numel) / scale.peak).reshape(-1, scale.grid[-1])
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


def _add(sums: Sums, old: Numbers, new: Numbers, position: int, tolerance: Tolerance | None) -> None:
    """Compare a stretch; infinite values and NaN count, and are left out of all that is added up."""
    import numpy as np

    both = np.isfinite(old) & np.isfinite(new)
    aside = 0
    if not both.all():
        odd_old, odd_new = old[~both], new[~both]
        aside = int(((odd_old != odd_new) & ~(np.isnan(odd_old) & np.isnan(odd_new))).sum())
        sums.old_nan += int(np.isnan(odd_old).sum())
        sums.new_nan += int(np.isnan(odd_new).sum())
        sums.old_inf += int(np.isinf(odd_old).sum())
        sums.new_inf += int(np.isinf(odd_new).sum())
        old, new = np.where(both, old, 0.0), np.where(both, new, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        size = np.abs(new - old)
        peak = int(size.argmax())
        if size[peak] > sums.max_abs or sums.max_position is None:
            sums.max_abs, sums.max_position = float(size[peak]), position + peak
        differing = int(np.count_nonzero(size)) + aside
        sums.differing += differing
        sums.changed += differing if tolerance is None else aside + _count_beyond(tolerance, size, old)
        sums.finite += int(both.sum())
        sums.abs_sum += float(size.sum())
        sums.difference_square += float(size @ size)
        sums.old_square += float(old @ old)
        sums.new_square += float(new @ new)
        sums.product += float(old @ new)


def _count_beyond(tolerance: Tolerance, size: Numbers, old: Numbers) -> int:
    import numpy as np

    return int(np.count_nonzero(size > tolerance.atol + tolerance.rtol * np.abs(old)))


def _index(position: int | None, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    if position is None:
        return None
    index = []
    for axis in range(len(shape)):
        place, position = divmod(position, prod(shape[axis + 1 :]))
        index.append(place)
    return tuple(index)


def _numbers(elements: Strided, start: int, count: int) -> Numbers:
    """`count` elements from position `start` on, in the order of their indices."""
    import numpy as np

    raw = bytearray(elements.dtype.nbytes(count))
    ElementReader(elements, walk_alone(elements), 0).read_into(start, memoryview(raw))
    name = elements.dtype.name
    if name in _FLOAT8:
        return _float8_values(name)[np.frombuffer(raw, np.uint8)]
    if name == "bfloat16":  # the upper half of a float32
        return (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return np.frombuffer(raw, np.dtype(name)).astype(np.float64)


def _float8_values(name: str) -> Numbers:
    """The value of each code of an 8-bit floating-point type (OCP; Graphcore and AMD for `fnuz`)."""
    import numpy as np

    exponent_bits, mantissa_bits, bias = _FLOAT8[name]
    codes = np.arange(1 << 7, dtype=np.int64)
    exponent = codes >> mantissa_bits & ((1 << exponent_bits) - 1)
    mantissa = (codes & ((1 << mantissa_bits) - 1)) / (1 << mantissa_bits)
    size = np.where(exponent == 0, mantissa * 2.0, 1.0 + mantissa) * 2.0 ** (exponent - bias)
    if name == "float8_e5m2":
        size[-4:] = [np.inf, np.nan, np.nan, np.nan]
    elif name == "float8_e4m3fn":
        size[-1] = np.nan  # it has no infinity
    values = np.concatenate((size, -size))
    if name.endswith("fnuz"):
        values[1 << 7] = np.nan  # in the place of -0
    return values.astype(np.float64)
