"""Findings as JUnit XML, which GitLab, Jenkins and others show as tests: a suite a target, a case a finding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.report.check.findings import with_note
from bufscan.report.shared.escaping import show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.checking.results import CheckResult, TargetResult
    from bufscan.findings import Finding
    from bufscan.report.check.view import CheckView

_TEXT_LIMIT = 1000


def render(result: CheckResult, _view: CheckView | None = None) -> str:
    """One document. Findings under the threshold are cases that pass, with what they say as their output."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', '<testsuites name="bufscan">']
    for target in result.targets:
        lines += _suite(target, result)
    return "\n".join([*lines, "</testsuites>"]) + "\n"


def _suite(target: TargetResult, result: CheckResult) -> Iterator[str]:
    name = _attribute(target.target)
    cases = [_case(target, finding, result) for finding in target.findings]
    errors: list[str] = []
    skips: list[str] = []
    if target.failure is not None:
        errors.append(_special("error", target, "the target", target.failure.message))
    for skipped in target.skipped:
        kind, into = ("error", errors) if skipped.failed else ("skipped", skips)
        into.append(_special(kind, target, skipped.what, skipped.reason))
    if not cases and not errors and not skips:
        cases = [f'    <testcase classname="{name}" name="all rules"/>']
    failures = sum(result.is_failing(finding) for finding in target.findings)
    total = len(cases) + len(errors) + len(skips)
    yield (
        f'  <testsuite name="{name}" tests="{total}" failures="{failures}"'
        f' errors="{len(errors)}" skipped="{len(skips)}">'
    )
    yield from (*cases, *errors, *skips)
    yield "  </testsuite>"


def _case(target: TargetResult, finding: Finding, result: CheckResult) -> str:
    about = (
        f"{finding.code} {finding.name}: {finding.tensor}" if finding.tensor else f"{finding.code} {finding.name}"
    )
    place = ""
    if finding.location is not None:
        place = f' file="{_attribute(finding.location.file)}" line="{finding.location.line}"'
    text = _body(finding.message)
    if fix := with_note(finding):
        text += f"\nfix: {_body(fix)}"
    if result.is_failing(finding):
        kind = f"{finding.severity} {finding.code}"
        inner = f'<failure type="{kind}" message="{_attribute(finding.message)}">{text}</failure>'
    else:
        inner = f"<system-out>{text}</system-out>"
    name = f'classname="{_attribute(target.target)}" name="{_attribute(about)}"'
    return f"    <testcase {name}{place}>\n      {inner}\n    </testcase>"


def _special(kind: str, target: TargetResult, what: str, why: str) -> str:
    name = f'classname="{_attribute(target.target)}" name="{_attribute(what)}"'
    return f'    <testcase {name}>\n      <{kind} message="{_attribute(why)}"/>\n    </testcase>'


def _attribute(text: str) -> str:
    return _body(text).replace('"', "&quot;")


def _body(text: str) -> str:
    # XML 1.0 cannot carry control characters at all, not even as references: they are written out first.
    shown = show(text, limit=_TEXT_LIMIT) if text else ""
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
