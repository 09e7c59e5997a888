"""Values beside the tensors: every one is the same on both sides, different, or said to be not compared."""

from __future__ import annotations

import re
from collections import Counter
from itertools import islice, takewhile
from typing import TYPE_CHECKING, NamedTuple

from bufscan.comparing.difference import NotCompared, PlainEntry
from bufscan.formats.checkpoint.plain_values import text_of
from bufscan.formats.listing import counted, listed
from bufscan.formats.pickle.object_graph import MAX_DEPTH
from bufscan.inventory import PlainValue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from bufscan.comparing.matching import Matching
    from bufscan.comparing.selection import Selection
    from bufscan.inventory import Inventory

_EXTRA_STATE = re.compile(r"(?:^|\.)_extra_state\b")
# They change when a checkpoint is cut into other shards.
_OF_THE_SHARDS = ("total_size", "total_parameters")
_END_OF_A_STEP = re.compile(r"[.\[]")
_NOT_CALLED = "the model's `get_extra_state` is not called"


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
    old: Inventory, new: Inventory, selection: Selection, matching: Matching, *, within: bool
) -> PlainComparison:
    """Compare what the inventories have beside their tensors, in the sections that belong together.

    What a side has no place for is no difference: a safetensors file holds texts alone, a model no learning rate,
    and weights alone nothing of a training.

    Args:
        old: with its plain values.
        new: with its plain values.
        selection: which paths to look at.
        matching: how the tensors belong together.
        within: whether only what lies in the sections of `matching` is compared.
    """
    inventories = old, new
    sections = dict(matching.sections)
    values = [_by_path(old, new), _by_path(new, old)]
    if within:
        values = [_below(values[0], sections), _below(values[1], sections.values())]
    values = [{path: each for path, each in side.items() if selection.admits_path(path)} for side in values]
    renamed = _renamer(old, matching)
    values[0] = {renamed(path): each for path, each in values[0].items()}
    notes, unknown = [], []
    for at, side in enumerate(("old", "new")):
        has_no_place = _what_has_no_place(inventories, matching, values, at)
        alone = [path for path, each in values[at].items() if path not in values[1 - at] and has_no_place(each)]
        told = [path for path in alone if values[at][path].origin != "version"]
        if inventories[1 - at].format == "live":
            unknown += [NotCompared(path=path, reason=_NOT_CALLED) for path in told if _EXTRA_STATE.search(path)]
            told = [path for path in told if not _EXTRA_STATE.search(path)]
        if told:
            number = counted(len(told), "value")
            notes.append(
                f"{number} beside the tensors of the {side} side left out, as the other has no place for such: "
                f"{listed(told)}"
            )
        for path in alone:
            del values[at][path]
    compared = _compared(values[0], values[1])
    return compared._replace(not_compared=(*compared.not_compared, *unknown), notes=tuple(notes))


def _what_has_no_place(
    inventories: tuple[Inventory, Inventory],
    matching: Matching,
    values: list[dict[str, PlainValue]],
    at: int,
) -> Callable[[PlainValue], bool]:
    """Whether the other side could not hold a value that the side `at` alone has."""
    own, other = inventories[at].format, inventories[1 - at].format
    paired = [pair[at] for pair in matching.sections]
    is_weights_alone = [pair[1 - at] for pair in matching.sections] == [""] != paired
    other_is_module = any(each.origin == "module" for each in values[1 - at].values())
    section_of = _sections_of(inventories[at])

    def has_no_place(value: PlainValue) -> bool:
        if other == "nothing":
            return False
        if other == "live" or own.startswith("safetensors") != other.startswith("safetensors"):
            return True
        if value.origin == "version":  # lost in a copy of the state_dict, and spelled anew by a wrapper
            return True
        if value.origin == "module" and not other_is_module:
            return True
        return is_weights_alone and section_of(value.path) not in paired

    return has_no_place


def _sections_of(inventory: Inventory) -> Callable[[str], str]:
    """What tells the section of a path: the longest one of the tensors' that it begins with."""
    sections = {tensor.section for tensor in inventory.tensors} - {""}
    if not sections:
        return lambda _: ""

    def section_of(path: str) -> str:
        ends = [found.start() for found in islice(_END_OF_A_STEP.finditer(path), MAX_DEPTH)]
        return next((path[:end] for end in reversed(ends) if path[:end] in sections), "")

    return section_of


def _renamer(old: Inventory, matching: Matching) -> Callable[[str], str]:
    """What turns the path of an old value into the new: as the tensors beside it were renamed."""
    sections = dict(matching.sections)
    section_of = _sections_of(old)
    prefixes = {
        match.old.section: _prefixes(match.old_name, match.new_name)
        for group in matching.groups
        for match in group.matches[:1]
    }

    def renamed(path: str) -> str:
        section = section_of(path)
        target, (before, after) = sections.get(section, section), prefixes.get(section, ("", ""))
        if (section, before) == (target, after):
            return path
        rest = path[len(section) :]
        if rest.startswith("["):
            return f"{target}{rest}"
        name = rest[1:] if section else rest  # behind the dot
        name = after + name[len(before) :] if name.startswith(before) else name
        return f"{target}.{name}" if target else name

    return renamed


def _prefixes(old: str, new: str) -> tuple[str, str]:
    """What stands in front of the parts that two names end in alike."""
    pairs = zip(reversed(old.split(".")), reversed(new.split(".")), strict=False)
    shared = len(".".join(part for part, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)))
    return old[: len(old) - shared], new[: len(new) - shared]


def _compared(old: Mapping[str, PlainValue], new: Mapping[str, PlainValue]) -> PlainComparison:
    entries: list[PlainEntry] = []
    unknown: list[NotCompared] = []
    same = 0
    for path in (*old, *(path for path in new if path not in old)):
        before, after = old.get(path), new.get(path)
        reason = (before and before.reason) or (after and after.reason)
        if reason:
            unknown.append(NotCompared(path=path, reason=reason))
        elif before is None or after is None:
            entries.append(
                PlainEntry(
                    status="removed" if after is None else "added",
                    path=path,
                    old=None if before is None else before.text,
                    new=None if after is None else after.text,
                )
            )
        elif (before.kind, before.text) != (after.kind, after.text):
            told = before.text != after.text
            texts = [each.text if told else f"{each.kind} {each.text}" for each in (before, after)]
            entries.append(PlainEntry(status="changed", path=path, old=texts[0], new=texts[1]))
        else:
            same += 1
    return PlainComparison(tuple(entries), same, tuple(unknown))


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


def _below(values: Mapping[str, PlainValue], sections: Iterable[str]) -> dict[str, PlainValue]:
    starts = tuple(f"{section}." if section else "" for section in sections)
    return {path: each for path, each in values.items() if path.startswith(starts)}
