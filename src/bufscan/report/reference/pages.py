"""Pages of Markdown: as they are in a pipe, and set for a terminal."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

from bufscan.report.shared.layout import Cell, Line, line, paint, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bufscan.report.shared.display import Display

_MOST_COLUMNS = 110  # longer lines are hard to read


def render_list(pages: Mapping[str, str], display: Display) -> str:
    """A line a page: its name and its title."""
    rows: list[Line] = [(Cell(name, "title"), Cell(title_of(page))) for name, page in pages.items()]
    lines = [*table(rows, right=frozenset(), width=display.width, wrap_last=True), ()]
    return paint([*lines, line("`bufscan help TOPIC` shows one, `bufscan COMMAND --help` the options")], display)


def title_of(page: str) -> str:
    """Its first line, which is its heading."""
    return page.partition("\n")[0].removeprefix("# ")


def render(page: str, display: Display) -> str:
    """The page, set for a terminal where there is one."""
    if display.width is None and not display.colour:
        return page
    from rich.console import Console
    from rich.markdown import Markdown

    text = StringIO()
    console = Console(
        file=text,
        width=min(display.width or _MOST_COLUMNS, _MOST_COLUMNS),
        force_terminal=display.colour,
        color_system="standard" if display.colour else None,
        legacy_windows=False,
        _environ={},
    )
    console.print(Markdown(page, code_theme="ansi_dark", hyperlinks=False))
    return "".join(f"{each.rstrip()}\n" for each in text.getvalue().splitlines())
