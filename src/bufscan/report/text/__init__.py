"""The report for people: a listing or a tree, then totals and evidence, the most important line last."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bufscan.report.selecting import count_ties_once, select
from bufscan.report.text.layout import BLANK, Line, line, paint
from bufscan.report.text.listing import list_tensors
from bufscan.report.text.particulars import list_particulars, ties_of
from bufscan.report.text.summary import evidence, sentence, totals
from bufscan.report.text.tree import draw_tree

if TYPE_CHECKING:
    from bufscan.inventory import Inventory
    from bufscan.report.view import View


def render(inventory: Inventory, view: View) -> str:
    """The whole report as text; every count is of what the selection shows."""
    shown = select(inventory, view.selection)
    counted = count_ties_once(shown)
    by_role = counted.totals()
    last = sentence(counted, by_role, view, of=len(inventory.tensors))
    if view.quiet:
        return paint(last, view.display)
    blocks: list[list[Line]] = [[_title(shown, view)]]
    if shown.tensors:
        blocks += [
            draw_tree(counted, view) if view.by_module else list_tensors(counted, view),
            totals(by_role, view),
            evidence(counted, view),
        ]
    blocks += [list_particulars(counted, by_role, ties_of(shown), view), last]
    lines: list[Line] = []
    for block in filter(None, blocks):
        lines += [BLANK, *block] if lines else block
    return paint(lines, view.display)


def summary(inventory: Inventory, view: View) -> str:
    """The sentence that says it all, as one line without its end."""
    shown = count_ties_once(select(inventory, view.selection))
    cells = sentence(shown, shown.totals(), view, of=len(inventory.tensors))
    return paint(cells, msgspec.structs.replace(view.display, width=None)).rstrip("\n")


def _title(inventory: Inventory, view: View) -> Line:
    title = f"{view.display.show(inventory.target)}: {inventory.format}"
    devices = {tensor.device for tensor in inventory.tensors}
    if len(devices) == 1:
        device = devices.pop()
        title += ", no device recorded" if device is None else f", all on {view.display.show(device)}"
    return line(title, "title")
