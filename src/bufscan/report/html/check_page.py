"""The page of a check: findings by target, each with its lines of source and its fix."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from bufscan.findings import SEVERITIES
from bufscan.report.check import json
from bufscan.report.check.findings import not_counted, target_state, verdict
from bufscan.report.html.findings import explained, findings_of
from bufscan.report.html.page import page
from bufscan.report.shared.sizes import plural

if TYPE_CHECKING:
    from bufscan.checking.results import CheckResult, TargetResult
    from bufscan.report.check.view import CheckView


def render(result: CheckResult, view: CheckView) -> str:
    """The whole page."""
    told = [target for target in result.targets if _has_something(target)]
    said = verdict(result)
    counts = Counter(finding.severity for finding in result.findings)
    return page(
        "check",
        json.render(result),
        scripts=("table", "check"),
        title=said,
        verdict=said,
        uncounted=() if result.watched is None else tuple(not_counted(result.watched)),
        findings=result.findings,
        severities=[
            {"name": severity, "words": plural(counts[severity], severity)}
            for severity in SEVERITIES
            if counts[severity]
        ],
        targets=[_target(target, view) for target in told],
        clean=[target.target for target in result.targets if not _has_something(target)],
        fixed=result.fixed,
        explained=explained(result.findings, result.rules),
    )


def _has_something(target: TargetResult) -> bool:
    return bool(target.findings or target.ignored or target.skipped or target.failure)


def _target(target: TargetResult, view: CheckView) -> dict[str, Any]:
    return {
        "name": target.target,
        "state": target_state(target),
        "failure": target.failure,
        "findings": findings_of(target.findings, view.source_line),
        "skipped": target.skipped,
        "ignored": [
            {
                "code": each.finding.code,
                "name": each.finding.name,
                "message": each.finding.message,
                "ignored_by": each.by,
                "reason": each.reason,
            }
            for each in target.ignored
        ],
    }
