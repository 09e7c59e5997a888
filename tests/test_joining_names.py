"""Laws of matching names: whatever the names, the match is one to one and no worse than none."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bufscan.joining.names import Renaming, find_renaming

NAMES = st.lists(
    st.lists(
        st.sampled_from(["a", "b", "model", "module", "_orig_mod", "weight", "0"]), min_size=1, max_size=4
    ).map(".".join),
    unique=True,
    max_size=8,
)


@given(NAMES, NAMES)
def test_names_are_matched_one_to_one(checkpoint: list[str], model: list[str]) -> None:
    renaming = find_renaming(dict.fromkeys(checkpoint, (1,)), dict.fromkeys(model, (1,)))
    pairs = renaming.pairs(checkpoint, model)
    assert len(pairs) == len(set(pairs.values()))
    assert set(pairs) <= set(checkpoint)
    assert set(pairs.values()) <= set(model)


@given(NAMES, NAMES)
def test_renaming_never_matches_less_than_names_as_they_are(checkpoint: list[str], model: list[str]) -> None:
    renaming = find_renaming(dict.fromkeys(checkpoint, (1,)), dict.fromkeys(model, (1,)))
    assert len(renaming.pairs(checkpoint, model)) >= len(set(checkpoint) & set(model))


@given(NAMES)
def test_equal_names_are_matched_as_they_are(names: list[str]) -> None:
    assert Renaming() == find_renaming(dict.fromkeys(names, (1,)), dict.fromkeys(names, (1,)))
