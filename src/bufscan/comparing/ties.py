"""Which tensors share their elements on one side and no longer, or not yet, on the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.comparing.difference import Change

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bufscan.comparing.matching import Match
    from bufscan.inventory import Inventory, Tensor


def tie_changes(matches: Sequence[Match], old: Inventory, new: Inventory) -> dict[int, Change]:
    """The change of ties by the position of the match.

    A tie counts as lost only where it could have been kept: safetensors hold none, and neither do two files.
    Names are those of the new side.
    """
    names = [match.new_name for match in matches]
    partners_old = _partners([match.old for match in matches], names)
    partners_new = _partners([match.new for match in matches], names)
    by_name = {match.new_name: match for match in matches}
    changes: dict[int, Change] = {}
    for position, name in enumerate(names):
        before, after = partners_old.get(name, ()), partners_new.get(name, ())
        if before == after:
            continue
        lost = [
            other
            for other in before
            if other not in after and _could_tie(by_name[name].new, by_name[other].new, new)
        ]
        gained = [
            other
            for other in after
            if other not in before and _could_tie(by_name[name].old, by_name[other].old, old)
        ]
        if lost or gained:
            changes[position] = Change(aspect="tied_to", old=before, new=after)
    return changes


def _partners(tensors: Sequence[Tensor], names: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """By name, the other names of the same elements. Only matched tensors count."""
    groups: dict[tuple[str, str], list[str]] = {}
    for tensor, name in zip(tensors, names, strict=True):
        groups.setdefault((tensor.section, tensor.alias_of or tensor.name), []).append(name)
    return {
        name: tuple(other for other in group if other != name)
        for group in groups.values()
        if len(group) > 1
        for name in group
    }


def _could_tie(one: Tensor, other: Tensor, inventory: Inventory) -> bool:
    return not inventory.format.startswith("safetensors") and one.file == other.file
