"""The `_metadata` of a state_dict lists every module: an entry that none of them owns was never registered."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

from bufscan.roles.section import Claim
from bufscan.tensor_names import extra_state_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from bufscan.roles.section import Checkpoint, Section

EXTRA_STATE = Claim("unregistered", "extra state of a module", holding="extra_state")
UNOWNED = Claim("unregistered", "no module owns it", holding="state_dict_only")
UNDER_A_TENSOR = Claim("unregistered", "its prefix names a tensor", holding="state_dict_only")

# Module prefix -> version, as in `Section.tree`.
Tree: TypeAlias = "Mapping[str, int | None]"

# Deeper names are no model's, and going up one takes time for each level.
_DEEPEST = 100


def claim_unowned(checkpoint: Checkpoint) -> None:
    """Settle the entries that `register_parameter` and `register_buffer` cannot have made."""
    for section in checkpoint.sections:
        _claim_extra_state(section)
        _claim_under_tensors(section)
        if section.tree is not None:
            _claim_outside_tree(section, section.tree)
    if misfits := [section for section in checkpoint.sections if section.misfit]:
        checkpoint.notes.append(_note_on(misfits))


def _note_on(misfits: Sequence[Section]) -> str:
    first = misfits[0]
    place = f"of section {first.name!r} " if first.name else ""
    more = f" (and so in {len(misfits) - 1} more sections)" if len(misfits) > 1 else ""
    return (
        f"`_metadata` {place}was disregarded: {first.misfit} of {len(first.tensors)} entries belong to no module"
        f" it lists{more}"
    )


def _claim_extra_state(section: Section) -> None:
    """`get_extra_state` may return anything; tensors in it are named `<prefix>_extra_state[...]`."""
    for position, tensor in enumerate(section.tensors):
        if "_extra_state" in tensor.name and extra_state_key(tensor.name) is not None:
            section.settle([position], EXTRA_STATE)


def _claim_under_tensors(section: Section) -> None:
    """No module can have a tensor and a child of one name: `fc.weight.absmax` beside `fc.weight` is a hook's."""
    if section.positions.keys().isdisjoint(section.owners):
        return
    for owner in section.positions.keys() & set(section.owners):
        section.settle(section.modules[owner].values(), UNDER_A_TENSOR)


def _claim_outside_tree(section: Section, tree: Tree) -> None:
    owned = 0
    unowned: list[tuple[str, list[int]]] = []
    for owner, entries in section.modules.items():
        if owner in tree:
            owned += len(entries)
        elif open_ones := [i for i in entries.values() if section.roles[i] != "unregistered"]:
            unowned.append((owner, open_ones))
    count = sum(len(positions) for _, positions in unowned)
    if not count:
        return
    # Keys of an OrderedDict can be renamed in place, and its `_metadata` stays what it was. A listed module that
    # has no entries may have lost them to a new name, or never had any.
    bare = tree.keys() - _with_entries(section, tree)
    if count > (max(1, (owned + count) // 10) if bare else owned):
        section.tree = None
        section.misfit = count
    elif not _could_be_renamed(section, tree, unowned, bare):
        for _, positions in unowned:
            section.settle(positions, UNOWNED)


def _could_be_renamed(
    section: Section, tree: Tree, unowned: Sequence[tuple[str, Sequence[int]]], bare: AbstractSet[str]
) -> bool:
    """Whether the entries could belong to a listed module under a new name, and not to a hook that added them.

    Such a module shows by the name it had or by its place: a bare one has the same name, or hangs from the same
    parent. A single entry that was moved keeps its last name, a `weight` or one that other modules use, and is
    missing from a listed module.
    """
    names = {_split(prefix)[1] for prefix in bare}
    parents = {_split(prefix)[0] for prefix in bare}
    listed = [entries for owner, entries in section.modules.items() if owner in tree]
    uses = Counter(leaf for entries in listed for leaf in entries)

    def may_be_moved(leaf: str) -> bool:
        return (leaf in ("weight", "bias") or leaf in uses) and (bool(bare) or uses[leaf] < len(listed))

    return any(
        _split(owner)[1] in names
        or _nearest_listed(owner, tree) in parents
        or any(may_be_moved(section.leaves[position]) for position in positions)
        for owner, positions in unowned
    )


def _with_entries(section: Section, tree: Tree) -> set[str]:
    """The listed modules that have entries, or whose descendants do."""
    found: set[str] = set()
    for owner in section.modules:
        prefix = owner
        while prefix in tree and prefix not in found:
            found.add(prefix)
            prefix = _split(prefix)[0]
    return found


def _nearest_listed(owner: str, tree: Tree) -> str:
    """The listed module closest above an unlisted one."""
    if owner.count(".") > _DEEPEST:
        return ""
    prefix = owner
    while prefix and prefix not in tree:
        prefix = _split(prefix)[0]
    return prefix


def _split(prefix: str) -> tuple[str, str]:
    """A module's parent and its own name."""
    parent, _, name = prefix.rpartition(".")
    return parent, name
