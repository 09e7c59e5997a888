"""`bufscan config`, and a configuration in a folder above."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import command_line

if TYPE_CHECKING:
    from pathlib import Path


def bufscan(*arguments: str, cwd: Path) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    ended = command_line.bufscan(*arguments, cwd=cwd)
    return ended.returncode, ended.stdout.decode(), ended.stderr.decode()


MODEL = """
import torch
from torch import nn

class Forgetful(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.pe = torch.zeros(width)
"""

SETTINGS = """
targets = ["model.py:Forgetful", "package.model"]
fail-on = "warning"
baseline = "known.json"
format = "concise"

[[build]]
target = "model.py:Forgetful"
kwargs = { width = 64 }
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "bufscan.toml").write_text(SETTINGS)
    (tmp_path / "known.json").write_text('{"schema": "bufscan.baseline/1", "findings": []}')
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "model.py").write_text(MODEL)
    (tmp_path / "inner").mkdir()
    return tmp_path


def test_each_value_is_shown_with_where_it_comes_from(project: Path) -> None:
    code, shown, complaint = bufscan("config", cwd=project / "inner")
    assert (0, "") == (code, complaint)
    lines = shown.splitlines()
    assert "../bufscan.toml" == lines[0]
    assert "targets              ../model.py:Forgetful" == lines[2]
    assert "select      default  all rules" in lines
    assert 'build                target ../model.py:Forgetful, kwargs {"width": 64}' in lines


def test_without_a_file_all_are_defaults(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    shown = [row.split() for row in bufscan("config", cwd=tmp_path)[1].splitlines()]
    assert ["build-with", "default", "nothing"] in shown
    report = json.loads(bufscan("config", "--format", "json", cwd=tmp_path)[1])
    assert ("bufscan.settings/1", None, []) == (report["schema"], report["file"], report["stated"])
    assert "error" == report["settings"]["fail-on"]


def test_a_check_below_the_project_is_that_of_the_project(project: Path) -> None:
    """Targets, arguments, the packages of the project, the format and the baseline: all as from its root."""
    inner = project / "inner"
    code, found, _ = bufscan("check", cwd=inner)
    assert 1 == code
    assert [f"{project}/model.py:8", f"{project}/package/model.py:8"] == [
        line.partition(": ")[0] for line in found.splitlines() if "BUF001" in line
    ]
    assert 0 == bufscan("check", "--write-baseline", "../known.json", cwd=inner)[0]
    entries = json.loads((project / "known.json").read_text())["findings"]
    assert ["model.py:Forgetful(width=64)", "package.model:Forgetful"] == [each["target"] for each in entries]
    assert 0 == bufscan("check", cwd=inner)[0]
    assert 0 == bufscan("check", cwd=project)[0]


def test_what_the_command_line_says_goes_before_the_file(project: Path) -> None:
    (project / "none.json").write_text('{"schema": "bufscan.baseline/1", "findings": []}')
    assert 0 == bufscan("check", "--write-baseline", "known.json", cwd=project)[0]
    _, asked, _ = bufscan("check", "--format", "json", "--baseline", "none.json", cwd=project)
    assert 2 == json.loads(asked)["summary"]["findings"]


def test_a_baseline_that_is_not_there_is_told(project: Path) -> None:
    (project / "known.json").unlink()
    code, shown, complaint = bufscan("check", cwd=project)
    assert (2, "") == (code, shown)
    assert complaint.startswith("bufscan: known.json: ")


def test_a_format_of_the_file_that_does_not_exist_is_told(tmp_path: Path) -> None:
    (tmp_path / "bufscan.toml").write_text('format = "jsno"\n')
    code, shown, complaint = bufscan("lint", cwd=tmp_path)
    assert (2, "") == (code, shown)
    assert "did you mean `json`" in complaint


def test_a_target_that_is_named_twice_is_checked_once(project: Path) -> None:
    (project / "bufscan.toml").unlink()
    code, shown, _ = bufscan("check", "model.py:Forgetful", "model.py:Forgetful", "--quiet", cwd=project)
    assert (1, "1 error in 1 target") == (code, shown.partition(";")[0].strip())
