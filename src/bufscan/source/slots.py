"""The expressions that name a slot of an object in source text: `self.x`, `self.__dict__["x"]`, a plain name."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

Key: TypeAlias = str | int
Slot: TypeAlias = str | re.Pattern[str]

INSERTING = {"append": 0, "appendleft": 0, "add": 0, "extend": 0, "update": 0, "insert": 1, "setdefault": 1}
"""Methods that put something into a container, and which argument they put."""

_LONGEST_PATTERN = 7  # parts of an f-string


class Receivers:
    """The names that stand for the object whose slots are looked for.

    Attributes:
        names: of the object; `{""}` where slots are plain names.
        owner: the class whose body the source is in: it mangles private names.
        instances: names whose class is the object (`type(self).table`).
    """

    def __init__(self, names: set[str], owner: str = "", instances: Iterable[str] = ()) -> None:
        self.names = names
        self.owner = owner
        self.instances = set(instances)

    def of(self, node: ast.expr) -> str | None:
        """What the source calls the object, where `node` stands for it."""
        match node:
            case ast.Name(id=name) if name in self.names:
                return name
            case ast.Attribute(value=ast.Name(id=name), attr="__class__") if name in self.instances:
                return f"type({name})"
            case ast.Call(func=ast.Name(id="type"), args=[ast.Name(id=name)]) if name in self.instances:
                return f"type({name})"
            case _:
                return None

    def slot(self, node: ast.expr) -> tuple[str, str] | None:
        """Receiver and slot, where `node` is a slot: `self.x`, `self.__dict__["x"]`, or a plain name."""
        match node:
            case ast.Name(id=slot) if "" in self.names:
                return "", slot
            case ast.Attribute(value=inner, attr=slot) if receiver := self.of(inner):
                return receiver, self._mangled(slot)
            case ast.Subscript(value=inner, slice=ast.Constant(value=str() as slot)):
                receiver = self.of_namespace(inner)
                return None if receiver is None else (receiver, slot)
            case _:
                return None

    def inside(self, node: ast.expr) -> tuple[str, str, Key | None] | None:
        """Receiver, slot and key, where `node` lies inside a slot: `self.cache["k"]`, `self.rope.table`."""
        while isinstance(node, ast.Attribute | ast.Subscript):
            key = _key_of(node)
            node = node.value
            if found := self.slot(node):
                return *found, key
        return None

    def of_namespace(self, node: ast.expr) -> str | None:
        """The receiver whose attributes `node` holds as a dict: `self.__dict__`, `vars(self)`, `globals()`."""
        match node:
            case ast.Attribute(value=inner, attr="__dict__"):
                return self.of(inner)
            case ast.Call(func=ast.Name(id="vars"), args=[inner]):
                return self.of(inner)
            case ast.Call(func=ast.Name(id="globals"), args=[]) if "" in self.names:
                return ""
            case _:
                return None

    def _mangled(self, name: str) -> str:
        if self.owner and name.startswith("__") and not name.endswith("__"):
            return f"_{self.owner.lstrip('_')}{name}"
        return name


PLAIN_NAMES = Receivers({""})


def slot_named(name: ast.expr) -> Slot | None:
    """A literal name, or a pattern for one that an f-string computes with some literal text in it."""
    match name:
        case ast.Constant(value=str() as slot):
            return slot
        case ast.JoinedStr(values=parts) if len(parts) <= _LONGEST_PATTERN:
            texts = [part.value if isinstance(part, ast.Constant) else None for part in parts]
            if any(re.search("[^_]", str(text or "")) for text in texts):
                return re.compile("".join(".+" if text is None else re.escape(str(text)) for text in texts))
    return None


def _key_of(node: ast.Attribute | ast.Subscript) -> Key | None:
    return node.attr if isinstance(node, ast.Attribute) else constant_key(node.slice)


def constant_key(node: ast.expr) -> Key | None:
    """The subscript, where it is a literal string or integer."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str | int) else None


def last_name(node: ast.expr) -> str | None:
    """`Parameter` of `torch.nn.Parameter`."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None
