"""Which tensor is which: sections, wrapper prefixes, replacements, renames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from stored import legacy_file, safetensors_file, zip_file
from torch import nn

from bufscan.comparing.diffing import diff
from bufscan.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from stored import State

    from bufscan.comparing.difference import Difference

NAMES = [f"layers.{layer}.{name}" for layer in range(4) for name in ("weight", "bias")]


def state(prefix: str = "", seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {f"{prefix}{name}": torch.randn(3, 2, generator=generator) for name in NAMES}


def compare(tmp_path: Path, old: object, new: object, **options: object) -> Difference:
    torch.save(old, tmp_path / "old.pt")
    torch.save(new, tmp_path / "new.pt")
    return diff(str(tmp_path / "old.pt"), str(tmp_path / "new.pt"), **options)  # type: ignore[arg-type]


def statuses(difference: Difference) -> list[tuple[str, str | None, str]]:
    return [(entry.status, entry.old_name, entry.name) for entry in difference.entries]


# Names


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "ema.", "module._orig_mod.", "ema.module."])
@pytest.mark.parametrize("side", ["old", "new"])
def test_a_wrapper_s_prefix_is_seen_through_and_said(tmp_path: Path, prefix: str, side: str) -> None:
    sides = (state(prefix), state()) if side == "old" else (state(), state(prefix))
    difference = compare(tmp_path, *sides)
    assert ((), True) == (difference.entries, difference.identical)
    assert any(prefix.rstrip(".").split(".")[-1] in note for note in difference.notes)


@pytest.mark.parametrize("side", ["old", "new"])
def test_a_prefix_that_no_wrapper_adds_is_seen_through_but_renames(tmp_path: Path, side: str) -> None:
    wrapped, plain = state("student.net."), state()
    wrapped["student.net.layers.2.weight"] += 1
    sides = (wrapped, plain) if side == "old" else (plain, wrapped)
    difference = compare(tmp_path, *sides)
    assert ({"renamed"}, 8) == ({entry.status for entry in difference.entries}, len(difference.entries))
    assert ["layers.2.weight"] == [
        entry.name.removeprefix("student.net.") for entry in difference.entries if entry.values
    ]
    told = next(note for note in difference.notes if "--map" in note).split("'")[1]
    same = compare(tmp_path, *sides, renames=[tuple(told.split("="))])
    assert [("changed", 7)] == [(entry.status, same.unchanged) for entry in same.entries]


def test_a_wrapper_within_names_is_seen_through(tmp_path: Path) -> None:
    compiled = {name.replace("layers.1.", "layers.1._orig_mod."): tensor for name, tensor in state().items()}
    assert compare(tmp_path, state(), compiled).identical


def test_a_prefix_that_few_names_have_is_no_wrapper(tmp_path: Path) -> None:
    new = state() | {"module.layers.0.weight": torch.zeros(3, 2)}
    assert [("added", None, "module.layers.0.weight")] == statuses(compare(tmp_path, state(), new))


def test_what_a_prefix_does_not_explain_is_still_added_and_removed(tmp_path: Path) -> None:
    new = state("module.")
    del new["module.layers.3.bias"]
    new["module.head"] = torch.zeros(9)
    difference = compare(tmp_path, state(), new)
    assert [("removed", None, "layers.3.bias"), ("added", None, "module.head")] == statuses(difference)


def test_a_changed_tensor_behind_a_prefix_has_both_names(tmp_path: Path) -> None:
    new = state("module.")
    new["module.layers.2.weight"] += 1
    assert [("changed", "layers.2.weight", "module.layers.2.weight")] == statuses(compare(tmp_path, state(), new))


def test_old_names_are_replaced_as_told_in_order(tmp_path: Path) -> None:
    new = {name.replace("layers.", "h.").replace("weight", "w"): tensor + 1 for name, tensor in state().items()}
    difference = compare(
        tmp_path, state(), new, renames=[(r"^layers\.(\d)", r"blocks.\1"), ("^blocks", "h"), ("weight$", "w")]
    )
    assert ("changed", "layers.0.weight", "h.0.w") == statuses(difference)[0]
    assert 8 == difference.count("changed")


@pytest.mark.parametrize(
    ("renames", "message"),
    [
        ([("(", "x")], "`(` is no regular expression: missing ), unterminated subpattern at position 0"),
        ([("layers", r"\2")], r"`\2` is no replacement for `layers`: invalid group reference 2 at position 1"),
        ([(r"layers\.\d", "x")], "`layers.0.weight` and `layers.1.weight` would both become `x.weight`"),
    ],
    ids=["pattern", "replacement", "collision"],
)
def test_a_replacement_that_makes_no_sense_is_refused(
    tmp_path: Path, renames: list[tuple[str, str]], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        compare(tmp_path, state(), state(), renames=renames)
    assert message == caught.value.message


def test_patterns_choose_names_and_leave_names_out(tmp_path: Path) -> None:
    difference = compare(tmp_path, state(), state(seed=1), match=["*.weight"], ignore=["layers.0.*"])
    assert [f"layers.{layer}.weight" for layer in (1, 2, 3)] == [entry.name for entry in difference.entries]


def test_a_replacement_that_no_name_needs_is_said(tmp_path: Path) -> None:
    renames = [("^layers", "h"), ("^nothing", "x")]
    difference = compare(tmp_path, state(), state(), renames=renames)
    assert "no old name matches `^nothing`" in difference.notes
    assert "no old name matches `^layers`" not in difference.notes


def test_an_expression_is_judged_though_there_is_no_name_to_match(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no regular expression"):
        compare(tmp_path, {}, {}, renames=[("(", "x")])


def test_a_pattern_that_no_name_has_is_said(tmp_path: Path) -> None:
    difference = compare(tmp_path, state(), state(), match=["layers.*", "head.*"], ignore=["*.gamma", "*.bias"])
    assert ["no name matches `head.*`", "no name matches `*.gamma`"] == list(difference.notes)
    assert 4 == difference.unchanged


@pytest.mark.parametrize("options", [{"match": ["layer.*"]}, {"ignore": ["*"]}], ids=["match", "ignore"])
def test_patterns_that_leave_nothing_do_not_make_the_sides_identical(
    tmp_path: Path, options: dict[str, list[str]]
) -> None:
    with pytest.raises(UsageError, match="the patterns of names leave no tensor to compare"):
        compare(tmp_path, state(), state(), **options)


def test_nothing_at_all_is_neither_identical_nor_different(tmp_path: Path) -> None:
    for options in ({}, {"match": ["layer.*"]}):
        difference = compare(tmp_path, {}, {}, **options)
        assert (None, None, True) == (difference.identical, difference.differs, difference.is_empty)


# Renames


@pytest.mark.parametrize("write", [zip_file, legacy_file, safetensors_file], ids=["zip", "legacy", "safetensors"])
def test_a_tensor_with_the_same_bytes_under_another_name_was_renamed(tmp_path: Path, write: object) -> None:
    assert callable(write)
    new: State = {f"other.{i}" if i < 2 else name: tensor for i, (name, tensor) in enumerate(state().items())}
    difference = diff(write(tmp_path / "old", state()), write(tmp_path / "new", new))
    assert {
        ("renamed", "layers.0.weight", "other.0"),
        ("renamed", "layers.0.bias", "other.1"),
    } == set(statuses(difference))
    assert (6, False) == (difference.unchanged, difference.identical)


def test_a_rename_is_found_whatever_the_strides(tmp_path: Path) -> None:
    tensor = torch.randn(3, 4)
    difference = compare(
        tmp_path, {"a": tensor, "b": torch.ones(2)}, {"c": tensor.t().contiguous().t(), "b": torch.ones(2)}
    )
    assert [("renamed", "a", "c")] == statuses(difference)


@pytest.mark.parametrize(
    "new",
    [
        pytest.param({"x": torch.ones(3), "y": torch.ones(3)}, id="two with the same content"),
        pytest.param({"x": torch.ones(3, 1)}, id="another shape"),
        pytest.param({"x": torch.ones(3).view(torch.int32)}, id="another type"),
        pytest.param({"x": torch.ones(3) * 2}, id="another value"),
    ],
)
def test_what_is_no_certain_rename_stays_added_and_removed(tmp_path: Path, new: State) -> None:
    difference = compare(tmp_path, {"a": torch.ones(3)}, new)
    assert {"added": len(new), "removed": 1, "renamed": 0} == {
        status: difference.count(status)
        for status in ("added", "removed", "renamed")  # type: ignore[arg-type]
    }


def test_tensors_without_elements_are_never_renamed(tmp_path: Path) -> None:
    difference = compare(
        tmp_path, {"a": torch.empty(0), "b": torch.ones(2)}, {"c": torch.empty(0), "b": torch.ones(2)}
    )
    assert 0 == difference.count("renamed")


def test_without_values_nothing_is_known_to_be_renamed(tmp_path: Path) -> None:
    difference = compare(tmp_path, {"a": torch.ones(3)}, {"b": torch.ones(3)}, values=False)
    assert {"added", "removed"} == {entry.status for entry in difference.entries}


# Sections


def training(model: dict[str, torch.Tensor], key: str = "model", **others: object) -> dict[str, object]:
    return {
        key: model,
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(3, 2)}}, "param_groups": [{"params": [0]}]},
    } | others


def test_sections_of_the_same_name_belong_together(tmp_path: Path) -> None:
    new = training(state(seed=1), ema=state(seed=2))
    difference = compare(tmp_path, training(state(), ema=state(seed=2)), new)
    assert {"model"} == {entry.section for entry in difference.entries}
    assert (8, 9) == (len(difference.entries), difference.unchanged)


def test_models_under_other_keys_are_found_by_their_names(tmp_path: Path) -> None:
    difference = compare(tmp_path, training(state(), key="state_dict"), training(state("module."), key="model"))
    assert ((), True) == (difference.entries, difference.identical)
    assert "section `state_dict` of the old side is compared with section `model` of the new" in difference.notes


def test_an_optimizer_that_is_gone_counts_between_training_checkpoints(tmp_path: Path) -> None:
    old = training(state(), scheduler={"last": torch.ones(2)})
    difference = compare(tmp_path, old, training(state()))
    assert [("removed", None, "last")] == [(each.status, each.old_name, each.name) for each in difference.entries]


def test_an_average_that_would_fit_as_well_is_named(tmp_path: Path) -> None:
    difference = compare(tmp_path, training(state(), ema=state(seed=2)), state())
    assert difference.identical
    assert "section `ema` fits as well: `--section ema:` compares it" in difference.notes
    assert ["section `ema`", "section `optimizer`"] == sorted(each.what for each in difference.left_out)
    assert {"the other side holds weights alone"} == {each.reason for each in difference.left_out}


@pytest.mark.parametrize("kept", ["model", "ema"])
def test_a_training_checkpoint_that_lacks_sections_of_another_lost_them(tmp_path: Path, kept: str) -> None:
    whole = {"model": state(), "ema": state(seed=1), "step": torch.ones(1)}
    difference = compare(tmp_path, whole, {kept: whole[kept]})
    assert ((), 8) == (difference.left_out, difference.unchanged)
    assert 9 == difference.count("removed") == len(difference.entries)


def test_sections_are_paired_as_told(tmp_path: Path) -> None:
    old = training(state(), ema=state(seed=2))
    difference = compare(tmp_path, old, state(seed=2), sections={"ema": ""})
    assert ((), True) == (difference.entries, difference.identical)
    assert {("old", "section `model`", 8), ("old", "section `optimizer`", 1)} == {
        (each.side, each.what, each.tensors) for each in difference.left_out
    }
    assert {"it is not among the sections to compare"} == {each.reason for each in difference.left_out}


def test_a_section_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        compare(tmp_path, training(state()), state(), sections={"modle": ""})
    assert "the old side has no section `modle`" == caught.value.message
    assert "it has `model`, `optimizer`" == caught.value.hint


# What is stated besides the values


def test_shape_and_type_are_changes(tmp_path: Path) -> None:
    old = {"a": torch.ones(4), "b": torch.ones(2), "c": torch.ones(1)}
    new = {"a": torch.ones(8), "b": torch.ones(2).half(), "c": torch.ones(1)}
    difference = compare(tmp_path, old, new)
    assert {
        "a": [("shape", (4,), (8,))],
        "b": [("dtype", "float32", "float16")],
    } == {entry.name: [(c.aspect, c.old, c.new) for c in entry.changes] for entry in difference.entries}


class WithMask(nn.Module):
    def __init__(self, *, parameter: bool, requires_grad: bool = True) -> None:
        super().__init__()
        if parameter:
            self.mask = nn.Parameter(torch.ones(3), requires_grad=requires_grad)
        else:
            self.register_buffer("mask", torch.ones(3))


def test_a_role_that_both_sides_state_is_a_change() -> None:
    difference = diff(WithMask(parameter=False), WithMask(parameter=True, requires_grad=False))
    assert [[("role", "persistent_buffer", "parameter")]] == [
        [(c.aspect, c.old, c.new) for c in entry.changes] for entry in difference.entries
    ]


def test_freezing_is_a_change_where_it_is_stated() -> None:
    difference = diff(WithMask(parameter=True), WithMask(parameter=True, requires_grad=False))
    assert [{"requires_grad"}] == [entry.aspects for entry in difference.entries]


def test_a_role_that_is_only_inferred_is_no_change(tmp_path: Path) -> None:
    model = nn.BatchNorm1d(3)
    model.register_buffer("mask", torch.ones(3))
    assert diff(safetensors_file(tmp_path / "a.safetensors", model.state_dict()), model).identical


def test_a_lost_tie_is_a_change(tmp_path: Path) -> None:
    shared = torch.ones(3)
    tied, untied = {"a": shared, "b": shared}, {"a": torch.ones(3), "b": torch.ones(3)}
    difference = compare(tmp_path, tied, untied)
    assert [("a", ("b",), ()), ("b", ("a",), ())] == [
        (entry.name, entry.changes[0].old, entry.changes[0].new) for entry in difference.entries
    ]
    assert {frozenset({"tied_to"})} == {entry.aspects for entry in difference.entries}


def test_a_format_that_holds_no_ties_has_lost_none(tmp_path: Path) -> None:
    shared = torch.ones(3)
    old = zip_file(tmp_path / "a.pt", {"a": shared, "b": shared})
    new = safetensors_file(tmp_path / "b.safetensors", {"a": torch.ones(3), "b": torch.ones(3)})
    assert diff(old, new).identical
    assert diff(new, old).identical


def test_a_removed_name_of_a_tensor_that_is_still_there_is_said_to_be_that(tmp_path: Path) -> None:
    shared = torch.ones(3)
    difference = compare(tmp_path, {"embed": shared, "head": shared}, {"embed": torch.ones(3)})
    assert [("removed", "head", "tied to `embed`, which both sides have")] == [
        (entry.status, entry.name, entry.remark) for entry in difference.entries
    ]


def test_names_that_safetensors_had_to_drop_are_left_out(tmp_path: Path) -> None:
    shared = torch.ones(3)
    old = zip_file(tmp_path / "a.pt", {"embed": shared, "head": shared})
    new = safetensors_file(tmp_path / "b.safetensors", {"embed": shared})
    for sides in ((old, new), (new, old)):
        difference = diff(*sides)
        assert ((), True) == (difference.entries, difference.identical)
        assert ["`head`"] == [each.what for each in difference.left_out]


def test_many_tied_names_cost_no_square_of_their_number(tmp_path: Path) -> None:
    shared = torch.ones(3)
    old = {f"w{number}": shared for number in range(20_000)}
    new = dict(list(old.items())[:-1]) | {"w19999": torch.ones(3)}
    difference = compare(tmp_path, old, new)
    assert 20_000 == len(difference.entries)
    assert ("w1", "w2") == difference.entries[0].changes[0].old[:2]  # type: ignore[index]
