"""Laws on generated models full of equal shapes: what is inferred is right, and deciding twice changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from role_inventories import entries, optimizer, tree, true_roles
from torch import nn

from bufscan.inventory import Inventory
from bufscan.roles import decide

if TYPE_CHECKING:
    from bufscan.inventory import Tensor

SHAPES = ((2,), (2, 2), ())
KINDS = ("parameter", "parameter", "buffer", "counter", "norm", "tied")


@st.composite
def models(draw: st.DrawFn, prefix: str) -> nn.Module:
    first = nn.Parameter(torch.zeros(2, 2))

    def build(depth: int) -> nn.Module:
        module = nn.Module()
        for index, kind in enumerate(draw(st.lists(st.sampled_from(KINDS), max_size=4))):
            shape = draw(st.sampled_from(SHAPES))
            match kind:
                case "parameter":
                    module.register_parameter(f"{prefix}{index}", nn.Parameter(torch.zeros(shape)))
                case "buffer":
                    module.register_buffer(f"{prefix}{index}", torch.zeros(shape))
                case "counter":
                    module.register_buffer(f"{prefix}{index}", torch.zeros(shape, dtype=torch.int64))
                case "norm":
                    module.add_module(f"{prefix}{index}", nn.BatchNorm1d(2))
                case "tied":
                    module.register_parameter(f"{prefix}{index}", first)
        for index in range(draw(st.integers(0, 2)) if depth else 0):
            module.add_module(f"m{index}", build(depth - 1))
        return module

    return build(2)


@st.composite
def checkpoints(draw: st.DrawFn) -> tuple[Inventory, dict[str, str]]:
    """One or two models and an optimizer of the first, with frozen, idle and regrouped parameters."""
    sections = draw(st.sampled_from([("",), ("model",), ("model", "other")]))
    # Other names for each: equal names and shapes would make them copies of one model.
    built = {section: draw(models(prefix)) for section, prefix in zip(sections, "no", strict=False)}
    truth = {name: role for section, model in built.items() for name, role in true_roles(model, section).items()}
    records: list[Tensor] = []
    trees = []
    for section, model in built.items():
        state = model.state_dict()
        match draw(st.sampled_from(["state_dict", "copied", "sorted", "reversed"])):
            case "state_dict":
                trees.append(tree(state, section))
                records += entries(state, section)
            case "copied":
                records += entries(state, section)
            case "sorted":
                records += entries(dict(sorted(state.items())), section)
            case "reversed":
                records += entries(dict(reversed(state.items())), section)
    groups: list[list[tuple[int, ...] | None]] = [[], []]
    for parameter in built[sections[0]].parameters():
        given_to = draw(st.sampled_from([0, 0, 0, 1, None]))
        if given_to is not None:
            idle = draw(st.sampled_from([False, False, False, True]))
            groups[given_to].append(None if idle else tuple(parameter.shape))
    inventory = Inventory(
        target="drawn",
        format=draw(st.sampled_from(["torch-zip", "safetensors"])),
        tensors=tuple(records),
        module_trees=tuple(trees),
        optimizers=(optimizer(*groups),) if draw(st.booleans()) else (),
    )
    return inventory, truth


@given(drawn=checkpoints())
@settings(max_examples=300, deadline=None)
def test_what_is_inferred_is_true(drawn: tuple[Inventory, dict[str, str]]) -> None:
    inventory, truth = drawn

    wrong = {
        tensor.path: tensor.evidence
        for tensor in decide(inventory).tensors
        if tensor.certainty != "assumed" and tensor.role != truth[tensor.path]
    }

    assert {} == wrong


@given(drawn=checkpoints())
@settings(max_examples=100, deadline=None)
def test_deciding_again_changes_nothing(drawn: tuple[Inventory, dict[str, str]]) -> None:
    decided = decide(drawn[0])

    assert decided == decide(decided)


@given(drawn=checkpoints(), data=st.data())
@settings(max_examples=100, deadline=None)
def test_what_the_artefact_states_is_kept(drawn: tuple[Inventory, dict[str, str]], data: st.DataObject) -> None:
    inventory, truth = drawn
    stated = [data.draw(st.booleans()) for _ in inventory.tensors]
    tensors = tuple(
        msgspec.structs.replace(tensor, role=truth[tensor.path], certainty="exact", evidence="stated")
        if exact
        else tensor
        for tensor, exact in zip(inventory.tensors, stated, strict=True)
    )

    decided = decide(msgspec.structs.replace(inventory, tensors=tensors)).tensors

    assert [t for t, exact in zip(tensors, stated, strict=True) if exact] == [
        t for t, exact in zip(decided, stated, strict=True) if exact
    ]
    assert {} == {t.path: t.evidence for t in decided if t.certainty != "assumed" and t.role != truth[t.path]}


@given(drawn=checkpoints())
@settings(max_examples=100, deadline=None)
def test_only_the_role_and_what_follows_from_it_changes(drawn: tuple[Inventory, dict[str, str]]) -> None:
    inventory, _ = drawn
    changed = ("role", "certainty", "evidence", "saved", "moves", "trains")

    def kept(tensor: Tensor) -> dict[str, object]:
        return {key: value for key, value in msgspec.structs.asdict(tensor).items() if key not in changed}

    assert [kept(tensor) for tensor in inventory.tensors] == [kept(tensor) for tensor in decide(inventory).tensors]
