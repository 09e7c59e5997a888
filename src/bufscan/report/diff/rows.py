"""Changed tensors as rows, folded or summed up by module, the largest relative change first."""

from __future__ import annotations

import re
from math import hypot, inf
from typing import TYPE_CHECKING, NamedTuple

from bufscan.dtypes import DTYPES
from bufscan.report.diff.wording import changes_of, has_new_nonfinite, number
from bufscan.report.shared.folding import INDEX, fold

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bufscan.comparing.difference import Entry, ValueStatistics
    from bufscan.report.diff.view import DiffView

FOLD_OVER = 24
"""Tensors that have a row each; when there are more, repeated blocks are folded."""

_WEIGHTS = frozenset(name for name, dtype in DTYPES.items() if dtype.kind in ("float", "complex", "quantized"))

# Blocks of one to seven eighths.
_EIGHTHS: tuple[str, ...] = ("", *"\u258f\u258e\u258d\u258c\u258b\u258a\u2589")

# `blocks[0].pe` and `blocks.0.pe` have the same steps.
_STEP = re.compile(r"\.|(?=\[)")


class Row(NamedTuple):
    """One or more changed tensors and their numbers taken together.

    Attributes:
        name: the tensor's path, the pattern of several, or a module.
        entries: at least one.
        numel, changed: values, and those that differ; None where nothing was put in numbers.
        relative: norm of the differences relative to that of the old values; infinite where those were zeros.
        max_abs: the largest difference.
        least, most: the smallest and the largest `relative` of its parts, where it has several; else None.
        where: of the numbers in the names, those of the part that changed most; empty where there is one.
    """

    name: str
    entries: tuple[Entry, ...]
    numel: int
    changed: int | None
    relative: float | None
    max_abs: float | None
    least: float | None = None
    most: float | None = None
    where: str = ""


def rows_in(entries: Sequence[Entry], view: DiffView) -> list[Row]:
    """Those that the view asks for."""
    if view.by_module:
        return module_rows(entries, view.depth, folds=not view.everything)
    return rows_of(entries, folds=not view.everything)


def largest_of(rows: Iterable[Row]) -> float:
    """The largest relative change that is a number."""
    changes = (row.most or row.relative for row in rows)
    return max((change for change in changes if change is not None and change != inf), default=0.0)


def range_of(row: Row, *, to: str = "…") -> str:
    """The relative change, or the least and the most of several."""
    if row.relative == inf:
        return "from 0"
    least, most = number(row.least), number(row.most)
    return f"{least} {to} {most}" if row.most is not None and least != most else number(row.relative)


def rows_of(entries: Sequence[Entry], *, folds: bool) -> list[Row]:
    """One row a tensor, or a fold of tensors that changed alike; first those without numbers, or with new NaN."""
    if folds and len(entries) > FOLD_OVER:
        folded = fold((short_path(entry), _looks(entry)) for entry in entries)
        rows = [
            _spread(
                _row(each.name, [entries[at] for at in each.members]),
                (_row_of(entries[at]) for at in each.members),
            )
            for each in folded
        ]
    else:
        rows = list(map(_row_of, entries))
    rows.sort(key=_order)
    return rows


def module_rows(entries: Iterable[Entry], depth: int | None, *, folds: bool) -> list[Row]:
    """One row a module, or a fold of modules in which as many tensors changed."""
    modules: dict[str, list[Entry]] = {}
    for entry in entries:
        modules.setdefault(_module_of(entry, depth), []).append(entry)
    rows = [module_row(name, inside) for name, inside in modules.items()]
    if folds:
        folded = fold((row.name, len(row.entries)) for row in rows)
        rows = [together(each.name, [rows[at] for at in each.members]) for each in folded]
    rows.sort(key=_order)
    return rows


def module_row(name: str, entries: Sequence[Entry]) -> Row:
    """A counter of batches would drown the weights: the changes are theirs, where there are any."""
    weights = [entry for entry in entries if entry.new is not None and entry.new.dtype in _WEIGHTS]
    row, of_weights = _row(name, entries), _row(name, weights)
    if of_weights.relative is None:
        return row
    return row._replace(relative=of_weights.relative, max_abs=of_weights.max_abs)


def together(name: str, rows: Sequence[Row]) -> Row:
    """Several modules as one, with what each of them changed."""
    if len(rows) == 1:
        return rows[0]._replace(name=name)
    return _spread(module_row(name, [entry for row in rows for entry in row.entries]), rows)


