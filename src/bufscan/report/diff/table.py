"""What changed as a table for people, a row a line: names and words give way to the width, numbers do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.report.diff.rows import bar, largest_of, limit_of, range_of, rows_in
from bufscan.report.diff.strips import heights
from bufscan.report.diff.wording import changes_of, number, share
from bufscan.report.shared.layout import GAP, Cell, Line, cell_width, elided, line, natural_widths, table, wrapped
from bufscan.report.shared.sizes import count, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bufscan.comparing.difference import Entry
    from bufscan.report.diff.rows import Row
    from bufscan.report.diff.strips import Strip
    from bufscan.report.diff.view import DiffView

ITEM_LIMIT = 500
"""Characters of one item, where names and reasons come from files."""

_NARROW = 100  # columns, below which there is no room for the largest change of one value
_LEAST_NAME = 24  # columns that names keep beside words
_WORDS = 19  # columns that words keep beside names: `float32 to bfloat16`
_NEARLY_ALL = 0.99
_LEAST_STRIP = 16  # columns

_LEGEND = "relative: norm of the change over that of the old values"


def layer_lines(strips: Sequence[Strip], view: DiffView) -> list[Line]:
    """A strip a family of layers: where in the model the values moved."""
    names = [view.display.show(strip.name) for strip in strips]
    ranges = [_range(strip.row, view) for strip in strips]
    taken = max(map(cell_width, names)) + max(map(cell_width, ranges)) + len(GAP) * 3
    room = max((view.display.width or taken + _NARROW) - taken, _LEAST_STRIP)
    rows: list[Line] = [
        [Cell(f"  {name}"), Cell(heights(strip, room=room, unicode=view.display.unicode), "warning"), Cell(shown)]
        for strip, name, shown in zip(strips, names, ranges, strict=True)
    ]
    return [
        line("layers, by relative change", "heading"),
        *table(rows, right=frozenset(), width=view.display.width, shorten=_elided(view)),
    ]


def change_lines(entries: Sequence[Entry], view: DiffView, most: int) -> list[Line]:
    """A table of what changed, a row a line: `most` rows unless the view says otherwise, and all modules."""
    rows = rows_in(entries, view)
    limit = limit_of(view, len(rows) if view.by_module else most, len(rows))
    heading = f"changed: {plural(len(entries), 'tensor')}"
    if view.by_module and all(row.most is None for row in rows):
        heading += f" in {plural(len(rows), 'module')}"
    elif len(rows) < len(entries):
        heading += f" in {plural(len(rows), 'row')}"
    lines = _rows(rows[:limit], view, is_wide=True)
    columns = [0, 1, 2, 3, 4, 5]
    if view.display.width is not None and view.display.width < min(_natural(lines), _NARROW):
        lines = _rows(rows[:limit], view, is_wide=False)
        columns.remove(4)
        if all(row.changed is not None and row.changed > _NEARLY_ALL * row.numel for row in rows):
            columns.remove(1)
            heading += ", nearly every value of each"
    legend = f"{_LEGEND}; largest: change of one value" if 4 in columns else _LEGEND  # noqa: PLR2004 - a column
    right = frozenset(at for at, column in enumerate(columns) if column in (1, 4))
    return [
        line(heading, "heading"),
        *_in_one_line_each([[each[column] for column in columns] for each in lines], view, right=right),
        *more_lines(len(rows) - limit),
        *(line(f"  {each}", "dim") for each in wrapped(legend, room_of(view))),
    ]


def _rows(rows: Sequence[Row], view: DiffView, *, is_wide: bool) -> list[Line]:
    """The rows below their titles, with every column."""
    titles = ("  module" if view.by_module else "  name", "changed", "relative", "", "largest", "what")
    largest = largest_of(rows)
    return [[Cell(title, "dim") for title in titles], *(_row(row, largest, view, is_wide=is_wide) for row in rows)]


def _natural(rows: Sequence[Line]) -> int:
    widths = natural_widths(rows)
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _in_one_line_each(rows: Sequence[Line], view: DiffView, *, right: frozenset[int]) -> list[Line]:
    """Rows that never break: names lose their middle, and words their end, where there is no room."""
    width = view.display.width
    if width is None:
        return table(rows, right=right, width=None)
    if view.everything:
        return table(rows, right=right, width=width, wrap_last=True)
    name, *others, words = natural_widths(rows)
    room = width - sum(others) - len(GAP) * (len(others) + 1)
    room = max(room - name, min(words, _WORDS, room - _LEAST_NAME))
    short = [(*row[:-1], Cell(_cut_off(row[-1].text, max(room, 0), view), row[-1].style)) for row in rows]
    return table(short, right=right, width=width, shorten=_elided(view))


def _cut_off(text: str, room: int, view: DiffView) -> str:
    sign = view.display.ellipsis
    return text if cell_width(text) <= room else text[: max(room - len(sign), 0)].rstrip(" ;,") + sign


def _elided(view: DiffView) -> Callable[[str, int], str]:
    """The end of a name tells most of it; what is in front of the layers is the same for all."""
    sign = view.display.ellipsis
    return lambda name, room: f"  {elided(name, room - len(GAP), sign, head=0)}"


def _row(row: Row, largest: float, view: DiffView, *, is_wide: bool) -> Line:
    name = view.display.show(row.name)
    if len(row.entries) > 1 and not view.by_module:
        name += f" x{len(row.entries)}"
    what = _what(row, view, is_wide=is_wide)
    if row.changed is None:
        return [Cell(f"  {name}"), Cell("-"), Cell("-"), Cell(""), Cell("-"), Cell(what)]
    return [
        Cell(f"  {name}"),
        Cell(share(row.changed, row.numel)),
        Cell(range_of(row, to=view.display.ellipsis)),
        Cell(bar(row.most or row.relative, largest, unicode=view.display.unicode), "warning"),
        Cell(number(row.max_abs)),
        Cell(what),
    ]


def _range(row: Row, view: DiffView) -> str:
    """The relative change with its range, and where it is largest."""
    return range_of(row, to=view.display.ellipsis) + (f", most in {row.where}" if row.where else "")


def _what(row: Row, view: DiffView, *, is_wide: bool) -> str:
    entry = row.entries[0]
    words = plural(len(row.entries), "tensor") if view.by_module else changes_of(entry, without="tied_to")
    most = f"most in {row.where}" if row.where else ""
    values = entry.values
    place = ""
    if is_wide and not view.by_module and len(row.entries) == 1 and values is not None and values.max_index:
        place = f"largest at [{','.join(map(str, values.max_index))}]"
    return safe("; ".join(filter(None, (most, words, place))), view)


def more_lines(number_of: int) -> list[Line]:
    """How many are not shown."""
    return [line(f"  ... and {count(number_of)} more: `--all` lists them", "warning")] if number_of > 0 else []


def room_of(view: DiffView) -> int | None:
    """Columns behind an indent of two."""
    return None if view.display.width is None else max(view.display.width - 2, 20)


def safe(text: str | None, view: DiffView) -> str:
    """Words that may hold text from a file."""
    return "" if not text else view.display.show(text, limit=ITEM_LIMIT)
