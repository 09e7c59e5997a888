"""Findings for machines: `bufscan.check/1`. Fields are added, never renamed; ASCII, a finding a line."""

from __future__ import annotations

from json.encoder import JSONEncoder
from typing import TYPE_CHECKING, Any, Final

from bufscan.report.escaping import MACHINE_LIMIT, shorten

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bufscan.checking.results import CheckResult, TargetResult, Watched
    from bufscan.findings import Edit, Finding

SCHEMA: Final = "bufscan.check/1"

_encode = JSONEncoder(ensure_ascii=True, allow_nan=False).encode


def render(result: CheckResult) -> str:
    """The report as one JSON object."""
    fields = {
        "schema": _encode(SCHEMA),
        "targets": _lines((_target(target) for target in result.targets), 2),
        "fixed": _lines((_encode(_known(known.target, known.code, known.tensor)) for known in result.fixed), 2),
        "summary": _encode(_summary(result)),
    }
    if result.watched is not None:
        fields["watched"] = _encode(_watched(result.watched))
    return "{" + ",\n ".join(f'"{key}": {value}' for key, value in fields.items()) + "}\n"


def _target(target: TargetResult) -> str:
    failure = target.failure
    fields = {
        "target": _encode(_text(target.target)),
        "findings": _lines((_encode(finding_fields(finding)) for finding in target.findings), 4),
        "ignored": _lines(
            (
                _encode({**finding_fields(each.finding), "ignored_by": each.by, "reason": _text(each.reason)})
                for each in target.ignored
            ),
            4,
        ),
        "skipped": _lines(
            (
                _encode({"what": _text(each.what), "reason": _text(each.reason), "failed": each.failed})
                for each in target.skipped
            ),
            4,
        ),
        "failure": _encode(
            None
            if failure is None
            else {"message": _text(failure.message), "hint": None if failure.hint is None else _text(failure.hint)}
        ),
    }
    return "{" + ",\n   ".join(f'"{key}": {value}' for key, value in fields.items()) + "}"


def finding_fields(finding: Finding) -> dict[str, Any]:
    """A finding as the schema has it."""
    location, seen = finding.location, finding.seen
    certainty = {} if finding.certainty == "exact" else {"certainty": finding.certainty}
    fields = {
        "code": finding.code,
        "name": finding.name,
        "severity": finding.severity,
        "tensor": _text(finding.tensor),
        "message": _text(finding.message),
        "location": None if location is None else {"file": _text(location.file), "line": location.line},
        "suggestion": None if finding.suggestion is None else _text(finding.suggestion),
        "suggestion_note": None if finding.suggestion_note is None else _text(finding.suggestion_note),
        **certainty,
        **({} if finding.edits is None else {"fix": _fix(finding.edits, is_safe=finding.is_safe)}),
    }
    if seen is not None:
        fields["seen"] = {
            "model": _text(seen.model),
            "path": _text(seen.path),
            "test": None if seen.test is None else _text(seen.test),
            "models": seen.models,
        }
    return fields


def _watched(watched: Watched) -> dict[str, Any]:
    return {
        "program": _text(watched.program),
        "ended": None if watched.ended is None else _text(watched.ended),
        "models": watched.models,
        "classes": watched.classes,
        "installed": {_text(name): count for name, count in watched.installed.items()},
    }


def _fix(edits: Iterable[Edit], *, is_safe: bool) -> dict[str, Any]:
    fields = ("line", "column", "end_line", "end_column", "text")
    return {"safe": is_safe, "edits": [{field: getattr(edit, field) for field in fields} for edit in edits]}


def _summary(result: CheckResult) -> dict[str, int]:
    return {
        "findings": len(result.findings),
        "ignored": sum(len(target.ignored) for target in result.targets),
        "skipped": sum(len(target.skipped) for target in result.targets),
        "failing": result.failing,
        "failures": sum(not target.is_complete for target in result.targets),
        **({"read_from_source": read} if (read := sum(target.read for target in result.targets)) else {}),
        **({} if result.source is None else {"files": result.source.files, "classes": result.source.classes}),
    }


def _known(target: str, code: str, tensor: str) -> dict[str, str]:
    return {"target": _text(target), "code": _text(code), "tensor": _text(tensor)}


def _lines(items: Iterable[str], indent: int) -> str:
    break_ = f"\n{' ' * indent}"
    joined = f",{break_}".join(items)
    return f"[{break_}{joined}]" if joined else "[]"


def _text(text: str) -> str:
    return shorten(text, MACHINE_LIMIT)
