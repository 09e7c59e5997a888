"""The output that text is made for: plain data, decided by the command line."""

from __future__ import annotations

import msgspec

from bufscan.report.shared.escaping import NAME_LIMIT, show


class Display(msgspec.Struct, frozen=True, kw_only=True):
    """The output that text is made for.

    Attributes:
        width: columns; None for a pipe or a file, where lines are as long as they need to be.
        colour: whether it understands ANSI colours.
        unicode: whether it can show characters beyond ASCII.
    """

    width: int | None = None
    colour: bool = False
    unicode: bool = True

    @property
    def ellipsis(self) -> str:
        """What stands for what is left out."""
        return "…" if self.unicode else "..."

    def show(self, text: str, *, limit: int = NAME_LIMIT) -> str:
        """A name or message from outside, cut and escaped for this output."""
        return show(text, ascii_only=not self.unicode, limit=limit)
