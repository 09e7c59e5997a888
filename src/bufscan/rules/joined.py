"""What the rules on a checkpoint and its model share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bufscan.inventory import Join


def is_foreign(join: Join) -> bool:
    """Whether checkpoint and model have nothing in common: one fault, not one an entry."""
    return not join.matched and bool(join.missing)


def path_in(join: Join, name: str) -> str:
    """The path of an entry that the joined section has, or should have."""
    return f"{join.section}.{name}" if join.section else name
