"""Laws on generated models: registering everything hides nothing, and hiding one tensor shows exactly that one."""

from __future__ import annotations

import copy

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import moved_by_to, unregistered
from torch import nn

KINDS = ("parameter", "buffer", "transient", "linear", "norm")
plans = st.recursive(
    st.lists(st.sampled_from(KINDS), max_size=3),
    lambda inner: st.lists(st.one_of(st.sampled_from(KINDS), inner), max_size=3),
    max_leaves=8,
)


def build(plan: list[object]) -> nn.Module:
    module = nn.Module()
    for index, kind in enumerate(plan):
        name = f"n{index}"
        match kind:
            case "parameter":
                module.register_parameter(name, nn.Parameter(torch.ones(2)))
            case "buffer" | "transient":
                module.register_buffer(name, torch.ones(2), persistent=kind == "buffer")
            case "linear":
                module.register_module(name, nn.Linear(1, 1))
            case "norm":
                module.register_module(name, nn.BatchNorm1d(1))
            case list():
                module.register_module(name, build(kind))
    return module


def hide(module: nn.Module, name: str, how: str) -> None:
    """Take a registered tensor out of its module and hold it in another way."""
    owner_name, _, attribute = name.rpartition(".")
    owner = module.get_submodule(owner_name)
    table = owner._parameters if attribute in owner._parameters else owner._buffers
    tensor = table.pop(attribute)
    owner._non_persistent_buffers_set.discard(attribute)
    owner.__dict__[attribute] = {"plain": tensor, "list": [tensor], "dict": {"k": tensor}}[how]


@given(plan=plans)
@settings(max_examples=60, deadline=None)
def test_a_model_that_registers_everything_has_nothing_unregistered(plan: list[object]) -> None:
    assert {} == unregistered(build(plan))


@given(plan=plans, how=st.sampled_from(["plain", "list", "dict"]), data=st.data())
@settings(max_examples=60, deadline=None)
def test_hiding_any_one_tensor_shows_exactly_one(plan: list[object], how: str, data: st.DataObject) -> None:
    model = build(plan)
    names = [name for name, _ in (*model.named_parameters(), *model.named_buffers())]
    if not names:
        return
    hidden = data.draw(st.sampled_from(names))
    hide(model, hidden, how)
    found = unregistered(model)
    assert 1 == len(found)
    suffix = {"plain": "", "list": "[0]", "dict": "['k']"}[how]
    assert hidden.replace(".", "") + suffix == next(iter(found)).replace(".", "")
    said, did = moved_by_to(copy.deepcopy(model))
    assert did == said
