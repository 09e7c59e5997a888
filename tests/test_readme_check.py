"""What the README says of `bufscan check`: its table, its options, and its lines run in a project made for them.

`UPDATE_EXPECTED=1` writes the table of rules anew.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bufscan.config import load_config
from bufscan.report.reference.explaining import rule_table
from bufscan.rules import RULES
from command_line import bufscan, environment

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
HELP = ROOT / "src" / "bufscan" / "help"
_TABLE = re.compile(r"(?<=<!-- rules -->\n)(.*?)(?=<!-- /rules -->)", re.DOTALL)


def blocks(language: str, page: Path = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A package with one clean model, configured to be checked."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "models.py").write_text(
        "import torch\nfrom torch import nn\n\n\n"
        "class Encoder(nn.Module):\n    def __init__(self, dim):\n        super().__init__()\n"
        "        self.layer = nn.Linear(dim, dim)\n        self.cache = torch.zeros(4)\n"
    )
    (tmp_path / "bufscan.toml").write_text(
        'targets = ["package.models"]\n'
        '[[build]]\ntarget = "package.models:Encoder"\nkwargs = { dim = 4 }\n'
        '[[ignore]]\ncode = "BUF001"\ntensor = "cache"\nreason = "a test"\n'
    )
    return tmp_path


def test_the_table_of_rules_is_that_of_their_explanations() -> None:
    page = HELP / "rules.md"
    actual = _TABLE.sub(lambda _: rule_table(RULES), page.read_text())
    if os.environ.get("UPDATE_EXPECTED"):
        page.write_text(actual)
    assert page.read_text() == actual


def test_the_finding_shown_is_that_of_the_demos_model(tmp_path: Path) -> None:
    assert 0 == bufscan("demo", "--write", ".", cwd=tmp_path).returncode
    (shown,) = blocks("text", HELP / "check.md")
    assert shown in bufscan("check", "model.py:TinyTransformer", cwd=tmp_path).stdout.decode()


def options_in(*topics: str) -> set[str]:
    return set(re.findall(r"--[a-z][a-z-]+", "".join((HELP / f"{topic}.md").read_text() for topic in topics)))


def options_of(command: str) -> set[str]:
    shown = bufscan(command, "--help").stdout.decode()
    return set(re.findall(r"^ +(?:-[^h], )?(--[a-z-]+)", shown, re.MULTILINE))


def test_every_option_of_check_is_explained() -> None:
    known = options_of("check")
    assert "--baseline" in known
    assert known <= options_in("check", "config", "rehearse")


def test_every_option_of_lint_is_that_of_check_or_explained() -> None:
    own = options_of("lint") - options_of("check")
    assert "--exclude" in own
    assert own <= options_in("lint")


def test_every_option_of_run_and_of_the_plugin_is_named() -> None:
    named = options_in("run")
    own = options_of("run") - {"--color", "--quiet", "--debug", "--help"}
    assert "--source" in own
    assert own <= named
    plugin = (ROOT / "src" / "bufscan" / "pytest_plugin.py").read_text()
    assert set(re.findall(r'"(--(?:no-)?bufscan[a-z-]*)"', plugin)) <= named


def test_the_configuration_shown_is_one(tmp_path: Path) -> None:
    (text,) = blocks("toml", HELP / "config.md")
    (tmp_path / "pyproject.toml").write_text(text)
    config = load_config(tmp_path)
    assert ("package.models", "weights/model.pt") == config.targets
    assert (1, 2) == (len(config.ignore), len(config.build))


def test_the_lines_of_the_pipelines_run_and_write_their_files(project: Path) -> None:
    lines = re.findall(
        r"^ *- (?:run: )?(bufscan .*)$", "".join((*blocks("yaml"), *blocks("yaml", HELP / "ci.md"))), re.MULTILINE
    )
    assert 4 == len(lines)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for line in lines:
        done = subprocess.run(["bash", "-c", line], cwd=project, env=environment(PATH=path), check=False)  # noqa: S607
        assert done.returncode == 0
    assert "2.1.0" == json.loads((project / "bufscan.sarif").read_text())["version"]
    assert "testsuites" == ET.fromstring((project / "bufscan.xml").read_text()).tag  # noqa: S314 - just written


def test_the_test_shown_passes_in_that_project(project: Path) -> None:
    text = next(block for block in blocks("python") if "assert_registered" in block)
    (project / "test_models.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore"]
    settings = environment(PYTHONPATH=str(project))
    done = subprocess.run(command, cwd=project, env=settings, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode()


def test_the_hooks_are_those_that_the_readme_names() -> None:
    hooks = (ROOT / ".pre-commit-hooks.yaml").read_text()
    assert re.findall(r"^- id: (.+)$", hooks, re.MULTILINE) == re.findall(
        r"^ +- id: (.+)$", "".join(blocks("yaml")), re.MULTILINE
    )
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["bufscan"]
    assert {"bufscan check", "bufscan lint"} == set(re.findall(r"^  entry: (.+)$", hooks, re.MULTILINE))
