"""What is no tensor is compared too: a learning rate, an extra state, whatever a checkpoint holds."""

from __future__ import annotations

import collections
import io
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from bufscan.comparing.diffing import diff
from bufscan.report.diff.wording import verdict

if TYPE_CHECKING:
    from pathlib import Path

    from bufscan.comparing.difference import Difference


def compare(folder: Path, old: Any, new: Any, **options: Any) -> Difference:
    for name, value in (("old.pt", old), ("new.pt", new)):
        torch.save(value, folder / name)
    return diff(str(folder / "old.pt"), str(folder / "new.pt"), **options)


def told(difference: Difference) -> list[tuple[str, str, str | None, str | None]]:
    return [(each.status, each.path, each.old, each.new) for each in difference.plain]


def training(rate: float = 1e-3, epoch: int = 3) -> dict[str, Any]:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    return {"epoch": epoch, "model": model.state_dict(), "optimizer": optimizer.state_dict()}


def test_a_learning_rate_and_an_epoch_are_told_where_they_are(tmp_path: Path) -> None:
    difference = compare(tmp_path, training(), training(3e-4, 4))

    assert told(difference) == [
        ("changed", "epoch", "3", "4"),
        ("changed", "optimizer.param_groups[0].lr", "0.001", "0.0003"),
    ]
    assert difference.identical is False
    assert difference.differs
    assert difference.unchanged == 2


def test_the_same_is_identical_with_its_plain_values(tmp_path: Path) -> None:
    difference = compare(tmp_path, training(), training())

    assert difference.identical
    assert difference.same_plain > 10


def test_tensors_only_leaves_the_rest_out_and_says_so(tmp_path: Path) -> None:
    difference = compare(tmp_path, training(), training(3e-4), tensors_only=True)

    assert not difference.plain
    assert difference.differs is False
    assert verdict(difference) == "identical: 2 tensors, every value compared, nothing beside the tensors"


def test_patterns_choose_among_plain_values_too(tmp_path: Path) -> None:
    ignored = compare(tmp_path, training(), training(3e-4, 4), ignore=["epoch", "*.lr"])
    matched = compare(tmp_path, training(), training(3e-4, 4), match=["model.*", "weight", "epoch"])

    assert ignored.identical
    assert [each.path for each in matched.plain] == ["epoch"]


def test_an_extra_state_goes_by_its_name(tmp_path: Path) -> None:
    weight = torch.ones(2)
    old, new = (
        collections.OrderedDict({"fc.weight": weight, "fc._extra_state": io.BytesIO(data)})
        for data in (b"a", b"b")
    )
    difference = compare(tmp_path, old, new)

    assert [(each.status, each.path) for each in difference.plain] == [("changed", "fc._extra_state")]


class Scaled(nn.Linear):
    """A layer with an extra state."""

    def get_extra_state(self) -> dict[str, float]:
        return {"amax": 1.0}

    def set_extra_state(self, state: object) -> None:
        pass


def both_ways(old: Any, new: Any) -> tuple[Difference, Difference]:
    return diff(old, new), diff(new, old)


@pytest.mark.parametrize("form", ["state_dict", "plain dict", "safetensors", "module", "model"])
def test_what_one_side_has_no_place_for_is_a_note(tmp_path: Path, form: str) -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    weights, other = tmp_path / "other", tmp_path / "weights.pt"
    torch.save(training(), weights)
    forms: dict[str, Any] = {
        "state_dict": model.state_dict(),
        "plain dict": {**model.state_dict()},
        "module": model,
    }
    if form == "safetensors":
        save_file(model.state_dict(), other)
    elif form != "model":
        torch.save(forms[form], other)
    for difference in both_ways(str(weights), model if form == "model" else str(other)):
        assert difference.differs is False
        assert not difference.plain
        assert any("no place" in note and "`epoch`" in note for note in difference.notes)


