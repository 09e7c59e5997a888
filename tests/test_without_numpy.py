"""torch works without numpy, and so does bufscan."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from command_line import environment

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["demo"], 0),
        (["inspect", "model.py:TinyTransformer"], 0),
        (["inspect", "weights.safetensors", "--model", "model.py:TinyTransformer"], 0),
        (["check", "model.py:TinyTransformer", "model.pt", "--values"], 1),
        (["diff", "model.pt", "weights.safetensors"], 0),
        (["diff", "model.pt", "model.py:TinyTransformer"], 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_nothing_needs_numpy(arguments: list[str], code: int, demo_files: Path) -> None:
    program = (
        "import sys; sys.modules['numpy'] = None\n"  # from here on importing it fails
        f"from bufscan.cli import main; sys.exit(main({arguments!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        cwd=demo_files,
        env=environment(),
        check=False,
    )
    assert (code, "") == (done.returncode, done.stderr)
