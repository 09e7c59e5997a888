"""Changes of source text that mend a fault, and their application. Text in, text out; nothing is judged here."""

from __future__ import annotations

import ast
import io
from typing import TYPE_CHECKING, Literal

import msgspec

from bufscan.findings import Edit
from bufscan.source.project import nodes_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bufscan.source.faults import Fault
    from bufscan.source.project import SourceFile
    from bufscan.source.values import Site

Applicability = Literal["safe", "unsafe"]

KEEPS_KEYS = "the state_dict keeps its keys, so old checkpoints still load"
NEW_KEYS = "this adds keys to the state_dict: load old checkpoints once with strict=False"

_ADVICE = {
    "plain": 'register it: `self.register_buffer("{name}", ..., persistent=False)`',
    "cache": 'register it once in `__init__`: `self.register_buffer("{name}", ..., persistent=False)`',
    "renewed": "make it a local variable of `forward`, or register it once in `__init__`",
    "state": 'register it, so that it is saved: `self.register_buffer("{name}", ...)`',
    "container": 'register each tensor as a buffer of its own, with `self.register_buffer(f"{name}_{{i}}", ...)`',
    "object": "make the object a module that registers its tensors, or make it where it is used, of buffers",
    "closure": "make the function a module that registers the tensor",
    "alias": "make `{name}` a property that returns the buffer",
    "hidden": "give the two tensors names of their own",
    "class": "register it in `__init__`, made from numbers that belong to the class",
    "code": "register it as a buffer of the module, made from numbers that belong to the code",
    "uninitialised": "make it again in `reset_parameters()`, or save it",
    "lost": "compute first and make the result an `nn.Parameter`",
    "name": "give the buffer another name",
}


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


def advice_for(fault: Fault) -> str | None:
    """What to do, in a sentence, where no edit does it."""
    found = _ADVICE.get(fault.kind)
    return None if found is None else found.format(name=fault.attribute)


def proposed(fault: Fault) -> Iterator[Fix]:
    """Edits that should mend a fault, the best first. Nobody has verified them yet."""
    text = Text(fault.site.file.text)
    match fault.code, fault.kind:
        case "BUF001", ("plain" | "cache" | "renewed" | "state") as kind if fault.is_sure:
            found = [_registered(site, text, keeps=kind != "state") for site in fault.sites]
            whole = [fix for fix in found if fix is not None]
            if whole and len(whole) == len(found):
                edits = tuple(edit for fix in whole for edit in fix.edits)
                yield msgspec.structs.replace(whole[0], edits=edits)
            if first := _registered_empty(fault, text, keeps=kind != "state"):
                yield first
        case (("BUF002" | "BUF003"), _) if (wrapper := _wrapper(fault)) is not None:
            nn, value = spelling_of_nn(fault.site.file), fault.site.value
            if nn is not None and value is not None:
                edits = (text.insert_before(value, f"{nn}.{wrapper}("), text.insert_after(value, ")"))
                yield Fix(edits=edits, applicability="unsafe", note=NEW_KEYS)
        case "BUF102", "buffer":
            if fix := _as_parameter(fault, text):
                yield fix
        case _:
            pass


def _registered_empty(fault: Fault, text: Text, *, keeps: bool) -> Fix | None:
    """`self.x = None`, which comes before the tensor, as a buffer that is still empty: what follows fills it."""
    method = next((node for node in nodes_in(fault.site.file.tree) if _holds(node, fault.site.statement)), None)
    for node in nodes_in(method) if method is not None else ():
        match node:
            case ast.Assign(targets=[ast.Attribute(attr=name)], value=ast.Constant(value=None)) if (
                name == fault.attribute and node.lineno < fault.site.line
            ):
                return _registered(fault.site._replace(statement=node, value=node.value), text, keeps=keeps)
            case _:
                pass
    return None


