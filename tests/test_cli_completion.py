"""`bufscan completion`: the script of each shell, and what it is answered at a place in the line."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from command_line import bufscan, environment

if TYPE_CHECKING:
    from pathlib import Path

MODULE = "import torch\nfrom torch import nn\n\nclass Model(nn.Module): ...\n\nclass Plain: ...\n"


def offered(shell: str, *words: str, cwd: Path | None = None) -> list[str]:
    done = bufscan("completion", shell, "--", *words, cwd=cwd)
    assert (0, b"") == (done.returncode, done.stderr)
    return done.stdout.decode().splitlines()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param("bufscan in", ["inspect"], id="a command"),
        pytest.param("bufscan inspect ", [], id="a file"),
        pytest.param("bufscan check --write", ["--write-baseline"], id="an option"),
        pytest.param("bufscan --ver", ["--version"], id="an option without a command"),
        pytest.param("bufscan diff a b --format m", ["markdown"], id="the formats of a command"),
        pytest.param("bufscan lint --format=j", ["json", "junit"], id="a value behind its sign"),
        pytest.param("bufscan lint --select stale", ["stale-buffer-alias"], id="a rule by its name"),
        pytest.param("bufscan explain BUF20", ["BUF201", "BUF202", "BUF203", "BUF204"], id="a rule by its code"),
        pytest.param("bufscan diff a b --ignore BUF", [], id="an option that means something else there"),
        pytest.param("bufscan inspect --color a", ["auto", "always"], id="a mode"),
        pytest.param("bufscan inspect --role per", ["persistent_buffer"], id="a role"),
    ],
)
def test_what_bash_is_offered(line: str, expected: list[str], tmp_path: Path) -> None:
    assert expected == offered("bash", line, cwd=tmp_path)


def test_classes_behind_a_colon_are_read_and_not_imported(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "models.py").write_text(f"{MODULE}raise SystemExit('imported')\n")
    assert ["Model"] == offered("bash", "bufscan check package.models:", cwd=tmp_path)
    assert ["package/models.py:Model\tclass in package/models.py"] == offered(
        "fish", "bufscan", "check", "package/models.py:M", cwd=tmp_path
    )
    assert [r"package.models\:Model:class in package/models.py"] == offered(
        "zsh", "bufscan", "inspect", "package.models:", cwd=tmp_path
    )
    assert [] == offered("bash", "bufscan check nowhere:", cwd=tmp_path)


def test_bash_puts_it_into_the_line(tmp_path: Path) -> None:
    (tmp_path / "bufscan").write_text(f'#!/bin/sh\nexec {sys.executable} -m bufscan "$@"\n')
    (tmp_path / "bufscan").chmod(0o755)
    script = 'eval "$(bufscan completion bash)"; COMP_LINE="bufscan check --format ju"; COMP_POINT=${#COMP_LINE}; '
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash here")
    done = subprocess.run(
        [bash, "--norc", "-c", f'{script}_bufscan; printf "%s|" "${{COMPREPLY[@]}}"'],
        capture_output=True,
        env=environment(PATH=f"{tmp_path}:/usr/bin:/bin"),
        timeout=60,
        check=True,
    )
    assert b"junit|" == done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_script_is_one_of_its_shell(shell: str) -> None:
    script = bufscan("completion", shell).stdout
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"there is no {shell} here")
    done = subprocess.run([program, "-n"], input=script, capture_output=True, timeout=60, check=False)
    assert (0, b"") == (done.returncode, done.stderr)


def test_an_unknown_shell_is_told() -> None:
    done = bufscan("completion", "tcsh")
    assert (2, b"") == (done.returncode, done.stdout)
    assert b"choose from bash, zsh, fish" in done.stderr
