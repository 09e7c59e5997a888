"""Findings as a GitLab code quality report, which merge requests show and compare by fingerprint."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from bufscan.report.check.findings import fingerprint, from_root, with_note
from bufscan.report.shared.escaping import show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.checking.results import CheckResult, TargetResult
    from bufscan.findings import Severity
    from bufscan.report.check.view import CheckView

_SEVERITIES: Final[dict[Severity, str]] = {"error": "major", "warning": "minor", "note": "info"}
_NOT_CHECKED: Final = "critical"
_TEXT_LIMIT = 1000


def render(result: CheckResult, view: CheckView) -> str:
    """An array with an object for each finding, and for everything that could not be checked.

    Paths are written from the root of the repository.
    """
    result = from_root(result, view.folder)
    issues = [issue for target in result.targets for issue in _issues(target)]
    # GitLab keeps one of those that share a fingerprint: the second of its kind is told apart by being the second.
    seen: Counter[str] = Counter()
    for issue in issues:
        mark = issue["fingerprint"]
        seen[mark] += 1
        issue["fingerprint"] = mark if seen[mark] == 1 else f"{mark}-{seen[mark]}"
    return json.dumps(issues, indent=1) + "\n"


def _issues(target: TargetResult) -> Iterator[dict[str, Any]]:
    whole = target.file or target.target
    for finding in target.findings:
        fix = "" if finding.suggestion is None else f"; fix: {with_note(finding)}"
        place = finding.location
        yield _issue(
            f"{finding.code} {finding.name}: {finding.message}{fix}",
            finding.code,
            _SEVERITIES[finding.severity],
            fingerprint(finding.code, target.target, finding.identity),
            (whole, 1) if place is None else (place.file, place.line),
        )
    failed = [f"{each.what}: {each.reason}" for each in target.skipped if each.failed]
    if target.failure is not None:
        failed.append(target.failure.message)
    for reason in failed:
        mark = fingerprint("", target.target, reason)
        yield _issue(f"{target.target}: not checked: {reason}", "bufscan", _NOT_CHECKED, mark, (whole, 1))


def _issue(description: str, check: str, severity: str, mark: str, place: tuple[str, int]) -> dict[str, Any]:
    file, line = place
    return {
        "description": show(description, limit=_TEXT_LIMIT),
        "check_name": check,
        "fingerprint": mark,
        "severity": severity,
        "location": {"path": show(file, limit=_TEXT_LIMIT), "lines": {"begin": line}},
    }
