"""Cells into aligned lines, and lines into a string with or without colour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bufscan.report.shared.display import Display

Style = Literal[
    "",
    "title",
    "heading",
    "dim",
    "parameter",
    "persistent_buffer",
    "non_persistent_buffer",
    "unregistered",
    "training_state",
    "warning",
]

# One meaning a colour. What is lost on saving or left behind on moving is warm, what is safe is cool.
_COLOURS: dict[Style, str] = {
    "title": "bold",
    "heading": "bold",
    "dim": "dim",
    "parameter": "green",
    "persistent_buffer": "cyan",
    "non_persistent_buffer": "magenta",
    "unregistered": "bold red",
    "training_state": "dim",
    "warning": "yellow",
}


class Cell(NamedTuple):
    """A piece of escaped text in one style."""

    text: str
    style: Style = ""


Line: TypeAlias = "Sequence[Cell]"

GAP = "  "

# As wide as its title. Names that are longer stand on lines of their own, which a terminal reads better than rows
# that it breaks.
_NARROWEST_FIRST = 12

# A last column narrower than this would break words.
_NARROWEST_LAST = 12


def line(text: str, style: Style = "") -> Line:
    """A line in one style."""
    return (Cell(text, style),)


BLANK: Line = ()


def cell_width(text: str) -> int:
    """Columns that `text` takes in a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def natural_widths(rows: Iterable[Line]) -> list[int]:
    """Columns that the widest cell of each column takes."""
    widths: list[int] = []
    for row in rows:
        taken = [cell_width(cell.text) for cell in row]
        widths.extend([0] * (len(taken) - len(widths)))
        for column, width in enumerate(taken):
            widths[column] = max(widths[column], width)
    return widths


def natural_width(lines: Iterable[Line]) -> int:
    """Columns that the longest line takes."""
    return max((sum(cell_width(cell.text) for cell in each) for each in lines), default=0)


def table(
    rows: Sequence[Line],
    *,
    right: frozenset[int],
    width: int | None,
    wrap_last: bool = False,
    shorten: Callable[[str, int], str] | None = None,
) -> list[Line]:
    """Rows of equal length as aligned lines.

    A first cell that does not fit into `width` beside the others stands on a line of its own, above them, or is
    made to fit by `shorten`. A row of one cell is a heading: it takes no part in the alignment. `right` holds the
    columns aligned to the right; with `wrap_last` it is the last column that gives way, by words, not the first.
    """
    widths = natural_widths(row for row in rows if len(row) > 1)
    if not widths:
        return list(rows)
    if width is not None:
        giving_way, narrowest = (len(widths) - 1, _NARROWEST_LAST) if wrap_last else (0, _NARROWEST_FIRST)
        others = sum(widths) - widths[giving_way] + len(GAP) * (len(widths) - 1)
        widths[giving_way] = min(widths[giving_way], max(width - others, narrowest))
    lines: list[Line] = []
    for row in rows:
        if len(row) == 1:
            lines.append(row)
        elif wrap_last:
            first, *more = wrapped(row[-1].text, widths[-1])
            lines.append(_aligned((*row[:-1], Cell(first, row[-1].style)), widths, right))
            indent = Cell(" " * (sum(widths[:-1]) + len(GAP) * (len(widths) - 1)))
            lines += [(indent, Cell(text, row[-1].style)) for text in more]
        elif cell_width(row[0].text) > widths[0] and shorten is not None:
            short = Cell(shorten(row[0].text, widths[0]), row[0].style)
            lines.append(_aligned((short, *row[1:]), widths, right))
        elif cell_width(row[0].text) > widths[0]:
            lines += [(row[0],), _aligned((Cell(""), *row[1:]), widths, right)]
        else:
            lines.append(_aligned(row, widths, right))
    return lines


def elided(text: str, width: int, sign: str, *, head: int | None = None) -> str:
    """`text` with `sign` in the place of its middle, behind `head` characters: both ends tell more than that."""
    room = max(width - cell_width(sign), 0)
    front, tail = text[: room // 3 if head is None else head], ""
    for character in reversed(text):
        if cell_width(front + character + tail) > room:
            break
        tail = character + tail
    return front + sign + tail


def flowed(cells: Iterable[Cell], width: int | None) -> list[Line]:
    """One long line, broken before the cells that would make it wider than `width`; never before punctuation."""
    if width is None:
        return [list(cells)]
    lines: list[list[Cell]] = [[]]
    taken = 0
    for cell in cells:
        wide = cell_width(cell.text)
        # One column is kept for the punctuation that may follow.
        if taken + wide >= width and cell.text[0] not in ",;:":
            lines.append([])
            taken = 0
        lines[-1].append(cell)
        taken += wide
    return [each for each in lines if each]


def wrapped(text: str, width: int | None) -> list[str]:
    """`text` in lines of at most `width` columns, cut between words; at least one line."""
    if width is None or cell_width(text) <= width:
        return [text]
    from textwrap import wrap

    return wrap(text, width, break_on_hyphens=False) or [""]


def _aligned(row: Line, widths: list[int], right: frozenset[int]) -> Line:
    cells: list[Cell] = []
    owed = ""  # blanks before the next cell; never styled, so that none is left at the end of a line
    for column, cell in enumerate(row):
        padding = " " * (widths[column] - cell_width(cell.text))
        if column in right:
            owed, padding = owed + padding, ""
        cells += (Cell(owed), cell)
        owed = padding + GAP
    return cells


def paint(lines: Iterable[Line], display: Display) -> str:
    """The lines as text, each ended by a newline and without blanks at its end."""
    if display.colour:
        return _coloured(lines)
    return "".join("".join([cell.text for cell in each]).rstrip(" ") + "\n" for each in lines)


def _coloured(lines: Iterable[Line]) -> str:
    from rich.color import ColorSystem
    from rich.style import Style as RichStyle

    styles = {name: RichStyle.parse(definition) for name, definition in _COLOURS.items()}

    def painted(cell: Cell) -> str:
        style = styles.get(cell.style)
        # Sixteen colours: every terminal has them, and the user's theme keeps them readable.
        return cell.text if style is None else style.render(cell.text, color_system=ColorSystem.STANDARD)

    return "".join("".join(map(painted, each)).rstrip(" ") + "\n" for each in lines)
