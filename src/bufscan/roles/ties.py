"""Ties: an entry that shows exactly the elements of a known one has its role."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.roles.section import Claim

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
        ties = [
            (section.positions[tensor.alias_of], alias)
            for alias, tensor in enumerate(section.tensors)
            if tensor.alias_of is not None and tensor.alias_of in section.positions
        ]
        for first, alias in ties:
            _settle(section, alias, first)
        for first, alias in ties:
            _settle(section, first, alias)


def _settle(section: Section, known: int, other: int) -> None:
    role = section.roles[known]
    if section.roles[other] is None and role is not None and role in _EVIDENCE:
        claim = section.claims.get(known)
        trains = section.tensors[known].trains if claim is None else claim.trains
        section.settle([other], Claim(role, _EVIDENCE[role], trains=trains))
