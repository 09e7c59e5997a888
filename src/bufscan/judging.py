"""What rules say of inventories: each fault once, in an order that does not depend on the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bufscan.findings import Finding
from bufscan.tensor_names import counting_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bufscan.findings import Rule, Subject
    from bufscan.inventory import Skipped


class Judgement(NamedTuple):
    """Findings by path and code, and what a rule should have looked at and could not."""

    findings: list[Finding]
    skipped: list[Skipped]


def judge(subjects: Iterable[Subject], rules: Iterable[Rule]) -> Judgement:
    """What the rules say of everything that belongs to one target."""
    rules = tuple(rules)
    found: list[Finding] = []
    skipped: list[Skipped] = []
    for subject in subjects:
        for rule in rules:
            for each in rule.check(rule, subject):
                if isinstance(each, Finding):
                    found.append(each)
                else:
                    skipped.append(each)
    return Judgement(sorted(_once(found), key=path_and_code), skipped)


def path_and_code(finding: Finding) -> tuple[object, ...]:
    """For sorting by path, `layers[2]` before `layers[10]`, then by code."""
    return counting_key(finding.tensor), finding.code, finding.message


def _once(findings: Iterable[Finding]) -> Iterable[Finding]:
    """A fault that a pickled module shows and its model too is the same; the model knows the line."""
    known: dict[tuple[str, str, str], Finding] = {}
    for finding in findings:
        key = (finding.code, finding.tensor, finding.message)
        if key not in known or known[key].location is None:
            known[key] = finding
    return known.values()
