"""Values beside the tensors: every one is the same on both sides, different, or said to be not compared."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from bufscan.comparing.difference import NotCompared, PlainEntry
from bufscan.formats.plain_values import text_of
from bufscan.inventory import PlainValue

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bufscan.comparing.selection import Selection
    from bufscan.inventory import Inventory

# The module tree of a state_dict: copies and converters lose it, and prefixes of wrappers stand in it.
_OF_THE_TREE = re.compile(r"(?:^|\.)_metadata\.")
# They change when a checkpoint is cut into other shards.
_OF_THE_SHARDS = ("total_size", "total_parameters")
_SHOWN = 3


class PlainComparison(NamedTuple):
    """What came of the plain values of two sides.

    Attributes:
        same: how many are the same on both sides.
        notes: what was set aside, and why.
    """

    entries: tuple[PlainEntry, ...] = ()
    same: int = 0
    not_compared: tuple[NotCompared, ...] = ()
    notes: tuple[str, ...] = ()


def compare_plain(
    old: Inventory, new: Inventory, selection: Selection, sections: Sequence[tuple[str, str]], *, within: bool
) -> PlainComparison:
    """Compare what the inventories have beside their tensors.

    Args:
        old: with its plain values.
        new: with its plain values.
        selection: which paths to look at.
        sections: pairs of old and new sections that belong together.
        within: whether only what lies in these is compared.
    """
    sides = _by_path(old, new), _by_path(new, old)
    if within:
        sides = (
            _below(sides[0], [left for left, _ in sections]),
            _below(sides[1], [right for _, right in sections]),
        )
    values = [{path: each for path, each in side.items() if selection.admits_path(path)} for side in sides]
    values[0] = {_moved(path, sections): each for path, each in values[0].items()}
    notes = []
    for at, side in enumerate(("old", "new")):
        inventories = (old, new)
        if _holds_weights_alone(inventories[1 - at]) and not values[1 - at] and (alone := list(values[at])):
            shown = ", ".join(f"`{path}`" for path in alone[:_SHOWN]) + (" …" if len(alone) > _SHOWN else "")
            notes.append(
                f"{len(alone)} plain values of the {side} side ({shown}) are left out: the other has none"
            )
            values[at] = {}
    return _compared(values[0], values[1], tuple(notes))


def _compared(
    old: Mapping[str, PlainValue], new: Mapping[str, PlainValue], notes: tuple[str, ...]
) -> PlainComparison:
    entries: list[PlainEntry] = []
    unknown: list[NotCompared] = []
    same = 0
    for path in (*old, *(path for path in new if path not in old)):
        before, after = old.get(path), new.get(path)
        reason = (before and before.reason) or (after and after.reason)
        if reason:
            unknown.append(NotCompared(path=path, reason=reason))
        elif before is None or after is None:
            if not _OF_THE_TREE.search(path):
                entries.append(
                    PlainEntry(
                        status="removed" if after is None else "added",
                        path=path,
                        old=None if before is None else before.text,
                        new=None if after is None else after.text,
                    )
                )
        elif before.text != after.text:
            entries.append(PlainEntry(status="changed", path=path, old=before.text, new=after.text))
        else:
            same += 1
    return PlainComparison(tuple(entries), same, tuple(unknown), notes)


def _by_path(inventory: Inventory, other: Inventory) -> dict[str, PlainValue]:
    """The values of one side; free text of the file where the other side is of the same format."""
    values: dict[str, PlainValue] = {}
    times: Counter[str] = Counter()  # `{"a.b": 1, "a": {"b": 2}}`
    for each in inventory.plain:
        path = each.path or "the whole file"
        times[path] += 1
        values[path if times[path] == 1 else f"{path} ({times[path]})"] = each
    if inventory.format == other.format:
        for key, text in inventory.metadata.items():
            if key not in _OF_THE_SHARDS:
                path = f"__metadata__.{key}"
                values[path] = PlainValue(path=path, text=text_of(text))
    return values


def _holds_weights_alone(inventory: Inventory) -> bool:
    """Whether it is a model's tensors and nothing else."""
    sections = {tensor.section for tensor in inventory.tensors}
    return inventory.format in ("live", "nothing") or sections == {""}


def _below(values: Mapping[str, PlainValue], sections: Iterable[str]) -> dict[str, PlainValue]:
    starts = tuple(f"{section}." if section else "" for section in sections)
    return {path: each for path, each in values.items() if path.startswith(starts)}


def _moved(path: str, sections: Sequence[tuple[str, str]]) -> str:
    for left, right in sections:
        if left != right and path.startswith(f"{left}." if left else ""):
            rest = path.removeprefix(f"{left}.") if left else path
            return f"{right}.{rest}" if right else rest
    return path
