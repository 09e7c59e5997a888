"""What a checkpoint is made of: state_dicts, whole modules, optimizers, and loose tensors between them."""

from __future__ import annotations

import argparse
from collections import OrderedDict
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from bufscan.bytesource import FileSource
from bufscan.formats.reading import read_file

if TYPE_CHECKING:
    from pathlib import Path

    from bufscan.inventory import Inventory


class Net(nn.Module):
    """One of everything a module can hold."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(4, 3)
        self.bn = nn.BatchNorm1d(3)
        self.head = nn.Linear(4, 3, bias=False)
        self.head.weight = self.lin.weight
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
        self.register_buffer("scale", torch.ones(1))
        self.register_buffer("mask", torch.ones(2), persistent=False)
        self.register_buffer("nothing", None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(self.lin(x)) * self.scale


def read(obj: Any, path: Path, **options: Any) -> Inventory:
    torch.save(obj, path, **options)
    with FileSource(path) as source:
        return read_file(source, path.name)


def roles(inventory: Inventory) -> dict[str, str]:
    return {tensor.path: tensor.role for tensor in inventory.tensors}


def truth_of(module: nn.Module) -> dict[str, str]:
    """What registration made of every entry, tied names included."""
    saved = set(module.state_dict())
    truth = {name: "parameter" for name, _ in module.named_parameters(remove_duplicate=False)}
    for name, _ in module.named_buffers(remove_duplicate=False):
        truth[name] = "persistent_buffer" if name in saved else "non_persistent_buffer"
    return truth


def trained(module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    module(torch.randn(6, 4)).sum().backward()
    optimizer.step()


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_whole_module_states_every_role(tmp_path: Path, legacy: bool) -> None:
    net = Net()
    inventory = read(net, tmp_path / "net.pt", _use_new_zipfile_serialization=not legacy)
    assert truth_of(net) == roles(inventory)
    assert {"exact"} == {tensor.certainty for tensor in inventory.tensors}
    assert {"head.weight": "lin.weight"} == {t.name: t.alias_of for t in inventory.tensors if t.alias_of}
    assert f"{__name__}.Net" in inventory.globals
    assert (f"the file is a whole module, {__name__}.Net",) == inventory.notes


class Faulty(Net):
    """The same with every way of holding a tensor without registering it."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = torch.zeros(7)
        self.steps = [torch.zeros(2), nn.Parameter(torch.zeros(2))]
        self.cache = {"k": torch.zeros(3), 4: (torch.zeros(1),)}
        self.prior = SimpleNamespace(loc=torch.zeros(5))
        self.hidden = [nn.Linear(2, 2), nn.Sequential(nn.BatchNorm1d(2))]
        self.alias = self.scale
        self.view = self.scale.view(1, 1)


def test_a_whole_module_shows_what_was_never_registered(tmp_path: Path) -> None:
    inventory = read(Faulty(), tmp_path / "faulty.pt")
    unregistered = {t.name: t.holding for t in inventory.tensors if t.role == "unregistered"}
    assert {
        "plain": "attribute",
        "steps[0]": "container",
        "steps[1]": "container",
        "cache['k']": "container",
        "cache[4][0]": "container",
        "prior.loc": "object",
        "hidden[0].weight": "hidden_module",
        "hidden[0].bias": "hidden_module",
        "hidden[1][0].weight": "hidden_module",
        "hidden[1][0].bias": "hidden_module",
        "hidden[1][0].running_mean": "hidden_module",
        "hidden[1][0].running_var": "hidden_module",
        "hidden[1][0].num_batches_tracked": "hidden_module",
        "alias": "stale_alias",
        "view": "stale_alias",
    } == unregistered
    assert {"alias": "scale", "view": "scale"} == {
        t.name: t.alias_of for t in inventory.tensors if t.holding == "stale_alias"
    }
    holders = {t.name.partition("]")[0]: t.holder for t in inventory.tensors if t.holding == "hidden_module"}
    assert {"hidden[0": "hidden[0]", "hidden[1": "hidden[1]"} == holders
    registered = {name: role for name, role in roles(inventory).items() if role != "unregistered"}
    assert truth_of(Faulty()) == registered
    assert "parameter" == next(t.declared for t in inventory.tensors if t.name == "steps[1]")


class Parental(nn.Module):
    """References that hide nothing: to the parent, to registered Parameters, to an optimizer."""

    def __init__(self) -> None:
        super().__init__()
        self.child = nn.Linear(2, 2)
        self.child.__dict__["parent"] = self
        self.trainable = list(self.child.parameters())
        self.rnn = nn.LSTM(2, 2)
        self.optimizer = torch.optim.Adam(self.child.parameters())
        self.child(torch.ones(1, 2)).sum().backward()
        self.optimizer.step()


