"""What a pass over two tensors adds up, chunk by chunk, all of it in float64."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bufscan.comparing.difference import Tolerance
    from bufscan.values.decoding import Elements, Numbers

WIDE_INTEGERS = ("int64", "uint64")
"""Types that float64 does not hold exactly."""

# OpenBLAS shares longer products out to threads of its own, which wait for each other beside ours.
_ROW = 1 << 13


class Sums(msgspec.Struct, array_like=True):
    """What a pass adds up. Sums of stretches merge in order, so that the threads' timing changes nothing."""

    differing: int = 0
    changed: int = 0
    finite: int = 0
    max_abs: float = 0.0
    max_position: int | None = None
    abs_sum: float = 0.0
    difference_square: float = 0.0
    old_square: float = 0.0
    new_square: float = 0.0
    product: float = 0.0
    old_nan: int = 0
    new_nan: int = 0
    old_inf: int = 0
    new_inf: int = 0
    zero_signs: int = 0
    nan_payloads: int = 0
    rounded: bool = True

    def merge(self, other: Sums) -> None:
        """Add what another stretch of the same tensor came to."""
        if other.max_abs > self.max_abs or self.max_position is None:
            self.max_abs, self.max_position = other.max_abs, other.max_position
        self.rounded = self.rounded and other.rounded
        for field in _ADDED:
            setattr(self, field, getattr(self, field) + getattr(other, field))

    def scale(self, factor: int) -> None:
        """Count every element as many times."""
        for field in _ADDED:
            setattr(self, field, getattr(self, field) * factor)


_ADDED = tuple(set(Sums.__struct_fields__) - {"max_abs", "max_position", "rounded"})


class Chunk(NamedTuple):
    """Elements of both sides, opposite each other.

    Attributes:
        old, new: their numbers, which `add_chunk` uses up.
        position: of the first value.
        width: numbers that make a value: two of a complex one.
        odd: marks the values whose bits differ; None where bits do not tell more than the numbers do.
        exact: the differences of whole numbers that float64 does not hold, modulo 2^64.
    """

    old: Numbers
    new: Numbers
    position: int
    width: int = 1
    odd: NDArray[np.bool_] | None = None
    exact: NDArray[np.int64] | None = None


_EXACT_BELOW = float(1 << 62)  # integers wrap, so those farther apart are not asked


def add_chunk(sums: Sums, chunk: Chunk, tolerance: Tolerance | None) -> None:
    """Compare the values of a chunk; those that are not finite count, and are left out of all that is added up."""
    import numpy as np

    old, new, width = chunk.old, chunk.new, chunk.width
    squares = _dot(old, old), _dot(new, new)
    aside, differing, payloads = 0, 0, 0
    if not (isfinite(squares[0]) and isfinite(squares[1])):
        aside, differing, payloads = _set_aside(sums, chunk)
        squares = _dot(old, old), _dot(new, new)
    sums.old_square += squares[0]
    sums.new_square += squares[1]
    sums.product += _dot(old, new)
    allowed = None if tolerance is None else tolerance.atol + tolerance.rtol * _sizes(old.copy(), width)
    difference = np.subtract(new, old, out=new)
    if chunk.exact is not None:
        near = np.abs(difference) < _EXACT_BELOW
        difference[near] = chunk.exact[near]
    sums.difference_square += _dot(difference, difference)
    size = _sizes(difference, width)
    sums.abs_sum += float(size.sum())
    sums.finite += len(size) - aside
    peak = int(size.argmax())
    if size[peak] > sums.max_abs or sums.max_position is None:
        sums.max_abs, sums.max_position = float(size[peak]), chunk.position + peak
    beyond = None if allowed is None else differing + _count(size > allowed)
    differing += _count(size != 0)
    sums.differing += differing
    sums.changed += differing if beyond is None else beyond
    if chunk.odd is not None:
        sums.zero_signs += _count(chunk.odd) - differing - payloads


def add_equal(sums: Sums, numbers: Numbers, width: int) -> bool:
    """Add a chunk whose bits are the same on both sides; False, and nothing added, when it is not finite."""
    square = _dot(numbers, numbers)
    if not isfinite(square):
        return False
    sums.finite += len(numbers) // width
    sums.old_square += square
    sums.new_square += square
    sums.product += square
    return True


def odd_bits(old: Elements, new: Elements, values: int) -> NDArray[np.bool_]:
    """Which of so many values differ in their bits; some of them take several numbers."""
    import numpy as np

    odd: NDArray[np.bool_] = np.not_equal(_as_integers(old), _as_integers(new))
    return odd if len(odd) == values else np.logical_or.reduce(odd.reshape(values, -1), axis=1)


def _count(marks: Any) -> int:
    import numpy as np

    return int(np.count_nonzero(marks))


def _as_integers(numbers: Elements) -> Elements:
    return numbers.view(f"u{numbers.itemsize}")


def _dot(left: Numbers, right: Numbers) -> float:
    import numpy as np

    if len(left) < _ROW:
        return float(left @ right)
    rest = len(left) % _ROW
    if rest:
        return _dot(left[:-rest], right[:-rest]) + float(left[-rest:] @ right[-rest:])
    return float(np.add.reduce(np.matmul(left.reshape(-1, 1, _ROW), right.reshape(-1, _ROW, 1)), axis=None))


def _sizes(numbers: Numbers, width: int) -> Numbers:
    """Absolute values, in place; of complex numbers the moduli."""
    import numpy as np

    return np.abs(numbers, out=numbers) if width == 1 else np.hypot(numbers[0::2], numbers[1::2])


def _set_aside(sums: Sums, chunk: Chunk) -> tuple[int, int, int]:
    """Put zeros where a side is not finite: how many values, those that differ, and equal NaNs of other bits."""
    import numpy as np

    old, new = (side.reshape(-1, chunk.width) for side in (chunk.old, chunk.new))
    nan = np.isnan(old), np.isnan(new)
    old_nan, new_nan = (each.any(1) for each in nan)
    finite = (np.isfinite(old) & np.isfinite(new)).all(1)
    same = ((old == new) | (nan[0] & nan[1])).all(1)
    sums.old_nan += _count(old_nan)
    sums.new_nan += _count(new_nan)
    sums.old_inf += _count(np.isinf(old).any(1) & ~old_nan)
    sums.new_inf += _count(np.isinf(new).any(1) & ~new_nan)
    payloads = 0 if chunk.odd is None else _count(chunk.odd & same & old_nan)
    sums.nan_payloads += payloads
    old[~finite] = 0
    new[~finite] = 0
    return _count(~finite), _count(~(finite | same)), payloads
