"""What becomes of an attribute after construction: moved by the class, registered later, made anew, kept."""

from __future__ import annotations

import ast
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from bufscan.source.abstract_pass import Routine, fate_of
from bufscan.source.project import nodes_in

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from bufscan.source.abstract_pass import Fate
    from bufscan.source.classes import Lineage, Method

_REGISTERING = frozenset(("register_buffer", "register_parameter", "register_module", "add_module", "add_state"))
_DYNAMIC = frozenset(("__dict__", "vars", "setattr", "getattr"))
_NO_BUFFER = (ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.JoinedStr)
_INITIALISING = ("reset_parameters", "init_weights", "_init_weights", "reset_buffers", "init_buffers")
_ALL = frozenset(("__dict__", "vars"))


class Upkeep:
    """What the methods of a class do for its attributes."""

    def __init__(self, lineage: Lineage, keys: Mapping[str, frozenset[str]]) -> None:
        """`keys` are those of the dicts that the object holds, by attribute: perhaps names of attributes."""
        self._lineage = lineage
        self._keys = keys
        self._fates: dict[tuple[str, bool], Fate | None] = {}

    @cached_property
    def sets_attributes_itself(self) -> bool:
        """Whether assigning an attribute runs code of the class's own, which may register it."""
        return self._lineage.method("__setattr__") is not None

    def looks_after(self, attribute: str) -> bool:
        """Whether the class moves the attribute with the model, or registers it after all."""
        if attribute in self._applied or attribute in self._registered_later:
            return True
        return self._applies_dynamically and self._may_apply(attribute)

    def _may_apply(self, attribute: str) -> bool:
        """Whether `_apply`, which goes through names, comes to this one: all, unless a dict has the names."""
        lists = [keys for name, keys in self._keys.items() if name in self._applied and keys]
        goes_through_all = not _ALL.isdisjoint(self._applied) or not lists
        return goes_through_all or any(attribute in keys for keys in lists)

    def moves_by_itself(self, attribute: str) -> bool:
        """Whether only a `to` of the class's own moves it, which a model around it does not call."""
        return attribute in self._moved

    def makes_again(self, attribute: str) -> bool:
        """Whether a method that initialises weights names the attribute."""
        return any(attribute in self._words(name) for name in _INITIALISING)

    def fate(self, attribute: str, *, is_tensor: bool) -> Fate | None:
        """What a forward pass does to the attribute."""
        key = (attribute, is_tensor)
        if key not in self._fates:
            forward = self._routine("forward", -1)
            routines = [] if forward is None else [forward]
            self._fates[key] = fate_of(attribute, routines, self._routine, is_tensor=is_tensor)
        return self._fates[key]

    def _routine(self, name: str, after: int = -1) -> Routine | None:
        for position, cls in enumerate(self._lineage.classes):
            method = cls.methods.get(name)
            if position > after and method is not None:
                given = [each.arg for each in (*method.node.args.posonlyargs, *method.node.args.args)]
                receivers = frozenset(given[: 0 if method.kind == "static" else 1])
                return Routine(method.node, receivers, cls.name.rpartition(".")[2], position)
        return None

    @cached_property
    def _applied(self) -> frozenset[str]:
        return self._words("_apply")

    @cached_property
    def _applies_dynamically(self) -> bool:
        return not _DYNAMIC.isdisjoint(self._applied)

    @cached_property
    def _moved(self) -> frozenset[str]:
        return self._words("to") | self._words("cuda")

    @cached_property
    def _registered_later(self) -> frozenset[str]:
        return frozenset().union(*(_registered_in(cls.node) for cls in self._lineage.classes))

    def _words(self, name: str) -> frozenset[str]:
        """Attributes and texts that a method, and those that it calls, mention."""
        found: set[str] = set()
        pending = [method for cls in self._lineage.classes if (method := cls.methods.get(name))]
        seen: set[int] = set()
        while pending:
            method = pending.pop()
            if id(method.node) in seen:
                continue
            seen.add(id(method.node))
            words = set(_words_in(method))
            found |= words
            pending += [inner for word in words if word != name and (inner := self._lineage.method(word))]
        return frozenset(found)


def _words_in(method: Method) -> Iterator[str]:
    for node in nodes_in(method.node):
        match node:
            case ast.Attribute(attr=name) | ast.Constant(value=str() as name):
                yield name
            case ast.Name(id=name) if name in _DYNAMIC:
                yield name
            case _:
                pass


@lru_cache(maxsize=4096)
def _registered_in(node: ast.ClassDef) -> frozenset[str]:
    """Names that some method registers, or takes away."""
    return frozenset(_registrations(node))


def _registrations(node: ast.ClassDef) -> Iterator[str]:
    for each in nodes_in(node):
        match each:
            case ast.Call(func=ast.Attribute(attr=method), args=[ast.Constant(value=str() as name), *_]) if (
                method in _REGISTERING
            ):
                yield name
            case ast.Call(func=ast.Name(id="delattr"), args=[_, ast.Constant(value=str() as name)]):
                yield name
            case ast.Delete(targets=targets):
                yield from (target.attr for target in targets if isinstance(target, ast.Attribute))
            case _:
                pass


def is_assigned_plain(node: ast.ClassDef, attribute: str) -> bool:
    """Whether a class somewhere gives the attribute what no buffer can be: a number, a text, a container."""
    for each in nodes_in(node):
        match each:
            case ast.Assign(targets=[ast.Attribute(attr=name)], value=value) if name == attribute:
                is_none = isinstance(value, ast.Constant) and value.value is None
                if (isinstance(value, _NO_BUFFER) and not is_none) or _leaves_torch(value):
                    return True
            case _:
                pass
    return False


def _leaves_torch(value: ast.expr) -> bool:
    """`x.numpy()` and its like."""
    match value:
        case ast.Call(func=ast.Attribute(attr="numpy" | "tolist" | "item")):
            return True
        case _:
            return False


def derived_in(tree: ast.Module, bases: Collection[ast.ClassDef]) -> list[ast.ClassDef]:
    """The classes of a file that derive from others of it, as far as their names tell."""
    names = {base.name for base in bases}
    derived: list[ast.ClassDef] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node not in bases:
            called = {
                each.attr if isinstance(each, ast.Attribute) else getattr(each, "id", "") for each in node.bases
            }
            if not names.isdisjoint(called):
                names.add(node.name)
                derived.append(node)
    return derived


def looks_into_its_dict(node: ast.ClassDef) -> bool:
    """Whether a class reads its attributes from `__dict__`, where no buffer is."""
    return any(
        (isinstance(each, ast.Attribute) and each.attr == "__dict__")
        or (isinstance(each, ast.Name) and each.id == "vars")
        for each in nodes_in(node)
    )


def initialises_after(node: ast.ClassDef, statement: ast.stmt) -> bool:
    """Whether the `__init__` around a statement runs that of the base class only after it."""
    for method in node.body:
        if not isinstance(method, ast.FunctionDef) or method.name != "__init__":
            continue
        if not method.lineno <= statement.lineno <= (method.end_lineno or method.lineno):
            continue
        calls = [
            each.lineno
            for each in nodes_in(method)
            if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute) and each.func.attr == "__init__"
        ]
        if calls and min(calls) > statement.lineno:
            return True
    return False
