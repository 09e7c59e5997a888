"""The exact words for what is registered in odd ways: ties, aliases, shadows, wrappers, shards, scripts."""

from __future__ import annotations

import os
import warnings
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from models import facts, holding, moved_by_to, tensors, unregistered
from torch import nn

import bufscan
from bufscan.inventory import Inventory, Location
from bufscan.live.scanning import scan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def test_tensors_come_in_the_order_of_the_state_dict() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.LSTM(2, 2))
    assert list(model.state_dict()) == [tensor.name for tensor in scan(model, "test").tensors]


def test_an_unregistered_tensor_follows_the_registered_ones_of_its_module() -> None:
    model = nn.Sequential(holding(pe=torch.ones(1)), nn.Linear(2, 2))
    model[0].register_buffer("b", torch.ones(1))
    names = [tensor.name for tensor in scan(model, "test").tensors]
    assert ["0.b", "0.pe", "0.linear.weight", "0.linear.bias", "1.weight", "1.bias"] == names


def test_records_carry_what_the_tensor_is() -> None:
    model = nn.Module()
    model.register_buffer("b", torch.zeros(4, 6, dtype=torch.bfloat16)[:, 1:3])
    found = tensors(model)["b"]
    assert ((4, 2), "bfloat16", "cpu", (6, 1), 1, 48) == (
        found.shape,
        found.dtype,
        found.device,
        found.stride,
        found.storage_offset,
        found.stored_bytes,
    )
    assert ("live", 48) == (scan(model, "m:M").format, scan(model, "m:M").stored_bytes)


def test_tied_parameters_show_all_their_names() -> None:
    model = nn.Module()
    model.embedding = nn.Embedding(3, 2)
    model.head = nn.Linear(2, 3, bias=False)
    model.head.weight = model.embedding.weight
    found = tensors(model)
    assert (None, "embedding.weight") == (found["embedding.weight"].alias_of, found["head.weight"].alias_of)
    assert 6 == scan(model, "test").totals()["parameter"].numel


def test_tied_parameters_without_storage_are_ties_too() -> None:
    model = nn.Sequential(nn.Linear(2, 2, device="meta"), nn.Linear(2, 2, device="meta"))
    model[1].weight = model[0].weight
    assert "0.weight" == tensors(model)["1.weight"].alias_of
    assert tensors(model)["0.bias"].storage is None


def test_a_module_under_two_names_lists_its_tensors_under_both() -> None:
    layer = nn.BatchNorm1d(2)
    found = tensors(nn.ModuleDict({"a": layer, "b": nn.Sequential(layer)}))
    assert "a.weight" == found["b.0.weight"].alias_of
    assert "a.running_mean" == found["b.0.running_mean"].alias_of


def test_a_buffer_registered_twice_is_a_tie() -> None:
    model = nn.Module()
    model.register_buffer("a", torch.ones(2))
    model.register_buffer("b", model.a, persistent=False)
    found = tensors(model)
    assert "a" == found["b"].alias_of
    assert ("non_persistent_buffer", False, True, False) == facts(found["b"])


def _with_aliases() -> nn.Module:
    model = holding()
    model.register_buffer("b", torch.ones(4, 2))
    model.again, model.view, model.in_a_list = model.b, model.b[1:], [model.b.t()]
    model.second_weight = model.linear.weight  # registers the Parameter a second time
    model.__dict__["plain_weight"] = model.linear.weight
    model.detached = model.linear.weight.detach()
    return model


def test_a_second_reference_to_a_buffer_is_stale_and_one_to_a_parameter_is_not() -> None:
    found = tensors(_with_aliases())
    stale = {name: tensor.alias_of for name, tensor in found.items() if tensor.holding == "stale_alias"}
    assert {"again": "b", "view": "b", "in_a_list[0]": "b", "detached": "second_weight"} == stale
    assert "plain_weight" not in found
    assert "second_weight" == found["linear.weight"].alias_of


def test_stale_aliases_are_what_a_real_move_leaves_behind() -> None:
    said, did = moved_by_to(_with_aliases())
    assert did == said


