"""Findings as SARIF 2.1.0, which code-scanning services take."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from bufscan.report.check.findings import fingerprint, from_root, with_note
from bufscan.report.shared.escaping import MACHINE_LIMIT, show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.checking.results import CheckResult, Ignored, TargetResult
    from bufscan.findings import Finding, Rule
    from bufscan.report.check.view import CheckView

_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_ROOT: Final = "SRCROOT"
_ROOT_WORDS: Final = ("The root of the repository.", "The folder in which bufscan was run.")
_FINGERPRINT: Final = "bufscanFinding/v1"


def render(result: CheckResult, view: CheckView) -> str:
    """One run; ignored findings are results with suppressions; paths begin at the root of the repository."""
    result = from_root(result, view.folder)
    rules = _rules_spoken(result)
    positions = {rule.code: position for position, rule in enumerate(rules)}
    results = [found for target in result.targets for found in _results(target, positions)]
    driver = {"name": "bufscan", "version": view.version, "rules": [_rule(rule) for rule in rules]}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {_ROOT: {"description": {"text": _ROOT_WORDS[view.folder == "."]}}},
        "invocations": [
            {
                "executionSuccessful": all(target.is_complete for target in result.targets),
                "toolExecutionNotifications": [n for target in result.targets for n in _notifications(target)],
            }
        ],
        "results": results,
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _rules_spoken(result: CheckResult) -> list[Rule]:
    """The rules that results refer to, with all their help: the others would make each report a book."""
    ignored = [each.finding for target in result.targets for each in target.ignored]
    codes = {finding.code for finding in (*result.findings, *ignored)}
    return [rule for rule in result.rules if rule.code in codes]


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": rule.section("Why is this bad?").replace("\n", " ")},
        "help": {"text": rule.explanation.strip(), "markdown": rule.explanation.strip()},
    }


def _results(target: TargetResult, positions: dict[str, int]) -> Iterator[dict[str, Any]]:
    for finding in target.findings:
        yield _result(target, finding, positions)
    for ignored in target.ignored:
        yield {**_result(target, ignored.finding, positions), "suppressions": [_suppression(ignored)]}


def _result(target: TargetResult, finding: Finding, positions: dict[str, int]) -> dict[str, Any]:
    fix = with_note(finding)
    text = f"{finding.message}; fix: {fix}" if fix else finding.message
    fixes = {} if finding.edits is None or finding.location is None else {"fixes": [_fix(finding)]}
    return {
        "ruleId": finding.code,
        "ruleIndex": positions[finding.code],
        "level": finding.severity,
        "message": {"text": _text(text)},
        "locations": [_location(target, finding)],
        "partialFingerprints": {_FINGERPRINT: fingerprint(finding.code, target.target, finding.identity)},
        **fixes,
    }


def _fix(finding: Finding) -> dict[str, Any]:
    """The change of the source that mends it."""
    replacements = [
        {
            "deletedRegion": {
                "startLine": edit.line,
                "startColumn": edit.column,
                "endLine": edit.end_line,
                "endColumn": edit.end_column,
            },
            "insertedContent": {"text": edit.text},
        }
        for edit in finding.edits or ()
    ]
    file = "" if finding.location is None else finding.location.file
    kind = "safe" if finding.is_safe else "unsafe"
    return {
        "description": {"text": _text(f"{kind}: {finding.suggestion_note or 'register it'}")},
        "artifactChanges": [{"artifactLocation": _artifact(file), "replacements": replacements}],
    }


def _location(target: TargetResult, finding: Finding) -> dict[str, Any]:
    """The line of source, or else the artefact itself; and the tensor by its path in the target."""
    name = f"{target.target}.{finding.tensor}" if finding.tensor else target.target
    found: dict[str, Any] = {
        "logicalLocations": [
            {"name": _text(finding.tensor or target.target), "fullyQualifiedName": _text(name), "kind": "member"}
        ]
    }
    if finding.location is not None:
        place = {
            "artifactLocation": _artifact(finding.location.file),
            "region": {"startLine": finding.location.line},
        }
        found["physicalLocation"] = place
    elif target.file is not None:
        found["physicalLocation"] = {"artifactLocation": _artifact(target.file)}
    return found


def _artifact(file: str) -> dict[str, str]:
    from pathlib import Path
    from urllib.parse import quote

    path = quote(Path(file).as_posix(), errors="backslashreplace")
    if not Path(file).is_absolute():
        return {"uri": path, "uriBaseId": _ROOT}
    return {"uri": f"file://{path}" if path.startswith("/") else f"file:///{path}"}


def _suppression(ignored: Ignored) -> dict[str, str]:
    kind = "inSource" if ignored.by == "source" else "external"
    return {"kind": kind, "justification": _text(ignored.reason)}


def _notifications(target: TargetResult) -> Iterator[dict[str, Any]]:
    if target.failure is not None:
        yield _notification("error", f"{target.target}: {target.failure.message}")
    for skipped in target.skipped:
        level = "error" if skipped.failed else "note"
        yield _notification(level, f"{target.target}: skipped {skipped.what}: {skipped.reason}")


def _notification(level: str, text: str) -> dict[str, Any]:
    return {"level": level, "message": {"text": _text(text)}}


def _text(text: str) -> str:
    return show(text, limit=MACHINE_LIMIT)
