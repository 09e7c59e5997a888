"""What holds of every difference, whatever the two sides are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stored import WAYS

from bufscan.comparing.diffing import diff

if TYPE_CHECKING:
    from pathlib import Path

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.complex64]
NAMES = ["a.weight", "a.bias", "b.weight", "b.running_mean", "c.0.weight", "c.1.weight"]
SWAPPED = {"added": "removed", "removed": "added", "changed": "changed", "renamed": "renamed"}

some = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # every example writes the same files anew
)


def tensors() -> st.SearchStrategy[torch.Tensor]:
    return st.builds(
        lambda seed, dtype, shape: (
            torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).mul(3).to(dtype)
        ),
        st.integers(0, 5),
        st.sampled_from(DTYPES),
        st.sampled_from([(3,), (2, 3), (), (0, 2)]),
    )


def states() -> st.SearchStrategy[dict[str, torch.Tensor]]:
    return st.dictionaries(st.sampled_from(NAMES), tensors(), min_size=1)


WAYS_TO_STORE = st.sampled_from(["zip", "legacy", "safetensors", "live"])


@some
@given(state=states(), one=WAYS_TO_STORE, other=WAYS_TO_STORE)
def test_nothing_differs_from_itself(tmp_path: Path, state: dict[str, torch.Tensor], one: str, other: str) -> None:
    difference = diff(WAYS[one](tmp_path / "old", state), WAYS[other](tmp_path / "new", state))
    assert ((), (), True, len(state)) == (
        difference.entries,
        difference.not_compared,
        difference.identical,
        difference.unchanged,
    )


@some
@given(old=states(), new=states(), way=WAYS_TO_STORE)
def test_swapping_the_sides_swaps_added_and_removed_and_keeps_the_largest_difference(
    tmp_path: Path, old: dict[str, torch.Tensor], new: dict[str, torch.Tensor], way: str
) -> None:
    left, right = WAYS[way](tmp_path / "old", old), WAYS[way](tmp_path / "new", new)
    there, back = diff(left, right), diff(right, left)
    facts = {
        (SWAPPED[each.status], each.old_name or each.name, each.name, each.aspects, largest(each))
        for each in there.entries
    }
    assert facts == {
        (each.status, each.name, each.old_name or each.name, each.aspects, largest(each)) for each in back.entries
    }
    assert there.unchanged == back.unchanged


def largest(entry: object) -> float | None:
    values = getattr(entry, "values", None)
    return None if values is None else values.max_abs


@some
@given(old=states(), new=states())
def test_every_tensor_of_either_side_is_counted_once(
    tmp_path: Path, old: dict[str, torch.Tensor], new: dict[str, torch.Tensor]
) -> None:
    found = diff(WAYS["zip"](tmp_path / "old", old), WAYS["zip"](tmp_path / "new", new))
    paths = {entry.path for entry in found.entries}  # of another type, and not comparable for it
    unknown = sum(each.path not in paths for each in found.not_compared)
    both = found.unchanged + found.count("changed") + found.count("renamed") + unknown
    assert len(old) == both + found.count("removed")
    assert len(new) == both + found.count("added")
