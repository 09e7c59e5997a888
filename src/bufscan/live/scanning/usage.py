"""How the code of a forward pass uses an attribute: takes it to its input's device, or makes it anew for that."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from bufscan.live.reach.origin import source_of_function
from bufscan.source.sites import walk
from bufscan.source.slots import INSERTING, Receivers, last_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import FunctionType

    from bufscan.source.project import FunctionNode

# What tells of a tensor without its elements, which may stay where they are.
_ASKS_ONLY = frozenset(("shape", "dtype", "device", "ndim", "size", "dim", "numel", "is_cuda", "layout"))


class Uses:
    """What some functions do with the attributes of the object that is their first argument."""

    def __init__(self, functions: Iterable[FunctionType]) -> None:
        self._written = [
            found.node for function in functions if (found := source_of_function(function)) is not None
        ]

    def carries_over(self, attribute: str) -> bool:
        """Whether each use of it begins with taking it to some device, as in `self.pe[:n].to(x.device)`."""
        used = [
            _is_carried(node, parents)
            for parents, receivers in self._bodies()
            for node in parents
            if isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Load)
            and _is(node, attribute, receivers)
        ]
        uses = [each for each in used if each is not None]
        return bool(uses) and all(uses)

    def makes_for_device(self, attribute: str) -> bool:
        """Whether what gives it a value asks for its device first, as in `if self.cos.device != x.device`."""
        for parents, receivers in self._bodies():
            stores = any(
                _is(target, attribute, receivers)
                for node in parents
                if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store)
                for target in (node.value if isinstance(node, ast.Subscript) else node,)
            )
            if stores and any(isinstance(node, ast.Compare) and _names_device(node) for node in parents):
                return True
        return False

    def gives(self, attribute: str) -> bool:
        """Whether something is assigned to it, or put into the container that it is."""
        return any(
            _is(node, attribute, receivers) and _is_given(node, parents)
            for parents, receivers in self._bodies()
            for node in parents
            if isinstance(node, ast.Attribute)
        )

    def writes(self, attribute: str) -> bool:
        """Whether something is written into the tensor: `self.step += 1`, `self.step[0] = x`, `add_`."""
        return any(
            isinstance(node, ast.Attribute) and _is(node, attribute, receivers) and _is_written(node, parents)
            for parents, receivers in self._bodies()
            for node in parents
        )

    def _bodies(self) -> Iterator[tuple[dict[ast.AST, ast.AST | None], Receivers]]:
        """The nodes of each function with their parents, and its receivers."""
        for node in self._written:
            if node is None or not (arguments := [*node.args.posonlyargs, *node.args.args]):
                continue
            yield _parents_in(node), Receivers({arguments[0].arg})


def _parents_in(function: FunctionNode) -> dict[ast.AST, ast.AST | None]:
    found: dict[ast.AST, ast.AST | None] = dict.fromkeys(function.body)
    for node in list(walk(function.body)):
        found.setdefault(node, None)
        for child in ast.iter_child_nodes(node):
            found[child] = node
    return found


def _is(node: ast.expr, attribute: str, receivers: Receivers) -> bool:
    found = receivers.slot(node)
    return found is not None and found[1] == attribute


def _is_given(node: ast.Attribute, parents: dict[ast.AST, ast.AST | None]) -> bool:
    parent = parents[node]
    match parent:
        case ast.Subscript(ctx=ast.Store()):
            return parent.value is node
        case ast.Attribute(attr=name):
            return name in INSERTING
        case _:
            return isinstance(node.ctx, ast.Store)


def _is_written(node: ast.AST, parents: dict[ast.AST, ast.AST | None]) -> bool:
    parent = parents[node]
    while isinstance(parent, ast.Subscript) and parent.value is node:
        if isinstance(parent.ctx, ast.Store):
            return True
        node, parent = parent, parents[parent]
    match parent:
        case ast.AugAssign(target=target):
            return target is node
        case ast.Attribute(attr=name):
            return name.endswith("_") and not name.endswith("__") and isinstance(parents[parent], ast.Call)
        case ast.keyword(arg="out"):
            return True
        case _:
            return False


def _is_carried(node: ast.AST, parents: dict[ast.AST, ast.AST | None]) -> bool | None:
    """Whether the use takes it to a device; None where its elements are not used."""
    parent = parents[node]
    while isinstance(parent, ast.Subscript) and parent.value is node:
        node, parent = parent, parents[parent]
    match parent:
        case ast.Attribute(attr=name) if name in _ASKS_ONLY:
            return None
        case ast.Compare(ops=[ast.Is() | ast.IsNot()]):
            return None
        case ast.Attribute(attr="to"):
            call = parents[parent]
            return isinstance(call, ast.Call) and call.func is parent and _gives_device(call)
        case ast.Attribute(attr="type_as"):
            return True
        case _:
            return False


def _gives_device(call: ast.Call) -> bool:
    """Whether `.to(…)` is given a device, or a tensor to follow."""
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    if "device" in named or "other" in named:
        return True
    first = call.args[0] if call.args else None
    match first:
        case None | ast.Attribute(attr="dtype") | ast.Attribute(value=ast.Name(id="torch")):
            return False
        case ast.Name(id=name):
            return "dtype" not in name and name != "float"
        case _:
            return _names_device(first)


def _names_device(node: ast.AST) -> bool:
    return any("device" in (last_name(each) or "") for each in ast.walk(node) if isinstance(each, ast.expr))