def test_a_whole_module_holds_more_than_its_state_dict(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    torch.save(model, tmp_path / "module.pt")
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    for difference in both_ways(str(tmp_path / "module.pt"), str(tmp_path / "weights.pt")):
        assert difference.differs is False


def test_two_whole_modules_differ_in_an_attribute(tmp_path: Path) -> None:
    model, other = nn.Dropout(0.1), nn.Dropout(0.2)

    assert told(compare(tmp_path, model, other)) == [("changed", "p", "0.1", "0.2")]


def test_an_extra_state_under_a_wrapper_is_the_same(tmp_path: Path) -> None:
    model = Scaled(2, 2)
    wrapped = {f"module.{name}": held for name, held in model.state_dict().items()}
    difference = compare(tmp_path, wrapped, model.state_dict())

    assert difference.identical
    assert difference.same_plain == 1


def test_an_extra_state_that_a_state_dict_lacks_is_a_difference_and_in_safetensors_it_is_none(
    tmp_path: Path,
) -> None:
    state = Scaled(2, 2).state_dict()
    tensors = {name: held for name, held in state.items() if isinstance(held, torch.Tensor)}
    lacking = compare(tmp_path, state, tensors)
    save_file(tensors, tmp_path / "new.safetensors")
    elsewhere = diff(str(tmp_path / "old.pt"), str(tmp_path / "new.safetensors"))

    assert told(lacking) == [("removed", "_extra_state.amax", "1.0", None)]
    assert elsewhere.differs is False
    assert any("`_extra_state.amax`" in note for note in elsewhere.notes)


def test_the_extra_state_of_a_model_is_not_compared(tmp_path: Path) -> None:
    model = Scaled(2, 2)
    torch.save(model.state_dict(), tmp_path / "saved.pt")
    for difference in both_ways(str(tmp_path / "saved.pt"), model):
        assert difference.identical is None
        assert [each.path for each in difference.not_compared] == ["_extra_state.amax"]


def test_a_training_checkpoint_without_its_epoch_has_lost_it(tmp_path: Path) -> None:
    whole = training()
    lost = {name: held for name, held in whole.items() if name != "epoch"}

    assert told(compare(tmp_path, whole, lost)) == [("removed", "epoch", "3", None)]


def test_what_is_compared_is_not_called_skipped(tmp_path: Path) -> None:
    state = Scaled(2, 2).state_dict()

    assert compare(tmp_path, state, state).skipped == ()
    assert len(compare(tmp_path, state, state, tensors_only=True).skipped) == 1


def test_values_without_any_tensor_are_compared(tmp_path: Path) -> None:
    old = {"base_lrs": [0.1], "last_epoch": 2}

    assert told(compare(tmp_path, old, {**old, "last_epoch": 3})) == [("changed", "last_epoch", "2", "3")]
    assert compare(tmp_path, old, old).identical


def test_what_is_shared_on_one_side_alone_is_the_same(tmp_path: Path) -> None:
    shared = [1, 2]

    assert compare(tmp_path, {"a": shared, "b": shared}, {"a": [1, 2], "b": [1, 2]}).identical


def test_a_list_in_itself_ends(tmp_path: Path) -> None:
    endless: list[Any] = [1]
    endless.append(endless)

    assert compare(tmp_path, {"a": endless}, {"a": endless}).identical


def test_a_key_in_brackets_beside_a_tensor_is_the_same_on_both_sides(tmp_path: Path) -> None:
    old = {"a": {"w": torch.ones(1), "[c]": 2}}

    assert compare(tmp_path, old, old).identical


def test_a_million_numbers_are_one_value(tmp_path: Path) -> None:
    numbers = list(range(1_000_000))
    same = compare(tmp_path, {"order": numbers}, {"order": numbers})
    other = compare(tmp_path, {"order": numbers}, {"order": [*numbers[:-1], 0]})

    assert (same.identical, same.same_plain) == (True, 1)
    assert [(each.status, each.path) for each in other.plain] == [("changed", "order")]
