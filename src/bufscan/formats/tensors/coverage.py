"""Whether pieces make up a whole: every element in one of them, and none in two."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

# Pairs that are held against each other. Pieces that are cut along one dimension need none at all.
_MOST_PAIRS = 1_000_000


class Region(NamedTuple):
    """A piece of a whole: the index of its first element, and its sizes."""

    begin: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def end(self) -> tuple[int, ...]:
        """The index after its last element, in each dimension."""
        return tuple(start + size for start, size in zip(self.begin, self.shape, strict=True))

    def __str__(self) -> str:
        """As it would be sliced: `[4:8, 0:4]`."""
        return f"[{', '.join(f'{start}:{end}' for start, end in zip(self.begin, self.end, strict=True))}]"

    def overlaps(self, other: Region) -> bool:
        """Whether an element is in both; neither is empty."""
        ends = zip(self.begin, self.end, other.begin, other.end, strict=True)
        return all(start < other_end and other_start < end for start, end, other_start, other_end in ends)


def fault_in_coverage(shape: tuple[int, ...], regions: Sequence[Region]) -> str | None:
    """Why these regions, all within the shape, do not make up the whole; None when they do.

    Sizes that add up prove nothing: one region may be there twice, and another not at all.
    """
    filled = [each for each in regions if 0 not in each.shape]
    begins = list(map(set, zip(*(each.begin for each in filled), strict=True)))
    axis = max(range(len(begins)), key=lambda at: len(begins[at]), default=0)  # most are told apart along it
    filled.sort(key=lambda each: each.begin[axis:])
    open_: list[Region] = []  # those that the next one may reach into
    pairs = 0
    for region in filled:
        open_ = [each for each in open_ if not shape or each.end[axis] > region.begin[axis]]
        pairs += len(open_)
        if pairs > _MOST_PAIRS:
            return "it is cut into too many pieces"
        for other in open_:
            if region == other:
                return f"its piece {region} is there twice"
            if region.overlaps(other):
                return f"its pieces {other} and {region} overlap"
        open_.append(region)
    missing = prod(shape) - sum(prod(each.shape) for each in filled)
    return f"pieces of it are missing: {missing:,} of {prod(shape):,} elements" if missing else None
