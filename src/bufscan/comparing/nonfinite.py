"""NaN and infinity in a chunk: counted, and set aside so that sums stay numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from bufscan.comparing.frame import Frame


class Aside(NamedTuple):
    """Values that are not finite on both sides.

    Attributes:
        old_nan, new_nan, old_inf, new_inf: values of either side.
        values: values that are set aside.
        differing: those of them that differ.
        payloads: NaNs on both sides that differ in their bits alone.
    """

    old_nan: int = 0
    new_nan: int = 0
    old_inf: int = 0
    new_inf: int = 0
    values: int = 0
    differing: int = 0
    payloads: int = 0


NOTHING_ASIDE = Aside()


def set_aside(frame: Frame) -> Aside:
    """Put zeros where a side is not finite, in both rows of numbers."""
    import torch

    width = frame.width
    old, new = (row.view(-1, width) for row in frame.both)
    nan_pair = old.isnan(), new.isnan()
    old_nan, new_nan = (each.any(1) for each in nan_pair)
    finite = (old.isfinite() & new.isfinite()).all(1)
    same = ((old == new) | (nan_pair[0] & nan_pair[1])).all(1)
    payloads = 0
    if frame.same_type:
        odd_bits = (frame.bits[0] != frame.bits[1]).view(-1, width).any(1)
        payloads = int((odd_bits & same & old_nan).sum())
    aside = Aside(
        old_nan=int(old_nan.sum()),
        new_nan=int(new_nan.sum()),
        old_inf=int((old.isinf().any(1) & ~old_nan).sum()),
        new_inf=int((new.isinf().any(1) & ~new_nan).sum()),
        values=int((~finite).sum()),
        differing=int((~finite & ~same).sum()),
        payloads=payloads,
    )
    kept = finite.repeat_interleave(width)
    frame.both.copy_(torch.where(kept, frame.both, 0.0))
    return aside
