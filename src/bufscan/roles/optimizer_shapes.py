"""Optimizer state shows the shapes of the parameters it was made for, in the order in which they were passed.

An entry is a parameter when every way to find the optimizer's parameters among the entries uses it. That an entry
is not used proves nothing: parameters can be frozen and kept from the optimizer.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from bufscan.roles.alignment import align
from bufscan.roles.section import Claim
from bufscan.roles.twins import are_twins

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bufscan.inventory import Optimizer
    from bufscan.roles.alignment import Alignment
    from bufscan.roles.section import Checkpoint, Section

STATE_SHAPES = Claim("parameter", "optimizer state shapes")
STATE_ORDER = Claim("parameter", "optimizer state order")

Shape = tuple[int, ...]

_UNKNOWN = str(None)


def claim_by_optimizer_shapes(checkpoint: Checkpoint) -> None:
    """Settle entries that an optimizer must hold, in the one model it fits or in equal copies of it.

    Of a generator and a critic that look alike, nothing says which optimizer is whose.
    """
    weighed = [_weigh(optimizer, checkpoint.sections) for optimizer in checkpoint.optimizers]
    for each in weighed:
        if not are_twins([fit.section for fit in each.fits]) or any(
            each.is_disputed_by(other) for other in weighed
        ):
            continue
        trained = True if len(each.fits) == 1 else None  # of a model and its average, one is trained
        for fit in each.fits:
            _claim_counted(fit, each.needed, trained=trained)
            _claim_aligned(fit, each.optimizer, trained=trained)


class Fit(NamedTuple):
    """A section that an optimizer's parameters can be found in.

    Attributes:
        positions, shapes: of the entries that an optimizer could hold.
        alignments: of each group to these; empty where the section does not keep the order.
    """

    section: Section
    positions: list[int]
    shapes: list[Shape]
    alignments: list[Alignment]


class Weighed(NamedTuple):
    """An optimizer, how many parameters of each shape it needs, and the sections it fits."""

    optimizer: Optimizer
    needed: Counter[str]
    fits: list[Fit]

    def is_disputed_by(self, other: Weighed) -> bool:
        """Whether both fit one of several models, and need some of the same parameters but not all."""
        if len(self.fits) < 2 or self.needed == other.needed or self.needed.keys().isdisjoint(other.needed):  # noqa: PLR2004 - several
            return False
        sections = {id(fit.section) for fit in self.fits}
        return not sections.isdisjoint(id(fit.section) for fit in other.fits)


def _weigh(optimizer: Optimizer, sections: Iterable[Section]) -> Weighed:
    needed = _counted(shape for group in optimizer.groups for shape in group.shapes)
    # With state for fewer than half of its parameters, it could be another model's and fit by chance.
    if not needed or 2 * needed[_UNKNOWN] > needed.total():
        return Weighed(optimizer, needed, [])
    fits = (_fit(optimizer, needed, section) for section in sections)
    return Weighed(optimizer, needed, [fit for fit in fits if fit is not None])


def _counted(shapes: Iterable[Shape | None]) -> Counter[str]:
    """How often each shape occurs, by its text: hashes of numbers can be foreseen, those of texts are salted."""
    return Counter(map(str, shapes))


def _fit(optimizer: Optimizer, needed: Counter[str], section: Section) -> Fit | None:
    """How the section can hold the optimizer's parameters; None when it cannot."""
    positions = section.trainable()
    shapes = [shape for position in positions if (shape := section.tensors[position].shape) is not None]
    offered = _counted(shapes)
    if needed.total() > len(shapes) or any(n > offered[shape] for shape, n in needed.items() if shape != _UNKNOWN):
        return None
    alignments: list[Alignment] = []
    if section.in_module_order:
        for group in optimizer.groups:
            alignment = align(group.shapes, shapes)
            if alignment is None:
                return None
            alignments.append(alignment)
    return Fit(section, positions, shapes, alignments)


def _claim_counted(fit: Fit, needed: Counter[str], *, trained: bool | None) -> None:
    """All entries of a shape are parameters when the optimizer needs as many of that shape as there are."""
    exhausted = {shape for shape, count in _counted(fit.shapes).items() if needed[shape] == count}
    entries = list(zip(fit.positions, map(str, fit.shapes), strict=True))
    fit.section.settle(
        (position for position, shape in entries if shape in exhausted), STATE_SHAPES._replace(trains=trained)
    )
    if needed.total() == len(entries):
        fit.section.settle(fit.positions, STATE_SHAPES)


def _claim_aligned(fit: Fit, optimizer: Optimizer, *, trained: bool | None) -> None:
    """A group's parameters lie in the section in the order of the group, whatever lies between them."""
    for group, alignment in zip(optimizer.groups, fit.alignments, strict=bool(fit.alignments)):
        used = [fit.positions[place] for place in alignment.used]
        if None in group.shapes:
            places = zip(group.shapes, alignment.first, alignment.last, strict=True)
            updated = [
                fit.positions[first] for shape, first, last in places if shape is not None and first == last
            ]
        else:
            updated = used
        fit.section.settle(updated, STATE_ORDER._replace(trains=trained))
        fit.section.settle(used, STATE_ORDER)
