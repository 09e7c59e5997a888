"""Findings as a Markdown table, for the summary page of a GitHub Actions step."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bufscan.report.check.findings import verdict, without_repeats
from bufscan.report.shared.escaping import show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.checking.results import CheckResult
    from bufscan.report.check.view import CheckView

# The page takes 1 MiB; nobody reads more than this.
_MOST_ROWS = 200
_CELL_LIMIT = 500

_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~&])")


def render(result: CheckResult, _view: CheckView | None = None) -> str:
    """A heading with the verdict, then a row for every finding and for everything that could not be checked."""
    rows = list(_rows(result))
    lines = [f"### bufscan: {cell(verdict(result))}"]
    if rows:
        lines += ["", "| severity | rule | target | where | what |", "| --- | --- | --- | --- | --- |"]
        lines += [f"| {' | '.join(row)} |" for row in rows[:_MOST_ROWS]]
    if len(rows) > _MOST_ROWS:
        lines += ["", f"and {len(rows) - _MOST_ROWS:,} more"]
    return "\n".join(lines) + "\n"


def _rows(result: CheckResult) -> Iterator[tuple[str, ...]]:
    for target in result.targets:
        name = cell(target.target)
        if target.failure is not None:
            yield "not checked", "", name, "", cell(target.failure.message)
        for first, others in without_repeats(target.findings):
            place = "" if first.location is None else cell(f"{first.location.file}:{first.location.line}")
            message = first.message + (f" (and {len(others):,} more like it)" if others else "")
            yield first.severity, f"{first.code} {first.name}", name, place, cell(message)
        for skipped in target.skipped:
            if skipped.failed:
                yield "not checked", "", name, "", cell(f"{skipped.what}: {skipped.reason}")


def cell(text: str) -> str:
    """Text that Markdown shows as it is; code spans stay, for a message has names in them."""
    parts = show(text, limit=_CELL_LIMIT).split("`")
    if len(parts) % 2 == 0:  # a name with a backtick of its own: no spans then
        parts = ["'".join(parts)]
    shown = []
    for position, part in enumerate(parts):
        code = position % 2 == 1
        shown.append(f"<code>{_html(part)}</code>" if code else _SPECIAL.sub(r"\\\1", part))
    return "".join(shown)


def _html(text: str) -> str:
    """The inside of `<code>`: Markdown's own marks in it are written as entities too."""
    return "".join(f"&#{ord(character)};" if _SPECIAL.match(character) else character for character in text)
