"""One row for each tensor, or for each fold of tensors that look the same."""

from __future__ import annotations

import re
from itertools import groupby
from operator import attrgetter
from os.path import commonprefix
from typing import TYPE_CHECKING, NamedTuple

from bufscan.inventory import HARMLESS_HOLDINGS
from bufscan.report.folding import fold
from bufscan.report.sizes import plural, size
from bufscan.report.text.layout import (
    BLANK,
    Cell,
    Line,
    Style,
    cell_width,
    elided,
    flowed,
    line,
    natural_width,
    table,
)
from bufscan.report.wording import ROLE_WORDS, SHORT_ROLE_WORDS, TIED, UNKNOWN, facts_of, role_of, shape_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bufscan.inventory import Inventory, Role, Tensor
    from bufscan.report.view import View

FOLD_OVER = 40
"""Tensors that are listed one by one; when there are more, repeated blocks are folded."""

MOST_ROWS = 200
"""Rows that a listing shows unless everything is asked for."""

# In a narrower table the evidence would cost more room than it gives light; it has a table of its own.
_WIDE = 120


_ROLE, _FACTS = attrgetter("role", "certainty"), attrgetter("saved", "moves", "trains")
_DTYPE, _DEVICE = attrgetter("dtype"), attrgetter("device")

_TIMES = re.compile(r" x[0-9]+$")


class _Columns(NamedTuple):
    """The columns whose presence depends on what there is to tell apart, and on the room."""

    role: bool
    words: dict[Role, str]  # for the roles
    dtype: bool
    device: bool
    facts: bool
    files: dict[str, str]  # what stands for each file; empty for no such column
    evidence: bool
    mark: bool


class _Row(NamedTuple):
    section: str
    name: str
    tensors: tuple[Tensor, ...]  # they look alike


def list_tensors(inventory: Inventory, view: View) -> list[Line]:
    """The table of tensors by section, folded when long, cut when still long, with a legend."""
    tensors, training = _set_training_state_apart(inventory, view)
    lines = _fitting_table(tensors, inventory.tensors, view) if tensors else []
    if training:
        lines += [BLANK, *_training_lines(training, view)]
    if tensors:
        lines += [BLANK, *_legend(tensors, view)]
    return lines


def _set_training_state_apart(inventory: Inventory, view: View) -> tuple[list[Tensor], list[Tensor]]:
    """Optimizer state is bulky and dull: it is summed up unless it was asked for or is all there is."""
    everything = list(inventory.tensors)
    if view.everything or view.selection.narrows:
        return everything, []
    kept = [tensor for tensor in everything if tensor.role != "training_state"]
    if not kept:
        return everything, []
    return kept, [tensor for tensor in everything if tensor.role == "training_state"]


def _fitting_table(tensors: Sequence[Tensor], of: Sequence[Tensor], view: View) -> list[Line]:
    """The columns that tell rows apart: what is the same for all that the report counts, its first lines say."""
    columns = _Columns(
        role=len(set(map(_ROLE, of))) > 1,
        words=ROLE_WORDS,
        dtype=len(set(map(_DTYPE, of))) > 1,
        device=len(set(map(_DEVICE, of))) > 1,
        facts=len(set(map(_FACTS, tensors))) > 1,
        files=_short_file_names(tensors, view),
        evidence=False,
        mark=any(tensor.lacks_registration for tensor in tensors),
    )
    width = view.display.width
    widest = [columns._replace(evidence=True)] if width is not None and width >= _WIDE else []
    for each in (*widest, columns):
        lines = _table(tensors, each, view, None)
        if width is None or natural_width(lines) <= width:
            return lines
    return _table(tensors, columns._replace(words=SHORT_ROLE_WORDS), view, width)


def _short_file_names(tensors: Sequence[Tensor], view: View) -> dict[str, str]:
    """What tells the files apart: `00001` for `model-00001-of-00030.safetensors`; the whole names stand below."""
    names = list(dict.fromkeys(tensor.file for tensor in tensors if tensor.file is not None))
    # One file needs no column; and shards cut through repeated blocks, so that a fold cannot name its file.
    if not names[1:] or _folds(tensors, view):
        return {}
    start = _shared_start(names)
    end = _shared_start([name[:start:-1] for name in names])
    short = {name: name[start : len(name) - end] for name in names}
    return short if all(short.values()) else {name: name for name in names}


