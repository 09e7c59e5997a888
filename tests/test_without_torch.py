"""What needs no model needs no torch, and what compares no values needs no NumPy either."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch

from command_line import environment
from safetensors_files import save

if TYPE_CHECKING:
    from pathlib import Path

BLOCKER = """
import sys

class Blocker:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker)
"""
"""Run whenever Python starts: importing what is blocked fails as if it were not installed."""


@pytest.fixture(scope="module")
def folder(demo_files: Path) -> Path:
    """The demo's files, and a few that only torch can make."""
    state = {"weight": torch.randn(4, 6), "bias": torch.randn(4), "complex": torch.ones(2, dtype=torch.complex64)}
    folder = demo_files.parent / "without_torch"
    folder.mkdir()
    for file in demo_files.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    torch.save(state, folder / "old.pt")
    torch.save(
        {name: value.half() if value.is_floating_point() else value + 1 for name, value in state.items()},
        folder / "new.pt",
    )
    torch.save({name: value.t() if value.ndim == 2 else value for name, value in state.items()}, folder / "t.pt")
    torch.save(state, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    weights = {"w": torch.randn(4, 4), "code": torch.ones(4, dtype=torch.uint8)}
    (folder / "nan.safetensors").write_bytes(save({**weights, "w": torch.tensor([float("nan")])}))
    (folder / "fp8.safetensors").write_bytes(save({**weights, "w": weights["w"].to(torch.float8_e4m3fn)}))
    (folder / "wide.safetensors").write_bytes(save(weights))
    return folder


def run_without(blocked: tuple[str, ...], arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    site = folder.parent / " ".join(("without", *blocked))
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(BLOCKER.replace("BLOCKED", repr(blocked)))
    return subprocess.run(
        [sys.executable, "-m", "bufscan", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment(PYTHONPATH=str(site)),
        check=False,
    )


def words(value: object) -> str:
    return " ".join(value) if isinstance(value, list) else ""


STRUCTURE = [
    (["--help"], 0),
    (["explain"], 0),
    (["explain", "BUF001"], 0),
    (["demo"], 0),
    (["demo", "--write", "written"], 0),
    (["inspect", "model.pt"], 0),
    (["inspect", "legacy.pt", "--format", "json"], 0),
    (["inspect", "weights.safetensors", "--by-module"], 0),
    (["check", "model.pt"], 1),
    (["lint", "model.py"], 1),
    (["check", "weights.safetensors", "--format", "sarif"], 0),
    (["diff", "model.pt", "weights.safetensors"], 0),
    (["diff", "old.pt", "new.pt", "--no-values"], 1),
    (["diff", "--textconv", "old.pt"], 0),
]
VALUES = [
    (["check", "nan.safetensors", "--values"], 1),
    (["diff", "old.pt", "new.pt"], 1),
    (["diff", "old.pt", "t.pt"], 1),
    (["diff", "new.pt", "legacy.pt", "--rtol", "0.1", "--atol", "0.1"], 1),
    (["diff", "wide.safetensors", "fp8.safetensors", "--format", "json"], 1),
    (["diff", "--textconv", "t.pt"], 0),
]


@pytest.mark.parametrize(("arguments", "code"), [*STRUCTURE, *VALUES], ids=words)
def test_files_need_no_torch(arguments: list[str], code: int, folder: Path) -> None:
    done = run_without(("torch",), arguments, folder)
    assert (code, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize(("arguments", "code"), STRUCTURE, ids=words)
def test_what_compares_no_values_needs_no_numpy(arguments: list[str], code: int, folder: Path) -> None:
    done = run_without(("torch", "numpy"), arguments, folder)
    assert (code, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", "model.py:TinyTransformer"],
        ["check", "model.py:TinyTransformer"],
        ["inspect", "weights.safetensors", "--model", "model.py:TinyTransformer"],
        ["diff", "weights.safetensors", "model.py:TinyTransformer"],
    ],
    ids=words,
)
def test_a_model_needs_torch_and_says_how_to_get_it(arguments: list[str], folder: Path) -> None:
    done = run_without(("torch",), arguments, folder)
    hint = "hint: `pip install 'bufscan[torch]'`, or run bufscan in the environment of the model\n"
    assert (2, True, True) == (
        done.returncode,
        done.stderr.endswith(hint),
        ": models need torch\n" in done.stderr,
    ), done.stderr


def test_a_python_file_without_torch_is_not_called_clean(folder: Path) -> None:
    done = run_without(("torch",), ["check", "model.py"], folder)
    assert (2, True) == (done.returncode, "models need torch" in done.stdout + done.stderr)


def test_the_values_are_the_same_without_torch(folder: Path) -> None:
    arguments = ["diff", "wide.safetensors", "fp8.safetensors", "--format", "json"]
    (entry,) = json.loads(run_without(("torch",), arguments, folder).stdout)["entries"]
    assert "rounded" == entry["values"]["rounding"]
    assert json.loads(run_without((), arguments, folder).stdout)["entries"] == [entry]


@pytest.mark.parametrize("name", ["torch", "numpy"])
def test_what_is_blocked_cannot_be_imported(name: str, folder: Path) -> None:
    run_without((name,), ["--help"], folder)  # makes the blocker
    done = subprocess.run(
        [sys.executable, "-c", f"import {name}"],
        capture_output=True,
        text=True,
        env=environment(PYTHONPATH=str(folder.parent / f"without {name}")),
        check=False,
    )
    assert done.stderr.endswith(f"ModuleNotFoundError: No module named '{name}'\n")
