"""Laws over generated models: registered tensors are never a finding, and a hidden one is always exactly one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inventories import brief
from torch import nn

from bufscan.live.scanning import scan

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = st.sampled_from(("a", "b", "pe", "mask", "scale_2"))


class Holder:
    def __init__(self, tensor: torch.Tensor) -> None:
        self.value = tensor


def _closing_over(tensor: torch.Tensor) -> Callable[[], torch.Tensor]:
    return lambda: tensor


HIDING: dict[str, Callable[[torch.Tensor], Any]] = {
    "attribute": lambda tensor: tensor,
    "list": lambda tensor: [1, tensor],
    "dict": lambda tensor: {"k": (tensor,)},
    "object": Holder,
    "closure": _closing_over,
    "object in a list": lambda tensor: [Holder(tensor)],
    "module in a list": lambda tensor: [nn.ParameterList([tensor])],
}


def register(module: nn.Module, name: str, kind: str) -> None:
    shape = (3,) if name != "scale_2" else (2, 2)
    match kind:
        case "parameter":
            module.register_parameter(name, nn.Parameter(torch.ones(shape)))
        case "frozen":
            module.register_parameter(name, nn.Parameter(torch.ones(shape), requires_grad=False))
        case _:
            module.register_buffer(name, torch.ones(shape), persistent=kind == "persistent")


@st.composite
def models(draw: st.DrawFn, depth: int = 2) -> nn.Module:
    """A tree of modules and containers with parameters and buffers in them."""
    module = draw(st.sampled_from((nn.Module, nn.Sequential, nn.ModuleList)))()
    kinds = st.sampled_from(("parameter", "frozen", "persistent", "non-persistent"))
    for name, kind in draw(st.dictionaries(NAMES, kinds, max_size=3)).items():
        register(module, name, kind)
    if depth:
        for position, child in enumerate(draw(st.lists(models(depth=depth - 1), max_size=2))):
            module.add_module(str(position), child)
    return module


@settings(max_examples=60, deadline=None)
@given(models())
def test_a_model_whose_tensors_are_all_registered_has_no_finding(model: nn.Module) -> None:
    assert [] == brief(scan(model, "m"))


@settings(max_examples=60, deadline=None)
@given(models(), st.sampled_from(sorted(HIDING)), st.data())
def test_hiding_any_one_tensor_is_exactly_one_finding(model: nn.Module, hiding: str, data: st.DataObject) -> None:
    owners = [
        (module, table, name)
        for module in model.modules()
        for table in (module._parameters, module._buffers)
        for name in table
    ]
    if not owners:
        return
    module, table, name = data.draw(st.sampled_from(owners))
    tensor = table.pop(name)
    module._non_persistent_buffers_set.discard(name)
    module.__dict__[name] = HIDING[hiding](tensor)  # not by setattr, which would register a Parameter again
    (found,) = brief(scan(model, "m"), "BUF0")
    assert "error" == found[1]
