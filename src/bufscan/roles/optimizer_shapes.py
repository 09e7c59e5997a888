"""Optimizer state shows the shapes of the parameters it was made for, in the order in which they were passed.

An entry is a parameter when every way to find the optimizer's parameters among the entries uses it. That an entry
is not used proves nothing: parameters can be frozen and kept from the optimizer.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bufscan.roles.alignment import align
from bufscan.roles.twins import are_twins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bufscan.inventory import Optimizer, OptimizerGroup
    from bufscan.roles.section import Checkpoint, Section

STATE_SHAPES = "optimizer state shapes"
STATE_ORDER = "optimizer state order"

Shape = tuple[int, ...]


def claim_by_optimizer_shapes(checkpoint: Checkpoint) -> None:
    """Settle entries that an optimizer must hold, in the one model it fits or in equal copies of it."""
    for optimizer in checkpoint.optimizers:
        if _shows_too_little(optimizer):
            continue
        fitting = [section for section in checkpoint.sections if _fits(optimizer, section)]
        if are_twins(fitting):
            for section in fitting:
                _claim_counted(section, optimizer)
                if section.in_module_order:
                    for group in optimizer.groups:
                        _claim_aligned(section, group)


def _shows_too_little(optimizer: Optimizer) -> bool:
    """Whether fewer than half of the parameters have state: then another model's optimizer could fit by chance."""
    shapes = [shape for group in optimizer.groups for shape in group.shapes]
    return 2 * shapes.count(None) > len(shapes) or not shapes


def _fits(optimizer: Optimizer, section: Section) -> bool:
    """Whether the section has an entry for every parameter, in each group's order where it keeps the order."""
    supply, demand = _counts(section, optimizer)
    if demand.total() > supply.total() or any(
        count > supply[shape] for shape, count in demand.items() if shape is not None
    ):
        return False
    entries = _shapes(section, section.trainable())
    return not section.in_module_order or all(
        align(group.shapes, entries) is not None for group in optimizer.groups
    )


def _claim_counted(section: Section, optimizer: Optimizer) -> None:
    """All entries of a shape are parameters when the optimizer needs as many of that shape as there are."""
    supply, demand = _counts(section, optimizer)
    needs_all = demand.total() == supply.total()
    for position in section.trainable():
        shape = section.tensors[position].shape
        exhausted = demand[shape] == supply[shape]
        if exhausted or needs_all:
            section.claim(position, "parameter", STATE_SHAPES, trains=True if exhausted else None)


def _claim_aligned(section: Section, group: OptimizerGroup) -> None:
    """A group's parameters lie in the section in the order of the group, whatever lies between them."""
    positions = section.trainable()
    alignment = align(group.shapes, _shapes(section, positions))
    if alignment is None:
        return
    certain = {
        place
        for shape, place, last in zip(group.shapes, alignment.first, alignment.last, strict=True)
        if shape is not None and place == last
    }
    updated = None not in group.shapes
    for place in alignment.used:
        trains = True if updated or place in certain else None
        section.claim(positions[place], "parameter", STATE_ORDER, trains=trains)


def _counts(section: Section, optimizer: Optimizer) -> tuple[Counter[Shape | None], Counter[Shape | None]]:
    """How many entries the section has of each shape, and how many parameters the optimizer has."""
    supply: Counter[Shape | None] = Counter(_shapes(section, section.trainable()))
    return supply, Counter(shape for group in optimizer.groups for shape in group.shapes)


def _shapes(section: Section, positions: Sequence[int]) -> list[Shape]:
    return [shape for position in positions if (shape := section.tensors[position].shape) is not None]
