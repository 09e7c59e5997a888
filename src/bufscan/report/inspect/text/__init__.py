"""The report for people: the answer first, then a listing or a tree, how the roles are known, and the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.inventory import role_totals
from bufscan.report.inspect.selecting import count_ties_once, select
from bufscan.report.inspect.text.census import Census
from bufscan.report.inspect.text.listing import list_tensors
from bufscan.report.inspect.text.particulars import list_particulars, ties_of
from bufscan.report.inspect.text.summary import known_from, sentence, verdict
from bufscan.report.shared.layout import BLANK, Line, paint

if TYPE_CHECKING:
    from bufscan.inventory import Inventory
    from bufscan.report.inspect.view import View


def render(inventory: Inventory, view: View) -> str:
    """The whole report as text; every count is of what the selection shows."""
    shown = select(inventory, view.selection)
    counted = count_ties_once(shown)
    census = Census.of(counted.tensors)
    by_role = role_totals(census.kinds.values())
    of = len(inventory.tensors)
    if view.quiet:
        return paint(sentence(counted, census, by_role, view, of), view.display)
    blocks: list[list[Line]] = [verdict(counted, census, by_role, view, of)]
    if shown.tensors:
        blocks += [
            _tree(counted, view) if view.by_module else list_tensors(census, view),
            known_from(census, by_role, view),
        ]
    blocks.append(list_particulars(counted, census, by_role, ties_of(shown), view))
    lines: list[Line] = []
    for block in filter(None, blocks):
        lines += [BLANK, *block] if lines else block
    return paint(lines, view.display)


def _tree(inventory: Inventory, view: View) -> list[Line]:
    from bufscan.report.inspect.text.tree import draw_tree  # few reports are trees

    return draw_tree(inventory, view)
