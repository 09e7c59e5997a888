"""Which tensors share their elements on one side and no longer, or not yet, on the other."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from bufscan.comparing.difference import Change

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bufscan.comparing.matching import Match
    from bufscan.inventory import Inventory, Tensor


_MOST_NAMED = 10


class _Shift(NamedTuple):
    """How a group of tied names differs from another: names that left it and names that joined it."""

    left: tuple[str, ...]
    joined: tuple[str, ...]


def tie_changes(matches: Sequence[Match], old: Inventory, new: Inventory) -> dict[int, Change]:
    """The change of ties by the position of the match; of many tied names the first are listed.

    A tie counts as lost only where it could have been kept: safetensors hold none, and neither do two files.
    Names are those of the new side.
    """
    names = [match.new_name for match in matches]
    tied_old = _groups([match.old for match in matches], names)
    tied_new = _groups([match.new for match in matches], names)
    by_name = {match.new_name: match for match in matches}
    shifts: dict[tuple[int, int], _Shift] = {}  # groups can be large: two of them are compared once
    changes: dict[int, Change] = {}
    for position, name in enumerate(names):
        before, after = tied_old.get(name, _ALONE), tied_new.get(name, _ALONE)
        if before is after:
            continue
        key = id(before), id(after)
        if key not in shifts:
            shifts[key] = _shift(before, after)
        left, joined = (tuple(other for other in part if other != name) for part in shifts[key])
        here = by_name[name]
        lost = any(_could_tie(here.new, by_name[other].new, new) for other in left)
        gained = any(_could_tie(here.old, by_name[other].old, old) for other in joined)
        if lost or gained:
            changes[position] = Change(aspect="tied_to", old=_others(before, name), new=_others(after, name))
    return changes


_Group: TypeAlias = tuple[str, ...]
_ALONE: _Group = ()


def _groups(tensors: Sequence[Tensor], names: Sequence[str]) -> Mapping[str, _Group]:
    """The names of the same elements, by each of them. Only matched tensors count."""
    groups: dict[tuple[str, str], list[str]] = {}
    for tensor, name in zip(tensors, names, strict=True):
        groups.setdefault((tensor.section, tensor.alias_of or tensor.name), []).append(name)
    return {name: tied for group in groups.values() if len(tied := tuple(group)) > 1 for name in tied}


def _shift(before: _Group, after: _Group) -> _Shift:
    earlier, later = set(before), set(after)
    return _Shift(
        tuple(islice((name for name in before if name not in later), _MOST_NAMED)),
        tuple(islice((name for name in after if name not in earlier), _MOST_NAMED)),
    )


def _others(group: _Group, name: str) -> _Group:
    return tuple(islice((other for other in group if other != name), _MOST_NAMED))


def _could_tie(one: Tensor, other: Tensor, inventory: Inventory) -> bool:
    return not inventory.format.startswith("safetensors") and one.file == other.file
