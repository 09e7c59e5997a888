"""The sums of a pass as what people ask for."""

from __future__ import annotations

from math import isfinite, sqrt
from typing import TYPE_CHECKING

from bufscan.comparing.difference import Rounding, ValueStatistics
from bufscan.comparing.sums import WIDE_INTEGERS

if TYPE_CHECKING:
    from bufscan.comparing.sums import Sums

_LEAST_SQUARE = 1e-290  # below, squares lose their digits and become 0

_WHOLE_BELOW = float(1 << 53)  # smaller whole numbers are float64 numbers, each of them


def statistics_of(
    sums: Sums, numel: int, index: tuple[int, ...] | None, dtypes: tuple[str | None, str | None]
) -> ValueStatistics:
    """The sums of a whole tensor as what people ask for; `dtypes` are those of both sides."""
    old_norm, new_norm, l2 = sqrt(sums.old_square), sqrt(sums.new_square), sqrt(sums.difference_square)
    # Where no pair is finite there is nothing to measure, and 0 would tell a gate that nothing happened.
    nothing = numel > 0 and not sums.finite
    no_norm = nothing or (sums.max_abs > 0 and sums.difference_square < _LEAST_SQUARE)
    return ValueStatistics(
        numel=numel,
        changed=sums.changed,
        max_abs=None if nothing else _finite(sums.max_abs),
        max_index=index if sums.max_abs else None,
        mean_abs=_ratio(sums.abs_sum, sums.finite),
        l2=None if no_norm else _finite(l2),
        rel_l2=None if no_norm else _ratio(l2, old_norm) if l2 else 0.0,
        cosine=_cosine(sums.product, old_norm, new_norm),
        nan=(sums.old_nan, sums.new_nan),
        inf=(sums.old_inf, sums.new_inf),
        zero_signs=sums.zero_signs,
        nan_payloads=sums.nan_payloads,
        rounding=None if dtypes[0] == dtypes[1] else _rounding(sums, dtypes),
    )


def _rounding(sums: Sums, dtypes: tuple[str | None, str | None]) -> Rounding | None:
    if sums.differing:
        return "rounded" if sums.rounded else None
    wide = [dtype in WIDE_INTEGERS for dtype in dtypes]
    # What float64 made equal of whole numbers and others may have been rounded for it.
    is_large = max(sums.old_square, sums.new_square) >= _WHOLE_BELOW**2
    return "rounded" if is_large and any(wide) and not all(wide) else "exact"


def _finite(number: float) -> float | None:
    return number if isfinite(number) else None


def _ratio(number: float, divisor: float) -> float | None:
    return _finite(number / divisor) if divisor else None


def _cosine(product: float, old_norm: float, new_norm: float) -> float | None:
    cosine = _ratio(product / old_norm, new_norm) if old_norm else None
    return None if cosine is None else min(max(cosine, -1.0), 1.0)
