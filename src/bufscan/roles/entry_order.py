"""Order: a module saves its parameters, then its persistent buffers, then extra state, then its children.

So says `Module._save_to_state_dict`, for as long as the entries lie as `state_dict()` listed them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bufscan.inventory import Role
    from bufscan.roles.section import Checkpoint, Section

BEFORE_PARAMETER = "precedes a parameter of its module"
AFTER_BUFFER = "follows a buffer of its module"


def claim_by_entry_order(checkpoint: Checkpoint) -> None:
    """Settle what lies before a known parameter or after a known buffer of the same module."""
    for section in checkpoint.sections:
        if section.in_module_order:
            spans = [list(entries.values()) for entries in section.modules.values() if len(entries) > 1]
            bounds = [_bounds([section.roles[position] for position in span]) for span in spans]
            # One module that contradicts the rule shows that the whole section was rebuilt or written otherwise.
            if all(last_parameter < first_buffer for last_parameter, first_buffer in bounds):
                for span, bound in zip(spans, bounds, strict=True):
                    _claim_outside(section, span, *bound)


def _bounds(roles: Sequence[Role | None]) -> tuple[int, int]:
    """Index of the last known parameter (-1: none) and of the first known buffer (the length: none)."""
    last_parameter, first_buffer = -1, len(roles)
    for index, role in enumerate(roles):
        if role == "parameter":
            last_parameter = index
        elif role == "persistent_buffer" and first_buffer == len(roles):
            first_buffer = index
    return last_parameter, first_buffer


def _claim_outside(section: Section, span: Sequence[int], last_parameter: int, first_buffer: int) -> None:
    for position in span[:last_parameter] if last_parameter > 0 else ():
        section.claim(position, "parameter", BEFORE_PARAMETER)
    for position in span[first_buffer + 1 :]:
        section.claim(position, "persistent_buffer", AFTER_BUFFER)