def _shared_start(names: list[str]) -> int:
    """Length of what all names begin with, back to a sign that parts words: half a number tells nothing."""
    start = commonprefix(names)  # noqa: RUF071 - characters, not folders, are what is compared
    return len(re.sub(r"[^-_./]*$", "", start))


def _table(tensors: Sequence[Tensor], columns: _Columns, view: View, width: int | None) -> list[Line]:
    sections = _by_section(tensors)
    rows = _rows(sections, columns, view) if _folds(tensors, view) else _single_rows(sections)
    if view.selection.sort is None:  # what nobody registered comes first
        order = {section: number for number, section in enumerate(sections)}
        rows.sort(key=lambda row: (order[row.section], not row.tensors[0].lacks_registration))
    shown = rows if view.everything else rows[:MOST_ROWS]
    lines = [_titles(columns), *_rows_under_headings(shown, sections, columns, view)]
    sizes = 2 + columns.role + columns.dtype + columns.device
    sign = "…" if view.display.unicode else "..."

    def shorten(name: str, room: int) -> str:
        uncounted = _TIMES.sub("", name)  # its braces count too
        return uncounted if cell_width(uncounted) <= room else elided(uncounted, room, sign)

    aligned = table(lines, right=frozenset((sizes,)), width=width, shorten=None if view.everything else shorten)
    hidden = [tensor for row in rows[len(shown) :] for tensor in row.tensors]
    if hidden:
        aligned += [
            line(
                f"... {plural(len(hidden), 'tensor')} not shown: `--all` lists them, `--match` picks some",
                "warning",
            )
        ]
    elif len(rows) < len(tensors):
        aligned += [
            line(f"{plural(len(tensors), 'tensor')} in {plural(len(rows), 'row')}: `--all` unfolds them", "dim")
        ]
    return aligned


def _folds(tensors: Sequence[Tensor], view: View) -> bool:
    return not view.everything and len(tensors) > FOLD_OVER


def _by_section(tensors: Iterable[Tensor]) -> dict[str, list[Tensor]]:
    sections: dict[str, list[Tensor]] = {}
    for tensor in tensors:
        sections.setdefault(tensor.section, []).append(tensor)
    return sections


def _single_rows(sections: dict[str, list[Tensor]]) -> list[_Row]:
    return [_Row(section, each.name, (each,)) for section, inside in sections.items() for each in inside]


def _rows(sections: dict[str, list[Tensor]], columns: _Columns, view: View) -> list[_Row]:
    """A row for each fold; where sizes set the order, that of all its tensors counts, which is what it shows."""
    rows: list[_Row] = []
    for section, inside in sections.items():
        found = [
            _Row(section, each.name, tuple(inside[position] for position in each.members))
            for each in fold((tensor.name, _looks(tensor, columns)) for tensor in inside)
        ]
        if view.selection.sort == "size":
            found.sort(key=lambda row: -(_known_bytes(row.tensors) or 0))
        rows += found
    return rows


def _looks(tensor: Tensor, columns: _Columns) -> tuple[object, ...]:
    """Everything a row shows of a tensor but its name."""
    return (
        tensor.role,
        tensor.certainty,
        tensor.holding in HARMLESS_HOLDINGS,
        shape_of(tensor),
        tensor.dtype,
        tensor.saved,
        tensor.moves,
        tensor.trains,
        tensor.alias_of is None,
        tensor.device if columns.device else None,
        tensor.evidence if columns.evidence else None,
    )


def _rows_under_headings(
    rows: Iterable[_Row], sections: dict[str, list[Tensor]], columns: _Columns, view: View
) -> list[Line]:
    """The rows; a heading before each section, unless there is but the unnamed one."""
    lines: list[Line] = []
    for section, group in groupby(rows, key=lambda row: row.section):
        if len(sections) > 1 or section:
            lines += [line(""), _heading(section, sections[section], view)]
        lines += [_row(row, columns, view) for row in group]
    return lines