def test_second_references_to_registered_things_are_nothing_unregistered(tmp_path: Path) -> None:
    inventory = read(Parental(), tmp_path / "parental.pt")
    assert [] == [tensor.name for tensor in inventory.tensors if tensor.role == "unregistered"]
    assert {"training_state": 6} == {
        role: total.tensors for role, total in inventory.totals().items() if role == "training_state"
    }


def test_a_shared_submodule_is_listed_under_both_names(tmp_path: Path) -> None:
    shared = nn.Linear(2, 2)
    net = nn.ModuleDict({"a": shared, "b": nn.Sequential(shared)})
    inventory = read(net, tmp_path / "shared.pt")
    assert list(net.state_dict()) == [tensor.name for tensor in inventory.tensors]
    assert {"b.0.weight": "a.weight", "b.0.bias": "a.bias"} == {
        t.name: t.alias_of for t in inventory.tensors if t.alias_of
    }


def test_a_state_dict_is_read_in_its_order_with_its_module_tree(tmp_path: Path) -> None:
    net = Net()
    inventory = read(net.state_dict(), tmp_path / "sd.pt")
    assert list(net.state_dict()) == [tensor.name for tensor in inventory.tensors]
    assert {"assumed"} == {tensor.certainty for tensor in inventory.tensors}
    assert {None} == {tensor.requires_grad for tensor in inventory.tensors}
    (tree,) = inventory.module_trees
    assert {"": 1, "lin": 1, "bn": 2, "head": 1} == tree.versions


def test_a_state_dict_that_keeps_its_parameters_tells_them_from_buffers(tmp_path: Path) -> None:
    net = Net()
    inventory = read(net.state_dict(keep_vars=True), tmp_path / "kept.pt")
    expected = {name: role for name, role in truth_of(net).items() if role != "non_persistent_buffer"}
    assert expected == roles(inventory)
    assert {("parameter", "exact"), ("persistent_buffer", "inferred")} == {
        (tensor.role, tensor.certainty) for tensor in inventory.tensors
    }
    assert {"frozen": False} == {
        t.name: t.trains for t in inventory.tensors if t.role == "parameter" and not t.trains
    }


def test_one_parameter_in_a_detached_state_dict_proves_nothing_of_the_others(tmp_path: Path) -> None:
    state = Net().state_dict()
    state["lin.codes"] = nn.Parameter(torch.zeros(2, dtype=torch.uint8), requires_grad=False)
    inventory = read(state, tmp_path / "quantised.pt")
    assert {"lin.codes"} == {tensor.name for tensor in inventory.tensors if tensor.certainty != "assumed"}


def test_a_parameter_in_an_object_does_not_tell_that_the_others_were_kept(tmp_path: Path) -> None:
    state = nn.Sequential(nn.LayerNorm(3)).state_dict()
    state |= {"0.packed": (torch.ones(2), nn.Parameter(torch.ones(3))), "0.scale": torch.ones(())}
    inventory = read(state, tmp_path / "packed.pt")
    assert {"0.packed[0]", "0.packed[1]"} == {t.name for t in inventory.tensors if t.certainty != "assumed"}


@pytest.mark.parametrize("make", [lambda net: dict(net.named_parameters()), lambda net: list(net.parameters())])
def test_a_collection_of_parameters_holds_parameters(tmp_path: Path, make: Any) -> None:
    inventory = read(make(Net()), tmp_path / "parameters.pt")
    assert {("parameter", "exact")} == {(tensor.role, tensor.certainty) for tensor in inventory.tensors}
    assert 5 == len(inventory.tensors)


def test_a_training_checkpoint_falls_into_its_sections(tmp_path: Path) -> None:
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters())
    trained(net, optimizer)
    checkpoint = {
        "epoch": 3,
        "model": net.state_dict(),
        "ema": OrderedDict(net.state_dict()),
        "optimizer": optimizer.state_dict(),
        "scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 3).state_dict(),
        "rng_state": torch.get_rng_state(),
        "rng_states": {"cpu": torch.get_rng_state()},
        "best": torch.tensor(0.5),
        "args": argparse.Namespace(lr=0.1, weights=torch.ones(2)),
    }
    inventory = read(checkpoint, tmp_path / "ckpt.pt")
    by_section: dict[str, set[str]] = {}
    for tensor in inventory.tensors:
        by_section.setdefault(tensor.section, set()).add(tensor.role)
    assert {
        "model": {"parameter"},
        "ema": {"parameter"},
        "optimizer": {"training_state"},
        "rng_states": {"training_state"},
        "": {"training_state"},
    } == by_section
    names = {tensor.name for tensor in inventory.tensors if not tensor.section}
    assert {"rng_state", "best", "args.weights"} == names
    assert "state[1]['exp_avg']" in {t.name for t in inventory.tensors if t.section == "optimizer"}


