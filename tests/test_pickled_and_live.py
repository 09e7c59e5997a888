"""A module and its pickle are one model: what is said of the file must be what is said of the module."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import pytest
import torch

from bufscan.checking.inspected import findings_in
from bufscan.inspecting import inspect
from bufscan.live.scanning import scan
from torch_modules import build, classes
from unlike_modules import EXPLAINED
from whole_modules import CORRECT, FAULTY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

    from bufscan.inventory import Inventory

Said = set[tuple[str, str, str]]


def made(make: Callable[[], nn.Module]) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own: what is deprecated or moves
        return make()


def both(model: nn.Module, path: Path) -> tuple[Inventory, Inventory]:
    """The inventories of the file and of the model."""
    torch.save(model, path)
    return inspect(str(path)), scan(model, "live")


def said_of(inventory: Inventory) -> Said:
    """Findings on how tensors are held and registered: code, severity, path."""
    found = {(each.code, each.severity, each.tensor) for each in findings_in(inventory)}
    return {each for each in found if each[0] < "BUF2"}


def registered(inventory: Inventory) -> dict[str, tuple[object, ...]]:
    """Role and facts of what is registered."""
    return {
        tensor.path: (tensor.role, tensor.saved, tensor.moves, tensor.trains)
        for tensor in inventory.tensors
        if tensor.role not in ("unregistered", "training_state")
    }


@pytest.mark.parametrize("name", CORRECT)
def test_a_correct_module_has_no_finding_pickled_or_not(name: str, tmp_path: Path) -> None:
    file, live = both(made(CORRECT[name]), tmp_path / "model.pt")
    assert (set(), set()) == (said_of(live), said_of(file))
    assert registered(live) == registered(file)


@pytest.mark.parametrize("name", FAULTY)
def test_a_fault_is_found_in_the_pickle_as_in_the_module(name: str, tmp_path: Path) -> None:
    file, live = both(made(FAULTY[name]), tmp_path / "model.pt")
    assert said_of(live)
    assert said_of(live) == said_of(file)
    assert registered(live) == registered(file)


@pytest.mark.parametrize("name", EXPLAINED)
def test_where_a_pickle_knows_less_the_difference_is_this(name: str, tmp_path: Path) -> None:
    _reason, make, of_file, of_model = EXPLAINED[name]
    file, live = both(made(make), tmp_path / "model.pt")
    assert (of_model, of_file) == (said_of(live) - said_of(file), said_of(file) - said_of(live))


@pytest.mark.parametrize("cls", classes(), ids=lambda cls: cls.__name__)
def test_a_pickled_module_of_torch_is_the_live_one(cls: type[nn.Module], tmp_path: Path) -> None:
    file, live = both(made(lambda: build(cls)), tmp_path / "model.pt")
    assert (set(), set()) == (said_of(live), said_of(file))
    assert registered(live) == registered(file)


def test_packed_parameters_are_saved_and_nobodys_mistake(tmp_path: Path) -> None:
    file, _ = both(made(CORRECT["quantised statically"]), tmp_path / "model.pt")
    packed = [tensor for tensor in file.tensors if tensor.holding == "packed_params"]
    assert {(True, None, False)} == {(tensor.saved, tensor.moves, tensor.trains) for tensor in packed}
    assert 4 == len({tensor.name for tensor in packed})
