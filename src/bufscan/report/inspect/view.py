"""What a report is asked to show, and what kind of paper it is printed on: plain data, decided by `cli`."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - msgspec reads it
from typing import TYPE_CHECKING

import msgspec

from bufscan.report.inspect.selecting import Selection
from bufscan.report.shared.display import Display
from bufscan.report.shared.sizes import Units  # noqa: TC001 - msgspec reads it

if TYPE_CHECKING:
    from bufscan.findings import Finding


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What to show of an inventory.

    Attributes:
        selection: which tensors, in which order.
        by_module: a tree of modules instead of a list of tensors.
        depth: levels of that tree; None for all.
        everything: nothing folded, nothing left out.
        units: of sizes.
        quiet: the summary line alone.
        display: the output that text is made for; machine formats ignore it.
        findings: what the rules say of the inventory: reports in `WITH_FINDINGS` show them, and the text of what
            states registration marks the rows of registered tensors.
        source_line: gives the text of a line of a file, which these show; "" where there is none.
    """

    selection: Selection = Selection()
    by_module: bool = False
    depth: int | None = None
    everything: bool = False
    units: Units = "decimal"
    quiet: bool = False
    display: Display = Display()
    findings: tuple[Finding, ...] = ()
    source_line: Callable[[str, int], str] | None = None
