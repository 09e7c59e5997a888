"""What a report of a difference is asked to show: plain data, decided by the command line."""

from __future__ import annotations

import msgspec

from bufscan.report.shared.display import Display


class DiffView(msgspec.Struct, frozen=True, kw_only=True):
    """What to show of a difference.

    Attributes:
        by_module: one row for each module instead of each tensor.
        depth: steps of the names that make a module then; None for all but the last.
        top: rows of the table of changes; None for the report's own limit.
        everything: nothing folded, nothing left out.
        quiet: the summary line alone, where the format is for people.
        display: the output that text is made for; machine formats ignore it.
    """

    by_module: bool = False
    depth: int | None = None
    top: int | None = None
    everything: bool = False
    quiet: bool = False
    display: Display = Display()
