"""A tree of modules: how many tensors and bytes lie below each. Equal siblings are one line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from bufscan.report.shared.folding import number_runs
from bufscan.report.shared.layout import Cell, Line, line, table
from bufscan.report.shared.sizes import count, plural, size
from bufscan.tensor_names import counting_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bufscan.inventory import Inventory, Tensor
    from bufscan.report.inspect.selecting import SortKey
    from bufscan.report.inspect.view import View

MOST_ROWS = 200
"""Rows that a tree shows unless everything is asked for."""

# `blocks[0].pe`, `blocks.0.pe` and `blocks['0'].pe` are three steps each.
_STEP = re.compile(r"\.|(?=\[(?:[0-9]{1,9}|'[^'\]]*')\])")

# A tenth of a gigabyte of them. Names in a broken file may speak of more: their tensors count where that ends.
_MOST_MODULES = 250_000

# Modules are a dozen deep; a broken name may have a million dots, and this module walks by recursion.
_DEEPEST = 64

_NUMBER = re.compile(r"(0|[1-9][0-9]{0,8})|\[(0|[1-9][0-9]{0,8})\]", re.ASCII)


class _Sums(NamedTuple):
    tensors: int = 0
    parameters: int = 0  # elements
    nbytes: int = 0
    unregistered: int = 0
    tied: int = 0

    def plus(self, other: _Sums) -> _Sums:
        return _Sums(*(a + b for a, b in zip(self, other, strict=True)))


class _Module:
    """A module while the tree grows: its own tensors' sums and looks, and its children by name."""

    __slots__ = ("children", "looks", "sums")

    def __init__(self) -> None:
        self.sums = _Sums()
        self.looks: list[object] = []
        self.children: dict[str, _Module] = {}


class _Branch(NamedTuple):
    """A module as it is shown, or several equal ones."""

    label: str
    times: int  # how many it stands for, seen from its parent
    sums: _Sums  # of all of them, with everything below
    looks: int  # equal numbers: nothing shown below differs
    children: tuple[_Branch, ...]


def draw_tree(inventory: Inventory, view: View) -> list[Line]:
    """The modules of each section with the tensors, parameter elements and bytes below them."""
    roots = _grow(inventory.tensors)
    # Optimizer state has no modules worth a line.
    training = set(roots) - {tensor.section for tensor in inventory.tensors if tensor.role != "training_state"}
    seen: dict[object, int] = {}
    rows: list[Line] = []
    for section, root in roots.items():
        branch = _branch(section or inventory.target, root, seen, view)
        rows.append(_row(branch, "", view))
        if view.everything or view.selection.narrows or section not in training:
            rows += _rows(branch, "", view, view.depth)
    hidden = 0 if view.everything else max(len(rows) - MOST_ROWS, 0)
    titles = [Cell(title, "dim") for title in ("module", "tensors", "parameters", "size", "")]
    lines = table([titles, *rows[: len(rows) - hidden]], right=frozenset((1, 2, 3)), width=view.display.width)
    if hidden:
        lines.append(
            line(f"... {plural(hidden, 'row')} not shown: `--all` shows them, `--depth` fewer", "warning")
        )
    return lines


def _grow(tensors: Iterable[Tensor]) -> dict[str, _Module]:
    """The modules that the tensors' names speak of, by section."""
    roots: dict[str, _Module] = {}
    grown = 0
    for tensor in tensors:
        *path, leaf = _STEP.split(tensor.name, maxsplit=_DEEPEST)
        module = roots.setdefault(tensor.section, _Module())
        for step in path:
            child = module.children.get(step)
            if child is None:
                if grown == _MOST_MODULES:
                    break
                grown += 1
                child = module.children[step] = _Module()
            module = child
        _add(module, leaf, tensor)
    return roots


def _add(module: _Module, leaf: str, tensor: Tensor) -> None:
    counted = tensor.alias_of is None
    module.sums = module.sums.plus(
        _Sums(
            tensors=1,
            parameters=(tensor.numel or 0) if counted and tensor.role == "parameter" else 0,
            nbytes=(tensor.nbytes or 0) if counted else 0,
            unregistered=tensor.role == "unregistered",
            tied=not counted,
        )
    )
    # The shape as text: hashes of numbers can be foreseen, those of texts are salted.
    module.looks.append((leaf, tensor.role, tensor.dtype, str(tensor.shape), counted))


def _branch(label: str, module: _Module, seen: dict[object, int], view: View) -> _Branch:
    children = [_branch(name, child, seen, view) for name, child in module.children.items()]
    # Numbers instead of nested tuples: hashing those again at every level would take quadratic time.
    looks = seen.setdefault(
        (tuple(module.looks), tuple((child.label, child.looks) for child in children)), len(seen)
    )
    shown = _sorted(children if view.everything else _folded(children), view.selection.sort)
    sums = module.sums
    for child in shown:
        sums = sums.plus(child.sums)
    return _Branch(label, 1, sums, looks, shown)


def _sorted(branches: Iterable[_Branch], key: SortKey | None) -> tuple[_Branch, ...]:
    """By size or name, if one of these was asked for; modules have no dtype and no role."""
    if key == "size":
        return tuple(sorted(branches, key=lambda branch: -branch.sums.nbytes))
    if key == "name":
        return tuple(sorted(branches, key=lambda branch: counting_key(branch.label)))
    return tuple(branches)


def _folded(children: Iterable[_Branch]) -> Iterator[_Branch]:
    """Numbered children that look the same as one, where the first of them stands."""
    groups: dict[object, list[_Branch]] = {}
    for child in children:
        key = (child.label[0] == "[", child.looks) if _NUMBER.fullmatch(child.label) else child.label
        groups.setdefault(key, []).append(child)
    for group in groups.values():
        yield group[0] if len(group) == 1 else _merged(group)


def _merged(group: list[_Branch]) -> _Branch:
    numbers = number_runs(sorted(int(child.label.strip("[]")) for child in group))
    label = group[0].label
    label = f"[{{{numbers}}}]" if label.startswith("[") else f"{{{numbers}}}"
    return _scaled(group[0], len(group))._replace(label=label, times=len(group))


def _scaled(branch: _Branch, factor: int) -> _Branch:
    """The sums of `factor` branches that are equal to this one, below as well."""
    return branch._replace(
        sums=_Sums(*(each * factor for each in branch.sums)),
        children=tuple(_scaled(child, factor) for child in branch.children),
    )


def _rows(branch: _Branch, indent: str, view: View, depth: int | None) -> Iterator[Line]:
    if depth == 0:
        return
    tee, corner, bar, blank = (
        ("├── ", "└── ", "│   ", "    ") if view.display.unicode else ("|-- ", "`-- ", "|   ", "    ")
    )
    for child in branch.children:
        last = child is branch.children[-1]
        yield _row(child, indent + (corner if last else tee), view)
        yield from _rows(child, indent + (blank if last else bar), view, None if depth is None else depth - 1)


def _row(branch: _Branch, lead: str, view: View) -> Line:
    sums = branch.sums
    label = view.display.show(branch.label)
    return (
        Cell(f"{lead}{label} x{branch.times}" if branch.times > 1 else lead + label),
        Cell(count(sums.tensors)),
        Cell(count(sums.parameters)),
        Cell(size(sums.nbytes, units=view.units)),
        _remark(sums),
    )


def _remark(sums: _Sums) -> Cell:
    """What needs a look, or else why the bytes of a small module are none."""
    if sums.unregistered:
        return Cell(f"{count(sums.unregistered)} unregistered", "unregistered")
    return Cell("tied" if sums.tied == sums.tensors else "", "dim")
