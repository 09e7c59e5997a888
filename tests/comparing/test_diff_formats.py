"""The same state_dict is the same however it is stored, and one changed element is exactly that."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import pytest
import torch
from stored import WAYS, Holder, safetensors_file, zip_file
from torch import nn

import bufscan
from bufscan.comparing.diffing import diff

if TYPE_CHECKING:
    from pathlib import Path

    from bufscan.comparing.difference import Difference


def state() -> OrderedDict[str, torch.Tensor]:
    """Types, shapes and layouts that every way of storing can hold."""
    torch.manual_seed(0)
    return OrderedDict(
        {
            "embed.weight": torch.randn(7, 5),
            "blocks.0.weight": torch.randn(5, 5, dtype=torch.bfloat16),
            "blocks.0.bias": torch.randn(5).half(),
            "blocks.1.weight": torch.randn(6, 4).t(),
            "blocks.1.mask": torch.rand(3, 3) > 0.5,
            "scale": torch.tensor(3.5, dtype=torch.float64),
            "steps": torch.tensor(1 << 60),
            "codes": torch.arange(9, dtype=torch.uint8).view(3, 3),
            "nothing": torch.empty(0, 4),
            "eighth": torch.randn(6).to(torch.float8_e4m3fn),
            "phase": torch.randn(3, dtype=torch.complex64),
        }
    )


PAIRS = [(one, other) for one in WAYS for other in WAYS]


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=[f"{one} with {other}" for one, other in PAIRS])
def test_the_same_state_dict_is_identical(tmp_path: Path, one: str, other: str) -> None:
    old = WAYS[one](tmp_path / "old", state())
    new = WAYS[other](tmp_path / "new", state())
    difference = diff(old, new)
    assert ((), (), True) == (difference.entries, difference.not_compared, difference.identical)
    assert len(state()) == difference.unchanged


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=[f"{one} with {other}" for one, other in PAIRS])
def test_one_changed_element_is_exactly_that(tmp_path: Path, one: str, other: str) -> None:
    changed = state()
    changed["blocks.1.weight"] = changed["blocks.1.weight"].clone()
    changed["blocks.1.weight"][2, 3] += 0.5
    difference = diff(WAYS[one](tmp_path / "old", state()), WAYS[other](tmp_path / "new", changed))
    assert ((), len(state()) - 1) == (difference.not_compared, difference.unchanged)
    (entry,) = difference.entries
    assert ("changed", "blocks.1.weight", ()) == (entry.status, entry.name, entry.changes)
    assert entry.values is not None
    assert (24, 1, (2, 3)) == (entry.values.numel, entry.values.changed, entry.values.max_index)
    assert pytest.approx(0.5) == entry.values.max_abs


def test_a_training_checkpoint_has_the_weights_saved_from_it(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(5, 4)).sum().backward()
    optimizer.step()
    whole = tmp_path / "training.pt"
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}, whole)
    weights = safetensors_file(tmp_path / "weights.safetensors", model.state_dict())
    for old, new in ((str(whole), weights), (weights, str(whole)), (str(whole), model)):
        difference = diff(old, new)
        assert ((), True) == (difference.entries, difference.identical)
        assert 12 == sum(each.tensors for each in difference.left_out)


def test_a_live_model_is_compared_by_what_it_saves(tmp_path: Path) -> None:
    model = Holder({"weight": torch.ones(3)})
    model.register_buffer("table", torch.ones(9), persistent=False)
    model.plain = torch.ones(2)
    difference = diff(zip_file(tmp_path / "a.pt", {"weight": torch.ones(3)}), model)
    assert difference.identical
    assert [("new", 2)] == [(each.side, each.tensors) for each in difference.left_out]


def test_the_library_compares_what_the_command_does(tmp_path: Path) -> None:
    old, new = ({"weight": torch.ones(3)}, {"weight": torch.zeros(3)})
    difference: Difference = bufscan.diff(zip_file(tmp_path / "a.pt", old), zip_file(tmp_path / "b.pt", new))
    assert (False, 1) == (difference.identical, difference.count("changed"))
    assert "diff" in bufscan.__all__


def test_two_live_models_are_compared_by_all_they_hold() -> None:
    old, new = (Holder({"weight": torch.ones(3)}) for _ in range(2))
    old.register_buffer("table", torch.ones(9), persistent=False)
    new.plain = torch.ones(2)
    difference = diff(old, new)
    assert {("removed", "table"), ("added", "plain")} == {(each.status, each.name) for each in difference.entries}


def test_standard_input_is_a_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zip_file(tmp_path / "a.pt", state())
    with (tmp_path / "a.pt").open("rb") as file:
        monkeypatch.setattr("sys.stdin", type("Stdin", (), {"buffer": file}))
        assert diff("-", path).identical


def test_a_file_that_is_not_there_is_a_side_with_nothing_in_it(tmp_path: Path) -> None:
    """git names it so where a file was added or deleted."""
    path = zip_file(tmp_path / "a.pt", {"weight": torch.ones(3)})
    assert ["added"] == [entry.status for entry in diff("/dev/null", path).entries]
    assert ["removed"] == [entry.status for entry in diff(path, "/dev/null").entries]
