"""What standard output can show, from the terminal and the environment."""

from __future__ import annotations

import os
from typing import TextIO

from bufscan.commands.options import MOST_DIGITS
from bufscan.live.building.standard_output import results
from bufscan.report.shared.display import Display

_USUAL_COLUMNS = 80


def display(output: str | None, *, color: str | None) -> Display:
    """What the output can show; a file gets plain text, unless colour is asked for."""
    return display_on(results() if output is None else None, color=color)


def display_on(stream: TextIO | None, *, color: str | None) -> Display:
    """What a stream can show; None for a file. `color` is as on the command line."""
    if stream is None:
        return Display(colour=color == "always")
    terminal = stream.isatty()
    columns = os.environ.get("COLUMNS", "")
    width = int(columns) if columns.isdecimal() and len(columns) <= MOST_DIGITS else None
    return Display(
        width=width or (_columns(stream) if terminal else None),
        colour=color == "always" or (color != "never" and _wants_colour(terminal=terminal)),
        unicode=encoding(stream).startswith("utf"),
    )


def _wants_colour(*, terminal: bool) -> bool:
    """What the environment says, as no-color.org and force-color.org have it; else whether a terminal shows it."""
    if os.environ.get("NO_COLOR"):
        return False
    forced = any(os.environ.get(name, "0") not in ("", "0") for name in ("FORCE_COLOR", "CLICOLOR_FORCE"))
    return forced or (terminal and os.environ.get("TERM") != "dumb")


def encoding(stream: TextIO) -> str:
    """The encoding of a stream."""
    return (stream.encoding or "ascii").lower()


def _columns(terminal: TextIO) -> int:
    # Not by `shutil`, which looks at the descriptor that the user's code prints to.
    try:
        return os.get_terminal_size(terminal.fileno()).columns or _USUAL_COLUMNS
    except OSError:
        return _USUAL_COLUMNS
