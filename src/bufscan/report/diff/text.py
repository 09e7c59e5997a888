"""A difference for people: the answer, what is gone and what is new, then where values moved most."""

from __future__ import annotations

import re
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

from bufscan.report.diff.rows import has_a_row, limit_of
from bufscan.report.diff.strips import strips_of
from bufscan.report.diff.table import ITEM_LIMIT, change_lines, layer_lines, more_lines, room_of, safe
from bufscan.report.diff.wording import (
    PLAIN_HEADING,
    changes_of,
    not_compared,
    plain_change,
    tie_of,
    verdict,
)
from bufscan.report.shared.folding import fold
from bufscan.report.shared.layout import (
    BLANK,
    GAP,
    Cell,
    Line,
    flowed,
    line,
    natural_widths,
    table,
    wrapped,
)
from bufscan.report.shared.layout import paint as painted
from bufscan.report.shared.sizes import plural
from bufscan.report.shared.wording import UNKNOWN, shape_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bufscan.comparing.difference import Difference, Entry, PlainEntry
    from bufscan.report.diff.view import DiffView
    from bufscan.report.shared.layout import Style

MOST_ROWS = 40
"""Rows of a table unless everything is asked for: the largest changes are what people look for."""

_LEAST_WORDS = 30  # columns, with the gaps between all
_FEWEST_WORDS = 20  # columns; fewer would cut every word off
_NARROW_NAME = 12  # columns that names keep when they give way

_MOST_STRIPS = 4

_STYLES: dict[str, Style] = {"added": "parameter", "removed": "unregistered", "renamed": "persistent_buffer"}


def render(difference: Difference, view: DiffView) -> str:
    """The whole report; with `quiet` its last line alone."""
    last = _verdict(difference, view)
    if view.quiet:
        return painted(last, view.display)
    title = f"{view.display.show(difference.old)} -> {view.display.show(difference.new)}"
    blocks = [[line(title, "title"), *last], *_blocks(difference, view)]
    if len(blocks) > 1:
        blocks.append(last)
    lines: list[Line] = []
    for block in blocks:
        lines += [BLANK, *block] if lines else block
    return painted(lines, view.display)


def _verdict(difference: Difference, view: DiffView) -> list[Line]:
    style: Style = "unregistered" if difference.differs else "title" if difference.identical else "warning"
    head, *parts = re.split(r"(?<=[:,;]) ", verdict(difference))
    return flowed([Cell(f"{head} ", style), *(Cell(f"{each} ") for each in parts)], view.display.width)


def _blocks(difference: Difference, view: DiffView) -> Iterator[list[Line]]:
    for status in ("removed", "added"):
        entries = [entry for entry in difference.entries if entry.status == status]
        if entries:
            yield _lone(status, entries, view)
    renamed = [entry for entry in difference.entries if entry.status == "renamed"]
    if renamed:
        yield _renamed(renamed, view)
    changed = [entry for entry in difference.entries if has_a_row(entry)]
    if strips := strips_of(changed, _MOST_STRIPS):
        yield layer_lines(strips, view)
    # A tie alone moves no value.
    moved = [entry for entry in changed if entry.aspects != {"tied_to"} or entry.values is not None]
    if moved:
        yield change_lines(moved, view, MOST_ROWS)
    if ties := [f"{entry.path}: {tie}" for entry in difference.entries if (tie := tie_of(entry))]:
        yield _listed("ties", ties, view)
    if difference.plain:
        yield _plain(difference.plain, view)
    for heading, items in _particulars(difference):
        if items:
            yield _listed(heading, items, view)


def _plain(entries: Sequence[PlainEntry], view: DiffView) -> list[Line]:
    """Values beside the tensors: where, before and after."""
    rows: list[Line] = []
    for entry in entries:
        before, after = (view.display.show(text) for text in plain_change(entry))
        rows.append([Cell(f"  {view.display.show(entry.path)}"), Cell(before), Cell(f"-> {after}")])
    heading = f"{PLAIN_HEADING}: {plural(len(entries), 'value')}"
    return [line(heading, "heading"), *_cut(rows, view)]


def _lone(status: str, entries: Sequence[Entry], view: DiffView) -> list[Line]:
    """Tensors of one side, with what they were or are."""
    rows: list[Line] = []
    for name, entry, number_of in _folded(entries, view):
        tensor = entry.old if entry.new is None else entry.new
        shown = view.display.show(name) + (f" x{number_of}" if number_of > 1 else "")
        details = ("", "") if tensor is None else (shape_of(tensor), tensor.dtype or UNKNOWN)
        rows.append([Cell(f"  {shown}", _STYLES[status]), *map(Cell, details), Cell(safe(entry.remark, view))])
    return [line(f"{status}: {plural(len(entries), 'tensor')}", "heading"), *_cut(rows, view)]


