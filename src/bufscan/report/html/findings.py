"""Findings and the rules behind them, as the templates show them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bufscan.findings import SEVERITIES
from bufscan.report.check.findings import sighting, without_repeats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from bufscan.findings import Finding, Rule

_AROUND = 2  # lines of source on either side
_MOST_NAMED = 20


class SourceLine(NamedTuple):
    """A line of source; `meant` where the finding is about it."""

    number: int
    text: str
    meant: bool
    indent: str


class Shown(NamedTuple):
    """Findings that one change of the source mends.

    Attributes:
        first: of them.
        others: names of the tensors of the others, in words; "" where there are none.
        sighting: where a program that was watched showed it.
        source: the line that is meant, and those around it.
    """

    first: Finding
    others: str
    sighting: str | None
    source: list[SourceLine]


class Explained(NamedTuple):
    """A rule in a few words, and the paragraphs that say why it matters."""

    code: str
    name: str
    summary: str
    why: list[str]


def findings_of(findings: Iterable[Finding], line_of: Callable[[str, int], str] | None) -> list[Shown]:
    """In the order of their source; what has no place comes first, and the worst of it before the rest."""
    shown = [
        Shown(group.first, _names(group.others), sighting(group.first), list(_source(group.first, line_of)))
        for group in without_repeats(findings)
    ]
    return sorted(shown, key=lambda each: _place(each.first))


def explained(findings: Iterable[Finding], rules: Iterable[Rule]) -> list[Explained]:
    """The rules that the findings are of."""
    codes = {finding.code for finding in findings}
    return [
        Explained(rule.code, rule.name, rule.summary, _paragraphs(rule.section("Why is this bad?")))
        for rule in rules
        if rule.code in codes
    ]


def _paragraphs(text: str) -> list[str]:
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]


def _names(others: tuple[Finding, ...]) -> str:
    named = ", ".join(f"`{finding.tensor}`" for finding in others[:_MOST_NAMED])
    more = len(others) - _MOST_NAMED
    return f"{named} and {more:,} more" if more > 0 else named


def _place(finding: Finding) -> tuple[str, int, int]:
    file, line = ("", 0) if finding.location is None else (finding.location.file, finding.location.line)
    return file, line, SEVERITIES.index(finding.severity)


def _source(finding: Finding, line_of: Callable[[str, int], str] | None) -> Iterator[SourceLine]:
    place = finding.location
    if place is None or line_of is None or not line_of(place.file, place.line).strip():
        return
    for number in range(max(1, place.line - _AROUND), place.line + _AROUND + 1):
        text = line_of(place.file, number)
        if text:
            indent = text[: len(text) - len(text.lstrip(" \t"))].expandtabs(4)
            yield SourceLine(number, text, number == place.line, indent)
