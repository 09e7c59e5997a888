"""What the README and the manual show is what bufscan prints. `UPDATE_EXPECTED=1` writes it anew."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html import unescape
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from bufscan.help import topics
from command_line import bufscan, environment

README = Path(__file__).parent.parent / "README.md"
HELP = README.parent / "src" / "bufscan" / "help"
PICTURE = README.parent / "tests" / "readme" / "inspect.svg"
PICTURED = 18  # lines: what there is room for above the fold
PAGES = (README, *sorted(HELP.glob("*.md")))

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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a reader of a page is: among the demo's files."""
    assert 0 == bufscan("demo", "--write", ".", cwd=tmp_path).returncode
    return tmp_path


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_example_prints_what_the_page_shows(page: Path, folder: Path) -> None:
    text = page.read_text()
    actual = _BLOCK.sub(lambda found: f"```console\n{run_block(found[1], folder)}```", text)
    if os.environ.get("UPDATE_EXPECTED"):
        page.write_text(actual)
    assert page.read_text() == actual


def test_an_example_that_prints_something_else_is_noticed(folder: Path) -> None:
    block = "$ bufscan demo --quiet\nsomething else\n"
    assert block != run_block(block, folder)


def test_the_page_of_inspect_explains_every_option_and_no_other() -> None:
    table = re.findall(r"^\| (`-.*?) \|", (HELP / "inspect.md").read_text(), re.MULTILINE)
    explained = set(re.findall(r"--[a-z-]+", "".join(table)))
    known = set(
        re.findall(r"^ +(?:-[^h], )?(--[a-z-]+)", bufscan("inspect", "--help").stdout.decode(), re.MULTILINE)
    )
    assert "--role" in known
    assert known == explained


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^):#]+\.\w+)(?:#[^)]*)?\)", page.read_text())
    assert [] == [link for link in links if not (page.parent / link).is_file()]


def test_the_readme_links_to_every_page_of_the_manual() -> None:
    links = set(re.findall(r"src/bufscan/help/(\w+)\.md", README.read_text()))
    beside = "".join((HELP / f"{name}.md").read_text() for name in links)
    linked = links | set(re.findall(r"\]\((\w+)\.md", beside))
    assert set(topics()) == linked


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 300


def test_the_picture_shows_what_inspect_prints(folder: Path) -> None:
    done = bufscan("inspect", "model.pt", "--color", "always", cwd=folder, COLUMNS="96")
    first = done.stdout.decode().splitlines()[:PICTURED]
    shown = Text.from_ansi("\n".join(first))
    if os.environ.get("UPDATE_EXPECTED"):
        PICTURE.write_text(picture_of(f"bufscan inspect model.pt | head -n {PICTURED}", shown))
    rows = re.findall(r"<text [^>]*>(.*?)</text>", PICTURE.read_text())
    text = unescape("".join(rows)).replace("\N{NO-BREAK SPACE}", "")
    assert re.sub(r"\s", "", shown.plain) in re.sub(r"\s", "", text)


def picture_of(command: str, shown: Text) -> str:
    """What a terminal of 96 columns shows, without a font that a reader would have to fetch."""
    console = Console(width=96, record=True, file=StringIO(), force_terminal=True, color_system="standard")
    console.print(Text(f"$ {command}\n"), shown, sep="\n", end="")
    svg = console.export_svg(title=command, unique_id="bufscan")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


def test_the_readme_has_one_command_that_installs_and_one_that_tests() -> None:
    commands = re.findall(r"^```sh\n(.*?)\n```$", README.read_text(), re.MULTILINE | re.DOTALL)
    assert 2 == len(commands)
    assert all("\n" not in command for command in commands)
    assert ["torch" in command or "test" in command for command in commands] == [False, True]
    assert "-c tests/constraints.txt" in commands[1]  # else torch comes with gigabytes that no test needs
    assert commands[0].endswith("bufscan demo")
    assert commands[1].endswith("pytest -n auto")