def _holds(node: ast.AST, statement: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and any(each is statement for each in nodes_in(node))


def _wrapper(fault: Fault) -> str | None:
    value = fault.site.value if isinstance(fault.site.statement, ast.Assign | ast.AnnAssign) else None
    kind = (
        "Parameter" if fault.kind.endswith("of parameters") else "Module" if "of modules" in fault.kind else None
    )
    if kind is None:
        return None
    match value:
        case ast.List() | ast.ListComp():
            return f"{kind}List"
        case ast.Dict(keys=keys) if all(
            isinstance(key, ast.Constant) and isinstance(key.value, str) and "." not in key.value for key in keys
        ):
            return f"{kind}Dict"
        case _:
            return None


def _registered(site: Site, text: Text, *, keeps: bool) -> Fix | None:
    """`self.x = value` as `self.register_buffer("x", value, persistent=False)`, or in the file's own way."""
    statement, value = site.statement, site.value
    tail = ", persistent=False" if keeps else ""
    applicability: Applicability = "safe" if keeps else "unsafe"
    note = KEEPS_KEYS if keeps else NEW_KEYS
    match statement:
        case ast.Assign(targets=[ast.Attribute(value=ast.Name(id=receiver), attr=name)]):
            after = statement.targets[0]
        case ast.AnnAssign(target=ast.Attribute(value=ast.Name(id=receiver), attr=name), annotation=annotation):
            after = annotation
        case ast.Expr(
            value=ast.Call(
                func=ast.Name(id="setattr"), args=[ast.Name(id=receiver), spelled, _], keywords=[]
            ) as call
        ):
            head = text.replace_between(call, spelled, f"{receiver}.register_buffer(")
            last = call.args[-1]
            edits = (head, text.insert_after_parentheses(last, call, tail)) if tail else (head,)
            return Fix(edits=edits, applicability=applicability, note=note)
        case _:
            return None
    if value is None or isinstance(value, ast.Tuple | ast.Yield | ast.NamedExpr | ast.Starred):
        return None
    start = text.after_equals(after)
    if start is None:
        return None
    nn = _nn_with_buffer(site.file)
    begin = f"{receiver}.{name} = {nn}.Buffer(" if nn else f'{receiver}.register_buffer("{_spelled(name, site)}", '
    edits = (text.replace_up_to(statement, start, begin), text.insert_after(statement, f"{tail})"))
    return Fix(edits=edits, applicability=applicability, note=note)


def _spelled(name: str, site: Site) -> str:
    """A name as a text has to spell it: in a class, Python itself writes `self.__x` as `self._Class__x`."""
    if site.owner is None or not name.startswith("__") or name.endswith("__"):
        return name
    cls = site.owner.name.rpartition(".")[2].lstrip("_")
    return f"_{cls}{name}" if cls else name


def _as_parameter(fault: Fault, text: Text) -> Fix | None:
    match fault.site.statement:
        case (
            ast.Expr(
                value=ast.Call(
                    func=ast.Attribute(value=ast.Name(id=receiver), attr="register_buffer"),
                    args=[ast.Constant(value=str() as name), value],
                    keywords=[],
                )
            ) as statement
        ) if name.isidentifier():
            head = text.replace_between(statement, value, f"{receiver}.{name} = ")
            tail = text.delete_between(value, statement)
            note = "the key stays the same, so old checkpoints still load; give the optimizer the new parameter"
            return Fix(edits=(head, tail), applicability="unsafe", note=note)
        case _:
            return None


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

    def delete_between(self, first: ast.AST, second: ast.AST) -> Edit:
        """An edit that takes away all from where one node ends to where another does."""
        return _edit(self.end(first), self.end(second), "")

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
    after = applied(source, fix.edits)
    first = min(edit.line for edit in fix.edits)
    last = max(edit.end_line for edit in fix.edits)
    return Text(after).lines[first - 1].strip() if first == last else None


def spelling_of_nn(file: SourceFile) -> str | None:
    """What the file calls `torch.nn`; None where it has no name for it."""
    for name, target in file.names.items():
        if target == "torch.nn":
            return name
    return "torch.nn" if file.names.get("torch") == "torch" else None


def _nn_with_buffer(file: SourceFile) -> str | None:
    """What the file calls `torch.nn`, where it makes buffers by `nn.Buffer`."""
    nn = spelling_of_nn(file)
    if nn is None or f"{nn}.Buffer(" not in file.text:
        return None
    return nn


def _edit(start: tuple[int, int], end: tuple[int, int], text: str) -> Edit:
    return Edit(line=start[0], column=start[1], end_line=end[0], end_column=end[1], text=text)
