"""One line for each tensor that is not the same: how much of it, and how far."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.report.diff.rows import bar, largest_of, range_of, rows_of
from bufscan.report.diff.wording import changes_of, plain_change, share, verdict
from bufscan.report.shared.layout import Cell, Line, line, paint, table
from bufscan.report.shared.sizes import count

if TYPE_CHECKING:
    from bufscan.comparing.difference import Difference, Status
    from bufscan.report.diff.view import DiffView

_LETTERS: dict[Status, str] = {"added": "A", "removed": "D", "changed": "M", "renamed": "R"}


def render(difference: Difference, view: DiffView) -> str:
    """Every tensor in the order of the old side, unfolded, then the sentence that says it all."""
    last = line(verdict(difference))
    if view.quiet:
        return paint([last], view.display)
    rows = [row for entry in difference.entries for row in rows_of([entry], folds=False)]
    largest = largest_of(rows)
    lines: list[Line] = []
    for row in rows[: view.top]:
        entry = row.entries[0]
        before = "" if entry.status != "renamed" else f"{view.display.show(entry.old_name or '')} -> "
        drawn = bar(row.relative, largest, unicode=view.display.unicode)
        lines.append(
            [
                Cell(f"{_LETTERS[entry.status]} {before}{view.display.show(row.name)}"),
                Cell("" if row.changed is None else share(row.changed, row.numel)),
                Cell("" if row.changed is None else range_of(row)),
                Cell(drawn or view.display.show(changes_of(entry) or " ").strip("' "), "warning"),
            ]
        )
    for plain in difference.plain[: view.top]:
        shown = [view.display.show(text) for text in (plain.path, *plain_change(plain))]
        lines.append([Cell(f"P {shown[0]}"), Cell(shown[1]), Cell(f"-> {shown[2]}"), Cell("")])
    rows_in_all = len(rows) + len(difference.plain)
    if len(lines) < rows_in_all:
        lines.append(line(f"... and {count(rows_in_all - len(lines))} more"))
    return paint([*table(lines, right=frozenset((1, 2)), width=view.display.width), last], view.display)