def test_stale_aliases_on_the_meta_device_are_seen() -> None:
    with torch.device("meta"):
        model = _with_aliases()
    assert {"again", "view", "in_a_list[0]", "detached", "plain_weight"} == set(unregistered(model))
    assert "second_reference" == tensors(model)["plain_weight"].holding
    assert "b" == tensors(model)["view"].alias_of


def test_a_slice_of_the_same_storage_that_shares_no_byte_is_no_alias() -> None:
    both = torch.ones(2, 3)
    model = holding(rest=both[1])
    model.register_buffer("b", both[0])
    assert {"rest": "attribute"} == unregistered(model)


def test_an_alias_that_an_own_apply_renews_is_left_open() -> None:
    class Relinking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("b", torch.ones(2))
            self.again = self.forgotten = self.b

        def _apply(self, *args: Any, **kwargs: Any) -> Any:
            super()._apply(*args, **kwargs)
            self.again = self.b
            return self

    found = tensors(Relinking())
    assert ("moved_by_apply", None) == (found["again"].holding, found["again"].moves)
    assert ("stale_alias", False) == (found["forgotten"].holding, found["forgotten"].moves)


def test_a_registered_name_hidden_by_an_instance_attribute() -> None:
    model = nn.Module()
    model.register_buffer("scale", torch.ones(2))
    model.__dict__["scale"] = torch.zeros(3)
    found = tensors(model)
    assert ("persistent_buffer", "shadowed_by_instance") == (found["scale"].role, found["scale"].holding)
    assert "hidden by an instance attribute" in found["scale"].evidence
    assert ("unregistered", "attribute") == (
        found["__dict__['scale']"].role,
        found["__dict__['scale']"].holding,
    )


def test_a_registered_name_hidden_by_a_class_attribute() -> None:
    class Scaled(nn.Module):
        scale = 1.0

        def __init__(self) -> None:
            super().__init__()
            self._buffers["scale"] = torch.ones(2)

    found = tensors(Scaled())["scale"]
    assert "shadowed_by_class" == found.holding
    assert found.origin is not None
    assert __file__.endswith(os.path.basename(found.origin.file))  # noqa: PTH119


def test_a_property_that_gives_the_registered_tensor_hides_nothing() -> None:
    class Proper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self._buffers["scale"] = torch.ones(2)

        @property
        def scale(self) -> torch.Tensor:
            raise AssertionError("the property was read")

    assert tensors(Proper())["scale"].holding is None


def test_lazy_tensors_have_no_shape_yet() -> None:
    found = tensors(nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d()))
    weight = found["0.weight"]
    assert ("parameter", None, None, True) == (weight.role, weight.shape, weight.dtype, weight.saved)
    assert weight.evidence.endswith("not initialised yet")
    assert "persistent_buffer" == found["1.running_mean"].role


def test_a_wrapped_model_says_what_its_names_begin_with() -> None:
    inventory = scan(nn.DataParallel(nn.Linear(2, 2)), "test")
    assert ["module.weight", "module.bias"] == [tensor.name for tensor in inventory.tensors]
    assert ("the model is wrapped in DataParallel: names begin with `module.`",) == inventory.notes


def test_parametrizations_show_their_originals() -> None:
    model = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    names = {"bias", "parametrizations.weight.original0", "parametrizations.weight.original1"}
    assert names == set(tensors(model))


class Scripted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.register_buffer("b", torch.ones(2))
        self.plain = torch.ones(3)
        self.rows = [torch.ones(4)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) + self.b + self.plain.sum() + self.rows[0].sum()


@pytest.fixture
def _torchscript() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates TorchScript, people still hold such models
        yield


@pytest.mark.usefixtures("_torchscript")
def test_a_script_module_shows_its_own_attributes_and_not_its_python_originals() -> None:
    found = tensors(torch.jit.script(Scripted()))
    assert {"b", "plain", "rows[0]", "linear.weight", "linear.bias"} == set(found)
    assert ("persistent_buffer", True, True, False) == facts(found["b"])
    assert ("unregistered", False, False, False) == facts(found["plain"])
    assert ("parameter", True, True, True) == facts(found["linear.weight"])


