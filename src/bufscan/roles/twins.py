"""Twins: sections that hold the same model more than once, such as a model and its moving average."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bufscan.roles.section import Section


def are_twins(sections: Sequence[Section]) -> bool:
    """Whether all sections have the same names and shapes in the same order; one alone is its own twin."""
    if not sections:
        return False
    first = _signature(sections[0])
    return all(_signature(section) == first for section in sections[1:])


def _signature(section: Section) -> tuple[tuple[str, tuple[int, ...] | None], ...]:
    # `AveragedModel` wraps its copy and counts the updates.
    return tuple(
        (name, tensor.shape)
        for tensor in section.tensors
        if (name := tensor.name.removeprefix("module.")) != "n_averaged"
    )
