"""Reports: an inventory to text. Where the text goes is the business of `cli`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from bufscan.inventory import Inventory
    from bufscan.report.view import View


# Each is imported when it is asked for: start-up pays for one report, not for all.


def _text(inventory: Inventory, view: View) -> str:
    from bufscan.report.text import render

    return render(inventory, view)


def _json(inventory: Inventory, view: View) -> str:
    from bufscan.report.json import render

    return render(inventory, view)


def _csv(inventory: Inventory, view: View) -> str:
    from bufscan.report.csv import render

    return render(inventory, view)


def _html(inventory: Inventory, view: View) -> str:
    from bufscan.report.html.inspect_page import render

    return render(inventory, view)


REPORTS: Final[dict[str, Callable[[Inventory, View], str]]] = {
    "text": _text,
    "json": _json,
    "csv": _csv,
    "html": _html,
}
"""By the name that `--format` takes."""

WITH_FINDINGS: Final = frozenset(("json", "html"))
"""Those that show what the rules say: running them takes a tenth of the time that a listing takes."""
