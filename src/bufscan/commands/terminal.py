"""What standard output can show, from the terminal and the environment."""

from __future__ import annotations

import os
from typing import TextIO

from bufscan.commands.options import MOST_DIGITS
from bufscan.live.standard_output import results
from bufscan.report.view import Display

_USUAL_COLUMNS = 80


def display(output: str | None, *, no_color: bool) -> Display:
    """What the output can show; a file gets plain text."""
    return display_on(results() if output is None else None, no_color=no_color)


def display_on(stream: TextIO | None, *, no_color: bool) -> Display:
    """What a stream can show; None for a file."""
    if stream is None:
        return Display()
    terminal = stream.isatty()
    columns = os.environ.get("COLUMNS", "")
    width = int(columns) if columns.isdecimal() and len(columns) <= MOST_DIGITS else None
    plain = no_color or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return Display(
        width=width or (_columns(stream) if terminal else None),
        colour=terminal and not plain,
        unicode=encoding(stream).startswith("utf"),
    )


def encoding(stream: TextIO) -> str:
    """The encoding of a stream."""
    return (stream.encoding or "ascii").lower()


def _columns(terminal: TextIO) -> int:
    # Not by `shutil`, which looks at the descriptor that the user's code prints to.
    try:
        return os.get_terminal_size(terminal.fileno()).columns or _USUAL_COLUMNS
    except OSError:
        return _USUAL_COLUMNS
