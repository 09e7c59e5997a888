"""Ties: an entry that shows exactly the elements of a known one has its role."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bufscan.roles.section import Checkpoint, Section

_EVIDENCE = {
    "parameter": "tied to a parameter",
    "persistent_buffer": "tied to a buffer",
}


def claim_by_ties(checkpoint: Checkpoint) -> None:
    """Settle the open side of every tie that has a settled side.

    A module could register `self.weight.data` as a buffer too; then a tie would mislead. Nothing known does.
    """
    for section in checkpoint.sections:
        for alias, tensor in enumerate(section.tensors):
            if tensor.alias_of is not None:
                first = section.positions.get(tensor.alias_of)
                if first is not None:
                    _settle(section, first, alias)
                    _settle(section, alias, first)


def _settle(section: Section, known: int, other: int) -> None:
    role = section.roles[known]
    if role in ("parameter", "persistent_buffer") and section.roles[other] is None:
        claim = section.claims.get(known)
        trains = claim.trains if claim is not None else section.tensors[known].trains
        section.claim(other, role, _EVIDENCE[role], trains=trains)
