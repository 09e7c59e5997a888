"""Start-up is light: files are inspected without torch and numpy ever being loaded. And the proof can fail."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from command_line import environment

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = ("torch", "numpy", "safetensors", "pydantic", "transformers", "jinja2")


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of empty modules with the heavy names: importing one always works, and is noticed."""
    folder = tmp_path_factory.mktemp("stand_ins")
    for name in HEAVY:
        (folder / f"{name}.py").touch()
    return folder


def heavy_modules_after(code: str, stand_ins: Path, folder: Path | None = None) -> set[str]:
    """Which heavy modules a fresh interpreter has loaded once it has run `code` in the folder."""
    report = f"import sys; print('loaded:', *(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\nsys.path.insert(0, {str(stand_ins)!r})\n{code}\n{report}"],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment(),
        check=True,
    )
    return set(done.stdout.rpartition("loaded:")[2].split())


def test_importing_loads_nothing_heavy(stand_ins: Path) -> None:
    assert set() == heavy_modules_after("import bufscan", stand_ins)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        pytest.param(["--help"], 0, id="help"),
        pytest.param(["inspect", "--help"], 0, id="help of inspect"),
        pytest.param(["inspect", "model.pt"], 0, id="inspect as text"),
        pytest.param(["inspect", "weights.safetensors"], 0, id="inspect safetensors"),
        pytest.param(["inspect", "model.pt", "--by-module", "--depth", "2"], 0, id="inspect as tree"),
        pytest.param(["inspect", "model.pt", "--format", "json"], 0, id="inspect as json"),
        pytest.param(["inspect", "model.pt", "--format", "csv", "--match", "*"], 0, id="inspect as csv"),
        pytest.param(["inspect", "no-such-file"], 2, id="inspect nothing"),
        pytest.param(["demo"], 0, id="demo"),
        pytest.param(["diff", "--help"], 0, id="help of diff"),
        pytest.param(["diff", "model.pt", "model.pt"], 0, id="diff of equal files"),
        pytest.param(["diff", "model.pt", "weights.safetensors", "--no-values"], 0, id="diff of structures"),
        pytest.param(["diff", "--textconv", "weights.safetensors"], 0, id="diff for git"),
        pytest.param(["check", "--help"], 0, id="help of check"),
        pytest.param(["run", "--help"], 0, id="help of run"),
        pytest.param(["run", "no-such-file.py"], 2, id="run nothing"),
        pytest.param(["check", "model.pt", "no-such-file"], 2, id="check as text"),
        pytest.param(["check", "model.pt", "--format", "sarif"], 1, id="check as sarif"),
        pytest.param(["lint", "--help"], 0, id="help of lint"),
        pytest.param(["lint", "model.py"], 1, id="lint as text"),
        pytest.param(["lint", "model.py", "--format", "sarif"], 1, id="lint as sarif"),
        pytest.param(["explain"], 0, id="explain"),
        pytest.param(["explain", "BUF001"], 0, id="explain a rule"),
    ],
)
def test_files_are_inspected_with_nothing_heavy(
    arguments: list[str], code: int, stand_ins: Path, demo_files: Path
) -> None:
    command = f"from bufscan.cli import main; assert {code} == main({arguments!r})"
    assert set() == heavy_modules_after(command, stand_ins, demo_files)


def test_a_process_that_a_launcher_started_alone_loads_nothing_heavy(stand_ins: Path, demo_files: Path) -> None:
    told = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    command = f"""
import os
os.environ |= {told!r}
from bufscan.cli import run
sys.argv[1:] = ["diff", "model.pt", "model.pt"]
try:
    run()
except SystemExit as end:
    assert end.code == 0
"""
    assert set() == heavy_modules_after(command, stand_ins, demo_files)


@pytest.mark.parametrize("name", HEAVY)
def test_the_proof_notices(name: str, stand_ins: Path) -> None:
    assert {name} == heavy_modules_after(f"import bufscan\ndef f():\n    import {name}\nf()", stand_ins)


def test_the_stand_ins_hide_the_real_modules(stand_ins: Path) -> None:
    code = "import torch; assert torch.__file__.startswith(sys.path[0])"
    assert {"torch"} == heavy_modules_after(code, stand_ins)
