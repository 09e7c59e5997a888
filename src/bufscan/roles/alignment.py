"""Alignment: how a list of parameters can lie within a longer list of entries, in the same order."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

Shape = tuple[int, ...]


class Alignment(NamedTuple):
    """What all alignments of items to entries have in common.

    Attributes:
        first, last: for each item, the earliest and the latest entry it can be, over all alignments.
        used: entries that every alignment uses, in order.
    """

    first: list[int]
    last: list[int]
    used: list[int]


def align(items: Sequence[Shape | None], entries: Sequence[Shape]) -> Alignment | None:
    """Align items to entries of equal shape, keeping the order; None when that is impossible.

    An item of shape None matches every entry. The greedy alignments from the front and from the back are extreme:
    none places an item before its place in the first or after its place in the second. Hence an entry can be left
    out exactly when, for some split of the items, the front part fits before it and the back part after it. Time
    and memory are linear.
    """
    first = _greedy(items, entries)
    if first is None:
        return None
    backwards = _greedy(items[::-1], entries[::-1])
    assert backwards is not None  # noqa: S101 (the front alignment read backwards is one)
    last = [len(entries) - 1 - place for place in reversed(backwards)]

    used: list[int] = []
    ends = [0, *(place + 1 for place in first)]  # ends[k]: entries that the first k items need
    starts = [*last, len(entries)]  # starts[k]: where the entries that the other items need begin
    reached = 0
    for end, start in zip(ends, starts, strict=True):
        # Every entry from `end` up to `start` can be left out.
        if start > end:
            used.extend(range(reached, end))
            reached = max(reached, start)
    used.extend(range(reached, len(entries)))
    return Alignment(first, last, used)


def _greedy(items: Sequence[Shape | None], entries: Sequence[Shape]) -> list[int] | None:
    """The alignment that places every item as early as it can be."""
    places: list[int] = []
    place = 0
    for item in items:
        while place < len(entries) and item is not None and entries[place] != item:
            place += 1
        if place == len(entries):
            return None
        places.append(place)
        place += 1
    return places