def _heading(section: str, tensors: Sequence[Tensor], view: View) -> Line:
    name = view.display.show(section) if section else "(top level)"
    return line(f"{name}: {plural(len(tensors), 'tensor')}, {_size_of(tensors, view)}", "heading")


def _titles(columns: _Columns) -> Line:
    titles = ["  name" if columns.mark else "name"]
    titles += ["role"] * columns.role
    titles += ["shape"]
    titles += ["dtype"] * columns.dtype
    titles += ["device"] * columns.device
    titles += ["size"]
    titles += ["SMT"] * columns.facts
    titles += ["file"] * bool(columns.files)
    titles += ["evidence"] * columns.evidence
    return [Cell(title, "dim") for title in titles]


def _row(row: _Row, columns: _Columns, view: View) -> Line:
    tensor = row.tensors[0]
    style: Style = "" if tensor.holding in HARMLESS_HOLDINGS else tensor.role
    name = view.display.show(row.name)
    if columns.mark:
        name = f"! {name}" if tensor.lacks_registration else f"  {name}"
    if len(row.tensors) > 1:
        name += f" x{len(row.tensors)}"
    cells = [Cell(name, "unregistered" if tensor.lacks_registration else "")]
    cells += [Cell(role_of(tensor, columns.words), style)] * columns.role
    cells += [Cell(shape_of(tensor))]
    cells += [Cell(tensor.dtype or UNKNOWN)] * columns.dtype
    if columns.device:
        cells.append(Cell(UNKNOWN if tensor.device is None else view.display.show(tensor.device)))
    cells += [Cell(TIED if tensor.alias_of is not None else _size_of(row.tensors, view))]
    cells += [Cell(facts_of(tensor), style)] * columns.facts
    if columns.files:
        cells.append(Cell("" if tensor.file is None else view.display.show(columns.files[tensor.file])))
    if columns.evidence:
        cells.append(Cell(view.display.show(tensor.evidence), "dim"))
    return cells


def _size_of(tensors: Iterable[Tensor], view: View) -> str:
    nbytes = _known_bytes(tensors)
    return UNKNOWN if nbytes is None else size(nbytes, exact=view.exact)


def _known_bytes(tensors: Iterable[Tensor]) -> int | None:
    """Bytes of the elements; what is tied counts where it stands first. None where no tensor has any shape yet."""
    known = [tensor.nbytes for tensor in tensors if tensor.alias_of is None]
    if known and all(nbytes is None for nbytes in known):
        return None
    return sum(nbytes or 0 for nbytes in known)


def _training_lines(training: Sequence[Tensor], view: View) -> list[Line]:
    return [line("training state (`--role training_state` lists it)", "heading")] + [
        line(
            f"{view.display.show(section) if section else '(top level)'}: "
            f"{plural(len(inside), 'tensor')}, {_size_of(inside, view)}",
            "training_state",
        )
        for section, inside in _by_section(training).items()
    ]


def _legend(tensors: Sequence[Tensor], view: View) -> list[Line]:
    """What the letters and signs mean: those that occur."""
    certainties = (
        {tensor.certainty for tensor in tensors} if len({role_of(each) for each in tensors}) > 1 else set()
    )
    signs = ["S saved in the state_dict", "M moves with .to(device)", "T trains", "- no"]
    if any(UNKNOWN in facts_of(tensor) for tensor in tensors):
        signs.append("? not known")
    if len({facts_of(tensor) for tensor in tensors}) == 1:
        signs[0] = f"{facts_of(tensors[0])} in every row: {signs[0]}"
    marks = [
        text
        for present, text in (
            ("inferred" in certainties, "role~ inferred from evidence"),
            ("assumed" in certainties, "role? assumed"),
            (any(tensor.lacks_registration for tensor in tensors), "! neither parameter nor buffer"),
        )
        if present
    ]
    return [each for part in (signs, marks) if part for each in _enumerated(part, view.display.width)]


def _enumerated(texts: Sequence[str], width: int | None) -> list[Line]:
    """The texts with commas between them; what does not fit into the width goes on below."""
    cells = [*(Cell(f"{text}, ") for text in texts[:-1]), Cell(texts[-1])]
    room = None if width is None else width + 1  # no punctuation follows
    return [line("".join(cell.text for cell in each).rstrip(), "dim") for each in flowed(cells, room)]
