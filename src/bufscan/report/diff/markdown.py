"""A difference as Markdown, for a comment on a pull request or the summary of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.report.check.markdown import cell
from bufscan.report.diff.rows import bar, has_a_row, largest_of, limit_of, range_of, rows_in
from bufscan.report.diff.wording import (
    PLAIN_HEADING,
    changes_of,
    not_compared,
    number,
    plain_change,
    share,
    verdict,
)
from bufscan.report.shared.sizes import count, plural
from bufscan.report.shared.wording import UNKNOWN, shape_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bufscan.comparing.difference import Difference, Entry, PlainEntry
    from bufscan.report.diff.view import DiffView

# A comment takes 64 KiB, and nobody reads more than this.
_MOST_ROWS = 50


def render(difference: Difference, view: DiffView) -> str:
    """A heading with the verdict, a table of the largest changes, and what is gone or new behind a fold."""
    lines = [
        f"### bufscan: {cell(difference.old)} → {cell(difference.new)}",
        "",
        f"**{cell(verdict(difference))}**",
    ]
    if not view.quiet:
        changed = [entry for entry in difference.entries if has_a_row(entry)]
        if changed:
            lines += ["", *_table(changed, view)]
        if difference.plain:
            lines += ["", *_plain(difference.plain)]
        for status in ("removed", "added", "renamed"):
            entries = [entry for entry in difference.entries if entry.status == status]
            if entries:
                lines += ["", *_details(f"{plural(len(entries), 'tensor')} {status}", list(map(_item, entries)))]
        unknown = list(map(cell, not_compared(difference)))
        if unknown:
            lines += ["", *_details(f"{count(len(difference.not_compared))} not compared", unknown)]
        if difference.notes:
            lines += ["", *(f"- {cell(note)}" for note in difference.notes)]
    return "\n".join(lines) + "\n"


def _table(entries: Sequence[Entry], view: DiffView) -> Iterator[str]:
    rows = rows_in(entries, view)
    largest = largest_of(rows)
    yield f"| {'module' if view.by_module else 'tensor'} | changed | relative | | largest | what |"
    yield "| --- | ---: | ---: | --- | ---: | --- |"
    most = limit_of(view, _MOST_ROWS, len(rows))
    for row in rows[:most]:
        name = cell(row.name) + (f" x{len(row.entries)}" if len(row.entries) > 1 and not view.by_module else "")
        what = (
            plural(len(row.entries), "tensor") if view.by_module else cell(changes_of(row.entries[0]) or "values")
        )
        changed = "-" if row.changed is None else share(row.changed, row.numel)
        drawn = bar(row.most or row.relative, largest, unicode=True)
        yield f"| {name} | {changed} | {range_of(row)} | {drawn} | {number(row.max_abs)} | {what} |"
    if len(rows) > most:
        yield ""
        yield f"and {count(len(rows) - most)} more"


def _plain(entries: Sequence[PlainEntry]) -> Iterator[str]:
    yield f"| {PLAIN_HEADING} | before | after |"
    yield "| --- | --- | --- |"
    for entry in entries[:_MOST_ROWS]:
        yield f"| {cell(entry.path)} | {' | '.join(map(cell, plain_change(entry)))} |"
    if len(entries) > _MOST_ROWS:
        yield ""
        yield f"and {count(len(entries) - _MOST_ROWS)} more"


def _details(summary: str, items: Sequence[str]) -> Iterator[str]:
    yield f"<details><summary>{summary}</summary>"
    yield ""
    yield from (f"- {item}" for item in items[:_MOST_ROWS])
    if len(items) > _MOST_ROWS:
        yield f"- and {count(len(items) - _MOST_ROWS)} more"
    yield ""
    yield "</details>"


def _item(entry: Entry) -> str:
    if entry.status == "renamed":
        what = changes_of(entry)
        return f"{cell(entry.old_name or '')} → {cell(entry.name)}" + (f": {cell(what)}" if what else "")
    tensor = entry.old if entry.new is None else entry.new
    details = "" if tensor is None else f": {cell(shape_of(tensor))} {tensor.dtype or UNKNOWN}"
    return cell(entry.path) + details + (f", {cell(entry.remark)}" if entry.remark else "")