def test_an_optimizer_shows_the_shapes_of_its_parameters_in_order(tmp_path: Path) -> None:
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters())
    trained(net, optimizer)
    inventory = read({"model": net.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "ckpt.pt")
    (evidence,) = inventory.optimizers
    (group,) = evidence.groups
    # The frozen parameter comes first and never had a gradient, so no state shows its shape.
    assert (None, (3, 4), (3,), (3,), (3,)) == group.shapes
    assert group.names is None


def test_an_optimizer_that_was_given_names_keeps_them(tmp_path: Path) -> None:
    net = Net()
    optimizer = torch.optim.SGD(net.named_parameters(), momentum=0.9)
    trained(net, optimizer)
    inventory = read({"model": net.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "ckpt.pt")
    (group,) = inventory.optimizers[0].groups
    assert tuple(name for name, _ in net.named_parameters()) == group.names


def test_optimizers_in_a_list_are_sections_of_their_own(tmp_path: Path) -> None:
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), momentum=0.9)
    trained(net, optimizer)
    lightning = {"state_dict": net.state_dict(), "optimizer_states": [optimizer.state_dict()], "loops": {"a": {}}}
    inventory = read(lightning, tmp_path / "lightning.ckpt")
    assert {"state_dict", "optimizer_states[0]"} == {tensor.section for tensor in inventory.tensors}


def test_deepspeed_lists_its_buffers(tmp_path: Path) -> None:
    net = Net()
    saved = {
        "module": dict(net.state_dict()),
        "buffer_names": ["scale", *(f"bn.{n}" for n, _ in net.bn.named_buffers())],
    }
    inventory = read(saved, tmp_path / "mp_rank_00_model_states.pt")
    expected = {f"module.{n}": r for n, r in truth_of(net).items() if r != "non_persistent_buffer"}
    assert expected == roles(inventory)
    assert {"exact"} == {tensor.certainty for tensor in inventory.tensors}


class Extra(nn.Linear):
    def get_extra_state(self) -> Any:
        return {"seen": 3, "table": torch.ones(2), "deep": [torch.zeros(1)]}


def test_tensors_in_an_extra_state_are_no_entries_of_a_module(tmp_path: Path) -> None:
    inventory = read(nn.Sequential(Extra(2, 2)).state_dict(), tmp_path / "extra.pt")
    extra = {t.name: (t.role, t.certainty, t.saved) for t in inventory.tensors if "_extra_state" in t.name}
    assert {
        "0._extra_state['table']": ("unregistered", "inferred", True),
        "0._extra_state['deep'][0]": ("unregistered", "inferred", True),
    } == extra


def test_a_module_beside_other_things_is_a_section(tmp_path: Path) -> None:
    net = Net()
    inventory = read({"model": net, "epoch": 3, "threshold": torch.tensor(0.5)}, tmp_path / "ckpt.pt")
    expected = {f"model.{name}": role for name, role in truth_of(net).items()}
    assert {**expected, "threshold": "training_state"} == roles(inventory)


def test_a_single_tensor_is_read_too(tmp_path: Path) -> None:
    (tensor,) = read(torch.ones(3), tmp_path / "one.pt").tensors
    assert ("", (3,), "parameter", "assumed") == (tensor.name, tensor.shape, tensor.role, tensor.certainty)


def test_a_mixed_mapping_without_a_model_is_read_as_entries(tmp_path: Path) -> None:
    inventory = read(
        {"emb": torch.ones(3), "words": ["a", "b"], "nested": {"x": torch.ones(1), "y": 1}}, tmp_path / "m.pt"
    )
    assert {"emb": "parameter", "nested.x": "parameter"} == roles(inventory)


def test_a_checkpoint_without_tensors_is_empty_and_no_error(tmp_path: Path) -> None:
    assert () == read({"epoch": 3, "name": "x"}, tmp_path / "empty.pt").tensors


def test_reading_twice_gives_the_same_inventory(tmp_path: Path) -> None:
    path = tmp_path / "faulty.pt"
    first = read(Faulty(), path)
    with FileSource(path) as source:
        assert first == read_file(source, path.name)
