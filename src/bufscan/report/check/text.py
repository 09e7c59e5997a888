"""Findings for people: each with its place, its source and its fix, the most important line last."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from bufscan.report.check.findings import not_counted, sighting, target_state, verdict, without_repeats
from bufscan.report.check.view import CheckView
from bufscan.report.shared.layout import BLANK, Cell, Line, Style, line, paint, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.checking.results import CheckResult, TargetResult
    from bufscan.findings import Finding, Severity
    from bufscan.report.check.findings import Repeated
    from bufscan.report.shared.display import Display

_STYLES: dict[Severity, Style] = {"error": "unregistered", "warning": "warning", "note": "dim"}

_MOST_NAMED = 5
_MOST_STANZAS = 3
_INDENT = 4
_GUTTER = 7
_NAMES = re.compile(r"[A-Za-z_]\w*")
_MESSAGE_LIMIT = 1000


def render(result: CheckResult, view: CheckView) -> str:
    """The whole report; where the view is quiet its last line alone."""
    display = view.display
    style: Style = "title" if result.exit_code == 0 else "unregistered"
    last = list(_paragraph(0, verdict(result), display, style))
    if view.quiet:
        return paint(last, display)
    groups = [group for target in result.targets for group in without_repeats(target.findings)]
    notes = Counter(group.first.suggestion_note for group in groups)
    repeated = [note for note, number in notes.items() if note is not None and number > 1]
    blocks = [list(_target(target, view, repeated)) for target in result.targets]
    for known in result.fixed:
        what = f"{known.code} `{known.tensor}` of {known.target}"
        blocks.append(list(_paragraph(0, f"fixed: {what} no longer occurs: take it out of the baseline", display)))
    if result.watched is not None:
        blocks += [list(_paragraph(0, each, display, "dim")) for each in not_counted(result.watched)]
    if groups:
        blocks.append(list(_advice(groups, repeated, display)))
    blocks += _stanzas(result, display)
    return paint([*_spaced(blocks), BLANK, *last] if blocks else last, display)


def render_concise(result: CheckResult, view: CheckView) -> str:
    """A line a finding, as compilers write them: `model.py:9: error BUF001 unregistered-tensor: ...`."""
    lines = []
    for target in result.targets:
        for finding in sorted(target.findings, key=_by_place):
            place = _place(finding, view.display) or f"{view.display.show(target.target)}: "
            said = _whole(finding.message, view.display)
            lines.append(line(f"{place}{finding.severity} {finding.code} {finding.name}: {said}"))
        failed = [f"{skipped.what}: {skipped.reason}" for skipped in target.skipped if skipped.failed]
        failed += [] if target.failure is None else [target.failure.message]
        name = view.display.show(target.target)
        lines += [
            line(f"{name}: not examined: {view.display.show(each, limit=_MESSAGE_LIMIT)}") for each in failed
        ]
    return paint([*lines, line(verdict(result))], view.display)


def _advice(groups: list[Repeated], repeated: list[str], display: Display) -> Iterator[Line]:
    """What several findings share, once."""
    for note in repeated:
        of = sorted({group.first.code for group in groups if group.first.suggestion_note == note})
        yield from _paragraph(0, f"fixes of {', '.join(of)}: {note}", display, "dim")
    codes = sorted({group.first.code for group in groups})
    more = f", as of {', '.join(codes[1:])}" if codes[1:] else ""
    yield from _paragraph(0, f"`bufscan explain {codes[0]}` says why{more}", display, "dim")


def _stanzas(result: CheckResult, display: Display) -> Iterator[list[Line]]:
    """How to have built what asks for arguments: a few entries to fill in, to be copied."""
    unbuilt = [each.stanza for target in result.targets for each in (*target.skipped, *target.unbuilt)]
    stanzas = list(dict.fromkeys(stanza for stanza in unbuilt if stanza is not None))
    if stanzas:
        some = f" ({_MOST_STANZAS} of {len(stanzas):,})" if len(stanzas) > _MOST_STANZAS else ""
        said = f"to build what needs arguments, add to pyproject.toml, with values filled in{some}:"
        yield list(_paragraph(0, said, display, "dim"))
        for stanza in stanzas[:_MOST_STANZAS]:
            yield [line(_whole(each, display)) for each in stanza.splitlines()]


def _spaced(blocks: list[list[Line]]) -> Iterator[Line]:
    """A blank line around each block that has several lines; a row of clean targets stays a row."""
    for before, block in zip([[], *blocks], blocks, strict=False):
        if before and max(len(before), len(block)) > 1:
            yield BLANK
        yield from block


def render_incomplete(result: CheckResult, display: Display) -> str:
    """What could not be checked, alone; "" when everything could."""
    targets = [target for target in result.targets if not target.is_complete]
    bare = [msgspec.structs.replace(target, findings=(), ignored=()) for target in targets]
    view = CheckView(display=display)
    return paint([each for target in bare for each in (*_target(target, view, []), BLANK)], display)


def _target(target: TargetResult, view: CheckView, repeated: list[str]) -> Iterator[Line]:
    """One target; `repeated` are notes on fixes that several findings share, and the end of the report tells."""
    display = view.display
    yield line(f"{display.show(target.target)}: {target_state(target)}", "title")
    if target.failure is not None:
        yield from _paragraph(2, target.failure.message, display, "warning")
        if target.failure.hint is not None:
            yield from _paragraph(2, f"hint: {target.failure.hint}", display)
    for group in sorted(without_repeats(target.findings), key=lambda group: _by_place(group.first)):
        yield BLANK
        yield from _finding(group, view)
        note = group.first.suggestion_note
        if note is not None and note not in repeated:
            yield from _paragraph(_INDENT, note, display, "dim")
    if target.findings and target.skipped:
        yield BLANK
    for skipped in target.skipped:
        if skipped.failed:
            yield from _paragraph(2, f"could not examine {skipped.what}: {skipped.reason}", display, "warning")
        else:
            yield from _paragraph(2, f"skipped {skipped.what}: {skipped.reason}", display, "dim")


def _by_place(finding: Finding) -> tuple[object, ...]:
    """By file and line; what has no place comes first."""
    place = finding.location
    return (place is not None, (place.file, place.line) if place is not None else ())


def _place(finding: Finding, display: Display) -> str:
    """What terminals and editors jump to; "" where it is not known."""
    place = finding.location
    return f"{display.show(place.file)}:{place.line}: " if place is not None else ""


def _finding(group: Repeated, view: CheckView) -> Iterator[Line]:
    first, display = group.first, view.display
    yield (
        Cell(_place(first, display), "heading"),
        Cell(first.severity, _STYLES[first.severity]),
        Cell(f" {first.code} {first.name}"),
    )
    yield from _paragraph(_INDENT, first.message, display)
    if group.others:
        yield from _paragraph(_INDENT, f"also {_others(group.others)}", display)
    if (seen := sighting(first)) is not None:
        yield from _paragraph(_INDENT, seen, display, "dim")
    yield from _source(first, view)
    if first.suggestion is not None:
        # Never broken: it is there to be copied.
        yield (Cell(f"{'fix':>{_GUTTER}} | ", "dim"), Cell(_whole(first.suggestion, display), "parameter"))


def _source(finding: Finding, view: CheckView) -> Iterator[Line]:
    """The line of source that is meant, with a mark under the attribute that it assigns."""
    place = finding.location
    source = view.source_line(place.file, place.line).strip() if view.source_line and place else ""
    if not source or place is None:
        return
    yield (Cell(f"{place.line:>{_GUTTER}} | ", "dim"), Cell(_whole(source, view.display)))
    names = _NAMES.findall(finding.tensor)
    found = re.search(rf"(?:\w+\.)?{re.escape(names[-1])}\b", source) if names else None
    if found is not None and source.isprintable() and source.isascii():
        mark = " " * found.start() + "^" * (found.end() - found.start())
        yield (Cell(f"{'':>{_GUTTER}} | ", "dim"), Cell(mark, _STYLES[finding.severity]))


def _whole(text: str, display: Display) -> str:
    return display.show(text, limit=_MESSAGE_LIMIT)


def _others(others: tuple[Finding, ...]) -> str:
    named = ", ".join(f"`{finding.tensor}`" for finding in others[:_MOST_NAMED])
    more = len(others) - _MOST_NAMED
    return f"{named} and {more:,} more" if more > 0 else named


def _paragraph(indent: int, text: str, display: Display, style: Style = "") -> Iterator[Line]:
    shown = display.show(text, limit=_MESSAGE_LIMIT)
    width = None if display.width is None else max(display.width - indent, 20)
    for each in wrapped(shown, width):
        yield line(f"{' ' * indent}{each}", style)
