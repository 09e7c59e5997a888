"""Reports of a difference: data to text. Where the text goes is the business of the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from bufscan.report.view import Display

if TYPE_CHECKING:
    from collections.abc import Callable

    from bufscan.comparing.difference import Difference


class DiffView(msgspec.Struct, frozen=True, kw_only=True):
    """What to show of a difference.

    Attributes:
        by_module: one row for each module instead of each tensor.
        depth: steps of the names that make a module then; None for all but the last.
        top: rows of the table of changes; None for the report's own limit.
        everything: nothing folded, nothing left out.
        quiet: the summary line alone, where the format is for people.
        display: the output that text is made for; machine formats ignore it.
    """

    by_module: bool = False
    depth: int | None = None
    top: int | None = None
    everything: bool = False
    quiet: bool = False
    display: Display = Display()


# Each is imported when it is asked for: start-up pays for one report, not for all.


def _text(difference: Difference, view: DiffView) -> str:
    from bufscan.report.difference.text import render

    return render(difference, view)


def _json(difference: Difference, _view: DiffView) -> str:
    from bufscan.report.difference.json import render

    return render(difference)


def _markdown(difference: Difference, view: DiffView) -> str:
    from bufscan.report.difference.markdown import render

    return render(difference, view)


def _stat(difference: Difference, view: DiffView) -> str:
    from bufscan.report.difference.stat import render

    return render(difference, view)


def _html(difference: Difference, view: DiffView) -> str:
    from bufscan.report.html.diff_page import render

    return render(difference, view)


DIFF_REPORTS: Final[dict[str, Callable[[Difference, DiffView], str]]] = {
    "text": _text,
    "json": _json,
    "markdown": _markdown,
    "stat": _stat,
    "html": _html,
}
"""By the name that `--format` takes."""
