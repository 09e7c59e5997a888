"""The `_metadata` of a state_dict lists every module: an entry that none of them owns was never registered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.roles.section import Claim

if TYPE_CHECKING:
    from bufscan.roles.section import Checkpoint, Section

EXTRA_STATE = Claim("unregistered", "extra state of a module", holding="extra_state")
UNOWNED = Claim("unregistered", "no module owns it", holding="state_dict_only")
UNDER_A_TENSOR = Claim("unregistered", "its prefix names a tensor", holding="state_dict_only")


def claim_unowned(checkpoint: Checkpoint) -> None:
    """Settle the entries that `register_parameter` and `register_buffer` cannot have made."""
    for section in checkpoint.sections:
        _claim_extra_state(section)
        _claim_under_tensors(section)
        if section.tree is not None:
            _claim_outside_tree(checkpoint, section, section.tree)


def _claim_extra_state(section: Section) -> None:
    """`get_extra_state` may return anything; tensors in it are named `<prefix>_extra_state[...]`."""
    for position, tensor in enumerate(section.tensors):
        if "_extra_state" in tensor.name and section.roles[position] is None:
            name = tensor.name.partition("[")[0]
            if name.rpartition(".")[2] == "_extra_state":
                section.settle([position], EXTRA_STATE)


def _claim_under_tensors(section: Section) -> None:
    """No module can have a tensor and a child of one name: `fc.weight.absmax` beside `fc.weight` is a hook's."""
    for owner, entries in section.modules.items():
        if owner in section.positions:
            section.settle(entries.values(), UNDER_A_TENSOR)


def _claim_outside_tree(checkpoint: Checkpoint, section: Section, tree: dict[str, int | None]) -> None:
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
    if count > max(1, (owned + count) // 10):
        # Keys of an OrderedDict can be renamed in place, and its `_metadata` stays what it was.
        section.tree = None
        place = f"of section {section.name!r} " if section.name else ""
        checkpoint.notes.append(
            f"`_metadata` {place}was disregarded: {count} of {owned + count} entries belong to no module it lists"
        )
        return
    bare = {prefix.rpartition(".")[2] for prefix in tree if prefix not in section.modules}
    for owner, positions in unowned:
        # A module that was moved or renamed shows as a listed module of the same name without entries, or by
        # the usual names of parameters; what a hook or a hand adds does not.
        leaves = {section.leaves[position] for position in positions}
        if owner.rpartition(".")[2] not in bare and not leaves & {"weight", "bias"}:
            section.settle(positions, UNOWNED)
