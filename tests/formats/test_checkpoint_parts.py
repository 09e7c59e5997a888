"""Which parts of a checkpoint are models, under which names, and what beside them is training state."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from bufscan.bytesource import FileSource
from bufscan.formats.reading import read_file

if TYPE_CHECKING:
    from pathlib import Path

    from bufscan.inventory import Inventory


class Gate(nn.Module):
    """A model without submodules, and without a name that tells one."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.ones(3))
        self.register_buffer("steps", torch.zeros(2))


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))


def plain(module: nn.Module) -> dict[str, Any]:
    """What is left of a state_dict that was copied: it has no `_metadata`."""
    return dict(module.state_dict())


def read(obj: Any, path: Path) -> Inventory:
    torch.save(obj, path)
    with FileSource(path) as source:
        return read_file(source, path.name)


def roles_by_section(inventory: Inventory) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for tensor in inventory.tensors:
        found.setdefault(tensor.section, set()).add(tensor.role)
    return found


# One object under several names.

SHARED = {
    "a state_dict": (lambda one: {"model": one, "ema": one}, model().state_dict(), ["model", "ema"]),
    "a state_dict in a list": (lambda one: [one, one], model().state_dict(), ["[0]", "[1]"]),
    "a plain dict": (lambda one: {"params": one, "params_ema": one}, plain(model()), ["params", "params_ema"]),
    "a module": (lambda one: {"model": one, "ema": one}, model(), ["model", "ema"]),
}


@pytest.mark.parametrize(("make", "one", "sections"), SHARED.values(), ids=SHARED)
def test_one_object_under_two_names_is_two_sections(
    make: Any, one: Any, sections: list[str], tmp_path: Path
) -> None:
    inventory = read(make(one), tmp_path / "ckpt.pt")
    assert dict.fromkeys(sections, 7) == Counter(tensor.section for tensor in inventory.tensors)
    assert inventory.stored_bytes == sum({t.storage: t.stored_bytes for t in inventory.tensors}.values())
    assert () == inventory.skipped


def test_one_optimizer_under_two_names_is_shown_under_both(tmp_path: Path) -> None:
    optimizer = trained(net := model(), torch.optim.Adam(net.parameters())).state_dict()
    inventory = read({"model": net.state_dict(), "last": optimizer, "best": optimizer}, tmp_path / "ckpt.pt")
    assert {"model": 7, "last": 12, "best": 12} == Counter(tensor.section for tensor in inventory.tensors)


def test_what_several_optimizers_share_is_in_each_of_them(tmp_path: Path) -> None:
    optimizer = trained(net := model(), torch.optim.Adam(net.parameters())).state_dict()
    inventory = read({"last": optimizer, "best": {**optimizer}}, tmp_path / "ckpt.pt")
    assert {"last": 12, "best": 12} == Counter(tensor.section for tensor in inventory.tensors)


def test_of_another_object_under_two_names_it_is_said(tmp_path: Path) -> None:
    history = [torch.ones(2), torch.ones(3)]
    inventory = read({"history": history, "log": history, "words": [["a"]] * 2}, tmp_path / "ckpt.pt")
    assert ["history[0]", "history[1]"] == [tensor.name for tensor in inventory.tensors]
    assert [("log", False)] == [(skipped.what, skipped.failed) for skipped in inventory.skipped]


def test_many_names_of_one_object_are_bounded(tmp_path: Path) -> None:
    inventory = read([model().state_dict()] * 1000, tmp_path / "ckpt.pt")
    assert 101 * 7 == len(inventory.tensors)
    assert ["further names of the same objects"] == [skipped.what for skipped in inventory.skipped]


def test_an_object_that_refers_back_to_the_model_is_no_second_one(tmp_path: Path) -> None:
    net = model()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer := torch.optim.SGD(net.parameters()), 3)
    del scheduler.optimizer.step  # a wrapper that cannot be pickled
    inventory = read({"optimizer": optimizer, "scheduler": scheduler}, tmp_path / "ckpt.pt")
    assert {"optimizer"} == {tensor.section for tensor in inventory.tensors}
    assert () == inventory.skipped


# Training state beside a model.


