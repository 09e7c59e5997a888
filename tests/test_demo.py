from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import bufscan as package
from command_line import bufscan, environment

FILES = Path(package.__file__).parent / "demo" / "files"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `bufscan demo --write` makes."""
    folder = tmp_path_factory.mktemp("demo") / "new" / "demo"
    done = bufscan("demo", "--write", str(folder))
    assert (0, b"") == (done.returncode, done.stderr)
    assert [f"wrote {folder / name}" for name in ("model.py", "model.pt", "weights.safetensors")] == (
        done.stdout.decode().splitlines()
    )
    return folder


def tensors_of(path: Path) -> list[dict[str, object]]:
    done = bufscan("inspect", path.name, "--format", "json", cwd=path.parent)
    return json.loads(done.stdout)["tensors"]


def test_the_demo_says_what_it_is_and_what_to_try_next() -> None:
    done = bufscan("demo")
    assert (0, b"") == (done.returncode, done.stderr)
    lines = done.stdout.decode().splitlines()
    assert lines[0].startswith("A small transformer, saved whole")
    assert "Try next:" in lines
    assert lines[-1].strip().startswith("bufscan inspect")


def test_every_command_to_try_next_works(folder: Path) -> None:
    text = bufscan("demo").stdout.decode().partition("Try next:\n")[2]
    commands = [line.split("  ")[1].split() for line in text.splitlines()]
    assert 5 == len(commands)
    for _, *arguments in commands:
        assert 0 == bufscan(*arguments, cwd=folder.parent).returncode


def test_the_demo_shows_every_role_and_every_classic_fault(folder: Path) -> None:
    found = {str(each["name"]): each for each in tensors_of(folder / "model.pt")}
    unregistered = {name for name, each in found.items() if each["role"] == "unregistered"}
    assert {
        "source_positions.pe",
        "gates[0]",
        "gates[1]",
        "adapters[0].weight",
        "adapters[0].bias",
        "prompts['task']",
        "counts",
    } == unregistered
    assert "embed.weight" == found["head.weight"]["alias_of"]
    assert "non_persistent_buffer" == found["blocks.0.mask"]["role"]
    assert "persistent_buffer" == found["stem.running_mean"]["role"]
    assert {"exact"} == {each["certainty"] for each in found.values()}


def test_writing_again_is_harmless_and_a_changed_file_is_never_overwritten(tmp_path: Path) -> None:
    assert 0 == bufscan("demo", "--write", str(tmp_path)).returncode
    assert 0 == bufscan("demo", "--write", str(tmp_path)).returncode
    (tmp_path / "model.py").write_text("mine")
    (tmp_path / "model.pt").unlink()
    done = bufscan("demo", "--write", str(tmp_path))
    assert 2 == done.returncode
    assert f"bufscan: {tmp_path / 'model.py'}: is there already and differs\n" in done.stderr.decode()
    assert "mine" == (tmp_path / "model.py").read_text()
    assert not (tmp_path / "model.pt").exists()


def test_the_checkpoint_is_small_enough_to_ship() -> None:
    assert 100_000 > (FILES / "model.pt").stat().st_size


def test_its_source_makes_the_shipped_checkpoint_again(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_bytes((folder / "model.py").read_bytes())
    subprocess.run([sys.executable, "-W", "ignore", "model.py"], cwd=tmp_path, env=environment(), check=True)
    assert tensors_of(folder / "model.pt") == tensors_of(tmp_path / "model.pt")


def test_the_model_runs_and_its_state_dict_is_what_the_weights_hold(folder: Path) -> None:
    code = """
import torch
from safetensors.torch import load_file
model = torch.load("model.pt", weights_only=False)
assert model(torch.zeros(2, 5, dtype=torch.long)).shape == (2, 5, 64)
model = torch.load("model.pt", weights_only=False)
state, weights = model.state_dict(), load_file("weights.safetensors")
assert set(state) - set(weights) == {"head.weight"}, set(state) ^ set(weights)
assert all(torch.equal(state[name], weights[name]) for name in weights)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=folder, env=environment(), check=True)


def test_the_weights_name_their_tie_and_align_their_tensors(folder: Path) -> None:
    data = (folder / "weights.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    assert {"head.weight": "embed.weight"} == header.pop("__metadata__")
    widths = {"F32": 4, "I64": 8}
    assert all((8 + length + each["data_offsets"][0]) % widths[each["dtype"]] == 0 for each in header.values())
