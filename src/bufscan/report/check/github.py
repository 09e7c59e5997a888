"""Findings as GitHub workflow commands, which the job's page and the pull request show beside the line."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from bufscan.report.check.findings import change_for, from_root, with_note, without_repeats
from bufscan.report.shared.escaping import show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.checking.results import CheckResult, TargetResult
    from bufscan.findings import Severity
    from bufscan.report.check.view import CheckView

_COMMANDS: Final[dict[Severity, str]] = {"error": "error", "warning": "warning", "note": "notice"}

_MESSAGE_LIMIT = 1000


def render(result: CheckResult, view: CheckView) -> str:
    """One command a finding; those that one line causes together, for a step shows ten of a kind at most.

    Paths are written from the root of the repository.
    """
    result = from_root(result, view.folder)
    by_line = Counter(change_for(finding) for finding in result.findings if finding.location is not None)
    return "".join(f"{command}\n" for target in result.targets for command in _commands(target, by_line))


def _commands(target: TargetResult, by_line: Counter[tuple[object, ...]]) -> Iterator[str]:
    """Those of one target; what a line causes in several targets is counted in `by_line`, and taken from it."""
    if target.failure is not None:
        yield _command("error", "bufscan", f"{target.target}: {target.failure.message}")
    for first, others in without_repeats(target.findings):
        more = len(others) if first.location is None else by_line.pop(change_for(first), 0) - 1
        if more < 0:
            continue  # told with an earlier target
        message = f"{target.target}: {first.message}"
        if more:
            message += f" (and {more:,} more like it)"
        if fix := with_note(first):
            message += f"; fix: {fix}"
        place = () if first.location is None else (first.location.file, first.location.line)
        yield _command(_COMMANDS[first.severity], f"{first.code} {first.name}", message, *place)
    for skipped in target.skipped:
        if skipped.failed:
            yield _command("error", "bufscan", f"{target.target}: {skipped.what}: {skipped.reason}")


def _command(kind: str, title: str, message: str, file: str | None = None, line: int | None = None) -> str:
    place = "" if file is None else f"file={_property(file)},line={line},"
    return f"::{kind} {place}title={_property(title)}::{_data(message)}"


def _data(text: str) -> str:
    return show(text, limit=_MESSAGE_LIMIT).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
