"""Tensors that belong to code rather than to a model: globals that a forward pass uses, and default arguments."""

from __future__ import annotations

import ast
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from bufscan.source.project import nodes_in
from bufscan.source.values import Function, Tensor, options_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.source.classes import ClassInfo, Lineage
    from bufscan.source.objects import Objects
    from bufscan.source.project import FunctionNode, SourceFile

_MOST_FOLLOWED = 40  # functions, from one forward pass
_MOVING = frozenset(
    ("to", "type_as", "cuda", "cpu", "new_tensor", "device", "dtype", "shape", "size", "numel", "tolist")
)


class CodeTensor(NamedTuple):
    """One such tensor.

    Attributes:
        name: the global's, or `method(argument)`.
        user: the method that uses it.
        statement: what makes it.
    """

    tensor: Tensor
    name: str
    user: str
    file: SourceFile
    statement: ast.stmt
    is_default: bool


def code_tensors(objects: Objects, cls: ClassInfo, lineage: Lineage) -> Iterator[CodeTensor]:
    """Those that the forward pass of a class uses, each once."""
    for owner, file, node, method in _forward_functions(objects, lineage):
        if owner is cls:
            yield from _defaults(objects, file, node, method, owner)
        for name in _uses(node).read:
            where = objects.project.find(file, name) if name in file.names else ""
            if isinstance(where, str) or where[1] not in where[0].assigned:
                continue
            found_in, own = where
            statements = found_in.assigned[own]
            found = [
                option for option in options_of(objects.global_named(file, name)) if isinstance(option, Tensor)
            ]
            if found and len(statements) == 1:
                yield CodeTensor(found[0], own, method, found_in, statements[0], is_default=False)


def _forward_functions(
    objects: Objects, lineage: Lineage
) -> Iterator[tuple[ClassInfo | None, SourceFile, FunctionNode, str]]:
    """`forward` and what it calls: methods of its own, and functions of the project."""
    forward = lineage.method("forward")
    if forward is None:
        return
    pending: list[tuple[ClassInfo | None, SourceFile, FunctionNode, str]] = [
        (forward.owner, forward.owner.file, forward.node, "forward")
    ]
    seen: set[int] = set()
    while pending and len(seen) < _MOST_FOLLOWED:
        owner, file, node, name = pending.pop(0)
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield owner, file, node, name
        for called in _uses(node).called:
            if isinstance(called, ast.Attribute):
                method = lineage.method(called.attr)
                if method is not None:
                    pending.append((method.owner, method.owner.file, method.node, called.attr))
            elif called.id in file.names:
                value = objects.global_named(file, called.id)
                if isinstance(value, Function) and not isinstance(value.node, ast.Lambda):
                    pending.append((None, value.file, value.node, called.id))


class _Uses(NamedTuple):
    """What a function calls by `self.name` or by a plain name, and which names it reads that it does not bind.

    Names that it moves wherever it reads them are left out.
    """

    called: tuple[ast.Attribute | ast.Name, ...]
    read: tuple[str, ...]


@lru_cache(maxsize=1 << 16)
def _uses(function: FunctionNode) -> _Uses:
    called: list[ast.Attribute | ast.Name] = []
    bound: set[str] = set()
    read: dict[str, int] = {}
    moved: dict[str, int] = {}
    for each in nodes_in(function):
        match each:
            case ast.Name(id=name, ctx=ast.Load()):
                read[name] = read.get(name, 0) + 1
            case ast.Attribute(value=ast.Name(id=name), attr=attr):
                if attr in _MOVING:
                    moved[name] = moved.get(name, 0) + 1
            case ast.Call(func=ast.Name() as function_name):
                called.append(function_name)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="self")) as method):
                called.append(method)
            case ast.Name(id=name) | ast.arg(arg=name):
                bound.add(name)
            case ast.alias(name=name, asname=asname):
                bound.add(asname or name)
            case _:
                pass
    names = tuple(name for name, count in read.items() if name not in bound and moved.get(name, 0) < count)
    return _Uses(tuple(called), names)


def _defaults(
    objects: Objects, file: SourceFile, node: FunctionNode, method: str, owner: ClassInfo
) -> Iterator[CodeTensor]:
    spec = node.args
    named = [*spec.posonlyargs, *spec.args]
    pairs = [
        *zip(named[len(named) - len(spec.defaults) :], spec.defaults, strict=True),
        *zip(spec.kwonlyargs, spec.kw_defaults, strict=True),
    ]
    for argument, default in pairs:
        if default is None or isinstance(default, ast.Constant):
            continue
        for option in options_of(objects.value_in_file(file, default, owner)):
            if isinstance(option, Tensor):
                statement = ast.copy_location(ast.Expr(default), default)
                yield CodeTensor(option, f"{method}({argument.arg})", method, file, statement, is_default=True)
