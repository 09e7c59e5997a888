"""What standard output can show, from the terminal and the environment."""

from __future__ import annotations

import os
import shutil
import sys

from bufscan.commands.options import MOST_DIGITS
from bufscan.report.view import Display


def display(output: str | None, *, no_color: bool) -> Display:
    """What the output can show; a file gets plain text."""
    if output is not None or sys.stdout is None:
        return Display()
    terminal = sys.stdout.isatty()
    columns = os.environ.get("COLUMNS", "")
    width = int(columns) if columns.isdecimal() and len(columns) <= MOST_DIGITS else None
    plain = no_color or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return Display(
        width=shutil.get_terminal_size().columns if terminal else width or None,
        colour=terminal and not plain,
        unicode=encoding().startswith("utf"),
    )


def encoding() -> str:
    """The encoding of standard output."""
    return (sys.stdout.encoding or "ascii").lower()
