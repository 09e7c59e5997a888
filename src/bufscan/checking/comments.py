"""`# bufscan: ignore[BUF001] reason` in source text."""

from __future__ import annotations

import io
import re
import tokenize
from typing import TYPE_CHECKING, NamedTuple

from bufscan.checking.selecting import names_a_rule

if TYPE_CHECKING:
    from collections.abc import Iterator

_MARK = re.compile(r"#\s*bufscan:\s*ignore\b(?P<rest>.*)")
_REST = re.compile(r"\s*\[(?P<codes>[^\]]*)\]\s*(?P<reason>.*)")
_NEXT_COMMENT = re.compile(r"(?:^|\s{2,})#.*")  # of another tool, on the same line; "see #12" is a reason

# Any of these is how tokenize says that a file is not the Python it knows.
_NO_PYTHON = (tokenize.TokenError, SyntaxError, ValueError)


class Comment(NamedTuple):
    """One such comment.

    Attributes:
        line: where it stands.
        covered: the lines of the statement that it is part of, which it speaks of.
        codes: codes or beginnings of codes.
        reason: why the findings are meant to be there.
        fault: why the comment is not in force; None when it is.
    """

    line: int
    covered: range
    codes: tuple[str, ...]
    reason: str
    fault: str | None


def comments_in(text: str) -> tuple[Comment, ...]:
    """Every such comment of a source text, in order; none where the text is no Python."""
    if "bufscan:" not in text:
        return ()
    try:
        return tuple(_comments(text))
    except _NO_PYTHON:
        return ()


def _comments(text: str) -> Iterator[Comment]:
    """A statement may go over several lines, and a comment may stand at the end of any of them."""
    start: int | None = None
    found: list[tuple[int, re.Match[str]]] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            mark = _MARK.search(token.string)
            if mark is not None:
                found.append((token.start[0], mark))
        elif token.type in (tokenize.NEWLINE, tokenize.NL):
            if token.type == tokenize.NEWLINE or start is None:
                covered = range(start or token.start[0], token.start[0] + 1)
                yield from (_comment(line, covered, mark) for line, mark in found)
                start, found = None, []
        elif start is None and token.type not in (tokenize.INDENT, tokenize.DEDENT):
            start = token.start[0]


def _comment(line: int, covered: range, mark: re.Match[str]) -> Comment:
    rest = _REST.fullmatch(mark["rest"])
    if rest is None or not rest["codes"].strip():
        return Comment(line, covered, (), "", "it names no code: write `# bufscan: ignore[BUF001] reason`")
    codes = tuple(code.strip() for code in rest["codes"].split(","))
    reason = _NEXT_COMMENT.sub("", rest["reason"]).strip()
    unknown = next((code for code in codes if not names_a_rule(code)), None)
    if unknown is not None:
        return Comment(line, covered, codes, reason, f"no rule has the code `{unknown}`")
    return Comment(line, covered, codes, reason, None if reason else "it gives no reason")
