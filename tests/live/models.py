"""What the tests of live models share: short models, and the truth that a real `.to()` tells."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import nn

from bufscan.dtypes import DTYPES
from bufscan.live.scanning import scan

if TYPE_CHECKING:
    from collections.abc import Callable

    from bufscan.inventory import Inventory, Tensor


def holding(**attributes: object) -> nn.Module:
    """A module with one Linear and the given plain attributes."""
    module = nn.Module()
    module.register_module("linear", nn.Linear(2, 2))
    for name, value in attributes.items():
        if issubclass(type(value), nn.Module):
            setattr(module, name, value)
        else:
            module.__dict__[name] = value  # torch's `__setattr__` asks every value for its class
    return module


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """The scanned records by name; names are unique."""
    inventory = scan(model, "test")
    found = {tensor.name: tensor for tensor in inventory.tensors}
    assert len(found) == len(inventory.tensors)
    return found


def unregistered(model: nn.Module) -> dict[str, str | None]:
    """Name and holding of every tensor that is neither parameter nor buffer."""
    return {name: tensor.holding for name, tensor in tensors(model).items() if tensor.role == "unregistered"}


def facts(tensor: Tensor) -> tuple[str, bool | None, bool | None, bool | None]:
    return tensor.role, tensor.saved, tensor.moves, tensor.trains


def moved_by_to(
    model: nn.Module, move: Callable[[nn.Module], object] = lambda module: module.to(torch.float64)
) -> tuple[set[str], set[str]]:
    """Names of the floating tensors that the scan says move, and of those that a real `.to()` did move."""
    before = _floating(scan(model, "before"))
    moved = copy.deepcopy(model)
    move(moved)
    after = {tensor.name: tensor for tensor in scan(moved, "after").tensors}
    said = {tensor.name for tensor in before if tensor.moves}
    did = {tensor.name for tensor in before if after[tensor.name].dtype == "float64"}
    return said, did


def _floating(inventory: Inventory) -> list[Tensor]:
    return [t for t in inventory.tensors if t.dtype is not None and DTYPES[t.dtype].kind == "float"]
