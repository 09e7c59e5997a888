"""What all rules say of one inventory, for those who look at it rather than gate on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.checking.fixing import Editable
from bufscan.checking.policy import Policy
from bufscan.config import Config
from bufscan.findings import Finding, Subject
from bufscan.judging import judge
from bufscan.rules import RULES
from bufscan.source.suggesting import Suggestions

if TYPE_CHECKING:
    from bufscan.inventory import Inventory


def findings_in(inventory: Inventory) -> tuple[Finding, ...]:
    """Those of all rules that comments in the source do not ignore. No configuration is looked for."""
    policy = Policy(Config(), RULES, None)
    said = judge([Subject(inventory=inventory)], RULES).findings
    suggestions, editable = Suggestions(each.slot for each in said), Editable([inventory.target])
    found = [editable.without_others(suggestions.on(each)) for each in said]
    return tuple(each for each in found if isinstance(policy.verdict(inventory.target, each), Finding))
