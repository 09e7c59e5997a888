"""Optimizers that were given `model.named_parameters()` save the names: whatever they list is a parameter."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bufscan.roles.section import Claim
from bufscan.roles.twins import are_twins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bufscan.inventory import Optimizer
    from bufscan.roles.section import Checkpoint, Section

LISTED = Claim("parameter", "optimizer param_names", certainty="exact")
LISTED_AND_UPDATED = LISTED._replace(trains=True)  # only a parameter that was updated has state
LISTED_OF_ONE = LISTED._replace(certainty="inferred")  # of one of several models, and which is not said

# What DistributedDataParallel and torch.compile put before the names of the model they wrap.
_WRAPPERS = ("", "module.", "_orig_mod.")

Shape = tuple[int, ...]


class _Match(NamedTuple):
    """A section in which an optimizer finds every parameter that it lists, at these positions.

    Attributes:
        updated: the positions whose parameters have state; only they are trained for sure.
        is_only: whether no other section fits.
    """

    section: Section
    positions: list[int]
    updated: list[int]
    is_only: bool


def claim_by_optimizer_names(checkpoint: Checkpoint) -> None:
    """Settle the entries that an optimizer lists by name, in the one model it fits or in equal copies of it.

    Where one optimizer could be that of either of two models and so could another that lists less, such as those
    of a generator and a critic, nothing follows for the names of which they differ.
    """
    matches = [match for optimizer in checkpoint.optimizers for match in _matches(optimizer, checkpoint.sections)]
    by_section: dict[int, list[_Match]] = {}
    for match in matches:
        by_section.setdefault(id(match.section), []).append(match)
    for match in matches:
        if match.is_only:
            match.section.settle(match.updated, LISTED_AND_UPDATED)
            match.section.settle(match.positions, LISTED)
        else:
            disputed = _disputed(match, by_section[id(match.section)])
            match.section.settle((at for at in match.positions if at not in disputed), LISTED_OF_ONE)


def _matches(optimizer: Optimizer, sections: Sequence[Section]) -> list[_Match]:
    """The one section that the optimizer fits, or equal copies of it; none where it fits different ones."""
    listed = _listed(optimizer)
    if not listed:
        return []
    found = [
        (section, positions) for section in sections if (positions := _positions(section, listed)) is not None
    ]
    if not are_twins([section for section, _ in found]):
        return []
    return [
        _Match(
            section,
            positions,
            [at for at, (_, shape) in zip(positions, listed, strict=True) if shape is not None],
            len(found) == 1,
        )
        for section, positions in found
    ]


def _disputed(match: _Match, matches: Sequence[_Match]) -> set[int]:
    """Positions that another optimizer of the same section lacks, though it lists some of the others."""
    own = set(match.positions)
    disputed: set[int] = set()
    for other in matches:
        if not own.isdisjoint(other.positions):
            disputed |= own.difference(other.positions)
    return disputed


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