def _renamed(entries: Sequence[Entry], view: DiffView) -> list[Line]:
    rows: list[Line] = [
        [
            Cell(f"  {view.display.show(old)}" + (f" x{number_of}" if number_of > 1 else ""), _STYLES["renamed"]),
            Cell(f"-> {view.display.show(new)}"),
            Cell(safe(changes_of(entry), view)),
        ]
        for old, new, entry, number_of in _moves(entries, folds=not view.everything)
    ]
    return [line(f"renamed: {plural(len(entries), 'tensor')}", "heading"), *_cut(rows, view)]


def _moves(entries: Sequence[Entry], *, folds: bool) -> Iterator[tuple[str, str, Entry, int]]:
    """Old and new name, or the patterns of several, one of the entries, and how many there are."""
    if not folds:
        yield from ((entry.old_name or entry.name, entry.name, entry, 1) for entry in entries)
        return
    moves = [_move(entry) for entry in entries]
    looks = [(move.old, move.new, changes_of(entry)) for move, entry in zip(moves, entries, strict=True)]
    for each in fold(zip([move.name for move in moves], looks, strict=True)):
        first = each.members[0]
        old, new, _ = looks[first]
        yield old.around(each.name), new.around(each.name), entries[first], len(each.members)


class _Around(NamedTuple):
    """What a name has in front of a text that both names share, and before the end of it."""

    front: str
    inside: str = ""
    end: str = ""

    def around(self, text: str) -> str:
        return f"{self.front}{text.removesuffix(self.end)}{self.inside}{self.end}"


class _Move(NamedTuple):
    """The old and the new name of a tensor as what is around a text that is in both; that is what folds."""

    name: str
    old: _Around
    new: _Around


def _move(entry: Entry) -> _Move:
    old, new = entry.old_name or entry.name, entry.name
    end = _common_end(old, new)
    heads = old.removesuffix(end), new.removesuffix(end)
    for name, inner, outer in ((old, *heads), (new, *reversed(heads))):
        front, found, inside = outer.partition(inner) if inner else ("", "", "")
        if found:  # parts were put around the name
            bare, put = _Around("", "", end), _Around(front, inside, end)
            return _Move(name, bare, put) if name == old else _Move(name, put, bare)
    return _Move(end, _Around(heads[0]), _Around(heads[1]))


def _common_end(old: str, new: str) -> str:
    """The whole parts that two names end in alike."""
    parts = takewhile(
        lambda pair: pair[0] == pair[1], zip(*(reversed(name.split(".")) for name in (old, new)), strict=False)
    )
    return ".".join(reversed([part for part, _ in parts]))


def _particulars(difference: Difference) -> Iterator[tuple[str, list[str]]]:
    yield "not compared", not_compared(difference)
    yield (
        "left out",
        [
            f"{plural(each.tensors, 'tensor')} of the {each.side} side, {each.what}: {each.reason}"
            for each in difference.left_out
        ],
    )
    yield "skipped", [f"{each.what}: {each.reason}" for each in difference.skipped]
    yield "notes", list(difference.notes)


def _listed(heading: str, items: Sequence[str], view: DiffView) -> list[Line]:
    style: Style = "warning" if heading == "not compared" else ""
    shown = items if view.everything else items[:MOST_ROWS]
    lines = [line(heading, "heading")]
    for item in shown:
        lines += [
            line(f"  {each}", style) for each in wrapped(view.display.show(item, limit=ITEM_LIMIT), room_of(view))
        ]
    return lines + more_lines(len(items) - len(shown))


def _folded(entries: Sequence[Entry], view: DiffView) -> Iterable[tuple[str, Entry, int]]:
    """Name or pattern, one of the entries, and how many there are."""
    if view.everything:
        return [(entry.path, entry, 1) for entry in entries]
    looks = ((entry.path, _looks(entry)) for entry in entries)
    return [(each.name, entries[each.members[0]], len(each.members)) for each in fold(looks)]


def _looks(entry: Entry) -> tuple[object, ...]:
    tensor = entry.old if entry.new is None else entry.new
    shown = None if tensor is None else (shape_of(tensor), tensor.dtype)
    return shown, entry.remark


def _cut(rows: list[Line], view: DiffView) -> list[Line]:
    """As many rows as are to be shown, aligned, and how many were not."""
    most = limit_of(view, MOST_ROWS, len(rows))
    shown = rows[:most]
    # The last column gives way by words; where that is not enough, names stand on lines of their own, too.
    width, widths = view.display.width, natural_widths(shown)
    roomy = width is None or sum(widths[:-1]) + _LEAST_WORDS <= width
    if width is not None and not roomy:
        room = width - _NARROW_NAME - sum(widths[1:-1]) - len(GAP) * (len(widths) - 1)
        shown = [row for each in shown for row in _broken(each, room)] if room >= _FEWEST_WORDS else shown
    return [*table(shown, right=frozenset(), width=width, wrap_last=roomy), *more_lines(len(rows) - most)]


def _broken(row: Line, width: int) -> Iterator[Line]:
    """The row with its last cell cut between words, and what is left of it in rows below."""
    first, *more = wrapped(row[-1].text, width)
    yield (*row[:-1], Cell(first, row[-1].style))
    for text in more:
        yield (*(Cell("") for _ in row[:-1]), Cell(text, row[-1].style))
