"""`bufscan.inspect`: from what the user named to an inventory with its roles decided."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors import TensorSpec, serialize_file
from torch import nn

import bufscan
from bufscan.errors import BufscanError, UnreadableError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(4, 3)
        self.register_buffer("table", torch.ones(5))
        self.register_buffer("mask", torch.ones(2), persistent=False)
        self.plain = torch.zeros(7)


def sharded(folder: Path) -> Path:
    """A checkpoint in two shards; its index file."""
    folder.mkdir()
    weight_map = {}
    for number, name in enumerate(("a", "b"), 1):
        file, tensor = f"model-{number:05}-of-00002.safetensors", torch.ones(3)
        spec = TensorSpec(dtype="float32", shape=(3,), data_ptr=tensor.data_ptr(), data_len=tensor.nbytes)
        serialize_file({name: spec}, folder / file)
        weight_map[name] = file
    index = folder / "model.safetensors.index.json"
    contents = {"metadata": {"total_size": 24}, "weight_map": weight_map}
    index.write_text(json.dumps(contents), encoding="utf-8")
    return index


def test_a_module_is_measured_as_it_is() -> None:
    inventory = bufscan.inspect(Encoder())
    assert {
        "lin.weight": "parameter",
        "lin.bias": "parameter",
        "table": "persistent_buffer",
        "mask": "non_persistent_buffer",
        "plain": "unregistered",
    } == {tensor.name: tensor.role for tensor in inventory.tensors}
    assert "Encoder" == inventory.target


def test_a_file_has_its_open_roles_decided(tmp_path: Path) -> None:
    path = tmp_path / "bn.pt"
    torch.save(nn.BatchNorm1d(3).state_dict(), path)
    roles = {tensor.name: (tensor.role, tensor.certainty) for tensor in bufscan.inspect(str(path)).tensors}
    assert ("persistent_buffer", "inferred") == roles["running_mean"]


def test_a_model_makes_a_checkpoints_roles_exact(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(dict(Encoder().state_dict()), path)
    inventory = bufscan.inspect(str(path), model=Encoder())
    assert {("parameter", "exact"), ("persistent_buffer", "exact")} == {
        (tensor.role, tensor.certainty) for tensor in inventory.tensors
    }
    (join,) = inventory.joins
    assert ((), ()) == (join.missing, join.unexpected)


def test_a_named_model_is_built_on_the_meta_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "named_model.py").write_text(
        "import torch\ndevices = []\nclass Net(torch.nn.Linear):\n"
        "    def __init__(self):\n        super().__init__(2, 2)\n"
        "        devices.append(self.weight.device.type)\n",
        encoding="utf-8",
    )
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "net.pt")
    monkeypatch.chdir(tmp_path)
    bufscan.inspect("net.pt", model="named_model:Net")
    bufscan.inspect("named_model:Net")
    assert ["meta", "cpu"] == sys.modules["named_model"].devices


def test_a_checkpoint_is_held_against_one_model(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`--model` names the model and `--build` makes another"):
        bufscan.inspect(str(tmp_path), model="named_model:Net", from_config=True)


def test_a_model_whose_constructor_reads_values_is_built_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "value_reader.py").write_text(
        "import torch\nclass Net(torch.nn.Linear):\n"
        "    def __init__(self):\n        super().__init__(2, 2)\n"
        "        self.rates = [rate.item() for rate in torch.linspace(0, 1, 3)]\n",
        encoding="utf-8",
    )
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "net.pt")
    monkeypatch.chdir(tmp_path)
    inventory = bufscan.inspect("net.pt", model="value_reader:Net")
    assert {"exact"} == {tensor.certainty for tensor in inventory.tensors}
    assert "on the meta device `Net()` raised RuntimeError: Tensor.item()" in inventory.notes[-1]
    with pytest.raises(UnreadableError) as caught:
        bufscan.inspect("net.pt", model="value_reader:Net", device="meta")
    assert caught.value.hint == "it reads values, and a meta tensor has none: build it on the CPU"


@pytest.mark.parametrize("name", ["", "model.safetensors.index.json"], ids=["folder", "index"])
def test_a_sharded_checkpoint_is_reached_by_its_folder_and_by_its_index(tmp_path: Path, name: str) -> None:
    index = sharded(tmp_path / "sharded")
    inventory = bufscan.inspect(str(index.parent / name))
    assert "safetensors-sharded" == inventory.format
    assert ["a", "b"] == [tensor.name for tensor in inventory.tensors]


@pytest.mark.parametrize(
    ("target", "model", "from_config", "words"),
    [
        ("torch.nn:Identity", "torch.nn:Identity", False, "a model itself"),
        ("torch.nn:Identity", None, True, "a model itself"),
        ("model.pt", "no-object", False, "names no model"),
        ("model.pt", None, True, "only a folder"),
    ],
    ids=["model and model", "model and config", "not a model", "file and config"],
)
def test_options_that_contradict_the_target_are_refused(
    tmp_path: Path, target: str, model: str | None, from_config: bool, words: str
) -> None:
    path = tmp_path / "model.pt"
    torch.save(nn.Linear(2, 2).state_dict(), path)
    target = target.replace("model.pt", str(path))
    with pytest.raises(UsageError, match=words):
        bufscan.inspect(target, model=model, from_config=from_config)


@pytest.mark.parametrize(
    ("names", "hint"),
    [(["config.json"], "name the folder: `{}`"), ([], "name the model: `--model SPEC`")],
    ids=["a config beside it", "no config"],
)
def test_a_file_to_be_built_from_a_config_gets_a_hint(tmp_path: Path, names: list[str], hint: str) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "model.bin")
    for name in names:
        (tmp_path / name).write_text("{}")
    with pytest.raises(UsageError) as failure:
        bufscan.inspect(str(tmp_path / "model.bin"), from_config=True)
    assert hint.format(tmp_path) == failure.value.hint


@pytest.mark.parametrize("options", [{"device": "meta"}, {"dtype": "float16"}], ids=["device", "dtype"])
def test_a_device_for_what_is_not_built_is_refused(tmp_path: Path, options: dict[str, str]) -> None:
    path = tmp_path / "model.pt"
    torch.save(nn.Linear(2, 2).state_dict(), path)
    with pytest.raises(UsageError, match="nothing is built here"):
        bufscan.inspect(str(path), **options)


def test_a_python_file_by_itself_gets_the_hint_how_to_name_a_model(tmp_path: Path) -> None:
    path = tmp_path / "models.py"
    path.touch()
    with pytest.raises(UsageError, match="a Python file") as failure:
        bufscan.inspect(str(path))
    assert f"name a model in it: `{path}:Model`" == failure.value.hint


def test_a_dotted_name_gets_the_hint_how_to_name_a_model() -> None:
    with pytest.raises(UnreadableError, match="no such file") as failure:
        bufscan.inspect("torch.nn.Linear")
    assert "if it is a model, name it so: `torch.nn:Linear`" == failure.value.hint


def test_a_file_is_read_before_a_model_is_imported(tmp_path: Path) -> None:
    code = tmp_path / "marking.py"
    code.write_text("from pathlib import Path\nPath('imported').touch()\n", encoding="utf-8")
    with pytest.raises(UnreadableError, match="no such file"):
        bufscan.inspect(str(tmp_path / "missing.pt"), model=f"{code}:Net")
    assert not (tmp_path / "imported").exists()


def test_every_failure_is_one_of_ours(tmp_path: Path) -> None:
    with pytest.raises(BufscanError):
        bufscan.inspect(str(tmp_path))
    with pytest.raises(BufscanError):
        bufscan.inspect("")


def test_the_package_names_what_it_exports() -> None:
    assert sorted(bufscan.__all__) == [name for name in sorted(bufscan.__all__) if hasattr(bufscan, name)]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = bufscan.nothing


def test_a_path_object_names_a_file_as_its_text_does(tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    torch.save(nn.Linear(2, 3).state_dict(), file)
    assert bufscan.inspect(str(file)) == bufscan.inspect(file)
    assert bufscan.check(str(file)) == bufscan.check(file)
    assert bufscan.diff(str(file), file) == bufscan.diff(file, file)
    assert bufscan.diff(file, file).identical is True
    with pytest.raises(BufscanError, match="no such file"):
        bufscan.diff(file, tmp_path / "other.pt")


@pytest.mark.parametrize(
    ("given", "what"),
    [(3, "an int"), (None, "a NoneType"), (nn.Linear, "the class Linear"), (b"model.pt", "a bytes")],
    ids=["number", "None", "class", "bytes"],
)
@pytest.mark.parametrize(
    "take",
    [bufscan.inspect, bufscan.check, lambda given: bufscan.diff(given, nn.Linear(1, 1))],
    ids=["inspect", "check", "diff"],
)
def test_what_is_no_target_is_refused(take: Callable[[Any], object], given: object, what: str) -> None:
    with pytest.raises(UsageError, match=f"^{what} is not a target$"):
        take(given)


def test_one_pattern_of_names_may_be_given_alone() -> None:
    old, new = nn.Linear(2, 3), nn.Linear(2, 4)
    assert ["bias"] == [entry.name for entry in bufscan.diff(old, new, match="b*").entries]
    assert ["bias"] == [entry.name for entry in bufscan.diff(old, new, ignore="w*").entries]


def test_where_nothing_is_known_and_the_model_is_described_there_is_a_hint(tmp_path: Path) -> None:
    index = sharded(tmp_path / "model")
    config = index.parent / "config.json"
    assert not any("--build" in note for note in bufscan.inspect(index.parent).notes)
    config.write_text('{"optimizer": "adam"}')
    assert not any("--build" in note for note in bufscan.inspect(index.parent).notes)
    config.write_text('{"model_type": "bert"}')
    (hint,) = (note for note in bufscan.inspect(index.parent).notes if "--build" in note)
    assert f"`bufscan inspect {index.parent} --build`" in hint
    (hint,) = (note for note in bufscan.inspect(next(index.parent.glob("*1-of*"))).notes if "--build" in note)
    assert f"`bufscan inspect {index.parent} --build`" in hint
