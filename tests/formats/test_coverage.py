"""Pieces make up a whole when every element is in one of them: counted in a mask, one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bufscan.formats.tensors.coverage import Region, fault_in_coverage


@st.composite
def cuts(draw: st.DrawFn) -> tuple[tuple[int, ...], list[Region]]:
    """A shape and regions in it: often a true partition, of which some were moved, doubled or lost."""
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=3)))
    regions = [Region((0,) * len(shape), shape)]
    for _ in range(draw(st.integers(0, 4))):
        whole = regions.pop(draw(st.integers(0, len(regions) - 1)))
        regions += halves(whole, draw(st.integers(0, 2)), draw(st.integers(0, 4)))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(regions) - 1))
        regions[at] = draw(st.sampled_from([regions[at], regions[draw(st.integers(0, len(regions) - 1))]]))
    return shape, draw(st.permutations(regions))


def halves(region: Region, axis: int, size: int) -> list[Region]:
    if axis >= len(region.shape):
        return [region]
    size = min(size, region.shape[axis])
    rest = region.shape[axis] - size
    later = [*region.begin]
    later[axis] += size
    shapes = [(*region.shape[:axis], each, *region.shape[axis + 1 :]) for each in (size, rest)]
    return [Region(region.begin, shapes[0]), Region(tuple(later), shapes[1])]


@given(cut=cuts())
def test_it_is_what_a_mask_says(cut: tuple[tuple[int, ...], list[Region]]) -> None:
    shape, regions = cut
    mask = np.zeros(shape, np.int64)
    for region in regions:
        mask[tuple(map(slice, region.begin, region.end))] += 1
    fault = fault_in_coverage(shape, regions)

    assert (fault is None) == bool((mask == 1).all())
    if (mask > 1).any():
        assert fault is not None
        assert "twice" in fault or "overlap" in fault
    elif (mask == 0).any():
        assert fault == f"pieces of it are missing: {(mask == 0).sum()} of {mask.size} elements"


@pytest.mark.parametrize("axis", [0, 1])
def test_thousands_of_pieces_are_told_apart_along_any_dimension(axis: int) -> None:
    size = tuple(1 if at == axis else 4000 for at in range(2))
    regions = [Region(tuple(index if at == axis else 0 for at in range(2)), size) for index in range(4000)]

    assert fault_in_coverage((4000, 4000), regions) is None
    assert fault_in_coverage((4000, 4000), [*regions, regions[7]]) is not None


def test_more_pieces_than_can_be_told_apart_in_time_are_said_to_be_too_many() -> None:
    regions = [Region((index, 0), (4000, 1)) for index in range(4000)]
    spread = [region._replace(begin=(region.begin[0], index)) for index, region in enumerate(regions)]

    assert fault_in_coverage((8000, 4000), spread) == "it is cut into too many pieces"
