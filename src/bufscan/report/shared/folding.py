"""Repeated blocks as one row: `blocks.{0..31}.attn.weight` for 32 names that differ in a number alone.

A fold stands for exactly its names: the numbers of each slot, multiplied out, give them all and no other.
"""

from __future__ import annotations

import re
from itertools import pairwise, product
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

# A number that is a whole part of a name: between dots, or in brackets. Leading zeros would not survive `int`.
# The digit is looked for first because that is what sets the fewest places apart.
INDEX = re.compile(r"(?=[0-9])(?<![^.\[])(0|[1-9][0-9]{0,8})(?![^.\]])", re.ASCII)
"""Finds the numbers in names of which several are shown as one."""

# Names with more numbers than this are left as they are: the work grows with the slots.
_MOST_SLOTS = 8

# Runs that one pair of braces may hold before the fold is split in two.
_MOST_RUNS = 4

# `0,1` is as short as `0..1` and easier to read.
_SHORTEST_RUN = 3

# `1,3,5` is as short as `1..5..2`.
_FEWEST_STEPS = 4


# As they are written: that is quicker to compare than to convert.
_Numbers: TypeAlias = tuple[str, ...]


class Fold(NamedTuple):
    """Names shown as one.

    Attributes:
        name: the pattern, or the name itself when `members` is one.
        members: positions in the sequence that was folded, ascending.
    """

    name: str
    members: tuple[int, ...]


def fold(entries: Iterable[tuple[str, Hashable]]) -> list[Fold]:
    """Fold the names that are equal but for numbers and whose rows look the same otherwise.

    Args:
        entries: a name and everything else that its row shows.

    Returns:
        Folds in the order of their first members; together they hold every entry once.
    """
    # What a row shows and the text around the numbers: one piece more than there are numbers.
    groups: dict[tuple[Hashable, tuple[str, ...]], dict[_Numbers, int]] = {}
    folds: list[Fold] = []
    for position, (name, looks) in enumerate(entries):
        parts = INDEX.split(name)
        if not 1 <= len(parts) // 2 <= _MOST_SLOTS:
            folds.append(Fold(name, (position,)))
            continue
        group = groups.setdefault((looks, tuple(parts[::2])), {})
        if group.setdefault(tuple(parts[1::2]), position) != position:  # the same name twice: shown twice
            folds.append(Fold(name, (position,)))
    for (_, pieces), group in groups.items():
        products = _products(tuple(group))
        for slots in products:
            members: Iterable[int] = group.values()  # of a single product, in their order
            if products[1:]:
                members = sorted(group[numbers] for numbers in product(*(map(str, slot) for slot in slots)))
            folds.append(Fold(_pattern(pieces, slots), tuple(members)))
    folds.sort(key=lambda each: each.members[0])
    return folds


def _products(rows: Sequence[_Numbers]) -> list[list[list[int]]]:
    """Cut a set of number tuples into full products: each is a list of slots, each slot a list of numbers.

    Values of the first slot that go with the same tails belong together; the tails are cut the same way.
    """
    if not rows[0]:
        return [[]]
    tails: dict[str, list[_Numbers]] = {}
    for row in rows:
        tails.setdefault(row[0], []).append(row[1:])
    alike: dict[frozenset[_Numbers], list[int]] = {}
    for value, rest in tails.items():
        alike.setdefault(frozenset(rest), []).append(int(value))
    return [
        [chunk, *slots]
        for rest, values in alike.items()
        for chunk in _chunks(sorted(values))
        for slots in _products(sorted(rest))
    ]


def _chunks(values: list[int]) -> list[list[int]]:
    """Cut ascending numbers so that each chunk is written in few runs."""
    if _step_of(values):
        return [values]
    chunks: list[list[int]] = [[values[0]]]
    runs = 1
    for before, value in pairwise(values):
        runs += value != before + 1
        if runs > _MOST_RUNS:
            chunks.append([])
            runs = 1
        chunks[-1].append(value)
    return chunks


def _pattern(pieces: tuple[str, ...], slots: list[list[int]]) -> str:
    text = pieces[0]
    for slot, piece in zip(slots, pieces[1:], strict=True):
        text += (str(slot[0]) if len(slot) == 1 else f"{{{number_runs(slot)}}}") + piece
    return text


def number_runs(values: list[int]) -> str:
    """`0..5,7,8` for ascending numbers; `1..31..2` for many steps, as a shell's braces write them."""
    step = _step_of(values)
    if step > 1 and len(values) >= _FEWEST_STEPS:
        return f"{values[0]}..{values[-1]}..{step}"
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ",".join(
        f"{run[0]}..{run[-1]}" if len(run) >= _SHORTEST_RUN else ",".join(map(str, run)) for run in runs
    )


def _step_of(values: list[int]) -> int:
    """The common difference of three or more numbers, else 0."""
    if len(values) < _SHORTEST_RUN:
        return 0
    step = values[1] - values[0]
    return step if all(b - a == step for a, b in pairwise(values)) else 0