@pytest.mark.usefixtures("_torchscript")
@pytest.mark.parametrize("as_child", [False, True], ids=["root", "child"])
def test_a_traced_module_is_read_like_a_script(as_child: bool) -> None:
    traced: nn.Module = torch.jit.trace(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).eval(), torch.ones(1, 2))
    model = nn.Sequential(traced) if as_child else traced
    found = tensors(model)
    assert set(model.state_dict()) == set(found)
    assert all(tensor.moves and tensor.saved for tensor in found.values())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_quantised_module_shows_its_packed_parameters() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    quantised = torch.ao.quantization.quantize_dynamic(model, {nn.Linear})
    found = tensors(quantised)
    packed = found["0._packed_params._packed_params[0]"]
    assert ("packed_params", "qint8", True, (4, 4)) == (packed.holding, packed.dtype, packed.saved, packed.shape)


@pytest.mark.parametrize(
    ("compress", "layout", "parts"),
    [
        (torch.Tensor.to_sparse, "sparse_coo", ("indices", "values")),
        (torch.Tensor.to_sparse_csr, "sparse_csr", ("crow_indices", "col_indices", "values")),
    ],
    ids=["coo", "csr"],
)
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
def test_a_sparse_buffer_shows_its_parts(
    compress: Callable[[torch.Tensor], torch.Tensor], layout: str, parts: tuple[str, ...]
) -> None:
    model = nn.Module()
    model.register_buffer("s", compress(torch.eye(3)))
    found = tensors(model)["s"]
    assert (layout, (3, 3), parts) == (found.layout, found.shape, tuple(part.name for part in found.parts))
    assert found.storage is None
    assert found.stored_bytes > 0


def test_a_ragged_tensor_has_no_shape() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nested tensors are a prototype
        ragged = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    assert tensors(holding(ragged=ragged))["ragged"].shape is None


def test_a_tensor_subclass_is_named_and_not_asked() -> None:
    class Mine(torch.Tensor):
        @classmethod
        def __torch_function__(cls, *args: Any, **kwargs: Any) -> Any:
            raise AssertionError("the subclass was asked")

    mine = torch.ones(2).as_subclass(Mine)
    found = tensors(holding(mine=mine))["mine"]
    assert ((2,), True) == (found.shape, (found.type_name or "").endswith("Mine"))


@pytest.fixture
def _two_pretended_ranks() -> Iterator[None]:
    from torch.testing._internal.distributed.fake_pg import FakeStore

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29500")
    torch.distributed.init_process_group("fake", rank=0, world_size=2, store=FakeStore())
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("_two_pretended_ranks")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_sharded_parameters_show_global_and_local_size_and_how_they_were_cut() -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6))
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    model[0].weight.note = "kept"
    inventory = scan(model, "test")
    found = {tensor.name: tensor for tensor in inventory.tensors}
    weight = found["0.weight"]
    assert ((6, 4), (3, 4), ("Shard(0)",)) == (weight.shape, weight.local_shape, weight.placements)
    assert ("parameter", True, True, True) == facts(weight)
    assert 3 * 4 * 4 == weight.stored_bytes
    assert ("persistent_buffer", (), None) == (
        found["1.running_mean"].role,
        found["1.running_mean"].placements,
        found["1.running_mean"].local_shape,
    )
    assert [] == [name for name, tensor in found.items() if tensor.role == "unregistered"]
    assert any("DeviceMesh" in note for note in inventory.notes)
    assert "kept" == model[0].weight.note


def test_a_module_registered_inside_itself_is_said_not_followed() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].child = model
    inventory = scan(model, "test")
    assert "the module is registered inside itself" in {skipped.reason for skipped in inventory.skipped}
    assert ["0.weight", "0.bias"] == [tensor.name for tensor in inventory.tensors]
    assert [None, None] == [tensor.saved for tensor in inventory.tensors]


def test_names_that_are_no_identifiers_stay_readable() -> None:
    model = nn.Module()
    model.register_module("a b", holding(pe=torch.ones(1)))
    assert {"a b.pe": "attribute"} == unregistered(model)


