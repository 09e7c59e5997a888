"""Roles for entries of which the artefact states none, from evidence in order of strength.

An entry is inferred only where every reading that fits the evidence agrees; the others stay assumed parameters.
"""

from __future__ import annotations

from itertools import cycle, islice
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from bufscan.inventory import facts_of
from bufscan.roles.element_type import claim_by_element_type
from bufscan.roles.entry_order import claim_by_entry_order
from bufscan.roles.known_names import claim_by_known_name
from bufscan.roles.module_tree import claim_unowned
from bufscan.roles.quantised import claim_quantised
from bufscan.roles.random_state import claim_random_states
from bufscan.roles.section import Checkpoint
from bufscan.roles.siblings import claim_by_siblings
from bufscan.roles.ties import claim_by_ties

if TYPE_CHECKING:
    from collections.abc import Callable

    from bufscan.inventory import Inventory, Tensor
    from bufscan.roles.section import Claim

Evidence: TypeAlias = "Callable[[Checkpoint], None]"


# Most checkpoints have no optimizer: they do not wait for what weighs one.


def _claim_by_optimizer_names(checkpoint: Checkpoint) -> None:
    if checkpoint.optimizers:
        from bufscan.roles.optimizer_names import claim_by_optimizer_names

        claim_by_optimizer_names(checkpoint)


def _claim_by_optimizer_shapes(checkpoint: Checkpoint) -> None:
    if checkpoint.optimizers:
        from bufscan.roles.optimizer_shapes import claim_by_optimizer_shapes

        claim_by_optimizer_shapes(checkpoint)


EVIDENCE: tuple[Evidence, ...] = (
    _claim_by_optimizer_names,
    claim_random_states,
    claim_quantised,
    claim_unowned,
    claim_by_siblings,
    claim_by_known_name,
    claim_by_element_type,
)
"""What entries show by themselves, strongest first."""

CONSEQUENCES: tuple[Evidence, ...] = (
    claim_by_entry_order,
    _claim_by_optimizer_shapes,
    claim_by_ties,
)
"""What follows from the entries already known: one claim can lead to the next."""

# Real checkpoints settle in a few steps; the bound is for files made to take long.
_MOST_STEPS = 12


def decide(inventory: Inventory) -> Inventory:
    """Sharpen the entries that a reader could only assume; stated ones are kept as they are.

    An entry that stays assumed still gets its facts: it is in a state_dict, and whether parameter or buffer, it
    moves.
    """
    if not any(tensor.certainty == "assumed" for tensor in inventory.tensors):
        return inventory
    checkpoint = Checkpoint.of(inventory)
    for claim in EVIDENCE:
        claim(checkpoint)
    _draw_consequences(checkpoint)
    notes = tuple(note for note in checkpoint.notes if note not in inventory.notes)
    return msgspec.structs.replace(
        inventory,
        tensors=_judged_tensors(inventory.tensors, checkpoint),
        notes=inventory.notes + notes,
        packed=tuple(checkpoint.packed),
    )


def _draw_consequences(checkpoint: Checkpoint) -> None:
    """Take the consequences in turn until none of them has anything to add to what the others found."""
    quiet = 0
    for claim in islice(cycle(CONSEQUENCES), _MOST_STEPS):
        before = checkpoint.claimed
        claim(checkpoint)
        quiet = quiet + 1 if checkpoint.claimed == before else 0
        if quiet == len(CONSEQUENCES):
            break


def _judged_tensors(tensors: tuple[Tensor, ...], checkpoint: Checkpoint) -> tuple[Tensor, ...]:
    """Every tensor in its old place, with the claim made on it."""
    judged = list(tensors)
    changes: dict[tuple[Claim | None, bool | None], dict[str, object]] = {}
    for section in checkpoint.sections:
        for position, tensor in enumerate(section.tensors):
            if tensor.certainty != "assumed":
                continue
            key = (section.claims.get(position), tensor.requires_grad)
            if key == (None, tensor.trains) and tensor.saved and tensor.moves:
                continue  # a second record would say the same
            if key not in changes:
                changes[key] = _changes(*key)
            judged[section.places[position]] = msgspec.structs.replace(tensor, **changes[key])
    return tuple(judged)


def _changes(claim: Claim | None, requires_grad: bool | None) -> dict[str, object]:
    """The fields of a tensor that a claim changes; without one the assumption stands, and its facts follow."""
    if claim is None:
        return {"saved": True, "moves": True, "trains": requires_grad}
    facts = facts_of(claim.role, requires_grad)
    return {
        "role": claim.role,
        "certainty": claim.certainty,
        "evidence": claim.evidence,
        "holding": claim.holding,
        # Whatever else it is, an entry of a state_dict has been saved; training state lies in none.
        "saved": claim.role != "training_state",
        # What holds an unregistered one, and whether that follows the model, no file says.
        "moves": None if claim.role == "unregistered" else facts.moves,
        "trains": facts.trains if claim.trains is None else claim.trains,
    }
