"""Findings that were there before: read and written as JSON that does not change when lines of source shift."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import msgspec

from bufscan.checking.results import Known
from bufscan.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bufscan.checking.results import CheckResult, TargetResult
    from bufscan.findings import Finding

SCHEMA: Final = "bufscan.baseline/1"


class _File(msgspec.Struct, frozen=True):
    schema: str
    findings: tuple[Known, ...]


def known_as(target: str, finding: Finding) -> Known:
    """How a baseline remembers a finding."""
    return Known(target=target, code=finding.code, tensor=finding.tensor)


def read_baseline(data: bytes) -> frozenset[Known]:
    """The findings that a baseline file lists.

    Raises:
        UsageError: it is no baseline.
    """
    try:
        file = msgspec.json.decode(data, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"no baseline: {error}", hint="`--write-baseline FILE` makes one") from error
    if file.schema != SCHEMA:
        raise UsageError(f"no baseline that this version reads: its schema is {file.schema!r}")
    return frozenset(file.findings)


def write_baseline(result: CheckResult) -> str:
    """Everything that is not ignored by comment or configuration, in an order that does not depend on the run."""
    found = {known_as(target.target, finding) for target in result.targets for finding in _remembered(target)}
    lines = [
        json.dumps({"target": each.target, "code": each.code, "tensor": each.tensor}) for each in sorted(found)
    ]
    body = ",\n  ".join(lines)
    return f'{{"schema": "{SCHEMA}",\n "findings": [\n  {body}\n ]}}\n' if lines else _EMPTY


_EMPTY: Final = f'{{"schema": "{SCHEMA}",\n "findings": []}}\n'


def _remembered(target: TargetResult) -> Iterable[Finding]:
    yield from target.findings
    yield from (ignored.finding for ignored in target.ignored if ignored.by == "baseline")
