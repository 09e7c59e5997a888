"""`bufscan help`: the pages of the manual."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import bufscan as package
from bufscan.help import topics
from command_line import bufscan

HELP = Path(package.__file__).parent / "help"


def test_the_list_has_every_page_with_its_title() -> None:
    done = bufscan("help")
    lines = done.stdout.decode().splitlines()
    assert 0 == done.returncode
    assert list(topics()) == [line.split()[0] for line in lines[:-2]]
    assert all(re.fullmatch(r"\w+ +\S.*", line) for line in lines[:-2])


@pytest.mark.parametrize("name", topics())
def test_in_a_pipe_a_page_is_its_file(name: str) -> None:
    assert (HELP / f"{name}.md").read_bytes() == bufscan("help", name).stdout


@pytest.mark.parametrize("name", topics())
def test_a_terminal_gets_it_set_to_its_width(name: str) -> None:
    done = bufscan("help", name, "--color", "always", COLUMNS="60")
    text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout.decode())
    assert "\x1b[" in done.stdout.decode()
    assert max(map(len, text.splitlines())) <= 60
    assert "```" not in text


def test_a_page_that_there_is_not_is_asked_about() -> None:
    done = bufscan("help", "configs")
    assert (2, b"") == (done.returncode, done.stdout)
    assert b"did you mean `config`?" in done.stderr
