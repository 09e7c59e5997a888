"""Checkpoints that torch writes, joined to live models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from bufscan.inspecting import inspect
from bufscan.inventory import Inventory, Join, Mismatch, ModuleTree, Tensor
from bufscan.joining.fit import join
from bufscan.joining.names import Renaming
from bufscan.live.building.huggingface import Converted
from bufscan.live.scanning import scan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

State = dict[str, Any]


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc = nn.Linear(width, width)
        self.norm = nn.BatchNorm1d(width)
        self.register_buffer("mask", torch.ones(width))
        self.register_buffer("scratch", torch.ones(width), persistent=False)
        self.plain = torch.ones(width)


class Net(nn.Module):
    def __init__(self, width: int = 4, depth: int = 2) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.head = nn.Linear(width, 7, bias=False)


class Tied(Net):
    def __init__(self) -> None:
        super().__init__()
        self.head.weight = self.embed.weight


class Holder(nn.Module):
    """Holds a model under any name, as wrappers do."""

    def __init__(self, name: str, inner: nn.Module) -> None:
        super().__init__()
        self.add_module(name, inner)


class TransientMask(Net):
    def __init__(self) -> None:
        super().__init__()
        for block in self.blocks:
            block.register_buffer("mask", torch.ones(4), persistent=False)


def joined(path: Path, saved: Any, model: nn.Module) -> Inventory:
    torch.save(saved, path / "model.pt")
    return join(inspect(str(path / "model.pt")), scan(model, "pkg:Net"))


def only_join(inventory: Inventory) -> Join:
    (found,) = inventory.joins
    return found


def roles(inventory: Inventory, section: str = "") -> dict[str, str]:
    return {tensor.name: tensor.role for tensor in inventory.tensors if tensor.section == section}


def true_roles(model: nn.Module) -> dict[str, str]:
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    return {name: "parameter" if name in parameters else "persistent_buffer" for name in model.state_dict()}


def is_perfect(found: Join) -> bool:
    lacks = found.missing or found.missing_extra_states
    return not (lacks or found.unexpected or found.saved_non_persistent or found.mismatched or found.tied)


def test_entries_get_the_roles_of_the_model_as_exact(tmp_path: Path) -> None:
    inventory = joined(tmp_path, dict(Net().state_dict()), Net())
    assert true_roles(Net()) == roles(inventory)
    assert {("exact", "model: pkg:Net")} == {(tensor.certainty, tensor.evidence) for tensor in inventory.tensors}
    assert is_perfect(only_join(inventory))
    assert len(Net().state_dict()) == only_join(inventory).matched


def test_facts_are_those_measured_on_the_model(tmp_path: Path) -> None:
    model = Net()
    model.embed.weight.requires_grad_(False)
    by_name = {tensor.name: tensor for tensor in joined(tmp_path, model.state_dict(), model).tensors}
    frozen, mask = by_name["embed.weight"], by_name["blocks.0.mask"]
    assert (True, True, False) == (frozen.saved, frozen.moves, frozen.trains)
    assert ("persistent_buffer", True, True, False) == (mask.role, mask.saved, mask.moves, mask.trains)
    assert by_name["head.weight"].trains


def test_a_model_on_the_meta_device_will_do(tmp_path: Path) -> None:
    with torch.device("meta"):
        model = Net()
    inventory = joined(tmp_path, Net().state_dict(), model)
    assert true_roles(Net()) == roles(inventory)
    assert is_perfect(only_join(inventory))


def test_what_the_model_holds_and_never_saves_is_noted(tmp_path: Path) -> None:
    model = Net()
    model.pe = torch.ones(3)
    inventory = joined(tmp_path, Net().state_dict(), model)
    lost = "the model also holds what no checkpoint of it has, unregistered: "
    assert f"{lost}`pe`, `blocks.0.plain`, `blocks.1.plain`" == inventory.notes[-1]
    assert is_perfect(only_join(inventory))


def test_what_the_checkpoint_says_of_its_bytes_stays(tmp_path: Path) -> None:
    torch.save(Net().state_dict(), tmp_path / "model.pt")
    read = inspect(str(tmp_path / "model.pt"))
    found = join(read, scan(Net(), "pkg:Net"))
    assert read.storages == found.storages
    kept = ("name", "shape", "dtype", "device", "stride", "storage", "stored_bytes", "requires_grad", "alias_of")
    for before, after in zip(read.tensors, found.tensors, strict=True):
        assert [getattr(before, field) for field in kept] == [getattr(after, field) for field in kept]


def test_missing_entries_are_the_models_records(tmp_path: Path) -> None:
    state = Net().state_dict()
    del state["blocks.1.mask"], state["head.weight"]
    found = only_join(joined(tmp_path, state, Net()))
    assert [("blocks.1.mask", "persistent_buffer", (4,)), ("head.weight", "parameter", (7, 4))] == [
        (tensor.name, tensor.role, tensor.shape) for tensor in found.missing
    ]


def test_unexpected_entries_keep_what_the_checkpoint_says_of_them(tmp_path: Path) -> None:
    state = dict(Net().state_dict(), **{"old.running_mean": torch.ones(2), "old.weight": torch.ones(2)})
    torch.save(state, tmp_path / "model.pt")
    read = {tensor.name: tensor for tensor in inspect(str(tmp_path / "model.pt")).tensors}
    inventory = joined(tmp_path, state, Net())
    assert ("old.running_mean", "old.weight") == only_join(inventory).unexpected
    assert [read["old.running_mean"], read["old.weight"]] == [
        tensor for tensor in inventory.tensors if tensor.name.startswith("old")
    ]


def test_a_tensor_that_the_model_holds_without_registering_it_is_unexpected(tmp_path: Path) -> None:
    state = dict(Net().state_dict(), **{"blocks.0.plain": torch.ones(4)})
    model = Holder("blocks", nn.Sequential(Block(4)))
    state = {name: value for name, value in state.items() if name.startswith("blocks.0")}
    assert ("blocks.0.plain",) == only_join(joined(tmp_path, state, model)).unexpected


def test_a_plain_attribute_of_that_name_makes_the_entry_unregistered(tmp_path: Path) -> None:
    state = dict(Block(4).state_dict(), plain=torch.ones(4))
    inventory = joined(tmp_path, state, Block(4))
    entry = next(tensor for tensor in inventory.tensors if tensor.name == "plain")
    assert ("unregistered", "exact", "model: pkg:Net") == (entry.role, entry.certainty, entry.evidence)
    assert ("plain",) == only_join(inventory).unexpected


def test_a_non_persistent_buffer_that_was_saved_is_a_case_of_its_own(tmp_path: Path) -> None:
    inventory = joined(tmp_path, Net().state_dict(), TransientMask())
    found = only_join(inventory)
    assert ("blocks.0.mask", "blocks.1.mask") == found.saved_non_persistent
    assert () == found.unexpected
    assert "non_persistent_buffer" == roles(inventory)["blocks.0.mask"]


def test_what_a_pickled_module_holds_beside_its_state_dict_is_no_entry(tmp_path: Path) -> None:
    torch.save(Net(), tmp_path / "net.pt")
    checkpoint = inspect(str(tmp_path / "net.pt"))
    assert {"blocks.0.plain", "blocks.0.scratch"} <= {tensor.name for tensor in checkpoint.tensors}
    (found,) = join(checkpoint, scan(Net(), "net")).joins
    assert ((), ()) == (found.unexpected, found.saved_non_persistent)


def test_other_shapes_and_dtypes_are_mismatches(tmp_path: Path) -> None:
    state = Net().state_dict()
    state["head.weight"] = torch.ones(9, 4)
    state["embed.weight"] = torch.ones(7, 4, dtype=torch.float16)
    state["blocks.0.mask"] = torch.ones(5, dtype=torch.bool)
    assert (
        Mismatch(name="embed.weight", dtype=("float16", "float32")),
        Mismatch(name="blocks.0.mask", shape=((5,), (4,)), dtype=("bool", "float32")),
        Mismatch(name="head.weight", shape=((9, 4), (7, 4))),
    ) == only_join(joined(tmp_path, state, Net())).mismatched


def test_a_scalar_saved_as_a_vector_by_old_torch_is_no_mismatch(tmp_path: Path) -> None:
    model = nn.Module()
    model.register_parameter("scale", nn.Parameter(torch.tensor(1.0)))
    state = {"scale": torch.ones(1)}
    assert is_perfect(only_join(joined(tmp_path, state, model)))
    model.load_state_dict(state)


def test_an_uninitialised_parameter_mismatches_nothing(tmp_path: Path) -> None:
    found = only_join(joined(tmp_path, nn.Linear(3, 2).state_dict(), nn.LazyLinear(2)))
    assert is_perfect(found)
    assert 2 == found.matched


def test_extra_state_is_expected_where_the_model_writes_it(tmp_path: Path) -> None:
    class WithExtra(nn.Linear):
        def get_extra_state(self) -> torch.Tensor:
            return torch.ones(3)

        def set_extra_state(self, state: torch.Tensor) -> None:
            pass

    inventory = joined(tmp_path, WithExtra(2, 2).state_dict(), WithExtra(2, 2))
    assert is_perfect(only_join(inventory))
    assert "unregistered" == roles(inventory)["_extra_state"]


def with_state(value: Any) -> type[nn.Linear]:
    class WithState(nn.Linear):
        def get_extra_state(self) -> Any:
            return value

        def set_extra_state(self, state: Any) -> None:
            pass

    return WithState


STATES = {
    "none at all": nn.Linear,
    "None": with_state(None),
    "a tensor": with_state(torch.ones(3)),
    "tensors inside": with_state({"amax": torch.ones(2), "deep": [torch.ones(1)]}),
    "no tensor": with_state({"step": 3}),
}


@pytest.mark.parametrize("wrap", [lambda net: net, lambda net: Holder("module", net)], ids=["bare", "wrapped"])
@pytest.mark.parametrize("built", STATES)
@pytest.mark.parametrize("stored", STATES)
def test_extra_states_are_missing_and_unexpected_as_torch_has_it(
    stored: str, built: str, wrap: Callable[[nn.Module], nn.Module], tmp_path: Path
) -> None:
    old, new = (nn.Sequential(STATES[which](2, 2), nn.Linear(2, 2)) for which in (stored, built))
    missing, unexpected = new.load_state_dict(old.state_dict(), strict=False)
    found = only_join(joined(tmp_path, wrap(old).state_dict(), new))
    assert (missing, []) == (list(found.missing_extra_states), list(found.missing))
    assert unexpected == [name.removeprefix("module.") for name in found.unexpected]


def test_a_whole_module_shows_no_extra_state(tmp_path: Path) -> None:
    built = nn.Sequential(STATES["no tensor"](2, 2))
    found = only_join(joined(tmp_path, nn.Sequential(nn.Linear(2, 2)), built))
    assert is_perfect(found)


def test_nothing_is_said_of_extra_states_of_a_model_that_shows_none(tmp_path: Path) -> None:
    class Unready(nn.Linear):
        def get_extra_state(self) -> Any:
            raise RuntimeError("no step yet")

        def set_extra_state(self, state: Any) -> None:
            pass

    found = only_join(joined(tmp_path, STATES["no tensor"](2, 2).state_dict(), Unready(2, 2)))
    assert ((), ()) == (found.missing_extra_states, found.unexpected)


# How the checkpoint was wrapped, how the model is, and what is said of it.
WRAPPED: dict[str, tuple[Callable[[nn.Module], nn.Module], Callable[[nn.Module], nn.Module], Renaming]] = {
    "neither": (lambda net: net, lambda net: net, Renaming()),
    "checkpoint of DataParallel": (lambda net: Holder("module", net), lambda net: net, Renaming("module.", "")),
    "model in DataParallel": (lambda net: net, lambda net: Holder("module", net), Renaming("", "module.")),
    "both in DataParallel": (
        lambda net: Holder("module", net),
        lambda net: Holder("module", net),
        Renaming(),
    ),
    "compiled checkpoint": (
        lambda net: Holder("_orig_mod", net),
        lambda net: net,
        Renaming("_orig_mod.", ""),
    ),
    "compiled model": (lambda net: net, lambda net: Holder("_orig_mod", net), Renaming("", "_orig_mod.")),
    "compiled in DataParallel": (
        lambda net: Holder("module", Holder("_orig_mod", net)),
        lambda net: net,
        Renaming("module._orig_mod.", ""),
    ),
    "DataParallel against compiled": (
        lambda net: Holder("module", net),
        lambda net: Holder("_orig_mod", net),
        Renaming("module.", "", ("_orig_mod",)),
    ),
    "model. against module.": (
        lambda net: Holder("model", net),
        lambda net: Holder("module", net),
        Renaming("model.", "module."),
    ),
    "three deep": (
        lambda net: Holder("model", Holder("module", Holder("_orig_mod", net))),
        lambda net: net,
        Renaming("model.module._orig_mod.", ""),
    ),
    "a Lightning module's own name": (
        lambda net: Holder("student", net),
        lambda net: net,
        Renaming("student.", ""),
    ),
    "averaged model": (
        torch.optim.swa_utils.AveragedModel,
        lambda net: net,
        Renaming("module.", ""),
    ),
}


@pytest.mark.parametrize(("wrap", "build", "renaming"), WRAPPED.values(), ids=WRAPPED)
def test_what_wrapping_adds_to_names_is_taken_off(
    tmp_path: Path,
    wrap: Callable[[nn.Module], nn.Module],
    build: Callable[[nn.Module], nn.Module],
    renaming: Renaming,
) -> None:
    inventory = joined(tmp_path, wrap(Net()).state_dict(), build(Net()))
    found = only_join(inventory)
    assert len(Net().state_dict()) == found.matched
    assert () == found.missing
    assert renaming == (found.checkpoint_prefix, found.model_prefix, found.wrappers)
    assert any("names match once" in note for note in inventory.notes) == (renaming != Renaming())
    assert set(found.unexpected) <= {"n_averaged"}


def test_the_prefix_is_said(tmp_path: Path) -> None:
    inventory = joined(tmp_path, Holder("module", Net()).state_dict(), Net())
    assert (
        "the checkpoint has 18 of the 18 entries that the model `pkg:Net` saves",
        "names match once `module.` is taken off the checkpoint's",
    ) == inventory.notes[:2]


def test_a_wrapped_part_of_the_model_is_matched(tmp_path: Path) -> None:
    model = Net()
    model.blocks[0] = Holder("_orig_mod", model.blocks[0])
    found = only_join(joined(tmp_path, model.state_dict(), Net()))
    assert is_perfect(found)
    assert ("_orig_mod",) == found.wrappers


def test_a_backbone_is_found_in_the_checkpoint_of_a_whole_model(tmp_path: Path) -> None:
    whole = nn.ModuleDict({"backbone": Net(), "neck": nn.Linear(4, 4)})
    found = only_join(joined(tmp_path, whole.state_dict(), Net()))
    assert "backbone." == found.checkpoint_prefix
    assert ("neck.weight", "neck.bias") == found.unexpected
    assert () == found.missing


def test_shapes_tell_alike_parts_from_each_other(tmp_path: Path) -> None:
    whole = nn.ModuleDict({"small": Net(width=2), "big": Net(width=4)})
    assert "big." == only_join(joined(tmp_path, whole.state_dict(), Net(width=4))).checkpoint_prefix


def test_names_that_any_layer_has_prove_nothing_where_no_shape_agrees(tmp_path: Path) -> None:
    whole = nn.ModuleDict({"a": nn.Linear(4, 2), "b": nn.Linear(2, 4)})
    found = only_join(joined(tmp_path, whole.state_dict(), nn.Linear(9, 9)))
    assert (0, "") == (found.matched, found.checkpoint_prefix)


def test_a_prefix_is_found_although_no_shape_agrees(tmp_path: Path) -> None:
    whole = nn.ModuleDict({"backbone": Net(width=8), "neck": nn.Linear(4, 4)})
    found = only_join(joined(tmp_path, whole.state_dict(), Net(width=4, depth=1)))
    assert "backbone." == found.checkpoint_prefix


def test_a_model_of_another_kind_matches_nothing(tmp_path: Path) -> None:
    inventory = joined(tmp_path, nn.Linear(3, 2).state_dict(), nn.ModuleDict({"a": nn.LSTM(2, 2)}))
    found = only_join(inventory)
    assert (0, ("weight", "bias"), 4) == (found.matched, found.unexpected, len(found.missing))
    assert inventory.notes[-1] == "nothing in the checkpoint has a name of the model `pkg:Net`"
    assert {"assumed", "inferred"} >= {tensor.certainty for tensor in inventory.tensors}


def training_checkpoint(model: nn.Module, **others: Any) -> State:
    optimizer = torch.optim.Adam(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return {"epoch": 3, "model": model.state_dict(), "optimizer": optimizer.state_dict(), **others}


def test_the_section_of_a_training_checkpoint_that_fits_is_joined(tmp_path: Path) -> None:
    saved = training_checkpoint(Net(), teacher=nn.Linear(3, 3).state_dict())
    inventory = joined(tmp_path, saved, Net())
    assert "model" == only_join(inventory).section
    assert true_roles(Net()) == roles(inventory, "model")
    assert is_perfect(only_join(inventory))
    assert {"training_state"} == {tensor.role for tensor in inventory.tensors if "optimizer" in tensor.section}
    assert any(note.startswith("section `model` of the checkpoint has 18 of the 18") for note in inventory.notes)


def test_a_copy_of_the_model_is_joined_too(tmp_path: Path) -> None:
    saved = training_checkpoint(Net(), ema=Holder("module", Net()).state_dict())
    inventory = joined(tmp_path, saved, Net())
    assert {"model": "", "ema": "module."} == {found.section: found.checkpoint_prefix for found in inventory.joins}
    assert true_roles(Holder("module", Net())) == roles(inventory, "ema")
    assert all(is_perfect(found) for found in inventory.joins)


def test_the_better_section_wins(tmp_path: Path) -> None:
    other = {name: value for name, value in Net().state_dict().items() if "blocks" not in name}
    saved = {"first": other, "second": Net().state_dict()}
    assert "second" == only_join(joined(tmp_path, saved, Net())).section


def test_a_tied_name_that_the_file_dropped_is_not_missing(tmp_path: Path) -> None:
    state = Tied().state_dict()
    del state["head.weight"]
    inventory = joined(tmp_path, state, Tied())
    found = only_join(inventory)
    assert ((), ("head.weight",)) == (found.missing, found.tied)
    assert "stored once, under a name that they are tied to: `head.weight`" == inventory.notes[1]


def test_the_first_of_two_tied_names_may_be_the_one_that_is_dropped(tmp_path: Path) -> None:
    state = Tied().state_dict()
    del state["embed.weight"]
    found = only_join(joined(tmp_path, state, Tied()))
    assert ((), ("embed.weight",)) == (found.missing, found.tied)


def test_both_names_of_a_tie_that_are_gone_are_missing(tmp_path: Path) -> None:
    state = Tied().state_dict()
    del state["head.weight"], state["embed.weight"]
    found = only_join(joined(tmp_path, state, Tied()))
    assert ["embed.weight", "head.weight"] == [tensor.name for tensor in found.missing]


@pytest.mark.parametrize(
    ("version", "missing"),
    [
        pytest.param(None, 0, id="no version"),
        pytest.param(1, 0, id="version 1"),
        pytest.param(2, 2, id="version 2"),
    ],
)
def test_batch_counters_that_loading_fills_in_are_not_missing(
    tmp_path: Path, version: int | None, missing: int
) -> None:
    state: Any = Net().state_dict()
    for index in range(2):
        del state[f"blocks.{index}.norm.num_batches_tracked"]
        if version is None:
            state._metadata.pop(f"blocks.{index}.norm")
        else:
            state._metadata[f"blocks.{index}.norm"] = {"version": version}
    found = only_join(joined(tmp_path, state, Net()))
    assert missing == len(found.missing)
    loaded = Net().load_state_dict(state, strict=False)
    assert missing == len(loaded.missing_keys)


def test_a_model_that_renames_what_it_saves_is_matched_by_the_names_it_saves(tmp_path: Path) -> None:
    class Renaming(nn.Linear):
        def _save_to_state_dict(self, destination: State, prefix: str, keep_vars: bool) -> None:
            super()._save_to_state_dict(destination, prefix, keep_vars)
            destination[f"{prefix}kernel"] = destination.pop(f"{prefix}weight")

    inventory = joined(tmp_path, Renaming(2, 2).state_dict(), Renaming(2, 2))
    assert is_perfect(only_join(inventory))
    assert "parameter" == roles(inventory)["kernel"]


def records(*names: str, **fields: Any) -> tuple[Tensor, ...]:
    return tuple(Tensor(name=name, shape=(4,), dtype="float32", **fields) for name in names)


def test_entries_that_loading_renames_or_rebuilds_are_matched() -> None:
    fused = Tensor(name="experts.up", role="parameter", saved=True, shape=(2, 8), dtype="float32")
    model = Inventory(
        target="m:M", format="live", tensors=(*records("norm.weight", role="parameter", saved=True), fused)
    )
    checkpoint = Inventory(
        target="x",
        format="safetensors",
        tensors=records("norm.gamma", "experts.0.up", "experts.1.up", "norm.beta"),
    )
    converted = {
        "norm.gamma": Converted(("norm.weight",), reshaped=False),
        "experts.0.up": Converted(("experts.up",), reshaped=True),
        "experts.1.up": Converted(("experts.up",), reshaped=True),
    }
    inventory = join(checkpoint, model, converted)
    found = only_join(inventory)
    assert (3, (), ("norm.beta",), ()) == (found.matched, found.missing, found.unexpected, found.mismatched)
    assert ["exact", "exact", "exact", "assumed"] == [tensor.certainty for tensor in inventory.tensors]
    assert "the checkpoint has 2 of the 2 entries that the model `m:M` saves" == inventory.notes[0]
    assert inventory.notes[1].startswith("loading goes by other names: `norm.gamma` becomes `norm.weight`, ")


def test_an_entry_that_loading_cuts_up_accounts_for_all_that_it_becomes() -> None:
    model = Inventory(target="m:M", format="live", tensors=records("q", "k", "v", role="parameter", saved=True))
    checkpoint = Inventory(target="x", format="safetensors", tensors=records("qkv"))
    found = only_join(join(checkpoint, model, {"qkv": Converted(("q", "k", "v"), reshaped=True)}))
    assert (1, (), ()) == (found.matched, found.missing, found.unexpected)


def test_a_renamed_entry_of_another_shape_is_a_mismatch() -> None:
    model = Inventory(target="m:M", format="live", tensors=records("weight", role="parameter", saved=True))
    checkpoint = Inventory(target="x", format="safetensors", tensors=(Tensor(name="gamma", shape=(5,)),))
    found = only_join(join(checkpoint, model, {"gamma": Converted(("weight",), reshaped=False)}))
    assert (Mismatch(name="gamma", shape=((5,), (4,))),) == found.mismatched


def test_joining_agrees_with_strict_loading(tmp_path: Path) -> None:
    state = Net().state_dict()
    del state["head.weight"], state["blocks.0.mask"]
    state["extra"] = torch.ones(1)
    found = only_join(joined(tmp_path, state, Net()))
    loaded = Net().load_state_dict(state, strict=False)
    assert loaded.missing_keys == [tensor.name for tensor in found.missing]
    assert loaded.unexpected_keys == list(found.unexpected)


def test_an_empty_checkpoint_misses_everything() -> None:
    model = Inventory(target="m:M", format="live", tensors=(Tensor(name="w", saved=True),))
    found = join(Inventory(target="x.pt", format="torch-zip"), model)
    assert ["w"] == [tensor.name for tensor in only_join(found).missing]


def test_a_model_whose_state_dict_failed_is_joined_by_roles() -> None:
    model = Inventory(
        target="m:M",
        format="live",
        tensors=(
            Tensor(name="w", role="parameter", saved=None),
            Tensor(name="t", role="non_persistent_buffer", saved=None),
        ),
    )
    checkpoint = Inventory(
        target="x.pt",
        format="torch-zip",
        tensors=(Tensor(name="w"), Tensor(name="t")),
        module_trees=(ModuleTree(section="", versions={}),),
    )
    found = only_join(join(checkpoint, model))
    assert (1, ("t",)) == (found.matched, found.saved_non_persistent)


def test_a_role_that_the_checkpoint_states_and_the_model_changed_is_a_mismatch(tmp_path: Path) -> None:
    model = nn.Module()
    model.register_buffer("scale", torch.ones(3))

    inventory = joined(tmp_path, {"scale": nn.Parameter(torch.ones(3))}, model)

    assert (Mismatch(name="scale", role=("parameter", "persistent_buffer")),) == only_join(inventory).mismatched
    (entry,) = inventory.tensors
    assert ("persistent_buffer", None, None) == (entry.role, entry.declared, entry.requires_grad)
