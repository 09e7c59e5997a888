"""Archives of TorchScript, torch.export and torch.package: roles are those that torch's own readers give."""

from __future__ import annotations

import random
import zipfile
from typing import TYPE_CHECKING

import pytest
import torch
from canary import Canary
from torch import nn
from torch._export.serde.serialize import serialize
from torch.package import PackageExporter

from bufscan.checking import check
from bufscan.comparing.diffing import diff
from bufscan.errors import BufscanError, UnreadableError
from bufscan.inspecting import inspect

if TYPE_CHECKING:
    from pathlib import Path

    from bufscan.inventory import Inventory

pytestmark = pytest.mark.filterwarnings("ignore")  # TorchScript is deprecated


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.register_buffer("shift", torch.ones(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) + self.shift


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner()
        self.norm = nn.BatchNorm1d(3)
        self.register_buffer("table", torch.arange(3.0), persistent=False)
        self.plain = torch.full((3,), 2.0)
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
        self.tied = nn.Linear(4, 3, bias=False)
        self.tied.weight = self.inner.linear.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.norm(self.inner(x)) + self.plain * self.frozen + self.table + self.tied(x)
        return out + torch.tensor([1.0, 2.0, 3.0])


INPUT = torch.randn(2, 4)
PARAMETERS = dict(Model().named_parameters(remove_duplicate=False))
BUFFERS = dict(Model().named_buffers())


def by_role(inventory: Inventory, role: str) -> dict[str, tuple[tuple[int, ...] | None, str | None]]:
    return {each.name: (each.shape, each.dtype) for each in inventory.tensors if each.role == role}


def shapes(tensors: dict[str, torch.Tensor]) -> dict[str, tuple[tuple[int, ...], str]]:
    return {name: (tuple(each.shape), str(each.dtype).removeprefix("torch.")) for name, each in tensors.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model in every form."""
    folder = tmp_path_factory.mktemp("programs")
    model = Model().eval()
    torch.jit.save(torch.jit.script(model), folder / "script.pt")
    torch.jit.save(torch.jit.trace(model, INPUT), folder / "trace.pt")
    torch.jit.save(torch.jit.freeze(torch.jit.script(model)), folder / "frozen.pt")
    torch.jit.script(model)._save_for_lite_interpreter(str(folder / "mobile.ptl"))
    torch.save(model.state_dict(), folder / "state.pt")
    exported = torch.export.export(model, (INPUT,))
    torch.export.save(exported, folder / "export.pt2")
    parts = serialize(exported)
    with zipfile.ZipFile(folder / "older.pt2", "w") as archive:
        archive.writestr("serialized_exported_program.json", parts.exported_program)
        archive.writestr("serialized_state_dict.pt", parts.state_dict)
        archive.writestr("serialized_constants.pt", parts.constants)
        archive.writestr("serialized_example_inputs.pt", parts.example_inputs)
        archive.writestr("version", "8.20")
    return folder


@pytest.mark.parametrize("name", ["script.pt", "trace.pt", "mobile.ptl"])
def test_roles_of_torchscript_are_those_of_its_lists(folder: Path, name: str) -> None:
    loaded = torch.jit.load(str(folder / name)) if name != "mobile.ptl" else torch.jit.script(Model())
    found = inspect(folder / name)
    assert shapes(PARAMETERS) == by_role(found, "parameter")
    assert shapes(dict(loaded.named_buffers())) == by_role(found, "persistent_buffer")
    assert {"exact"} == {each.certainty for each in found.tensors}
    assert "non-persistent buffers too" in "".join(found.notes)
    trains = {each.name for each in found.tensors if each.trains}
    assert {name for name, each in PARAMETERS.items() if each.requires_grad} == trains


def test_a_plain_attribute_of_a_scripted_module_is_not_registered(folder: Path) -> None:
    found = inspect(folder / "script.pt")
    assert {"plain": ((3,), "float32")} == by_role(found, "unregistered")
    loaded = torch.jit.load(str(folder / "script.pt")).to(torch.float64)
    assert (torch.float64, torch.float32) == (loaded.table.dtype, loaded.plain.dtype)  # it does not move
    assert ["BUF001"] == [each.code for each in check(folder / "script.pt").findings]


def test_constants_of_a_trace_are_no_fault_of_anybody(folder: Path) -> None:
    found = inspect(folder / "trace.pt")
    assert {"CONSTANTS.c0", "CONSTANTS.c1"} == set(by_role(found, "unregistered"))
    assert 0 == check(folder / "trace.pt").exit_code


def test_a_frozen_module_is_said_to_have_lost_its_names(folder: Path) -> None:
    found = inspect(folder / "frozen.pt")
    assert "their names and roles are lost" in "".join(found.notes)
    assert {"CONSTANTS"} == {each.name.partition(".")[0] for each in found.tensors}
    assert (3, 4) in {each.shape for each in found.tensors}
    assert 0 == check(folder / "frozen.pt").exit_code


def test_tied_weights_are_one_tensor(folder: Path) -> None:
    for name in ("script.pt", "export.pt2"):
        tied = {each.name: each.alias_of for each in inspect(folder / name).tensors if each.alias_of}
        assert tied in ({"tied.weight": "inner.linear.weight"}, {"inner.linear.weight": "tied.weight"})


@pytest.mark.parametrize("name", ["export.pt2", "older.pt2"])
def test_roles_of_an_exported_program_are_those_of_its_signature(folder: Path, name: str) -> None:
    signature = torch.export.load(folder / name).graph_signature
    found = inspect(folder / name)
    assert set(signature.parameters) == set(by_role(found, "parameter"))
    assert set(signature.non_persistent_buffers) == set(by_role(found, "non_persistent_buffer")) == {"table"}
    assert set(signature.buffers) - {"table"} == set(by_role(found, "persistent_buffer"))
    assert {"plain", "lifted_tensor_0"} == set(by_role(found, "unregistered"))
    assert shapes(PARAMETERS) == by_role(found, "parameter")
    assert {name for name, each in PARAMETERS.items() if each.requires_grad} == {
        each.name for each in found.tensors if each.trains
    }
    assert [("BUF001", "plain")] == [(each.code, each.tensor) for each in check(folder / name).findings]


@pytest.mark.parametrize("name", ["script.pt", "mobile.ptl", "export.pt2", "older.pt2"])
def test_values_are_those_of_the_state_dict(folder: Path, name: str) -> None:
    difference = diff(str(folder / "state.pt"), str(folder / name), tensors_only=True)
    assert not [each for each in difference.entries if each.values is not None]
    assert len(Model().state_dict()) == difference.unchanged


def test_a_canary_beside_the_program_is_told_and_never_runs(folder: Path, tmp_path: Path) -> None:
    torch.save(Canary(), tmp_path / "inputs.pt")
    with zipfile.ZipFile(folder / "export.pt2") as old, zipfile.ZipFile(tmp_path / "bad.pt2", "w") as new:
        for name in old.namelist():
            data = (tmp_path / "inputs.pt").read_bytes() if "sample_inputs" in name else old.read(name)
            new.writestr(name, data)
    assert ("BUF401", "error") in [(each.code, each.severity) for each in check(tmp_path / "bad.pt2").findings]
    assert not Canary.ran


def test_a_canary_in_a_pickled_weight_is_told_and_never_runs(folder: Path, tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1), "canary": Canary()}, tmp_path / "weight.pt")
    with zipfile.ZipFile(folder / "export.pt2") as old, zipfile.ZipFile(tmp_path / "bad.pt2", "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("weights/weight_0"):
                data = (tmp_path / "weight.pt").read_bytes()
            elif name.endswith("_weights_config.json"):
                data = data.replace(b'"use_pickle": false', b'"use_pickle": true')
            new.writestr(name, data)
    assert "BUF401" in {each.code for each in check(tmp_path / "bad.pt2").findings}
    assert not Canary.ran


def test_compiled_code_alone_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.pt2", "w") as archive:
        archive.writestr("model/data/aotinductor/model/x.so", b"\x7fELF")
        archive.writestr("model/archive_format", "pt2")
    with pytest.raises(UnreadableError, match="AOTInductor"):
        inspect(tmp_path / "model.pt2")


def test_a_whole_module_in_an_archive_of_torch_package(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    with PackageExporter(path) as exporter:
        exporter.save_pickle("net", "net.pkl", model)
    found = inspect(path)
    assert "torch-package" == found.format
    assert shapes(dict(model.named_parameters())) == by_role(found, "parameter")
    assert shapes(dict(model.named_buffers())) == by_role(found, "persistent_buffer")
    assert {"exact"} == {each.certainty for each in found.tensors}
    torch.save(model.state_dict(), tmp_path / "state.pt")
    assert 7 == diff(str(tmp_path / "state.pt"), str(path), tensors_only=True).unchanged


@pytest.mark.parametrize("seed", range(40))
def test_flipped_bits_and_cuts_never_end_in_a_traceback(folder: Path, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - nothing secret
    data = bytearray((folder / chance.choice(["script.pt", "trace.pt", "export.pt2", "older.pt2"])).read_bytes())
    if seed % 4 == 0:
        del data[chance.randrange(len(data)) :]
    for _ in range(chance.randrange(1, 9)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path = tmp_path / "model.pt"
    path.write_bytes(data)
    message = ""
    try:
        inspect(path)
    except BufscanError as error:
        message = error.message
    assert len(message) < 300
