"""How far two tensors are apart: one pass over chunks that stay in the cache, all sums in float64."""

from __future__ import annotations

from math import isfinite, sqrt
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from bufscan.comparing.difference import Rounding, ValueStatistics
from bufscan.comparing.rounding import is_rounded
from bufscan.values.decoding import Decoded

if TYPE_CHECKING:
    import torch

    from bufscan.comparing.difference import Tolerance
    from bufscan.values.decoding import Decoder

CHUNK = 1 << 15
"""Elements looked at in one go: with three float64 buffers they fit the second-level cache, and torch works on so
few with one thread, so that ours do not compete with its."""

_EXACT_BELOW = float(1 << 62)
_WIDE_INTEGERS = ("int64", "uint64")


class Numbers:
    """Room for a chunk of either side and of their differences as float64; one for each thread."""

    def __init__(self) -> None:
        import torch

        # Complex and packed elements are two numbers.
        self.old, self.new, self.difference = torch.empty(3, 2 * CHUNK, dtype=torch.float64)


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


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
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

    def add(self, sums: Sums, raw_old: torch.Tensor, raw_new: torch.Tensor, start: int, numbers: Numbers) -> None:
        """Compare the elements from position `start` of the walk on, given their bytes on either side."""
        count = raw_old.numel() // (self.old.dtype.bits // 8) * self.old.values_per_element
        room = slice(count * self.old.numbers_per_value)
        old = Decoded(self.old, self.old.typed(raw_old), numbers.old[room])
        new = Decoded(self.new, self.new.typed(raw_new), numbers.new[room])
        self.old.decode(old.typed, start, old.numbers)
        if self.same_decoding and _add_equal(sums, old, new):
            return
        self.new.decode(new.typed, start, new.numbers)
        if sums.rounded and self.old.dtype != self.new.dtype:
            sums.rounded = is_rounded(old, new, start)
        difference = _subtract(old, new, numbers.difference[room])
        self._add_numbers(sums, old, new, difference, start * self.old.values_per_element)

    def _add_numbers(self, sums: Sums, old: Decoded, new: Decoded, difference: torch.Tensor, start: int) -> None:
        import torch

        old_square, new_square = _square(old.numbers), _square(new.numbers)
        aside = _NOTHING_ASIDE
        if not (isfinite(old_square) and isfinite(new_square)):
            aside = _set_aside(sums, old, new, difference)
            old_square, new_square = _square(old.numbers), _square(new.numbers)
        sums.finite += old.numbers.numel() // self.old.numbers_per_value - aside.values
        sums.old_square += old_square
        sums.new_square += new_square
        sums.product += float(torch.dot(old.numbers, new.numbers))
        sums.difference_square += _square(difference)
        size = _sizes(self.old, difference)
        sums.abs_sum += float(size.sum())
        peak = float(size.amax())
        if peak > sums.max_abs or sums.max_position is None:
            sums.max_abs, sums.max_position = peak, start + int(size.argmax())
        differing = int(torch.count_nonzero(size)) + aside.differing
        sums.differing += differing
        sums.nan_payloads += aside.payloads
        if differing < size.numel() and self.old.dtype.kind in ("float", "complex"):
            sums.zero_signs += _zero_signs(old, new, differing + aside.payloads, same_bits=self.same_decoding)
        if self.tolerance is None:
            sums.changed += differing
        else:
            allowed = _sizes(self.old, old.numbers).mul_(self.tolerance.rtol).add_(self.tolerance.atol)
            sums.changed += int(torch.count_nonzero(size > allowed)) + aside.differing


def _add_equal(sums: Sums, old: Decoded, new: Decoded) -> bool:
    """Add a chunk whose bits are the same on both sides; False, and nothing added, when they are not."""
    import torch

    if not torch.equal(old.typed.view(torch.uint8), new.typed.view(torch.uint8)):
        return False
    square = _square(old.numbers)
    if not isfinite(square):
        return False
    sums.finite += old.numbers.numel() // old.decoder.numbers_per_value
    sums.old_square += square
    sums.new_square += square
    sums.product += square
    return True


def _subtract(old: Decoded, new: Decoded, out: torch.Tensor) -> torch.Tensor:
    import torch

    torch.sub(new.numbers, old.numbers, out=out)
    if old.decoder.dtype == new.decoder.dtype and old.decoder.dtype.name in _WIDE_INTEGERS:
        # Neighbours beyond 2^53 have the same float64. Integers wrap, so those far apart are not asked.
        exact = (new.typed.view(torch.int64) - old.typed.view(torch.int64)).to(torch.float64)
        out.copy_(torch.where(out.abs() < _EXACT_BELOW, exact, out))
    return out