def _spread(row: Row, parts: Iterable[Row]) -> Row:
    """The row with the least and the most that one of its parts changed, and which that is."""
    known = [part for part in parts if part.relative is not None and part.relative != inf]
    if len(known) < 2:  # noqa: PLR2004 - one is no range
        return row
    least, most = (choose(known, key=lambda part: part.relative or 0.0) for choose in (min, max))
    numbers = zip(INDEX.findall(most.name), *(INDEX.findall(part.name) for part in known), strict=False)
    where = ".".join(number for number, *others in numbers if set(others) != {number})
    return row._replace(least=least.relative, most=most.relative, where=where)


def _fold_of(name: str, entries: Sequence[Entry]) -> Row:
    return _spread(_row(name, entries), map(_row_of, entries))


def _row_of(entry: Entry) -> Row:
    return _row(short_path(entry), [entry])


def _module_of(entry: Entry, depth: int | None) -> str:
    path = short_path(entry)
    steps = [step.end() for step in _STEP.finditer(path) if step.start() > 0]
    if not steps:
        return "(top level)"
    end = steps[-1] if depth is None else steps[min(max(depth, 1), len(steps)) - 1]
    return path[:end].rstrip(".")


def has_a_row(entry: Entry) -> bool:
    """Whether it belongs into the table of what changed: a tensor that was renamed only where it has numbers."""
    return entry.status == "changed" or (entry.status == "renamed" and entry.values is not None)


def short_path(entry: Entry) -> str:
    """The tensor's path without the section and the wrapper's prefix that only the new side has."""
    if entry.old is None or entry.new is None:
        return entry.path
    section = entry.section if entry.old_section is None else entry.old_section
    name = entry.name if entry.old_name is None else entry.old_name
    before = f"{section}.{name}" if section else name
    return before if entry.path.endswith(f".{before}") else entry.path


def _looks(entry: Entry) -> tuple[object, ...]:
    """What a fold's tensors have in common."""
    new = entry.new
    # As text: hashes of numbers can be foreseen, those of texts are salted.
    shape = None if new is None else (str(new.shape), new.dtype)
    return entry.status, shape, entry.values is None, changes_of(entry)


def _row(name: str, entries: Sequence[Entry]) -> Row:
    values = [entry.values for entry in entries if entry.values is not None]
    in_numbers = [each for each in values if each.changed is not None]
    largest = max((each.max_abs for each in in_numbers if each.max_abs is not None), default=None)
    changed = sum(each.changed or 0 for each in in_numbers)
    return Row(
        name=name,
        entries=tuple(entries),
        numel=sum(each.numel for each in values),
        changed=changed if in_numbers else None,
        relative=_relative(in_numbers),
        # What changed, but by no number, became NaN or infinite.
        max_abs=largest or (None if changed or not in_numbers else 0.0),
    )


def _relative(values: Sequence[ValueStatistics]) -> float | None:
    """Norm of all differences relative to that of the old values; None where that of one tensor is unknown."""
    norms = [each.l2 for each in values if each.l2 is not None]
    if not norms or len(norms) < len(values):
        return None
    changed = hypot(*norms)
    if not changed:
        return None if any(each.changed for each in values) else 0.0  # to NaN or infinity
    before = hypot(*(_norm_before(each.l2, each.rel_l2) for each in values if each.l2))
    return changed / before if before else inf


def _norm_before(l2: float, relative: float | None) -> float:
    if relative is None:  # of zeros
        return 0.0
    return l2 / relative if relative else inf  # too small a ratio for float64


def _order(row: Row) -> tuple[bool, bool, bool, float]:
    """What has no numbers, or other NaN and infinities than before, is not for its relative change to rank.

    What was zero before has none; it comes last.
    """
    broken = any(map(has_new_nonfinite, row.entries))
    change = row.most or row.relative or 0.0
    return row.relative is not None, not broken, row.relative == inf, 0.0 if change == inf else -change


def limit_of(view: DiffView, usual: int, all_of_them: int) -> int:
    """How many rows to show: as many as asked for, all, or the usual number."""
    if view.top is not None:
        return view.top
    return all_of_them if view.everything else usual


def bar(relative: float | None, largest: float, *, unicode: bool, width: int = 8) -> str:
    """A bar as long as the share of the largest."""
    if not relative or relative == inf or not largest:
        return ""
    filled = width * min(relative / largest, 1.0)
    if not unicode:
        return "#" * max(round(filled), 1)
    eighths = max(round(filled * 8), 1)
    return "\u2588" * (eighths // 8) + _EIGHTHS[eighths % 8]
