"""The page of an inventory: roles, findings, a map of its bytes and every tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import structs, to_builtins

from bufscan.inventory import role_totals
from bufscan.report.html.findings import explained, findings_of
from bufscan.report.html.page import page
from bufscan.report.inspect import json
from bufscan.report.inspect.selecting import count_ties_once, select
from bufscan.report.inspect.text import render as as_text
from bufscan.report.inspect.text.census import Census
from bufscan.report.inspect.text.particulars import Origin, particulars_of, ties_of
from bufscan.report.inspect.text.summary import evidence_of
from bufscan.report.shared.display import Display
from bufscan.report.shared.wording import ROLE_WORDS
from bufscan.rules import RULES

if TYPE_CHECKING:
    from bufscan.inventory import Inventory, Role, RoleTotal
    from bufscan.report.inspect.view import View

_BAR = 1000  # its width


def render(inventory: Inventory, view: View) -> str:
    """The whole page; every count is of what the selection shows."""
    view = structs.replace(view, display=Display(), units="decimal")  # as the scripts of the page write them
    shown = select(inventory, view.selection)
    counted = count_ties_once(shown)
    census = Census.of(counted.tensors)
    by_role = role_totals(census.kinds.values())
    groups = particulars_of(counted, census, by_role, ties_of(shown), view)
    return page(
        "inspect",
        json.render(inventory, view),
        scripts=("table", "treemap", "inspect"),
        title=inventory.target,
        report=to_builtins(json.record_of(inventory, shown, view)),
        sentence=as_text(inventory, structs.replace(view, quiet=True)).strip(),
        roles=_roles(census, by_role),
        findings=findings_of(view.findings, view.source_line),
        particulars=[group for group in groups if group.items and not isinstance(group.items[0], Origin)],
        explained=explained(view.findings, RULES),
    )


def _roles(census: Census, by_role: dict[Role, RoleTotal]) -> list[dict[str, Any]]:
    """A row for each role, with where it begins in a bar of all bytes and how long it is there."""
    reasons = evidence_of(census)
    whole = sum(total.nbytes for total in by_role.values()) or 1
    rows, before = [], 0
    for role, total in by_role.items():
        start, before = before, before + total.nbytes
        bar = {"start": _BAR * start // whole, "width": _BAR * before // whole - _BAR * start // whole}
        rows.append({"role": role, "words": ROLE_WORDS[role], "reasons": reasons[role], **bar, **total._asdict()})
    return rows
