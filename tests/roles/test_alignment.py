"""The linear alignment against every alignment there is, written out."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from bufscan.roles.alignment import align

SHAPES = [(4,), (4, 4), ()]
entries_of = st.lists(st.sampled_from(SHAPES), max_size=8)
items_of = st.lists(st.sampled_from([*SHAPES, None]), max_size=8)


def all_alignments(items: list[tuple[int, ...] | None], entries: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    return [
        places
        for places in combinations(range(len(entries)), len(items))
        if all(item is None or entries[place] == item for item, place in zip(items, places, strict=True))
    ]


@given(items=items_of, entries=entries_of)
def test_an_alignment_is_found_exactly_when_there_is_one(
    items: list[tuple[int, ...] | None], entries: list[tuple[int, ...]]
) -> None:
    assert bool(all_alignments(items, entries)) == (align(items, entries) is not None)


@given(data=st.data(), entries=entries_of)
def test_the_used_entries_are_those_in_every_alignment(
    data: st.DataObject, entries: list[tuple[int, ...]]
) -> None:
    kept = data.draw(st.lists(st.booleans(), min_size=len(entries), max_size=len(entries)))
    hidden = data.draw(st.lists(st.booleans(), min_size=len(entries), max_size=len(entries)))
    items = [None if hide else entry for entry, keep, hide in zip(entries, kept, hidden, strict=True) if keep]

    alignment = align(items, entries)

    every = all_alignments(items, entries)
    assert alignment is not None
    assert sorted(set.intersection(*(set(places) for places in every))) == alignment.used
    assert [min(places) for places in zip(*every, strict=True)] == alignment.first
    assert [max(places) for places in zip(*every, strict=True)] == alignment.last
