"""What a report of a check is made for: plain data, decided by the command line."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - msgspec reads it

import msgspec

from bufscan.report.shared.display import Display


class CheckView(msgspec.Struct, frozen=True, kw_only=True):
    """What a report of a check is made for.

    Attributes:
        version: bufscan's own, for formats that name their tool.
        folder: that of the check within the repository, from whose root GitHub counts paths; "." for the same.
        quiet: the summary line alone, where the format is for people.
        display: the output that text is made for; machine formats ignore it.
        source_line: gives the text of a line of a file, as text shows it; "" where there is none.
    """

    version: str = ""
    folder: str = "."
    quiet: bool = False
    display: Display = Display()
    source_line: Callable[[str, int], str] | None = None
