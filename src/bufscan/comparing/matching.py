"""Which tensor of the one side is which of the other: by section and by name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from bufscan.comparing.difference import LeftOut, NotCompared
from bufscan.comparing.replacements import Replacements
from bufscan.comparing.sections import by_section, key_of, pair_sections
from bufscan.joining.names import Renaming, find_renaming

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bufscan.inventory import Inventory, Tensor

_Names = dict[str, "Tensor"]

_MOST_NAMED = 3


class Match(NamedTuple):
    """A tensor on both sides, with the name that a state_dict has for it on either.

    Attributes:
        renamed: whether the two names are not to count as one.
    """

    old_name: str
    new_name: str
    old: Tensor
    new: Tensor
    renamed: bool = False


class Matching(msgspec.Struct, kw_only=True):
    """How the tensors of two sides belong together.

    Attributes:
        groups: one for each pair of sections.
        sections: the pairs, where both sides have one.
    """

    groups: list[Group] = []
    sections: list[tuple[str, str]] = []
    left_out: list[LeftOut] = []
    not_compared: list[NotCompared] = []
    notes: list[str] = []


class Group(msgspec.Struct, kw_only=True):
    """The tensors of two sections; removed and added ones by name."""

    matches: list[Match]
    removed: _Names
    added: _Names


def match_tensors(
    old: Inventory, new: Inventory, *, sections: Mapping[str, str], renames: Sequence[tuple[str, str]]
) -> Matching:
    """Match the tensors of two inventories.

    Args:
        old: what the old side holds.
        new: what the new side holds.
        sections: pairs of sections to compare, and no others; empty to find them.
        renames: regular expressions and what to put in place of their matches, applied in order to old names.

    Raises:
        UsageError: a section does not exist, an expression is none, or two names become one.
    """
    replacements = Replacements(renames)
    halves = by_section(old.tensors), by_section(new.tensors)
    pairing = pair_sections(*halves, sections)
    matching = Matching(left_out=pairing.left_out, notes=pairing.notes)
    state_dicts = [_is_state_dict(inventory) for inventory in (old, new)]
    for left, right in pairing.pairs:
        tensors = [
            _by_key(half.get(name, []) if name is not None else [], matching)
            for half, name in zip(halves, (left, right), strict=True)
        ]
        group = _match_names(tensors[0], tensors[1], replacements, matching)
        if state_dicts[1] and not state_dicts[0]:
            _leave_out_unsaved("old", group.removed, matching)
        if state_dicts[0] and not state_dicts[1]:
            _leave_out_unsaved("new", group.added, matching)
        if _holds_no_ties(new):
            _leave_out_tied("old", group.removed, {match.old.name for match in group.matches}, matching)
        if _holds_no_ties(old):
            _leave_out_tied("new", group.added, {match.new.name for match in group.matches}, matching)
        matching.groups.append(group)
        if left is not None and right is not None:
            matching.sections.append((left, right))
    matching.notes += [f"no old name matches `{pattern}`" for pattern in replacements.unmatched()]
    return matching


def _is_state_dict(inventory: Inventory) -> bool:
    """Whether it can hold only what a state_dict saves."""
    unsaved = any(tensor.saved is False and tensor.role != "training_state" for tensor in inventory.tensors)
    return inventory.format != "live" and not unsaved


def _holds_no_ties(inventory: Inventory) -> bool:
    """Whether its writer had to drop all names but one of a tied tensor."""
    return inventory.format.startswith("safetensors")


def _by_key(tensors: Sequence[Tensor], matching: Matching) -> _Names:
    names: _Names = {}
    for tensor in tensors:
        if names.setdefault(key_of(tensor), tensor) is not tensor:
            reason = "the name occurs twice: only the first of the two is compared"
            matching.not_compared.append(NotCompared(path=tensor.path, reason=reason))
    return names


def _match_names(old: _Names, new: _Names, replacements: Replacements, matching: Matching) -> Group:
    mapped = replacements.apply(old)
    seen = {name: old[before] for name, before in mapped.items()}
    pairs, renaming = {name: name for name in seen if name in new}, Renaming()
    if seen and new and len(pairs) < max(len(seen), len(new)):
        renaming = find_renaming(*({name: tensor.shape for name, tensor in side.items()} for side in (seen, new)))
        pairs = renaming.pairs(seen, new)
        matching.notes += _describe(renaming)
    matches = [
        Match(
            mapped[name],
            other,
            seen[name],
            new[other],
            renamed=not renaming.is_of_wrappers and name != other,
        )
        for name, other in ((name, pairs[name]) for name in seen if name in pairs)
    ]
    matched = {match.old_name for match in matches}, {match.new_name for match in matches}
    return Group(
        matches=matches,
        removed={name: tensor for name, tensor in old.items() if name not in matched[0]},
        added={name: tensor for name, tensor in new.items() if name not in matched[1]},
    )


def _describe(renaming: Renaming) -> Iterator[str]:
    for prefix, side in ((renaming.checkpoint_prefix, "old"), (renaming.model_prefix, "new")):
        if prefix:
            yield f"names are compared without `{prefix}` in front of those of the {side} side"
        if prefix and not renaming.is_of_wrappers:
            told = f"^{re.escape(prefix)}=" if side == "old" else f"^={prefix}"
            yield f"no wrapper is known to add it, so these are renamed: `--map '{told}'` takes them for the same"
    if renaming.wrappers:
        listed = ", ".join(f"`{wrapper}`" for wrapper in renaming.wrappers)
        yield f"names are compared without the wrapper's part {listed}"


def _leave_out_unsaved(side: Literal["old", "new"], names: _Names, matching: Matching) -> None:
    """A state_dict cannot have what the other side holds without saving it."""
    unsaved = [name for name, tensor in names.items() if tensor.saved is False]
    for name in unsaved:
        del names[name]
    if unsaved:
        matching.left_out.append(
            LeftOut(side=side, what="not saved", tensors=len(unsaved), reason="a state_dict does not hold them")
        )


def _leave_out_tied(side: Literal["old", "new"], names: _Names, matched: set[str], matching: Matching) -> None:
    """Further names of a tensor that the other side has, in a format that takes but one."""
    tied = [name for name, tensor in names.items() if tensor.alias_of in matched]
    for name in tied:
        del names[name]
    if tied:
        reason = "tied to tensors that both sides have, and safetensors keeps one name of each"
        matching.left_out.append(LeftOut(side=side, what=_listed(tied), tensors=len(tied), reason=reason))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(f"`{name}`" for name in names[:_MOST_NAMED]) + more
