"""What a pass over two tensors adds up, chunk by chunk, all of it in float64."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

import msgspec

from bufscan.comparing.nonfinite import NOTHING_ASIDE, Aside, set_aside
from bufscan.comparing.rounding import is_rounded

if TYPE_CHECKING:
    import torch

    from bufscan.comparing.difference import Tolerance
    from bufscan.comparing.frame import Frame

_EXACT_BELOW = float(1 << 62)
# A new square that is less than this share of those it is made of has lost digits to cancellation.
_CANCELLED = 1e-3
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
    odd = _count_odd_bits(frame) if frame.comparison.same_decoding else None
    if odd == 0 and _add_equal(sums, frame, start):
        return
    frame.decode(start)
    if sums.rounded and not frame.same_type:
        sums.rounded = is_rounded(frame.old, frame.new, start)
    aside = _add_products(sums, frame, start)
    size = _sizes(frame.difference, frame.width)
    sums.finite += size.numel() - aside.values
    sums.abs_sum += float(size.sum())
    peak = float(size.amax())
    if peak > sums.max_abs or sums.max_position is None:
        first = start * frame.old.decoder.values_per_element
        sums.max_abs, sums.max_position = peak, first + int(size.max(0).indices)  # faster than argmax
    tolerance = frame.comparison.tolerance
    beyond = None if tolerance is None else _count_beyond(tolerance, frame, size) + aside.differing
    differing, zero_signs = _count_differing(frame, size, aside, odd, start)
    sums.differing += differing
    sums.changed += differing if beyond is None else beyond
    sums.zero_signs += zero_signs


def _count_odd_bits(frame: Frame) -> int:
    """Integers that differ between the sides: values, or parts of them."""
    import torch

    marks = torch.ne(*frame.bits, out=frame.marks)  # fast because the marks are integers of the same type
    return int(marks.count_nonzero())


def _add_equal(sums: Sums, frame: Frame, start: int) -> bool:
    """Add a chunk whose bits are the same on both sides; False, and nothing added, when it is not finite."""
    import torch

    old = frame.old
    old.decoder.decode(old.typed, start, old.numbers)
    square = float(torch.dot(old.numbers, old.numbers))
    if not isfinite(square):
        return False
    sums.finite += old.numbers.numel() // frame.width
    sums.old_square += square
    sums.new_square += square
    sums.product += square
    return True


def _add_products(sums: Sums, frame: Frame, start: int) -> Aside:
    """Add what is quadratic, and leave the difference of the numbers in the frame."""
    _subtract(frame)
    (old_square, moved), (_, difference_square) = _gram(frame)
    # The new numbers are the old ones and the difference: one pass over two rows tells all products of the three.
    product = old_square + moved
    new_square = product + moved + difference_square
    aside = NOTHING_ASIDE
    if not new_square > _CANCELLED * (old_square + difference_square):  # nor when one of them is not finite
        frame.decode(start)
        (old_square, product), (_, new_square) = _gram(frame)
        if not all(map(isfinite, (old_square, product, new_square))):
            aside = set_aside(frame)
            (old_square, product), (_, new_square) = _gram(frame)
        _subtract(frame)
        difference_square = _gram(frame)[1][1]
    sums.old_square += old_square
    sums.new_square += new_square
    sums.product += product
    sums.difference_square += difference_square
    sums.old_nan += aside.old_nan
    sums.new_nan += aside.new_nan
    sums.old_inf += aside.old_inf
    sums.new_inf += aside.new_inf
    sums.nan_payloads += aside.payloads
    return aside


def _subtract(frame: Frame) -> None:
    difference = frame.difference.sub_(frame.old.numbers)
    if all(side.decoder.dtype.name in WIDE_INTEGERS for side in (frame.old, frame.new)):
        import torch

        # Neighbours beyond 2^53 have the same float64. Integers wrap, so those far apart are not asked.
        exact = (frame.bits[1] - frame.bits[0]).to(torch.float64)
        difference.copy_(torch.where(difference.abs() < _EXACT_BELOW, exact, difference))


def _gram(frame: Frame) -> list[list[float]]:
    """The products of the two rows of numbers with each other, in one pass."""
    import torch

    return torch.mm(frame.both, frame.turned, out=frame.gram).tolist()


def _sizes(numbers: torch.Tensor, width: int) -> torch.Tensor:
    """Absolute values, in place; of complex numbers the moduli."""
    import torch

    return numbers.abs_() if width == 1 else torch.hypot(numbers[0::2], numbers[1::2])


def _count_beyond(tolerance: Tolerance, frame: Frame, size: torch.Tensor) -> int:
    allowed = _sizes(frame.old.numbers.clone(), frame.width).mul_(tolerance.rtol).add_(tolerance.atol)
    return int((size > allowed).sum())


def _count_differing(
    frame: Frame, size: torch.Tensor, aside: Aside, odd: int | None, start: int
) -> tuple[int, int]:
    """Values that differ, and those that are equal but for the sign of a zero."""
    is_signed = frame.old.decoder.dtype.kind in ("float", "complex")
    if odd is not None and frame.comparison.bits_are_values:
        zero_signs = _count_zero_signs(frame, start) if is_signed and frame.may_have_negative_zeros() else 0
        return odd - zero_signs - aside.payloads, zero_signs
    differing = int(size.ne_(0).sum()) + aside.differing
    if differing == size.numel() or not is_signed or not frame.may_have_negative_zeros():
        return differing, 0
    return differing, _count_zero_signs(frame, start)


def _count_zero_signs(frame: Frame, start: int) -> int:
    """Values that are equal but for the sign of a zero. Takes the place of the difference."""
    frame.decode(start)
    old, new = (row.view(-1, frame.width) for row in frame.both)
    equal = old == new
    return int((equal.all(1) & (old.signbit() != new.signbit()).any(1)).sum())
