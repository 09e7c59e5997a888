"""The README's console examples are what bufscan prints. `UPDATE_EXPECTED=1` writes them anew."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import bufscan, environment

README = Path(__file__).parent.parent / "README.md"

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands_of(block: str) -> list[str]:
    """The commands of a console block, as typed: after `$ `, and after `> ` on the lines that continue one."""
    commands: list[str] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            commands.append(line[2:])
        elif line.startswith("> "):
            commands[-1] += "\n" + line[2:]
    return commands


def typed(command: str) -> str:
    return "$ " + command.replace("\n", "\n> ") + "\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader of the README is: among the demo's files."""
    folder = tmp_path_factory.mktemp("reader")
    assert 0 == bufscan("demo", "--write", ".", cwd=folder).returncode
    return folder


def run_block(block: str, folder: Path) -> str:
    """The block again, with what its commands print on a terminal of 80 columns."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    shown = ""
    for command in commands_of(block):
        done = subprocess.run(
            ["bash", "-c", command],  # noqa: S607 - whichever bash the reader has
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(COLUMNS="80", PATH=path),
            check=False,
        )
        shown += typed(command) + done.stdout
    return shown


def test_every_example_prints_what_the_readme_shows(folder: Path) -> None:
    text = README.read_text()
    actual = _BLOCK.sub(lambda found: f"```console\n{run_block(found[1], folder)}```", text)
    if os.environ.get("UPDATE_EXPECTED"):
        README.write_text(actual)
    assert README.read_text() == actual


def test_an_example_that_prints_something_else_is_noticed(folder: Path) -> None:
    block = "$ bufscan demo --quiet\nsomething else\n"
    assert block != run_block(block, folder)


def test_the_readme_explains_every_option_and_no_other() -> None:
    table = re.findall(r"^\| (`-.*?) \|", README.read_text(), re.MULTILINE)
    explained = set(re.findall(r"--[a-z-]+", "".join(table)))
    known = set(
        re.findall(r"^ +(?:-[^h], )?(--[a-z-]+)", bufscan("inspect", "--help").stdout.decode(), re.MULTILINE)
    )
    assert "--role" in known
    assert known == explained


def test_the_readme_has_one_command_that_installs_and_one_that_tests() -> None:
    commands = re.findall(r"^```sh\n(.*?)\n```$", README.read_text(), re.MULTILINE | re.DOTALL)
    assert 2 == len(commands)
    assert all("\n" not in command for command in commands)
    assert ["torch" in command or "test" in command for command in commands] == [False, True]
    assert "-c tests/constraints.txt" in commands[1]  # else torch comes with gigabytes that no test needs
    assert commands[0].endswith("bufscan demo")
    assert commands[1].endswith("pytest -n auto")
