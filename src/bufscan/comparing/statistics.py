"""The sums of a pass as what people ask for."""

from __future__ import annotations

from math import isfinite, sqrt
from typing import TYPE_CHECKING

from bufscan.comparing.difference import Rounding, ValueStatistics

if TYPE_CHECKING:
    from bufscan.comparing.sums import Sums


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
