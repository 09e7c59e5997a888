"""Start-up is light: files are inspected without torch and numpy ever being loaded. And the proof can fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import bufscan
from command_line import environment

MODEL = Path(bufscan.__file__).parent / "demo" / "files" / "model.pt"
WEIGHTS = MODEL.with_name("weights.safetensors")

HEAVY = ("torch", "numpy", "safetensors", "pydantic", "transformers")


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of empty modules with the heavy names: importing one always works, and is noticed."""
    folder = tmp_path_factory.mktemp("stand_ins")
    for name in HEAVY:
        (folder / f"{name}.py").touch()
    return folder


def heavy_modules_after(code: str, stand_ins: Path) -> set[str]:
    """Which heavy modules a fresh interpreter has loaded once it has run `code`."""
    report = f"import sys; print('loaded:', *(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\nsys.path.insert(0, {str(stand_ins)!r})\n{code}\n{report}"],
        capture_output=True,
        text=True,
        env=environment(),
        check=True,
    )
    return set(done.stdout.rpartition("loaded:")[2].split())


def run(*arguments: str) -> str:
    return f"from bufscan.cli import main; main({list(arguments)!r})"


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("import bufscan", id="import"),
        pytest.param(run("--help"), id="help"),
        pytest.param(run("inspect", "--help"), id="help of inspect"),
        pytest.param(run("inspect", str(MODEL)), id="inspect as text"),
        pytest.param(run("inspect", str(MODEL), "--by-module", "--depth", "2"), id="inspect as tree"),
        pytest.param(run("inspect", str(MODEL), "--format", "json", "--role", "parameter"), id="inspect as json"),
        pytest.param(run("inspect", str(MODEL), "--format", "csv", "--match", "*"), id="inspect as csv"),
        pytest.param(run("inspect", "no-such-file"), id="inspect nothing"),
        pytest.param(run("demo"), id="demo"),
        pytest.param(run("diff", "--help"), id="help of diff"),
        pytest.param(run("diff", str(MODEL), str(MODEL)), id="diff of equal files"),
        pytest.param(run("diff", str(MODEL), str(WEIGHTS), "--no-values"), id="diff of structures"),
        pytest.param(run("diff", "--textconv", str(WEIGHTS)), id="diff for git"),
        pytest.param(run("check", "--help"), id="help of check"),
        pytest.param(run("check", str(MODEL), "no-such-file"), id="check as text"),
        pytest.param(run("check", str(MODEL), "--format", "sarif"), id="check as sarif"),
        pytest.param(run("explain"), id="explain"),
        pytest.param(run("explain", "BUF001"), id="explain a rule"),
    ],
)
def test_files_are_inspected_with_nothing_heavy(code: str, stand_ins: Path) -> None:
    assert set() == heavy_modules_after(code, stand_ins)


@pytest.mark.parametrize("name", HEAVY)
def test_the_proof_notices(name: str, stand_ins: Path) -> None:
    assert {name} == heavy_modules_after(f"import bufscan\ndef f():\n    import {name}\nf()", stand_ins)


def test_the_stand_ins_hide_the_real_modules(stand_ins: Path) -> None:
    code = "import torch; assert torch.__file__.startswith(sys.path[0])"
    assert {"torch"} == heavy_modules_after(code, stand_ins)
