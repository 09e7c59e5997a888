"""Findings for people: by target and module, each with its place and its fix, the most important line last."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bufscan.report.findings import counted, module_of, not_counted, sighting, verdict, without_repeats
from bufscan.report.sizes import plural
from bufscan.report.text.layout import BLANK, Cell, Line, Style, line, paint, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.checking.results import CheckResult, TargetResult
    from bufscan.findings import Finding, Severity
    from bufscan.report.findings import Repeated
    from bufscan.report.view import Display

_STYLES: dict[Severity, Style] = {"error": "unregistered", "warning": "warning", "note": "dim"}

_MOST_NAMED = 5
_MESSAGE_LIMIT = 1000


def render(result: CheckResult, display: Display, *, quiet: bool = False) -> str:
    """The whole report; with `quiet` its last line alone."""
    style: Style = "title" if result.exit_code == 0 else "unregistered"
    last = list(_paragraph(0, verdict(result), display, style))
    if quiet:
        return paint(last, display)
    told: set[str] = set()
    blocks = [list(_target(target, display, told)) for target in result.targets]
    for known in result.fixed:
        what = f"{known.code} `{known.tensor}` of {known.target}"
        blocks.append(list(_paragraph(0, f"fixed: {what} no longer occurs: take it out of the baseline", display)))
    if result.watched is not None and (uncounted := not_counted(result.watched)) is not None:
        blocks.append(list(_paragraph(0, uncounted, display, "dim")))
    return paint([*_spaced(blocks), BLANK, *last] if blocks else last, display)


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
    return paint([each for target in bare for each in (*_target(target, display, set()), BLANK)], display)


def _target(target: TargetResult, display: Display, told: set[str]) -> Iterator[Line]:
    """One target. Many findings share the note on their fix: it is told once, and `told` remembers it."""
    yield line(f"{display.show(target.target)}: {_state(target)}", "title")
    if target.failure is not None:
        yield from _paragraph(2, target.failure.message, display, "warning")
        if target.failure.hint is not None:
            yield from _paragraph(2, f"hint: {target.failure.hint}", display)
    modules: dict[str, list[Repeated]] = {"": []}  # of the model itself: first, for they have no heading
    for group in without_repeats(target.findings):
        modules.setdefault(module_of(group.first.tensor), []).append(group)
    for module, groups in modules.items():
        if module:
            yield line(f"  in {display.show(module)}", "heading")
        for group in groups:
            yield from _finding(group, display)
            note = group.first.suggestion_note
            if note is not None and note not in told:
                told.add(note)
                yield from _paragraph(6, note, display, "dim")
    for skipped in target.skipped:
        if skipped.failed:
            yield from _paragraph(2, f"could not examine {skipped.what}: {skipped.reason}", display, "warning")
        else:
            yield from _paragraph(2, f"skipped {skipped.what}: {skipped.reason}", display, "dim")


def _state(target: TargetResult) -> str:
    if target.failure is not None:
        return "could not be checked"
    parts = [counted(target.findings)]
    if target.read:
        parts.append(f"{plural(target.read, 'class')} read from source")
    if target.ignored:
        parts.append(f"{len(target.ignored):,} ignored")
    if target.skipped:
        parts.append(f"{len(target.skipped):,} skipped" if target.is_complete else "not all could be examined")
    return ", ".join(parts)


def _finding(group: Repeated, display: Display) -> Iterator[Line]:
    first = group.first
    head = [Cell("    "), Cell(first.severity, _STYLES[first.severity]), Cell(f" {first.code} {first.name}")]
    if first.location is not None:
        head.append(Cell(f" at {display.show(first.location.file)}:{first.location.line}", "dim"))
    yield head
    yield from _paragraph(6, first.message, display)
    if group.others:
        yield from _paragraph(6, f"also {_others(group.others)}", display)
    if (seen := sighting(first)) is not None:
        yield from _paragraph(6, seen, display, "dim")
    if first.suggestion is not None:
        # Never broken: it is there to be copied.
        yield line(f"      fix: {display.show(first.suggestion, limit=_MESSAGE_LIMIT)}", "parameter")


def _others(others: tuple[Finding, ...]) -> str:
    named = ", ".join(f"`{finding.tensor}`" for finding in others[:_MOST_NAMED])
    more = len(others) - _MOST_NAMED
    return f"{named} and {more:,} more" if more > 0 else named


def _paragraph(indent: int, text: str, display: Display, style: Style = "") -> Iterator[Line]:
    shown = display.show(text, limit=_MESSAGE_LIMIT)
    width = None if display.width is None else max(display.width - indent, 20)
    for each in wrapped(shown, width):
        yield line(f"{' ' * indent}{each}", style)
