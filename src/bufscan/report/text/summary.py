"""The tables below the listing, totals and evidence, and the one sentence that says it all."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bufscan.inventory import CERTAINTIES, ROLES, RoleTotal
from bufscan.report.sizes import count, plural, size
from bufscan.report.text.layout import Cell, Line, Style, flowed, line, table
from bufscan.report.wording import ROLE_NOUNS, ROLE_WORDS

if TYPE_CHECKING:
    from bufscan.inventory import Inventory, Join, Role
    from bufscan.report.view import View

# Kinds of evidence are few; only a broken file makes many.
_MOST_EVIDENCE = 40


def totals(by_role: dict[Role, RoleTotal], view: View) -> list[Line]:
    """Tensors, elements and bytes of each role."""
    rows: list[Line] = [[Cell(title, "dim") for title in ("role", "tensors", "elements", "size")]]
    rows += [_total(ROLE_WORDS[role], role, total, view) for role, total in by_role.items()]
    if len(by_role) > 1:
        rows.append(_total("all", "", RoleTotal(*map(sum, zip(*by_role.values(), strict=True))), view))
    return table(rows, right=frozenset((1, 2, 3)), width=view.display.width)


def _total(name: str, style: Style, total: RoleTotal, view: View) -> Line:
    return (
        Cell(name, style),
        Cell(count(total.tensors)),
        Cell(count(total.numel)),
        Cell(size(total.nbytes, exact=view.exact)),
    )


def evidence(inventory: Inventory, view: View) -> list[Line]:
    """What decided the roles, and how sure that is."""
    found = Counter((tensor.role, tensor.certainty, tensor.evidence) for tensor in inventory.tensors)
    ordered = sorted(found.items(), key=lambda item: (ROLES.index(item[0][0]), CERTAINTIES.index(item[0][1])))
    rows: list[Line] = [[Cell(title, "dim") for title in ("role", "certainty", "tensors", "evidence")]]
    rows += [
        (Cell(ROLE_WORDS[role], role), Cell(certainty), Cell(count(number)), Cell(view.display.show(reason)))
        for (role, certainty, reason), number in ordered[:_MOST_EVIDENCE]
    ]
    lines = table(rows, right=frozenset((2,)), width=view.display.width, wrap_last=True)
    if len(ordered) > _MOST_EVIDENCE:
        lines.append(line(f"... and {count(len(ordered) - _MOST_EVIDENCE)} more kinds of evidence", "warning"))
    return lines


def sentence(inventory: Inventory, by_role: dict[Role, RoleTotal], view: View, of: int) -> list[Line]:
    """The most important line: how many tensors of which role, and what is odd.

    `of` counts the tensors of the artefact before the selection.
    """
    cells = [Cell(_subject(inventory, view, of))]
    for role, total in by_role.items():
        join = ": " if len(cells) == 1 else ", "
        cells += [Cell(join), Cell(f"{count(total.tensors)} {ROLE_NOUNS[role][total.tensors != 1]}", role)]
    cells += [Cell("; "), Cell(f"{size(inventory.stored_bytes, exact=view.exact)} stored")]
    for things, noun in ((inventory.anomalies, "anomaly"), (inventory.skipped, "thing skipped")):
        if things:
            cells += [Cell("; "), Cell(plural(len(things), noun), "warning")]
    if misfits := _misfits(inventory.joins) if not view.selection.narrows else []:
        cells += [Cell("; "), Cell(", ".join(misfits), "warning")]
    return flowed(cells, view.display.width)


def _misfits(joins: tuple[Join, ...]) -> list[str]:
    """How many entries keep the checkpoint from fitting its model: `2 missing`, `1 mismatched`."""
    numbers = {
        "missing": sum(len(join.missing) + len(join.missing_extra_states) for join in joins),
        "unexpected": sum(len(join.unexpected) + len(join.saved_non_persistent) for join in joins),
        "mismatched": sum(len(join.mismatched) for join in joins),
    }
    return [f"{count(number)} {kind}" for kind, number in numbers.items() if number]


def _subject(inventory: Inventory, view: View, of: int) -> str:
    found = len(inventory.tensors)
    subject = f"{count(found)} of {plural(of, 'tensor')}" if view.selection.narrows else plural(found, "tensor")
    sections = len({tensor.section for tensor in inventory.tensors})
    if sections > 1:
        subject += f" in {plural(sections, 'section')}"
    assumed = sum(tensor.certainty == "assumed" for tensor in inventory.tensors)
    if assumed:
        subject += f" ({'all' if assumed == found else count(assumed)} assumed)"
    return subject