def _square(numbers: torch.Tensor) -> float:
    import torch

    return float(torch.dot(numbers, numbers))


def _sizes(decoder: Decoder, numbers: torch.Tensor) -> torch.Tensor:
    """Absolute values, in place; of complex numbers the moduli."""
    import torch

    return numbers.abs_() if decoder.numbers_per_value == 1 else torch.hypot(numbers[0::2], numbers[1::2])


class _Aside(NamedTuple):
    """Values that are not finite on both sides: all, those that differ, and NaNs that do so in bits alone."""

    values: int
    differing: int
    payloads: int


_NOTHING_ASIDE = _Aside(0, 0, 0)


def _set_aside(sums: Sums, old: Decoded, new: Decoded, difference: torch.Tensor) -> _Aside:
    """Count what is not finite and put zeros there."""
    import torch

    width = old.decoder.numbers_per_value
    left, right = old.numbers.view(-1, width), new.numbers.view(-1, width)
    left_nan, right_nan = left.isnan(), right.isnan()
    sums.old_nan += int(left_nan.any(1).sum())
    sums.new_nan += int(right_nan.any(1).sum())
    sums.old_inf += int((left.isinf().any(1) & ~left_nan.any(1)).sum())
    sums.new_inf += int((right.isinf().any(1) & ~right_nan.any(1)).sum())
    finite = (left.isfinite() & right.isfinite()).all(1)
    same = ((left == right) | (left_nan & right_nan)).all(1)
    payloads = 0
    if old.decoder.dtype == new.decoder.dtype:
        payloads = int((_bits_differ(old, new) & same & (left_nan & right_nan).any(1)).sum())
    kept = finite.repeat_interleave(width)
    for numbers in (old.numbers, new.numbers, difference):
        numbers.copy_(torch.where(kept, numbers, 0.0))
    return _Aside(int((~finite).sum()), int((~finite & ~same).sum()), payloads)


def _zero_signs(old: Decoded, new: Decoded, explained: int, *, same_bits: bool) -> int:
    """Values equal but for the sign of a zero; `explained` values differ in bits for another reason."""
    if same_bits and old.decoder.values_per_element == 1:
        return int(_bits_differ(old, new).sum()) - explained
    width = old.decoder.numbers_per_value
    left, right = old.numbers.view(-1, width), new.numbers.view(-1, width)
    equal = left == right
    return int((equal.all(1) & (left.signbit() != right.signbit()).any(1)).sum())


def _bits_differ(old: Decoded, new: Decoded) -> torch.Tensor:
    import torch

    word = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[old.typed.element_size()]
    odd = old.typed.view(word) != new.typed.view(word)
    width = old.decoder.numbers_per_value
    return odd if width == 1 else odd.view(-1, width).any(1)


def statistics_of(
    sums: Sums, numel: int, index: tuple[int, ...] | None, *, between_types: bool
) -> ValueStatistics:
    """The sums of a whole tensor as what people ask for."""
    old_norm, new_norm, l2 = sqrt(sums.old_square), sqrt(sums.new_square), sqrt(sums.difference_square)
    rounding: Rounding | None = None
    if between_types:
        rounding = "exact" if not sums.differing else "rounded" if sums.rounded else None
    return ValueStatistics(
        numel=numel,
        changed=sums.changed,
        max_abs=_finite(sums.max_abs),
        max_index=index if sums.max_abs else None,
        mean_abs=_ratio(sums.abs_sum, sums.finite),
        l2=_finite(l2),
        rel_l2=_ratio(l2, old_norm) if l2 else 0.0,
        cosine=_cosine(sums.product, old_norm, new_norm),
        nan=(sums.old_nan, sums.new_nan),
        inf=(sums.old_inf, sums.new_inf),
        zero_signs=sums.zero_signs,
        nan_payloads=sums.nan_payloads,
        rounding=rounding,
    )


def _finite(number: float) -> float | None:
    return number if isfinite(number) else None


def _ratio(number: float, divisor: float) -> float | None:
    return _finite(number / divisor) if divisor else None


def _cosine(product: float, old_norm: float, new_norm: float) -> float | None:
    cosine = _ratio(product / old_norm, new_norm) if old_norm else None
    return None if cosine is None else min(max(cosine, -1.0), 1.0)
