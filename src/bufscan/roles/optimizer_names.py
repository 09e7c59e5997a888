"""Optimizers that were given `model.named_parameters()` save the names: whatever they list is a parameter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.roles.section import Claim
from bufscan.roles.twins import are_twins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bufscan.inventory import Optimizer
    from bufscan.roles.section import Checkpoint, Section

LISTED = Claim("parameter", "optimizer param_names", certainty="exact")
LISTED_AND_UPDATED = LISTED._replace(trains=True)  # only a parameter that was updated has state

# What DistributedDataParallel and torch.compile put before the names of the model they wrap.
_WRAPPERS = ("", "module.", "_orig_mod.")

Shape = tuple[int, ...]


def claim_by_optimizer_names(checkpoint: Checkpoint) -> None:
    """Settle the entries that an optimizer lists by name, in the one model it fits or in equal copies of it."""
    for optimizer in checkpoint.optimizers:
        listed = _listed(optimizer)
        if not listed:
            continue
        matches = [
            (section, positions)
            for section in checkpoint.sections
            if (positions := _positions(section, listed)) is not None
        ]
        if are_twins([section for section, _ in matches]):
            alone = len(matches) == 1  # of a model and its average, one is trained
            for section, positions in matches:
                for position, (_, shape) in zip(positions, listed, strict=True):
                    section.settle([position], LISTED_AND_UPDATED if alone and shape is not None else LISTED)


def _listed(optimizer: Optimizer) -> list[tuple[str, Shape | None]]:
    """Names with the shapes their state shows; nothing unless every group has a name for each parameter."""
    listed: list[tuple[str, Shape | None]] = []
    for group in optimizer.groups:
        if group.names is None or len(group.names) != len(group.shapes):
            return []
        listed += zip(group.names, group.shapes, strict=True)
    return listed


def _positions(section: Section, listed: Sequence[tuple[str, Shape | None]]) -> list[int] | None:
    """Where the section has each listed name, or None when a name is missing or a shape differs."""
    if len(listed) > len(section.tensors):
        return None
    for wrapper in _WRAPPERS:
        found = [
            section.positions.get(name.removeprefix(wrapper)) if name.startswith(wrapper) else None
            for name, _ in listed
        ]
        positions = [position for position in found if position is not None]
        if len(positions) == len(listed):
            shapes = (section.tensors[position].shape for position in positions)
            fits = all(shape is None or shape == own for own, (_, shape) in zip(shapes, listed, strict=True))
            return positions if fits else None
    return None
