"""What a pass over two tensors adds up, chunk by chunk, all of it in float64."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

import msgspec

from bufscan.comparing.nonfinite import NOTHING_ASIDE, set_aside
from bufscan.comparing.rounding import is_rounded

if TYPE_CHECKING:
    import torch

    from bufscan.comparing.difference import Tolerance
    from bufscan.comparing.frame import Frame

_EXACT_BELOW = float(1 << 62)
WIDE_INTEGERS = ("int64", "uint64")
"""Types that float64 does not hold exactly."""


class Sums(msgspec.Struct):
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


def add_frame(sums: Sums, frame: Frame, start: int) -> None:
    """Compare the elements in the frame, which begin at position `start` of the walk."""
    old, new = frame.old, frame.new
    old.decoder.decode(old.typed, start, old.numbers)
    if frame.comparison.same_decoding and _add_equal(sums, frame):
        return
    new.decoder.decode(new.typed, start, new.numbers)
    if sums.rounded and not frame.same_type:
        sums.rounded = is_rounded(old, new, start)
    _subtract(frame)
    _add_numbers(sums, frame, start * old.decoder.values_per_element)


def _add_equal(sums: Sums, frame: Frame) -> bool:
    """Add a chunk whose bits are the same on both sides; False, and nothing added, when they are not."""
    import torch

    if not torch.equal(*frame.bits):
        return False
    square = float(torch.dot(frame.old.numbers, frame.old.numbers))
    if not isfinite(square):
        return False
    sums.finite += frame.old.numbers.numel() // frame.width
    sums.old_square += square
    sums.new_square += square
    sums.product += square
    return True


def _subtract(frame: Frame) -> None:
    import torch

    difference = frame.difference
    torch.sub(frame.new.numbers, frame.old.numbers, out=difference)
    if all(side.decoder.dtype.name in WIDE_INTEGERS for side in (frame.old, frame.new)):
        # Neighbours beyond 2^53 have the same float64. Integers wrap, so those far apart are not asked.
        exact = (frame.bits[1] - frame.bits[0]).to(torch.float64)
        difference.copy_(torch.where(difference.abs() < _EXACT_BELOW, exact, difference))


def _add_numbers(sums: Sums, frame: Frame, start: int) -> None:
    import torch

    products, aside = _products(frame.both), NOTHING_ASIDE
    if not all(map(isfinite, products)):
        aside = set_aside(frame)
        products = _products(frame.both)
        sums.old_nan += aside.old_nan
        sums.new_nan += aside.new_nan
        sums.old_inf += aside.old_inf
        sums.new_inf += aside.new_inf
        sums.nan_payloads += aside.payloads
    sums.old_square += products[0]
    sums.product += products[1]
    sums.new_square += products[2]
    sums.difference_square += float(torch.dot(frame.difference, frame.difference))
    size = _sizes(frame.difference, frame.width)
    sums.finite += size.numel() - aside.values
    sums.abs_sum += float(size.sum())
    peak = float(size.amax())
    if peak > sums.max_abs or sums.max_position is None:
        sums.max_abs, sums.max_position = peak, start + int(size.argmax())
    tolerance = frame.comparison.tolerance
    beyond = None if tolerance is None else _count_beyond(tolerance, frame, size)
    differing = int(size.ne_(0).sum())
    sums.differing += differing + aside.differing
    sums.changed += (differing if beyond is None else beyond) + aside.differing
    if differing < size.numel() and frame.old.decoder.dtype.kind in ("float", "complex"):
        sums.zero_signs += _zero_signs(frame, differing + aside.differing + aside.payloads)


def _products(both: torch.Tensor) -> tuple[float, float, float]:
    """Squared norm of the old numbers, product of both, squared norm of the new: one pass over both."""
    (old_square, product), (_, new_square) = (both @ both.T).tolist()
    return old_square, product, new_square


def _sizes(numbers: torch.Tensor, width: int) -> torch.Tensor:
    """Absolute values, in place; of complex numbers the moduli."""
    import torch

    return numbers.abs_() if width == 1 else torch.hypot(numbers[0::2], numbers[1::2])


def _count_beyond(tolerance: Tolerance, frame: Frame, size: torch.Tensor) -> int:
    allowed = _sizes(frame.old.numbers.clone(), frame.width).mul_(tolerance.rtol).add_(tolerance.atol)
    return int((size > allowed).sum())


def _zero_signs(frame: Frame, explained: int) -> int:
    """Values that are equal but for the sign of a zero; `explained` differ in their bits for another reason."""
    import torch

    if frame.comparison.same_decoding and frame.width == 1 and frame.old.numbers.shape == frame.marks.shape:
        # Where each integer is a value of its own. Integers compare fast when the marks are of their own type.
        return int(torch.ne(*frame.bits, out=frame.marks).sum(dtype=torch.int32)) - explained
    old, new = (row.view(-1, frame.width) for row in frame.both)
    equal = old == new
    return int((equal.all(1) & (old.signbit() != new.signbit()).any(1)).sum())