class Origins(nn.Module):
    table = torch.ones(3)

    def __init__(self) -> None:
        super().__init__()
        self.pe = torch.ones(4)
        self.layers = [nn.Linear(1, 1)]
        self.tables = SimpleNamespace(pe=torch.ones(2))
        self.prior = torch.distributions.Normal(torch.zeros(2), torch.ones(2))


def _line_of(text: str) -> int:
    with open(__file__, encoding="utf-8") as source:  # noqa: PTH123
        return next(number for number, line in enumerate(source, 1) if line.strip().startswith(text))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pe", "self.pe = torch.ones(4)"),
        ("table", "table = torch.ones(3)"),
        ("layers[0].weight", "self.layers = [nn.Linear(1, 1)]"),
        ("prior.loc", "self.prior = torch"),
        ("tables.pe", "self.tables = SimpleNamespace("),
    ],
    ids=["attribute", "class attribute", "hidden module", "torch's object", "the standard library's object"],
)
def test_the_origin_is_the_assignment_in_the_users_source(name: str, text: str) -> None:
    origin = tensors(Origins())[name].origin
    assert isinstance(origin, Location)
    assert _line_of(text) == origin.line


class Misusing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("temperature", torch.ones(1, requires_grad=True))
        self.pe = torch.ones(4)


def test_what_is_registered_amiss_says_so() -> None:
    model = Misusing()
    model.register_buffer("weight", nn.Parameter(torch.ones(2)))
    found = tensors(model)
    assert "registered buffer of Misusing, requires_grad" == found["temperature"].evidence
    assert "registered buffer of Misusing, an nn.Parameter" == found["weight"].evidence


def test_sets_are_listed_in_the_same_order_in_every_run() -> None:
    """By what the elements are: hashes are addresses."""
    sizes = [5, 3, 8, 1, 9, 2, 7]
    model = holding(items={torch.ones(size) for size in sizes}, hidden={nn.Linear(2, size) for size in sizes})
    found = tensors(model)
    assert [(size,) for size in sorted(sizes)] == [found[f"list(items)[{i}]"].shape for i in range(7)]
    assert [(size,) for size in sorted(sizes)] == [found[f"list(hidden)[{i}].bias"].shape for i in range(7)]


class Loud(torch.Tensor):
    @classmethod
    def __torch_function__(cls, *_: object) -> None:
        raise AssertionError("the user's code was run")


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize(
    "odd",
    [
        lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        lambda: torch.ones(3).as_subclass(Loud),
        nn.UninitializedParameter,
    ],
    ids=["ragged", "subclass", "uninitialised"],
)
def test_any_tensor_can_be_in_a_set(odd: Callable[[], torch.Tensor]) -> None:
    found = unregistered(holding(items={torch.ones(2), odd()}))
    assert {"list(items)[0]": "container", "list(items)[1]": "container"} == found


def test_a_module_in_a_set_may_hold_anything_where_buffers_belong() -> None:
    hidden = nn.Linear(1, 1)
    hidden._buffers["odd"] = 5  # type: ignore[assignment]
    assert {"list(items)[0].weight", "list(items)[0].bias"} == set(unregistered(holding(items={hidden})))


def test_the_line_that_mends_it_comes_with_the_record() -> None:
    found = {tensor.name: tensor for tensor in bufscan.inspect(Misusing()).tensors}
    assert 'self.register_buffer("pe", torch.ones(4), persistent=False)' == found["pe"].suggestion
    assert "old checkpoints still load" in (found["pe"].suggestion_note or "")
    temperature = found["temperature"]
    assert "nn.Parameter" in (temperature.suggestion or "")
    assert temperature.origin is not None
    assert _line_of('self.register_buffer("temperature"') == temperature.origin.line


def test_a_hidden_module_is_named_as_the_holder_of_its_tensors() -> None:
    found = tensors(holding(layers=[nn.Sequential(nn.BatchNorm1d(2))]))
    assert {"layers[0]"} == {tensor.holder for tensor in found.values() if tensor.role == "unregistered"}
    assert "parameter" == found["layers[0][0].weight"].declared


def test_scanning_twice_gives_the_same_inventory() -> None:
    model = _with_aliases()
    first = scan(model, "test")
    assert isinstance(first, Inventory)
    assert first == scan(model, "test")
