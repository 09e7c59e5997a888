"""Edits that should mend a fault, in the way of the file that they are for; and what to do where none does."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import msgspec

from bufscan.source.edits import Fix, Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.source.edits import Applicability
    from bufscan.source.faults import Fault
    from bufscan.source.project import SourceFile
    from bufscan.source.values import Site

KEEPS_KEYS = "the state_dict keeps its keys, so old checkpoints still load"
NEW_KEYS = "this adds keys to the state_dict: load old checkpoints once with strict=False"
NEW_PARAMETERS = f"{NEW_KEYS}, and give the optimizer the parameters among them"

_ADVICE = {
    "plain": "register it as a buffer, with `persistent=False` where old checkpoints are to load as they do",
    "leaf": "make it an `nn.Parameter` where it is to be trained, and a buffer where it is not",
    "complex": "register it as a buffer, perhaps of its real view: a real dtype makes a complex buffer real",
    "carried": "register it as a buffer where it is to be saved or to move: the model casts it then, too",
    "cache": "register it once in `__init__` as a buffer with `persistent=False`, even if that is still `None`",
    "renewed": "make it a local variable of `forward`, or register it once in `__init__`",
    "state": "register it as a buffer, so that it is saved",
    "container": 'register each tensor as a buffer of its own, with `self.register_buffer(f"{name}_{{i}}", ...)`',
    "filled": "have the device in its keys, or take each tensor to the device of what it meets at each use",
    "parameters": "hold them in an `nn.ParameterList` or an `nn.ParameterDict`",
    "modules": "hold them in an `nn.ModuleList` or an `nn.ModuleDict`",
    "object": "make the object a module that registers its tensors, or make it where it is used, of buffers",
    "module": "assign it to the registered module that uses it",
    "direct": "assign it to the module itself: `self.{name} = ...`",
    "partial": "register the tensor as a buffer, and hand it over at each call",
    "hook": "register the tensor as a buffer of the module, and let the hook read it there",
    "closure": "make the function a module that registers the tensor",
    "constant": "register it as a buffer before the model is scripted",
    "alias": "make `{name}` a property that reads the buffer, or register a clone as a buffer of its own",
    "second": "read the Parameter by the name that it is registered under",
    "split": "register one of the two, and read the other from it",
    "hidden buffer": "give the two names of their own, or assign to the registered one",
    "hidden": "give the two names of their own, or assign to the registered one",
    "class": "register it in `__init__`, made from numbers that belong to the class",
    "code": "register it as a buffer of the module, made from numbers that belong to the code",
    "uninitialised": "make it again in `reset_parameters()`, or save it",
    "lost": "compute first and make the result an `nn.Parameter`",
    "buffer": "make it an `nn.Parameter` where it is to be trained, and detach it where it is not",
    "name": "give the buffer another name",
}


def advice_on(kind: str, attribute: str) -> str | None:
    """What to do about what is held in a certain way, in a sentence, where no edit does it."""
    *_, held = kind.rpartition(" of ")
    found = _ADVICE.get(held)
    return None if found is None else found.format(name=attribute)


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
        case (("BUF001" | "BUF002" | "BUF003"), _) if (wrapper := _wrapper(fault)) is not None:
            nn, value = spelling_of_nn(fault.site.file), fault.site.value
            if nn is not None and value is not None:
                edits = (text.insert_before(value, f"{nn}.{wrapper}("), text.insert_after(value, ")"))
                yield Fix(edits=edits, applicability="unsafe", note=NEW_PARAMETERS)
        case (("BUF101" | "BUF102"), "buffer"):
            yield from _as_parameter(fault, text)
        case "BUF004", "alias":
            yield from _as_property(fault, text)
        case "BUF006", "hidden buffer":
            yield from _as_assignment(fault, text)
        case _:
            pass


def _registered_empty(fault: Fault, text: Text, *, keeps: bool) -> Fix | None:
    """`self.x = None`, which comes before the tensor, as a buffer that is still empty: what follows fills it."""
    methods = [] if fault.site.owner is None else fault.site.owner.node.body
    inside = [method for method in methods if _holds(method, fault.site.statement)]
    makers = [each for each in methods if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
    for node in (node for method in (*inside, *makers) for node in ast.walk(method)):
        match node:
            case ast.Assign(targets=[ast.Attribute(attr=name)], value=ast.Constant(value=None)) if (
                name == fault.attribute and (node.lineno < fault.site.line or makers != inside)
            ):
                return _registered(fault.site._replace(statement=node, value=node.value), text, keeps=keeps)
            case _:
                pass
    return None


def _holds(node: ast.AST, statement: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and any(each is statement for each in ast.walk(node))


def _wrapper(fault: Fault) -> str | None:
    value = fault.site.value if isinstance(fault.site.statement, ast.Assign | ast.AnnAssign) else None
    if fault.kind == "leaf":
        return "Parameter" if isinstance(value, ast.Call | ast.Name) and len(fault.sites) == 1 else None
    kind = {"parameters": "Parameter", "modules": "Module"}.get(fault.kind.rpartition(" of ")[2])
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


def _as_parameter(fault: Fault, text: Text) -> Iterator[Fix]:
    """`self.register_buffer("x", value)` as `self.x = value`, made an `nn.Parameter` where it is none."""
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
            nn = spelling_of_nn(fault.site.file)
            begin, end = ("", "") if fault.code == "BUF102" else (f"{nn}.Parameter(", ")")
            head = text.replace_between(statement, value, f"{receiver}.{name} = {begin}")
            tail = text.replace_behind(value, statement, end)
            note = "the key stays the same, so old checkpoints still load; give the optimizer the new parameter"
            if nn is not None:
                yield Fix(edits=(head, tail), applicability="unsafe", note=note)
        case _:
            pass


def _as_assignment(fault: Fault, text: Text) -> Iterator[Fix]:
    """`self.__dict__["x"] = value` as `self.x = value`, which goes to the buffer of that name."""
    match fault.site.statement:
        case ast.Assign(
            targets=[
                ast.Subscript(
                    value=ast.Attribute(value=ast.Name(id=receiver), attr="__dict__"),
                    slice=ast.Constant(value=str() as name),
                ) as target
            ]
        ):
            edit = text.replace_up_to(target, text.end(target), f"{receiver}.{name}")
            note = "what is assigned becomes the buffer: it is saved in the place of the value that was hidden"
            yield Fix(edits=(edit,), applicability="unsafe", note=note)
        case _:
            pass


def _as_property(fault: Fault, text: Text) -> Iterator[Fix]:
    """`self.x = self.buffer` as a property, where each of the two is set nowhere else."""
    site, owner = fault.site, fault.site.owner
    match site.statement:
        case (
            ast.Assign(targets=[ast.Attribute(value=ast.Name(id=receiver), attr=name)], value=value) as statement
        ) if owner is not None and value.lineno == value.end_lineno:
            method = next((each for each in owner.node.body if _holds(each, statement)), None)
            nodes = list(ast.walk(value))
            read = {each.attr for each in nodes if isinstance(each, ast.Attribute)}
            is_own = {each.id for each in nodes if isinstance(each, ast.Name)} == {receiver}
            is_set_once = all(_times_set(each, site.file.tree) == 1 for each in (name, *read))
            whole_lines = text.whole_lines(statement)
            if isinstance(method, ast.FunctionDef) and is_own and is_set_once and whole_lines is not None:
                indent = " " * method.col_offset
                lines = ("@property", f"def {name}({receiver}):", f"    return {text.of(value)}")
                new = "".join(f"{indent}{line}{text.line_end}" for line in lines) + text.line_end
                first = method.decorator_list[0] if method.decorator_list else method
                edits = (text.insert_above(first, new), text.delete_lines(*whole_lines))
                yield Fix(edits=edits, applicability="unsafe", note="the property keeps old checkpoints loading")
        case _:
            pass


def _times_set(name: str, tree: ast.Module) -> int:
    """How often a file gives an attribute of that name a value."""
    times = 0
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=attribute, ctx=ast.Store()) if attribute == name:
                times += 1
            case ast.Call(args=[ast.Constant(value=spelled), _, *_]) if spelled == name:
                times += 1
            case _:
                pass
    return times


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
