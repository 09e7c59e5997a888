"""What the rules on a checkpoint and its model share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bufscan.inventory import Join


def is_foreign(join: Join) -> bool:
    """Whether checkpoint and model have nothing in common: one fault, not one an entry."""
    return not join.matched and bool(join.missing)


def quoted(text: str) -> str:
    """A name from a file as a literal in a line of Python, which somebody will copy."""
    return f'"{text}"' if re.fullmatch(r"[\w.-]*", text) else repr(text)


def path_in(join: Join, name: str) -> str:
    """The path of an entry that the joined section has, or should have."""
    return f"{join.section}.{name}" if join.section else name
