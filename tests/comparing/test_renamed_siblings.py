"""Names that change as those of neighbours did whose bytes prove it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bufscan.comparing.diffing import diff
from bufscan.comparing.name_changes import NameChanges

if TYPE_CHECKING:
    from pathlib import Path

    from bufscan.comparing.difference import Difference

    State = dict[str, torch.Tensor]


def compare(tmp_path: Path, old: State, new: State) -> Difference:
    torch.save(old, tmp_path / "old.pt")
    torch.save(new, tmp_path / "new.pt")
    return diff(str(tmp_path / "old.pt"), str(tmp_path / "new.pt"))


def renamed(difference: Difference) -> dict[str | None, str]:
    return {entry.old_name: entry.name for entry in difference.entries if entry.status == "renamed"}


def layers(*names: str) -> State:
    """Linear layers of one shape: weights of their own, and biases of zeros that all look alike."""
    generator = torch.Generator().manual_seed(0)
    return {
        f"{name}.{kind}": torch.randn(3, 3, generator=generator) if kind == "weight" else torch.zeros(3)
        for name in names
        for kind in ("weight", "bias")
    }


def with_names(state: State, *replaced: tuple[str, str]) -> State:
    for old, new in replaced:
        state = {name.replace(old, new): tensor for name, tensor in state.items()}
    return state


WRAPPED = (("q.", "q.base_layer."), ("k.", "k.base_layer."))


@pytest.mark.parametrize("swapped", [False, True], ids=["wrapped", "unwrapped"])
def test_all_tensors_of_a_wrapped_layer_are_renamed_and_its_adapter_is_added(
    tmp_path: Path, swapped: bool
) -> None:
    old = layers("q", "k", "v")
    new = with_names(old, *WRAPPED) | {"q.lora_A.weight": torch.randn(1, 3)}
    difference = compare(tmp_path, new, old) if swapped else compare(tmp_path, old, new)
    names = {f"{layer}.{kind}": f"{layer}.base_layer.{kind}" for layer in "qk" for kind in ("weight", "bias")}
    assert renamed(difference) == ({new: old for old, new in names.items()} if swapped else names)
    assert (1, 5, 2) == (
        difference.count("removed" if swapped else "added"),
        len(difference.entries),
        difference.unchanged,
    )


def test_a_wrapped_layer_that_was_trained_is_still_the_same_layer(tmp_path: Path) -> None:
    old = layers("q", "k")
    new = with_names(old, *WRAPPED) | {"k.base_layer.weight": torch.ones(3, 3)}
    difference = compare(tmp_path, old, new)
    assert "k.base_layer.weight" == renamed(difference)["k.weight"]
    assert ["k.base_layer.weight"] == [entry.name for entry in difference.entries if entry.values is not None]


def test_a_wrapper_that_no_bytes_prove_renames_nothing(tmp_path: Path) -> None:
    old = layers("q", "k")
    new = with_names({name: tensor + 1 for name, tensor in old.items()}, ("q.", "q.inner."), ("k.", "k.inner."))
    assert {} == renamed(compare(tmp_path, old, new))


def test_a_wrapped_tensor_of_another_shape_is_another_tensor(tmp_path: Path) -> None:
    old = layers("q", "k")
    new = with_names(old, *WRAPPED) | {"k.base_layer.bias": torch.zeros(4)}
    difference = compare(tmp_path, old, new)
    assert "k.bias" not in renamed(difference)
    assert {"k.bias", "k.base_layer.bias"} == {
        entry.name for entry in difference.entries if entry.status in ("added", "removed")
    }


def test_a_model_saved_through_its_adapter_has_a_prefix_and_wrapped_layers(tmp_path: Path) -> None:
    old = layers("h.0.q", "h.0.k", "h.0.v", "h.0.o")
    new = with_names(old, *WRAPPED, ("h.", "base_model.model.h."))
    assert all(
        renamed(compare(tmp_path, old, new))[name] == f"base_model.model.h.0.{layer}{inside}.{kind}"
        for layer, inside in (("q", ".base_layer"), ("k", ".base_layer"), ("v", ""), ("o", ""))
        for kind in ("weight", "bias")
        for name in [f"h.0.{layer}.{kind}"]
    )


def test_of_a_module_and_its_copy_to_train_the_original_is_the_one_that_was_there(tmp_path: Path) -> None:
    old = layers("score")
    new = with_names(old, ("score.", "score.original_module.")) | with_names(
        old, ("score.", "score.modules_to_save.default.")
    )
    difference = compare(tmp_path, old, new)
    assert {f"score.{kind}": f"score.original_module.{kind}" for kind in ("weight", "bias")} == renamed(difference)
    assert 2 == difference.count("added")


def test_a_module_of_another_name_takes_along_what_looks_like_any_other(tmp_path: Path) -> None:
    old, new = layers("attn.q", "attn.k"), layers("attn.query", "attn.key")
    assert {
        f"attn.{short}.{kind}": f"attn.{long}.{kind}"
        for short, long in (("q", "query"), ("k", "key"))
        for kind in ("weight", "bias")
    } == renamed(compare(tmp_path, old, new))


def test_a_module_of_another_name_does_not_take_along_what_differs(tmp_path: Path) -> None:
    old, new = layers("attn.q", "attn.k"), layers("attn.query", "attn.key")
    new["attn.key.bias"] = torch.ones(3)
    difference = compare(tmp_path, old, new)
    assert "attn.k.bias" not in renamed(difference)
    assert {"attn.k.bias", "attn.key.bias"} <= {entry.name for entry in difference.entries}


parts = st.lists(st.sampled_from("abc"), min_size=1, max_size=3)


@given(parts, parts, st.lists(parts, max_size=3))
def test_a_change_that_is_proven_leads_to_its_own_new_name_and_back(
    old: list[str], new: list[str], others: list[list[str]]
) -> None:
    pairs = [(".".join(old), ".".join(new)), *((".".join(other), ".".join([*other, "x"])) for other in others)]
    there, back = NameChanges(pairs), NameChanges([(after, before) for before, after in pairs])
    for before, after in pairs:
        if before.split(".")[-1] == after.split(".")[-1]:
            assert after in {name for name, _ in there.of(before)}
            assert before in {name for name, _ in back.of(after)}
