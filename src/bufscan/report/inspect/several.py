"""Reports of several targets as one: a line for each first, then the reports below each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bufscan.errors import BufscanError
    from bufscan.report.inspect.view import View


class Inspected(NamedTuple):
    """What came of one target.

    Attributes:
        target: as the user named it.
        report: its own report; "" where the target could not be read.
        summary: the sentence that says it all.
        failure: why it could not be read; None where it could.
    """

    target: str
    report: str = ""
    summary: str = ""
    failure: BufscanError | None = None


def join_reports(format_: str, inspected: Sequence[Inspected], view: View) -> str:
    """One text of all: a list of objects as JSON, one table as CSV, for people a line each before the details."""
    match format_:
        case "json":
            objects = (each.report.rstrip("\n") if each.report else _failure(each) for each in inspected)
            return "[" + ",\n".join(objects) + "]\n"
        case "csv":
            tables = [each.report for each in inspected if each.report]
            return "".join(table if at == 0 else table.partition("\r\n")[2] for at, table in enumerate(tables))
        case _:
            lines = "".join(f"{view.display.show(each.target)}: {_in_short(each, view)}\n" for each in inspected)
            details = [] if view.quiet else [each.report for each in inspected if each.report]
            return "\n".join([lines, *details])


def _in_short(each: Inspected, view: View) -> str:
    if each.failure is None:
        return each.summary.strip()
    return f"not read: {view.display.show(each.failure.message)}"


def _failure(each: Inspected) -> str:
    from bufscan.report.inspect.json import SCHEMA, NotInspectedRecord
    from bufscan.report.shared.machine import FailureRecord, encode

    assert each.failure is not None  # noqa: S101 - there is no report
    failure = FailureRecord(message=each.failure.message, hint=each.failure.hint)
    return encode(NotInspectedRecord(schema=SCHEMA, target=each.target, failure=failure), dense=True)
