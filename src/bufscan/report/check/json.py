"""Findings for machines: `bufscan.check/1`. Fields are added, never renamed; a finding a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from msgspec import structs

from bufscan.checking.results import IgnoredBy  # noqa: TC001 - msgspec reads it
from bufscan.findings import Severity  # noqa: TC001 - msgspec reads it
from bufscan.inventory import Certainty  # noqa: TC001 - msgspec reads it
from bufscan.report.shared.machine import (
    FailureRecord,
    PlaceRecord,
    Record,
    SkippedRecord,
    Spread,
    optional,
    skipped_records,
    text,
    written,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bufscan.checking.results import CheckResult, Ignored, TargetResult, Watched
    from bufscan.findings import Edit, Finding
    from bufscan.report.check.view import CheckView

SCHEMA: Final = "bufscan.check/1"


class EditRecord(Record, frozen=True, kw_only=True):
    """One run of source text in the place of another; lines and columns count from 1."""

    line: int
    column: int
    end_line: int
    end_column: int
    text: str


class FixRecord(Record, frozen=True, kw_only=True):
    """The change of the source that mends a finding; `safe` where it keeps all else that the program does."""

    safe: bool
    edits: tuple[EditRecord, ...]


class SeenRecord(Record, frozen=True, kw_only=True):
    """Where a program that was watched showed a finding."""

    model: str
    path: str
    test: str | None
    models: int


class FindingRecord(Record, frozen=True, kw_only=True):
    """A rule's statement about one tensor, or about the module or file that `tensor` is the path of."""

    code: str
    name: str
    severity: Severity
    tensor: str
    message: str
    location: PlaceRecord | None
    suggestion: str | None
    suggestion_note: str | None
    certainty: Certainty = "exact"
    fix: FixRecord | None = None
    seen: SeenRecord | None = None


class IgnoredRecord(FindingRecord, frozen=True, kw_only=True):
    """A finding that is meant to be there."""

    ignored_by: IgnoredBy
    reason: str


class TargetRecord(Spread, frozen=True, kw_only=True):
    """What was found in one target; `unbuilt` are classes that were read from source instead of being built."""

    target: str
    findings: tuple[FindingRecord, ...]
    ignored: tuple[IgnoredRecord, ...]
    skipped: tuple[SkippedRecord, ...]
    failure: FailureRecord | None
    unbuilt: tuple[SkippedRecord, ...] | None = None


class KnownRecord(Record, frozen=True, kw_only=True):
    """A finding that the baseline knows, and that no longer occurs."""

    target: str
    code: str
    tensor: str


class SummaryRecord(Record, frozen=True, kw_only=True):
    """Counts; `failing` are findings at or over the threshold, `failures` targets of which not all was checked."""

    findings: int
    ignored: int
    skipped: int
    failing: int
    failures: int
    read_from_source: int = 0
    files: int | None = None
    classes: int | None = None


class WatchedRecord(Record, frozen=True, kw_only=True):
    """A program whose models were looked at."""

    program: str
    ended: str | None
    models: int
    classes: int
    installed: dict[str, int]
    processes: int


class CheckRecord(Spread, frozen=True, kw_only=True):
    """What `bufscan check`, `lint` and `run` write with `--format json`."""

    schema: Literal["bufscan.check/1"]
    targets: tuple[TargetRecord, ...]
    fixed: tuple[KnownRecord, ...]
    summary: SummaryRecord
    watched: WatchedRecord | None = None


def render(result: CheckResult, _view: CheckView | None = None) -> str:
    """The report as one JSON object."""
    return written(record_of(result)) + "\n"


def record_of(result: CheckResult) -> CheckRecord:
    """The report."""
    watched = result.watched
    return CheckRecord(
        schema=SCHEMA,
        targets=tuple(map(_target, result.targets)),
        fixed=tuple(
            KnownRecord(target=text(each.target), code=text(each.code), tensor=text(each.tensor))
            for each in result.fixed
        ),
        summary=_summary(result),
        watched=None if watched is None else _watched(watched),
    )


def _watched(watched: Watched) -> WatchedRecord:
    return WatchedRecord(
        program=text(watched.program),
        ended=optional(watched.ended),
        models=watched.models,
        classes=watched.classes,
        installed={text(name): count for name, count in watched.installed.items()},
        processes=watched.processes,
    )


def _target(target: TargetResult) -> TargetRecord:
    failure = target.failure
    return TargetRecord(
        target=text(target.target),
        findings=tuple(map(finding_record, target.findings)),
        ignored=tuple(map(_ignored, target.ignored)),
        skipped=skipped_records(target.skipped),
        failure=None
        if failure is None
        else FailureRecord(message=text(failure.message), hint=optional(failure.hint)),
        unbuilt=skipped_records(target.unbuilt) or None,
    )


def finding_record(finding: Finding) -> FindingRecord:
    """A finding as the schema has it."""
    return FindingRecord(**_fields(finding))


def _ignored(ignored: Ignored) -> IgnoredRecord:
    return IgnoredRecord(**_fields(ignored.finding), ignored_by=ignored.by, reason=text(ignored.reason))


def _fields(finding: Finding) -> dict[str, Any]:
    location, seen = finding.location, finding.seen
    return {
        "code": finding.code,
        "name": finding.name,
        "severity": finding.severity,
        "tensor": text(finding.tensor),
        "message": text(finding.message),
        "location": None if location is None else PlaceRecord(file=text(location.file), line=location.line),
        "suggestion": optional(finding.suggestion),
        "suggestion_note": optional(finding.suggestion_note),
        "certainty": finding.certainty,
        "fix": None if finding.edits is None else _fix(finding.edits, is_safe=finding.is_safe),
        "seen": None
        if seen is None
        else SeenRecord(
            model=text(seen.model), path=text(seen.path), test=optional(seen.test), models=seen.models
        ),
    }


def _fix(edits: Iterable[Edit], *, is_safe: bool) -> FixRecord:
    return FixRecord(safe=is_safe, edits=tuple(EditRecord(**structs.asdict(edit)) for edit in edits))


def _summary(result: CheckResult) -> SummaryRecord:
    source = result.source
    return SummaryRecord(
        findings=len(result.findings),
        ignored=sum(len(target.ignored) for target in result.targets),
        skipped=sum(len(target.skipped) for target in result.targets),
        failing=result.failing,
        failures=sum(not target.is_complete for target in result.targets),
        read_from_source=sum(len(target.unbuilt) for target in result.targets),
        files=None if source is None else source.files,
        classes=None if source is None else source.classes,
    )
