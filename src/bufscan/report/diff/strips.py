"""The layers of a model as one line: how much each of them changed."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

from bufscan.report.diff.rows import Row, module_row, short_path, together
from bufscan.report.diff.wording import has_new_nonfinite
from bufscan.report.shared.folding import INDEX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bufscan.comparing.difference import Entry

_FEWEST_LAYERS = 4  # of which a strip tells more than rows
_MOST_LAYERS = 10_000  # higher numbers in names are something else, and a strip has a place for every one below
_HEIGHTS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"  # blocks of one to eight eighths
_DIGITS = "123456789"  # where there are no blocks


class Strip(NamedTuple):
    """The layers of a model, with how much each changed.

    Attributes:
        name: with all their numbers, as `layers.{0..31}`.
        relative: of each; None where no value changed.
        broken: numbers of the layers with new NaN or infinity.
        row: all of it taken together.
    """

    name: str
    relative: tuple[float | None, ...]
    broken: frozenset[int]
    row: Row


def strips_of(entries: Iterable[Entry], most: int) -> list[Strip]:
    """The families of layers, largest first, with how much each layer changed; at most so many."""
    families: dict[str, dict[int, list[Entry]]] = {}
    for entry in entries:
        path = short_path(entry)
        found = INDEX.search(path)
        if found is not None and entry.values is not None and int(found[0]) < _MOST_LAYERS:
            families.setdefault(path[: found.start()], {}).setdefault(int(found[0]), []).append(entry)
    strips = [_strip(front, layers) for front, layers in families.items() if len(layers) >= _FEWEST_LAYERS]
    strips.sort(key=lambda strip: -len(strip.row.entries))
    return strips[:most]


def _strip(front: str, layers: dict[int, list[Entry]]) -> Strip:
    rows = {at: module_row(f"{front}{at}", entries) for at, entries in layers.items()}
    end = max(layers) + 1
    start = 0 if end <= 2 * len(layers) else min(layers)  # those in front did not change
    broken = {at for at, row in rows.items() if any(map(has_new_nonfinite, row.entries))}
    relative = tuple(rows[at].relative if at in rows else None for at in range(start, end))
    name = f"{front}{{{start}..{end - 1}}}"
    return Strip(name, relative, frozenset(at - start for at in broken), together(name, list(rows.values())))


def heights(strip: Strip, *, room: int, unicode: bool) -> str:
    """A character a layer, as high as its share of the largest change; a dot is none, `!` new NaN or infinity.

    Several layers share a character where room is short.
    """
    levels = _HEIGHTS if unicode else _DIGITS
    finite = [each for each in strip.relative if each is not None and each != inf]
    largest = max(finite, default=0.0)
    step = -(-len(strip.relative) // max(room, 1))
    drawn = ""
    for start in range(0, len(strip.relative), step):
        part = range(start, min(start + step, len(strip.relative)))
        change = max((strip.relative[at] or 0.0 for at in part), default=0.0)
        if not strip.broken.isdisjoint(part):
            drawn += "!"
        elif not change:
            drawn += "."
        else:
            share = min(change / largest, 1.0) if largest else 1.0
            drawn += levels[max(round(share * len(levels)), 1) - 1]
    return drawn
