"""One row for each tensor, or for each fold of tensors that look the same."""

from __future__ import annotations

import re
from itertools import groupby
from operator import attrgetter
from os.path import commonprefix
from typing import TYPE_CHECKING, NamedTuple

from bufscan.inventory import HARMLESS_HOLDINGS
from bufscan.report.shared.folding import Fold, fold
from bufscan.report.shared.layout import (
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
from bufscan.report.shared.sizes import plural, size
from bufscan.report.shared.wording import ROLE_WORDS, SHORT_ROLE_WORDS, TIED, UNKNOWN, facts_of, role_of, shape_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bufscan.inventory import Role, Tensor
    from bufscan.report.inspect.text.census import Census, Kind
    from bufscan.report.inspect.view import View

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
    rules: dict[str, str]  # codes by the paths of faulty registered tensors


def list_tensors(census: Census, view: View) -> list[Line]:
    """The table of tensors by section, folded when long, cut when still long, with a legend."""
    shown, training = _set_training_state_apart(census, view)
    lines = _fitting_table(shown, census, view) if shown.kinds else []
    if training is not None:
        lines += [BLANK, *_training_lines(training, view)]
    if shown.kinds:
        lines += [BLANK, *_legend(shown, view)]
    return lines


def _set_training_state_apart(census: Census, view: View) -> tuple[Census, Census | None]:
    """Optimizer state is bulky and dull: it is summed up unless it was asked for or is all there is."""
    roles = {tensor.role for tensor, _ in census.kinds.values()}
    if view.everything or view.selection.narrows or "training_state" not in roles or len(roles) == 1:
        return census, None
    return (
        census.where(lambda tensor: tensor.role != "training_state"),
        census.where(lambda tensor: tensor.role == "training_state"),
    )


def _fitting_table(census: Census, of: Census, view: View) -> list[Line]:
    """The columns that tell rows apart: what is the same for all that the report counts, its first lines say."""
    tensors = [tensor for tensor, _ in census.kinds.values()]
    counted = [tensor for tensor, _ in of.kinds.values()]
    columns = _Columns(
        role=len(set(map(_ROLE, counted))) > 1,
        words=ROLE_WORDS,
        dtype=len(set(map(_DTYPE, counted))) > 1,
        device=len(set(map(_DEVICE, counted))) > 1,
        facts=len(set(map(_FACTS, tensors))) > 1,
        files=_short_file_names(census, view),
        evidence=False,
        mark=any(tensor.lacks_registration for tensor in tensors),
        rules=_faulty(census, view),
    )
    width = view.display.width
    widest = [columns._replace(evidence=True)] if width is not None and width >= _WIDE else []
    for each in (*widest, columns):
        lines = _table(census, each, view, None)
        if width is None or natural_width(lines) <= width:
            return lines
    return _table(census, columns._replace(words=SHORT_ROLE_WORDS), view, width)


def _faulty(census: Census, view: View) -> dict[str, str]:
    """Codes of what is registered and faulty all the same; what is not registered has a mark of its own."""
    codes = {finding.tensor: finding.code for finding in reversed(view.findings)}
    if not codes:
        return {}
    return {
        tensor.path: codes[tensor.path]
        for tensor in census.tensors
        if tensor.path in codes and not tensor.lacks_registration
    }


def _short_file_names(census: Census, view: View) -> dict[str, str]:
    """What tells the files apart: `00001` for `model-00001-of-00030.safetensors`; the whole names stand below."""
    names = list(dict.fromkeys(tensor.file for tensor, _ in census.kinds.values() if tensor.file is not None))
    # One file needs no column; and shards cut through repeated blocks, so that a fold cannot name its file.
    if not names[1:] or _folds(census, view):
        return {}
    start = _shared_start(names)
    end = _shared_start([name[:start:-1] for name in names])
    short = {name: name[start : len(name) - end] for name in names}
    return short if all(short.values()) else {name: name for name in names}


def _shared_start(names: list[str]) -> int:
    """Length of what all names begin with, back to a sign that parts words: half a number tells nothing."""
    start = commonprefix(names)  # noqa: RUF071 - characters, not folders, are what is compared
    return len(re.sub(r"[^-_./]*$", "", start))


def _table(census: Census, columns: _Columns, view: View, width: int | None) -> list[Line]:
    folds = _folds(census, view)
    rows = _folded_rows(census, columns, view) if folds else _single_rows(census)
    order = {section: number for number, section in enumerate(_by_section(census))}
    rows.sort(key=lambda row: _place(census.tensors[row.members[0]], order, view))
    shown = rows if view.everything else rows[:MOST_ROWS]
    lines = [_titles(columns), *_rows_under_headings(shown, census, columns, view)]
    sizes = 2 + columns.role + columns.dtype + columns.device
    sign = view.display.ellipsis

    def shorten(name: str, room: int) -> str:
        uncounted = _TIMES.sub("", name)  # its braces count too
        return uncounted if cell_width(uncounted) <= room else elided(uncounted, room, sign)

    aligned = table(lines, right=frozenset((sizes,)), width=width, shorten=None if view.everything else shorten)
    hidden, of = sum(len(row.members) for row in rows[len(shown) :]), len(census.tensors)
    if hidden:
        text = f"... {plural(hidden, 'tensor')} not shown: `--all` lists them, `--match` picks some"
        aligned += [line(text, "warning")]
    elif len(rows) < of:
        aligned += [line(f"{plural(of, 'tensor')} in {plural(len(rows), 'row')}: `--all` unfolds them", "dim")]
    return aligned


def _place(tensor: Tensor, order: dict[str, int], view: View) -> tuple[int, bool]:
    """Section by section; what nobody registered comes first, unless another order was asked for."""
    return order[tensor.section], view.selection.sort is None and not tensor.lacks_registration


def _folds(census: Census, view: View) -> bool:
    return not view.everything and len(census.tensors) > FOLD_OVER


def _by_section(census: Census) -> dict[str, list[Kind]]:
    sections: dict[str, list[Kind]] = {}
    for kind in census.kinds.values():
        sections.setdefault(kind.first.section, []).append(kind)
    return sections


def _single_rows(census: Census) -> list[Fold]:
    return [Fold(tensor.name, (position,)) for position, tensor in enumerate(census.tensors)]


def _folded_rows(census: Census, columns: _Columns, view: View) -> list[Fold]:
    """A row for each fold; where sizes set the order, that of all its tensors counts, which is what it shows."""
    looks = {number: _looks(tensor, columns) for number, (tensor, _) in census.kinds.items()}
    alike = {each: number for number, each in looks.items()}
    shown_as = {number: alike[each] for number, each in looks.items()}
    names = [tensor.name for tensor in census.tensors]
    codes = (columns.rules.get(tensor.path) for tensor in census.tensors)
    shown = zip(map(shown_as.__getitem__, census.numbers), codes, strict=True)
    rows = fold(zip(names, shown, strict=True))
    if view.selection.sort == "size":
        rows.sort(key=lambda row: -(_known_bytes(census.among(row.members)) or 0))
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


def _rows_under_headings(rows: Iterable[Fold], census: Census, columns: _Columns, view: View) -> list[Line]:
    """The rows; a heading before each section, unless there is but the unnamed one."""
    lines: list[Line] = []
    sections = _by_section(census)
    for section, group in groupby(rows, key=lambda row: census.tensors[row.members[0]].section):
        if len(sections) > 1 or section:
            lines += [line(""), line(_sum_of(section, sections[section], view), "heading")]
        for row in group:
            code = columns.rules.get(census.tensors[row.members[0]].path, "")
            lines.append(_row(row, census.among(row.members), code, columns, view))
    return lines


def _sum_of(section: str, kinds: Sequence[Kind], view: View) -> str:
    name = view.display.show(section) if section else "(top level)"
    return f"{name}: {plural(sum(kind.times for kind in kinds), 'tensor')}, {_size_of(kinds, view)}"


def _titles(columns: _Columns) -> Line:
    titles = ["  name" if columns.mark else "name"]
    titles += ["role"] * columns.role
    titles += ["shape"]
    titles += ["dtype"] * columns.dtype
    titles += ["device"] * columns.device
    titles += ["size"]
    titles += ["SMT"] * columns.facts
    titles += ["rule"] * bool(columns.rules)
    titles += ["file"] * bool(columns.files)
    titles += ["evidence"] * columns.evidence
    return [Cell(title, "dim") for title in titles]


def _row(row: Fold, kinds: Sequence[Kind], code: str, columns: _Columns, view: View) -> Line:
    tensor = kinds[0].first
    style: Style = "" if tensor.holding in HARMLESS_HOLDINGS else tensor.role
    name = view.display.show(row.name)
    if columns.mark:
        name = f"! {name}" if tensor.lacks_registration else f"  {name}"
    if len(row.members) > 1:
        name += f" x{len(row.members)}"
    cells = [Cell(name, "unregistered" if tensor.lacks_registration else "")]
    cells += [Cell(role_of(tensor, columns.words), style)] * columns.role
    cells += [Cell(shape_of(tensor))]
    cells += [Cell(tensor.dtype or UNKNOWN)] * columns.dtype
    if columns.device:
        cells.append(Cell(UNKNOWN if tensor.device is None else view.display.show(tensor.device)))
    cells += [Cell(TIED if tensor.alias_of is not None else _size_of(kinds, view))]
    cells += [Cell(facts_of(tensor), style)] * columns.facts
    cells += [Cell(code, "warning")] * bool(columns.rules)
    if columns.files:
        cells.append(Cell("" if tensor.file is None else view.display.show(columns.files[tensor.file])))
    if columns.evidence:
        cells.append(Cell(view.display.show(tensor.evidence), "dim"))
    return cells


def _size_of(kinds: Iterable[Kind], view: View) -> str:
    nbytes = _known_bytes(kinds)
    return UNKNOWN if nbytes is None else size(nbytes, units=view.units)


def _known_bytes(kinds: Iterable[Kind]) -> int | None:
    """Bytes of the elements; what is tied counts where it stands first. None where no tensor has any shape yet."""
    known = [kind.nbytes for kind in kinds if kind.first.alias_of is None]
    if known and all(nbytes is None for nbytes in known):
        return None
    return sum(nbytes or 0 for nbytes in known)


def _training_lines(training: Census, view: View) -> list[Line]:
    return [line("training state (`--role training_state` lists it)", "heading")] + [
        line(_sum_of(section, kinds, view), "training_state") for section, kinds in _by_section(training).items()
    ]


def _legend(census: Census, view: View) -> list[Line]:
    """What the letters and signs mean: those that occur."""
    tensors = [tensor for tensor, _ in census.kinds.values()]
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
