"""The page of a difference: where values moved by layer, every tensor that differs, and the other values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs, to_builtins

from bufscan.comparing.difference import STATUSES
from bufscan.report.diff import json
from bufscan.report.diff.text import render as as_text
from bufscan.report.html.page import page
from bufscan.report.inspect.text.particulars import Particular
from bufscan.report.shared.display import Display

if TYPE_CHECKING:
    from bufscan.comparing.difference import Difference
    from bufscan.report.diff.view import DiffView


def render(difference: Difference, view: DiffView) -> str:
    """The whole page."""
    plain = structs.replace(view, quiet=True, display=Display())
    counts = {status: difference.count(status) for status in STATUSES}
    return page(
        "diff",
        json.render(difference),
        scripts=("table", "diff"),
        title=f"{difference.old} -> {difference.new}",
        report=to_builtins(json.record_of(difference)),
        sentence=as_text(difference, plain).strip(),
        statuses=[{"name": status, "number": number} for status, number in counts.items() if number],
        particulars=[group for group in _particulars(difference) if group.items],
    )


def _particulars(difference: Difference) -> list[Particular]:
    left_out = [f"{each.what} of {getattr(difference, each.side)}: {each.reason}" for each in difference.left_out]
    return [
        Particular("not compared", [f"{each.path}: {each.reason}" for each in difference.not_compared], "warning"),
        Particular("left out", left_out),
        Particular("skipped", [f"{each.what}: {each.reason}" for each in difference.skipped]),
        Particular("notes", list(difference.notes)),
    ]
