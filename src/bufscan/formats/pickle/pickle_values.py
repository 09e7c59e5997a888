"""Inert stand-ins for what a pickle describes. Nothing here can be called, hashed by content or resolved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator


class Global(msgspec.Struct, eq=False):
    """A name the pickle refers to. One object per name and load, so identity is equality.

    `module` is None when the pickle computes the name while it runs instead of spelling it out.

    Attributes:
        position: where in its pickle it is mentioned first.
        called: the first call of it, by REDUCE, INST or OBJ; None where there is none.
        made: the first object that NEWOBJ makes of it: its `__new__` is called, so it must be a class.
    """

    module: str | None
    name: str
    position: int = 0
    called: Instance | None = None
    made: Instance | None = None

    @property
    def qualified(self) -> str:
        """Dotted name for people, as the pickle spells it."""
        return self.name if self.module is None else f"{self.module}.{self.name}"


MISSING = Global(None, "a memo entry that was never stored")


class PersistentId(msgspec.Struct, eq=False):
    """A reference out of the pickle: in torch's files, to a storage."""

    value: Any


class Pairs(list[Any]):
    """A dict's contents as `[key, value, key, value, ...]`, in order and with repetitions.

    A real dict would hash keys from the file; a crafted key can hang or crash the interpreter.

    Attributes:
        answers: what `lookup` found, where the search was long.
    """

    __slots__ = ("answers",)

    answers: dict[str, Any]

    def entries(self) -> Iterator[tuple[Any, Any]]:
        """Each key with its value; a later repetition of a key comes again."""
        contents = iter(self)
        return zip(contents, contents, strict=True)


class Instance(msgspec.Struct, eq=False):
    """What calling `func(*args)` would have made, had anybody called it.

    Attributes:
        func: what would be called: a Global, or anything else in a crafted file.
        args: its arguments; a crafted file may give something that is no tuple.
        state: what BUILD would have set, or None.
        items: what would have been set as `instance[key] = value`, or None.
        elements: what would have been appended, or None.
    """

    func: Any
    args: Any
    state: Any = None
    items: Pairs | None = None
    elements: list[Any] | None = None

    def is_call_of(self, module: str, name: str) -> bool:
        """Whether the call is of the global `module.name`."""
        func = self.func
        return type(func) is Global and func.name == name and func.module == module


def named_class(value: Any) -> Global | None:
    """The class that a value names: by itself or, in older files, as `("module", class, file, source text)`."""
    if type(value) is PersistentId:
        match value.value:
            case ("module", Global() as value, *_):
                pass
            case _:
                pass
    return value if type(value) is Global else None


_DICT_CLASSES = {
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("collections", "Counter"),
    ("builtins", "dict"),
    ("__builtin__", "dict"),
    ("torch.nn.modules.container", "OrderedDict"),
}


def is_dict_class(func: Any) -> bool:
    """Whether calling it makes one of the standard library's dicts."""
    return type(func) is Global and (func.module, func.name) in _DICT_CLASSES


def pairs_of(value: Any) -> Pairs | None:
    """The contents of a dict or of one of the standard library's dict classes; None for anything else.

    A subclass written by a user counts when it behaves like a dict: it was filled by item assignment.
    """
    if type(value) is Pairs:
        return value
    if type(value) is Instance:
        if value.items is not None:
            return value.items
        if is_dict_class(value.func):
            return Pairs()
    return None


_SEQUENCE_CLASSES = {"set", "frozenset", "list", "tuple", "deque", "Size"}


def elements_of(value: Any) -> list[Any] | tuple[Any, ...] | None:
    """The elements of a list, tuple, set or deque, or of an object filled by appending; else None."""
    if type(value) in (list, tuple):
        found: list[Any] | tuple[Any, ...] = value
        return found
    if type(value) is Instance:
        if value.elements is not None:
            return value.elements
        func, args = value.func, value.args
        if (
            type(func) is Global
            and func.name in _SEQUENCE_CLASSES
            and type(args) is tuple
            and args
            and type(args[0]) in (list, tuple)
        ):
            inner: list[Any] | tuple[Any, ...] = args[0]
            return inner
    return None


def is_set(value: Any) -> bool:
    """Whether it is a set: its elements have no places."""
    return type(value) is Instance and type(value.func) is Global and value.func.name in ("set", "frozenset")


_FEW = 64


def lookup(pairs: Pairs, key: str) -> Any:
    """The value a dict would hold under `key`: the last one given; None when there is none."""
    if len(pairs) <= _FEW:
        return _search(pairs, key)
    # A pickle can hold one large dict in very many places, and the same few keys are asked for in each.
    try:
        answers = pairs.answers
    except AttributeError:
        answers = pairs.answers = {}
    if key not in answers:
        answers[key] = _search(pairs, key)
    return answers[key]


def _search(pairs: Pairs, key: str) -> Any:
    found = None
    for name, value in pairs.entries():
        if type(name) is str and name == key:
            found = value
    return found
