"""Roles for entries of which the artefact states none, from evidence in order of strength.

An entry is inferred only where every reading that fits the evidence agrees; the others stay assumed parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import msgspec

from bufscan.inventory import Tensor, facts_of
from bufscan.roles.element_type import claim_by_element_type
from bufscan.roles.entry_order import claim_by_entry_order
from bufscan.roles.known_names import claim_by_known_name
from bufscan.roles.module_tree import claim_unowned
from bufscan.roles.optimizer_names import claim_by_optimizer_names
from bufscan.roles.optimizer_shapes import claim_by_optimizer_shapes
from bufscan.roles.section import Checkpoint
from bufscan.roles.siblings import claim_by_siblings
from bufscan.roles.ties import claim_by_ties

if TYPE_CHECKING:
    from collections.abc import Callable

    from bufscan.inventory import Inventory
    from bufscan.roles.section import Claim

Evidence: TypeAlias = "Callable[[Checkpoint], None]"

EVIDENCE: tuple[Evidence, ...] = (
    claim_by_optimizer_names,
    claim_unowned,
    claim_by_siblings,
    claim_by_known_name,
    claim_by_element_type,
    # Both of these are sharper the more buffers are already known.
    claim_by_entry_order,
    claim_by_optimizer_shapes,
    claim_by_ties,
)

# One claim can lead to the next (optimizer -> order -> optimizer), so the evidence is weighed until nothing
# changes. Real checkpoints settle in three rounds; the bound is for files made to take long.
_ROUNDS = 10


def decide(inventory: Inventory) -> Inventory:
    """Sharpen the entries that a reader could only assume; stated ones are kept as they are.

    An entry that stays assumed still gets its facts: it is in a state_dict, and whether parameter or buffer, it
    moves.
    """
    if not any(tensor.certainty == "assumed" for tensor in inventory.tensors):
        return inventory
    checkpoint = Checkpoint.of(inventory)
    for _ in range(_ROUNDS):
        before = checkpoint.claimed
        for claim in EVIDENCE:
            claim(checkpoint)
        if checkpoint.claimed == before:
            break
    notes = tuple(note for note in dict.fromkeys(checkpoint.notes) if note not in inventory.notes)
    return msgspec.structs.replace(
        inventory, tensors=_judged_tensors(inventory.tensors, checkpoint), notes=inventory.notes + notes
    )


def _judged_tensors(tensors: tuple[Tensor, ...], checkpoint: Checkpoint) -> tuple[Tensor, ...]:
    """Every tensor in its old place, with the claim made on it."""
    judged = {
        section.name: iter([_judged(tensor, section.claims.get(i)) for i, tensor in enumerate(section.tensors)])
        for section in checkpoint.sections
    }
    return tuple(tensor if tensor.role == "training_state" else next(judged[tensor.section]) for tensor in tensors)


def _judged(tensor: Tensor, claim: Claim | None) -> Tensor:
    if tensor.certainty != "assumed":
        return tensor
    if claim is None:
        facts = facts_of(tensor.role, tensor.requires_grad)
        return msgspec.structs.replace(tensor, saved=True, moves=facts.moves, trains=facts.trains)
    facts = facts_of(claim.role, tensor.requires_grad)
    return msgspec.structs.replace(
        tensor,
        role=claim.role,
        certainty=claim.certainty,
        evidence=claim.evidence,
        # Whatever its role, an entry of a state_dict has been saved.
        saved=True,
        moves=facts.moves,
        trains=facts.trains if claim.trains is None else claim.trains,
    )
