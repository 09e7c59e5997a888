"""Changes of source text, and their application. Text in, text out; nothing is judged here."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Literal

import msgspec

from bufscan.findings import Edit

if TYPE_CHECKING:
    import ast
    from collections.abc import Iterable

Applicability = Literal["safe", "unsafe"]


class Fix(msgspec.Struct, frozen=True, kw_only=True):
    """What mends a fault.

    Attributes:
        edits: of one file.
        applicability: `safe` keeps the keys of the state_dict and what the program does, but the tensor now moves
            with the model; `unsafe` changes more than that.
        note: what it does to old checkpoints.
    """

    edits: tuple[Edit, ...]
    applicability: Applicability
    note: str

    @property
    def line(self) -> int | None:
        """The line that it changes, where that is only one."""
        lines = {line for edit in self.edits for line in (edit.line, edit.end_line)}
        return lines.pop() if len(lines) == 1 else None

    def note_at(self, line: int | None, advice: str | None) -> str:
        """What to know of the fix where a fault is shown at a line: what it does, where no line shows that."""
        if self.line is None:
            return self.note if advice is None else f"{advice}; {self.note}"
        return self.note if line in (self.line, None) else f"in place of line {self.line}; {self.note}"


class Text:
    """Source text, in which syntax counts bytes of lines and edits count characters."""

    def __init__(self, text: str) -> None:
        # What Python takes for the end of a line is less than what `splitlines` does.
        self.lines = list(io.StringIO(text, newline=""))

    def start(self, node: ast.AST) -> tuple[int, int]:
        """Line and column of a node's first character, counted from 1."""
        return node.lineno, self._column(node.lineno, node.col_offset)  # type: ignore[attr-defined]

    def end(self, node: ast.AST) -> tuple[int, int]:
        """Line and column behind its last."""
        return node.end_lineno, self._column(node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]

    def _column(self, line: int, offset: int) -> int:
        return len(self.lines[line - 1].encode()[:offset].decode()) + 1

    def insert_before(self, node: ast.AST, text: str) -> Edit:
        """An edit that puts text before a node."""
        return _edit(self.start(node), self.start(node), text)

    def insert_after(self, node: ast.AST, text: str) -> Edit:
        """An edit that puts text behind a node."""
        return _edit(self.end(node), self.end(node), text)

    def insert_after_parentheses(self, node: ast.AST, call: ast.AST, text: str) -> Edit:
        """An edit that puts text behind the last argument of a call, before its closing parenthesis."""
        line, column = self.end(call)
        at = (line, column - 1)
        between = self.between(self.end(node), at).strip()
        return _edit(at, at, text.lstrip(", ") if between.endswith(",") else text)

    def replace_between(self, first: ast.AST, second: ast.AST, text: str) -> Edit:
        """An edit that puts text in the place of all from where one node begins to where another does."""
        return _edit(self.start(first), self.start(second), text)

    def replace_behind(self, first: ast.AST, second: ast.AST, text: str) -> Edit:
        """An edit that puts text in the place of all from where one node ends to where another does."""
        return _edit(self.end(first), self.end(second), text)

    def insert_above(self, node: ast.AST, text: str) -> Edit:
        """An edit that puts whole lines above the one in which a node begins."""
        line, _ = self.start(node)
        return _edit((line, 1), (line, 1), text)

    def delete_lines(self, first: int, last: int) -> Edit:
        """An edit that takes whole lines away."""
        return _edit((first, 1), (last + 1, 1), "")

    def whole_lines(self, node: ast.AST) -> tuple[int, int] | None:
        """The first and the last line of a node, where nothing else stands in them."""
        (first, column), (last, end) = self.start(node), self.end(node)
        around = self.lines[first - 1][: column - 1] + self.lines[last - 1][end - 1 :]
        return None if around.strip() or last == len(self.lines) else (first, last)

    def of(self, node: ast.AST) -> str:
        """The text of a node."""
        return self.between(self.start(node), self.end(node))

    @property
    def line_end(self) -> str:
        """What ends a line here."""
        first = self.lines[0] if self.lines else ""
        return first[len(first.rstrip("\r\n")) :] or "\n"

    def replace_up_to(self, node: ast.AST, end: tuple[int, int], text: str) -> Edit:
        """An edit that puts text in the place of all from where a node begins to a position."""
        return _edit(self.start(node), end, text)

    def after_equals(self, node: ast.AST) -> tuple[int, int] | None:
        """Where the value of an assignment begins, its parentheses included; its target ends in `node`."""
        line, column = self.end(node)
        rest = self.lines[line - 1][column - 1 :]
        blank = len(rest) - len(rest.lstrip(" )"))
        if not rest[blank:].startswith("=") or rest[blank:].startswith("=="):
            return None
        after = rest[blank + 1 :]
        space = len(after) - len(after.lstrip(" "))
        if after[space:].strip() in ("", "\\"):
            return None
        return line, column + blank + 1 + space

    def between(self, start: tuple[int, int], end: tuple[int, int]) -> str:
        """The text from one position to another."""
        if start[0] == end[0]:
            return self.lines[start[0] - 1][start[1] - 1 : end[1] - 1]
        inner = self.lines[start[0] : end[0] - 1]
        return "".join([self.lines[start[0] - 1][start[1] - 1 :], *inner, self.lines[end[0] - 1][: end[1] - 1]])


def applied(source: str, edits: Iterable[Edit]) -> str:
    """The text with all edits made.

    Raises:
        ValueError: two of them are about the same text.
    """
    text = Text(source)
    starts = [0]
    for line in text.lines:
        starts.append(starts[-1] + len(line))
    placed = sorted(
        {
            (starts[edit.line - 1] + edit.column - 1, starts[edit.end_line - 1] + edit.end_column - 1, edit.text)
            for edit in edits
        }
    )
    parts: list[str] = []
    at = 0
    for start, end, new in placed:
        if start < at:
            raise ValueError("two edits are about the same text")
        parts += [source[at:start], new]
        at = end
    return "".join([*parts, source[at:]])


def changed_line(source: str, fix: Fix) -> str | None:
    """The statement that a fix makes, where it stands on one line."""
    return None if fix.line is None else Text(applied(source, fix.edits)).lines[fix.line - 1].strip()


def _edit(start: tuple[int, int], end: tuple[int, int], text: str) -> Edit:
    return Edit(line=start[0], column=start[1], end_line=end[0], end_column=end[1], text=text)