def trained(net: nn.Module, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    net(torch.randn(4, 2)).sum().backward()
    optimizer.step()
    return optimizer


def test_an_optimizer_saved_whole_reads_like_its_state_dict(tmp_path: Path) -> None:
    optimizer = trained(net := model(), torch.optim.AdamW(net.parameters(), lr=0.1))
    whole = read({"model": net.state_dict(), "optimizer": optimizer}, tmp_path / "whole.pt")
    state = read({"model": net.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "state.pt")
    assert state.optimizers == whole.optimizers
    parameters = {f"param_groups[0]['params'][{i}]" for i in range(4)}
    names = {tensor.name for tensor in whole.tensors if tensor.section == "optimizer"}
    assert {tensor.name for tensor in state.tensors if tensor.section == "optimizer"} | parameters == names
    assert {"training_state"} == roles_by_section(whole)["optimizer"]


def test_an_optimizer_that_was_never_stepped_is_one_too(tmp_path: Path) -> None:
    net = model()
    inventory = read({"model": net.state_dict(), "opt": torch.optim.Adam(net.parameters())}, tmp_path / "ckpt.pt")
    assert {"training_state"} == roles_by_section(inventory)["opt"]
    assert ((None,) * 4,) == tuple(group.shapes for group in inventory.optimizers[0].groups)


LOOSE = {
    "metrics": {"metrics": {"acc": torch.tensor(0.9)}},
    "logged by their place": {"log": {"train.loss": torch.tensor(0.9), "val.loss": torch.tensor(0.8)}},
    "paths": {"callbacks": {"checkpoint": {"best_k_models": {"/runs/epoch=1-v1.ckpt": torch.ones(1)}}}},
    "hyperparameters": {"hyper_parameters": {"w": torch.ones(2)}},
    "a sampler": {"sampler": {"perm": torch.arange(4)}},
    "by number": {"prototypes": {0: torch.ones(2), 1: torch.ones(2)}},
    "norms of the gradients": {"norms": {"gate": torch.tensor(1.0), "steps": torch.tensor(0.0)}},
}


@pytest.mark.parametrize("beside", LOOSE.values(), ids=LOOSE)
@pytest.mark.parametrize(
    "make",
    [lambda: model().state_dict(), lambda: plain(model()), model],
    ids=["state_dict", "plain dict", "module"],
)
def test_a_dict_of_loose_tensors_beside_a_model_is_training_state(
    make: Any, beside: dict[str, Any], tmp_path: Path
) -> None:
    inventory = read({**beside, "model": make()}, tmp_path / "ckpt.pt")
    assert {"training_state"} == {tensor.role for tensor in inventory.tensors if tensor.section != "model"}
    assert 7 == sum(tensor.section == "model" for tensor in inventory.tensors)


MODELS = {
    "an average of a model": {"model": model().state_dict(), "ema": plain(model())},
    "an average of a model without submodules": {"model": Gate().state_dict(), "ema": plain(Gate())},
    "one that counts its updates": {
        "model": Gate().state_dict(),
        "ema": {**plain(Gate()), "decay": torch.tensor(0.9)},
    },
    "another model": {"model": Gate().state_dict(), "critic": plain(model())},
    "another of one layer": {"model": model().state_dict(), "head": plain(nn.Linear(2, 2))},
    "an adapter": {"model": model().state_dict(), "lora": {"layers.0.lora_A": torch.ones(2)}},
    "two plain dicts": {"params": plain(Gate()), "params_ema": plain(Gate())},
    "named Parameters": {"model": model().state_dict(), "prompt": dict(Gate().named_parameters())},
    "with an extra state": {"model": plain(model()), "ema": {**plain(model()), "_extra_state": None}},
}


@pytest.mark.parametrize("checkpoint", MODELS.values(), ids=MODELS)
def test_a_plain_dict_that_looks_like_a_model_is_one(checkpoint: dict[str, Any], tmp_path: Path) -> None:
    inventory = read(checkpoint, tmp_path / "ckpt.pt")
    assert list(checkpoint) == list(roles_by_section(inventory))
    assert "training_state" not in {tensor.role for tensor in inventory.tensors}


def test_a_dict_of_tensors_that_is_alone_is_a_state_dict(tmp_path: Path) -> None:
    inventory = read({"epoch": 3, "latents": {"a b": torch.tensor(1.0)}}, tmp_path / "ckpt.pt")
    assert {"latents": {"parameter"}} == roles_by_section(inventory)


def test_of_dicts_without_a_name_that_tells_those_of_scalars_are_logs(tmp_path: Path) -> None:
    inventory = read({"net": {"w": torch.ones(2)}, "metrics": {"acc": torch.tensor(0.9)}}, tmp_path / "ckpt.pt")
    assert {"net": {"parameter"}, "metrics": {"training_state"}} == roles_by_section(inventory)


# Names.


def test_keys_are_spelled_as_python_writes_them(tmp_path: Path) -> None:
    keys = [1.5, None, True, ("a", 1), ("a",), -2, "text"]
    inventory = read(OrderedDict((key, torch.ones(1)) for key in keys), tmp_path / "keys.pt")
    assert ["[1.5]", "[None]", "[True]", "[('a', 1)]", "[('a',)]", "[-2]", "text"] == [
        tensor.name for tensor in inventory.tensors
    ]


def test_keys_that_cannot_be_spelled_are_told_apart_by_their_place(tmp_path: Path) -> None:
    keys = [float("nan"), float("nan"), ("a" * 300,), torch.float32, tuple(range(9)), (("a",),), 1 << 70]
    inventory = read({key: torch.ones(1) for key in keys}, tmp_path / "keys.pt")
    assert [f"[key {position}]" for position in range(len(keys))] == [tensor.name for tensor in inventory.tensors]


def test_loose_tensors_are_told_apart_by_their_keys(tmp_path: Path) -> None:
    cache = {("a", 1): torch.ones(1), 1.5: torch.ones(1), torch.float32: torch.ones(1), "words": "text"}
    inventory = read({"model": model().state_dict(), "cache": cache}, tmp_path / "ckpt.pt")
    assert ["cache[('a', 1)]", "cache[1.5]", "list(cache.values())[2]"] == [
        tensor.path if tensor.section == "" else f"{tensor.section}{tensor.name}"
        for tensor in inventory.tensors
        if tensor.role == "training_state"
    ]


def test_names_in_an_optimizer_begin_at_its_section_however_deep_that_is(tmp_path: Path) -> None:
    state = trained(net := model(), torch.optim.SGD(net.parameters(), momentum=0.9)).state_dict()
    inventory = read({"optimizer": state, "states": [{**state}]}, tmp_path / "ckpt.pt")
    names: dict[str, list[str]] = {"optimizer": [], "states[0]": []}
    for tensor in inventory.tensors:
        names[tensor.section].append(tensor.name)
    assert "state[0]['momentum_buffer']" == names["optimizer"][0]
    assert names["optimizer"] == names["states[0]"]


# Tensors in no dict of their own.


def test_loose_tensors_are_assumed_where_nothing_is_surely_a_model(tmp_path: Path) -> None:
    one = torch.ones(2)
    inventory = read({0: {"w": one}, ("a", 2): one.clone(), None: one[:1], "list": [one * 2]}, tmp_path / "odd.pt")

    assert {("parameter", "assumed")} == {(tensor.role, tensor.certainty) for tensor in inventory.tensors}


@pytest.mark.parametrize("beside", ["a state_dict", "names of modules", "a key for models", "an optimizer"])
def test_loose_tensors_beside_what_is_surely_a_model_are_training_state(tmp_path: Path, beside: str) -> None:
    one = torch.ones(2)
    parts: dict[str, dict[str, Any]] = {
        "a state_dict": {"m": Gate().state_dict()},
        "names of modules": {"m": {"fc.weight": torch.ones(2, 2)}},
        "a key for models": {"state_dict": {"w": one}},
        "an optimizer": {"o": torch.optim.SGD([nn.Parameter(one)], momentum=0.9).state_dict()},
    }
    inventory = read({**parts[beside], "list": [torch.zeros(2)]}, tmp_path / "beside.pt")
    (loose,) = (tensor for tensor in inventory.tensors if tensor.name == "list[0]")

    assert ("training_state", "inferred") == (loose.role, loose.certainty)


def test_a_log_beside_what_may_be_a_model_is_no_more_than_assumed(tmp_path: Path) -> None:
    inventory = read({"x": {"alpha": torch.ones(2)}, "log": {"loss": torch.tensor(3.0)}}, tmp_path / "log.pt")

    assert {"assumed"} == {tensor.certainty for tensor in inventory.tensors}
