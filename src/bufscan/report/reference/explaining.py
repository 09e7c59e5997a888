"""Rules for people: the list of them, one of them in full, and the table of the README."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.report.shared.layout import Cell, Line, line, paint, table, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bufscan.findings import Rule
    from bufscan.report.shared.display import Display


def rule_list(rules: Iterable[Rule], display: Display) -> str:
    """A line a rule: code, name and what it does."""
    rows: list[Line] = [(Cell(rule.code, "title"), Cell(rule.name), Cell(rule.summary)) for rule in rules]
    return paint(table(rows, right=frozenset(), width=display.width, wrap_last=True), display)


def explanation(rule: Rule, display: Display) -> str:
    """The whole text of a rule, its headings without their marks and its code indented."""
    return paint([line(f"{rule.code}: {rule.name}", "title"), *_body(rule, display)], display)


def rule_table(rules: Iterable[Rule]) -> str:
    """The same list in Markdown, for the README."""
    lines = ["| code | name | what it does |", "| --- | --- | --- |"]
    lines += [f"| {rule.code} | {rule.name} | {rule.summary} |" for rule in rules]
    return "\n".join(lines) + "\n"


def _body(rule: Rule, display: Display) -> Iterator[Line]:
    in_code = False
    paragraph: list[str] = []
    for text in f"\n{rule.explanation.strip()}".split("\n"):
        if not in_code and text and not text.startswith(("```", "## ", "- ")):
            paragraph.append(text)
            continue
        yield from _prose(paragraph, display)
        paragraph = []
        if text.startswith("```"):
            in_code = not in_code
        elif in_code:
            yield line(f"    {text}", "parameter")
        elif text.startswith("## "):
            yield line(text.removeprefix("## "), "heading")
        else:
            yield line(text)  # blank, or a link, which is never broken
    yield from _prose(paragraph, display)


def _prose(paragraph: list[str], display: Display) -> Iterator[Line]:
    """Filled anew for a terminal; as it stands in the source otherwise."""
    filled = paragraph if display.width is None else wrapped(" ".join(paragraph), display.width)
    return (line(text) for text in filled if paragraph)
