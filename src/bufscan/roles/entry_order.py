"""Order: a module saves its parameters, then its persistent buffers, then extra state, then its children.

So says `Module._save_to_state_dict`, for as long as the entries lie as `state_dict()` listed them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.roles.section import Claim

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bufscan.roles.section import Checkpoint, Section

BEFORE_PARAMETER = Claim("parameter", "precedes a parameter of its module")
AFTER_BUFFER = Claim("persistent_buffer", "follows a buffer of its module")


def claim_by_entry_order(checkpoint: Checkpoint) -> None:
    """Settle what lies before a known parameter or after a known buffer of the same module."""
    for section in checkpoint.sections:
        spans = _half_known(section)
        if spans and section.in_module_order and not _contradicts_order(section):
            for positions in spans:
                _claim_from_neighbours(section, positions)


def _half_known(section: Section) -> list[list[int]]:
    """Positions of each module's entries, for the modules where some are settled and some open."""
    roles = section.roles
    if roles.count(None) in (0, len(roles)):
        return []
    return [
        list(entries.values())
        for entries in section.modules.values()
        if len({roles[position] is None for position in entries.values()}) > 1
    ]


def _contradicts_order(section: Section) -> bool:
    """Whether a parameter follows a buffer in any module: then the whole section was written otherwise."""
    owner_with_buffer: str | None = None
    for owner, role in zip(section.owners, section.roles, strict=True):
        if role == "persistent_buffer":
            owner_with_buffer = owner
        elif role == "parameter" and owner == owner_with_buffer:
            return True
    return False


def _claim_from_neighbours(section: Section, positions: Sequence[int]) -> None:
    roles = [section.roles[position] for position in positions]
    if "parameter" in roles:
        last_parameter = len(roles) - 1 - roles[::-1].index("parameter")
        section.settle(positions[:last_parameter], BEFORE_PARAMETER)
    if "persistent_buffer" in roles:
        section.settle(positions[roles.index("persistent_buffer") :], AFTER_BUFFER)
