from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

import pytest

from command_line import bufscan, environment

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the demo's files."""
    folder = tmp_path_factory.mktemp("demo")
    assert 0 == bufscan("demo", "--write", str(folder)).returncode
    return folder


def on_a_terminal(*arguments: str, cwd: Path, columns: int = 0, **settings: str) -> str:
    """What bufscan writes when standard output, and nothing else, is a terminal."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, columns))
    process = subprocess.Popen(
        [sys.executable, "-m", "bufscan", *arguments],
        cwd=cwd,
        stdout=slave,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        env=environment(**settings),
    )
    os.close(slave)
    chunks = []
    while True:
        try:
            chunk = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        chunks.append(chunk)
    os.close(master)
    assert 0 == process.wait()
    return b"".join(chunks).decode().replace("\r\n", "\n")


def test_a_terminal_gets_colour(folder: Path) -> None:
    text = on_a_terminal("inspect", "model.pt", cwd=folder, TERM="xterm", COLUMNS="80")
    assert "\x1b[1;31munregistered\x1b[0m" in text


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        pytest.param((), {"NO_COLOR": "1", "TERM": "xterm"}, id="NO_COLOR"),
        pytest.param((), {"TERM": "dumb"}, id="TERM=dumb"),
        pytest.param(("--no-color",), {"TERM": "xterm"}, id="--no-color"),
        pytest.param(("--color", "never"), {"TERM": "xterm", "FORCE_COLOR": "1"}, id="--color never"),
        pytest.param(("--color", "always", "--no-color"), {"TERM": "xterm"}, id="the last one holds"),
        pytest.param((), {"NO_COLOR": "1", "FORCE_COLOR": "1", "TERM": "xterm"}, id="NO_COLOR over FORCE_COLOR"),
    ],
)
def test_colour_can_be_refused(folder: Path, arguments: tuple[str, ...], settings: dict[str, str]) -> None:
    text = on_a_terminal("inspect", "model.pt", *arguments, cwd=folder, COLUMNS="80", **settings)
    assert "\x1b" not in text
    assert "unregistered" in text


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        pytest.param(("--color", "always"), {"NO_COLOR": "1"}, id="--color always"),
        pytest.param(("--color=always",), {"TERM": "dumb"}, id="--color=always"),
        pytest.param((), {"FORCE_COLOR": "1"}, id="FORCE_COLOR"),
        pytest.param((), {"CLICOLOR_FORCE": "1"}, id="CLICOLOR_FORCE"),
    ],
)
def test_a_pipe_gets_colour_where_that_is_asked_for(
    folder: Path, arguments: tuple[str, ...], settings: dict[str, str]
) -> None:
    done = bufscan("inspect", "model.pt", *arguments, cwd=folder, **settings)
    assert b"\x1b[1;31munregistered\x1b[0m" in done.stdout


@pytest.mark.parametrize("unset", ["", "0"])
def test_a_force_color_that_is_off_forces_nothing(folder: Path, unset: str) -> None:
    assert b"\x1b" not in bufscan("inspect", "model.pt", cwd=folder, FORCE_COLOR=unset).stdout


def test_an_unknown_colour_mode_is_told(folder: Path) -> None:
    done = bufscan("inspect", "model.pt", "--color", "sometimes", cwd=folder)
    assert (2, b"") == (done.returncode, done.stdout)
    assert b"choose from auto, always, never" in done.stderr


@pytest.mark.parametrize("before", [("--quiet",), ("-q",), ("--color", "always", "-q"), ("--no-color", "-q")])
def test_what_all_commands_know_may_stand_before_the_command(folder: Path, before: tuple[str, ...]) -> None:
    behind = bufscan("inspect", "model.pt", *before, cwd=folder)
    assert (0, 1) == (behind.returncode, behind.stdout.count(b"\n"))
    assert behind.stdout == bufscan(*before, "inspect", "model.pt", cwd=folder).stdout
    assert behind.stdout == bufscan(*before, "model.pt", cwd=folder).stdout


def test_an_empty_no_color_refuses_nothing(folder: Path) -> None:
    assert "\x1b" in on_a_terminal("inspect", "model.pt", cwd=folder, TERM="xterm", NO_COLOR="")


def test_a_pipe_gets_the_text_of_the_terminal_without_its_colour(folder: Path) -> None:
    terminal = on_a_terminal("inspect", "model.pt", cwd=folder, TERM="xterm", COLUMNS="80")
    piped = bufscan("inspect", "model.pt", cwd=folder, COLUMNS="80").stdout.decode()
    assert piped == re.sub(r"\x1b\[[0-9;]*m", "", terminal)


def test_the_width_of_the_terminal_is_kept(folder: Path) -> None:
    text = on_a_terminal("inspect", "model.pt", cwd=folder, TERM="dumb", COLUMNS="70")
    assert all(len(line) <= 70 for line in text.splitlines() if not re.match("[! ] \\S+ +\\w", line))


@pytest.mark.parametrize("target", ["model.pt", "model.py:TinyTransformer"])
def test_the_terminal_is_asked_how_wide_it_is(folder: Path, target: str) -> None:
    arguments = ("inspect", target, "--match", "source_*")
    wide = on_a_terminal(*arguments, cwd=folder, TERM="xterm", COLUMNS="110")
    assert "\x1b[1;31munregistered\x1b[0m" in wide
    assert wide == on_a_terminal(*arguments, cwd=folder, columns=110, TERM="xterm")
    assert wide != on_a_terminal(*arguments, cwd=folder, columns=60, TERM="xterm")


@pytest.mark.parametrize("columns", ["0", "", "-5", "many", "99999999999"])
def test_a_senseless_width_is_none(folder: Path, columns: str) -> None:
    unset = bufscan("inspect", "model.pt", cwd=folder)
    assert unset.stdout == bufscan("inspect", "model.pt", cwd=folder, COLUMNS=columns).stdout


def test_an_encoding_without_box_characters_gets_ascii(folder: Path) -> None:
    done = bufscan("inspect", "model.pt", "--by-module", cwd=folder, PYTHONIOENCODING="latin-1")
    assert done.stdout.isascii()
    assert b"|-- embed" in done.stdout
