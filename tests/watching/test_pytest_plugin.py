"""`pytest --bufscan` in a project of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

import pytest

from command_line import environment

if TYPE_CHECKING:
    from pathlib import Path

MODELS = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.pe = torch.zeros(width)
        self.layer = nn.Linear(width, width)

    def forward(self, x):
        return self.layer(x + self.pe)
"""

TESTS = """\
import pytest
import torch
from torch import nn
from models import Net


@pytest.mark.parametrize("width", [2, 3, 4])
def test_net(width):
    assert (1, width) == nn.Sequential(Net(width))(torch.zeros(1, width)).shape


def test_never_called():
    Net()


@pytest.fixture(scope="module")
def shared():
    return Net(5)


def test_fixture(shared):
    shared.mask = torch.ones(3)
"""

ON = ["--bufscan"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "models.py").write_text(MODELS)
    (tmp_path / "test_models.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    return tmp_path


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit status, and what is shown."""
    installed = any(each.value == "bufscan.pytest_plugin" for each in entry_points(group="pytest11"))
    plugin = [] if installed else ["-p", "bufscan.pytest_plugin"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin, *arguments],
        cwd=folder, capture_output=True, env=environment(), timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, (done.stdout + done.stderr).decode()


def test_each_fault_is_told_once_with_its_test_and_the_run_fails(project: Path) -> None:
    code, text = run(project, "--bufscan", "--bufscan-output", "found.json")
    assert 1 == code
    section = text[text.index("= bufscan =") :]
    assert 1 == section.count("models.py:8: error BUF001 unregistered-tensor")
    assert (
        "in 5 models, first as `0.pe` of torch.nn.modules.container:Sequential in test_models.py::test_net[2]"
        in (section)
    )
    assert 1 == section.count("`mask` is a plain attribute")
    assert "2 errors in 5 models of 2 classes" in section
    found = json.loads((project / "found.json").read_text())
    assert ["mask", "pe"] == [finding["tensor"] for finding in found["targets"][0]["findings"]]


def test_workers_are_gathered(project: Path) -> None:
    pytest.importorskip("xdist")
    code, text = run(project, "--bufscan", "-n", "2")
    assert 1 == code
    assert 1 == text.count("= bufscan =")
    assert re.search(r"`pe` is a plain attribute.*\n *in 5 models", text)
    assert "2 errors in 5 models of 2 classes" in text


def test_it_is_off_unless_asked_for_and_then_loads_nothing(project: Path) -> None:
    (project / "test_models.py").write_text(
        "import sys\n\ndef test_light():\n"
        "    assert {'bufscan', 'bufscan.pytest_plugin'} >= {m for m in sys.modules if m.startswith('bufscan')}\n"
        "    assert not {'torch', 'msgspec', 'typer', 'numpy'} & set(sys.modules)\n"
    )
    code, text = run(project)
    assert (0, False) == (code, "= bufscan =" in text), text


def test_the_ini_file_turns_it_on_and_the_configuration_ignores(project: Path) -> None:
    with (project / "pytest.ini").open("a") as file:
        file.write("bufscan = true\n")
    (project / "bufscan.toml").write_text('[[ignore]]\ncode = "BUF001"\nreason = "a test"\n')
    code, text = run(project)
    assert 0 == code
    assert "no findings in 5 models of 2 classes; 2 ignored" in text
    assert "= bufscan =" not in run(project, "--no-bufscan", "--co")[1]
