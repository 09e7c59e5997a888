"""What runs at every forward pass, and what it does to an attribute: makes it anew, or keeps state in it."""

from __future__ import annotations

import contextlib
from functools import partial
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, NamedTuple

from bufscan.live.reach.anatomy import class_dict, instance_dict, is_a, is_torch_class, kind_of, mro_of
from bufscan.live.reach.functions import codes_of, functions_in, names_in, unwrapped
from bufscan.live.reach.origin import source_of_function
from bufscan.source.abstract_pass import Fate, Routine, fate_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import CodeType

    from torch import nn


class _Method(NamedTuple):
    position: int
    owner: str
    is_static: bool
    function: FunctionType


class Methods:
    """The methods of a class that may run in a forward pass, those of its bases included, without torch's own."""

    def __init__(self, cls: type) -> None:
        self._named: dict[str, list[_Method]] = {}
        self._assigned: dict[tuple[str, ...], frozenset[str]] = {}
        for position, base in enumerate(mro_of(cls)):
            if not is_torch_class(base):
                for name, function in functions_in(base):
                    is_static = is_a(class_dict(base)[name], staticmethod)
                    method = _Method(position, base.__name__, is_static, unwrapped(function))
                    self._named.setdefault(name, []).append(method)

    def assigned_by(self, entries: tuple[str, ...]) -> frozenset[str]:
        """Attributes that the methods `entries`, or those that they name, assign (to whatever object)."""
        if entries not in self._assigned:
            functions = [function for name in entries for function in self._functions(name, 1)]
            self._assigned[entries] = frozenset(self._assigned_from(functions))
        return self._assigned[entries]

    def assigned_by_function(self, function: FunctionType, words: Iterable[str] = ()) -> frozenset[str]:
        """The same of a function that is none of them; `words` are names that it may hand to `setattr`."""
        sets = any("setattr" in code.co_names for code in codes_of(function))
        return frozenset((*self._assigned_from([function]), *(words if sets else ())))

    def fate(self, attribute: str, entries: Iterable[Routine | str], *, is_tensor: bool) -> Fate | None:
        """What `entries`, with all the methods they call, do to the attribute; None where it cannot be followed.

        Args:
            attribute: its name in the instance dict.
            entries: what runs at every pass, one after the other: methods by name.
            is_tensor: whether the attribute itself is a tensor, rather than a container of tensors.
        """
        routines = [self.routine(entry) if isinstance(entry, str) else entry for entry in entries]
        return fate_of(attribute, [routine for routine in routines if routine], self.routine, is_tensor=is_tensor)

    def routine(self, name: str, after: int = -1) -> Routine | None:
        """The method of that name, of the first class after a position in the method resolution order."""
        for position, owner, is_static, function in self._named.get(name, ()):
            if position > after:
                return _routine_of(function, slice(0 if is_static else 1), owner, position)
        return None

    def mentions(self, function: FunctionType, name: str) -> bool:
        """Whether the function, or a method that it names, has the name in its code."""
        return any(name in code.co_names or name in code.co_consts for code in self._codes_from([function]))

    def reached_from(self, entries: tuple[str, ...]) -> list[FunctionType]:
        """The methods `entries`, and those that they name."""
        seen: dict[int, FunctionType] = {}
        pending = [function for name in entries for function in self._functions(name, 1)]
        for _ in self._codes_from(pending, seen):
            pass
        return list(seen.values())

    def _assigned_from(self, pending: list[FunctionType]) -> Iterator[str]:
        for code in self._codes_from(pending):
            yield from names_in(code, "STORE_ATTR")

    def _codes_from(
        self, pending: list[FunctionType], seen: dict[int, FunctionType] | None = None
    ) -> Iterator[CodeType]:
        seen = {} if seen is None else seen
        while pending:
            function = pending.pop()
            if id(function) in seen:
                continue
            seen[id(function)] = function
            for code in codes_of(function):
                yield code
                # With `super` among its names, it may go on to what its own method overrides.
                most = None if "super" in code.co_names else 1
                pending.extend(function for name in code.co_names for function in self._functions(name, most))

    def _functions(self, name: str, most: int | None) -> list[FunctionType]:
        return [function for _, _, _, function in self._named.get(name, [])[:most]]


_RESETTING = ("reset_parameters", "init_weights", "_init_weights", "initialize_weights")


def is_reset(classes: Iterable[type], attribute: str) -> bool:
    """Whether one of the classes has a `reset_parameters` or `init_weights` whose code is about the attribute."""
    for cls in classes:
        for name in _RESETTING:
            found = next((class_dict(base)[name] for base in mro_of(cls) if name in class_dict(base)), None)
            if is_a(found, FunctionType) and Methods(cls).mentions(unwrapped(found), attribute):
                return True
    return False


def fate_by_hooks(module: nn.Module, attribute: str, methods: Methods, *, is_tensor: bool) -> Fate | None:
    """What the module's own pre-forward hooks do to the attribute; None where none of them assigns it."""
    hooks = instance_dict(module).get("_forward_pre_hooks")
    for hook in dict.values(hooks) if isinstance(hooks, dict) else ():
        function, receivers = _function_of(hook, module)
        if function is None or attribute not in methods.assigned_by_function(function, _words_of(hook, function)):
            continue
        written = _routine_of(function, receivers)
        # A lambda has no body to follow, but the methods that it names have.
        entries = [written] if written else function.__code__.co_names
        return methods.fate(attribute, entries, is_tensor=is_tensor) or "renewed"
    return None


def _function_of(hook: Any, module: nn.Module) -> tuple[FunctionType | None, slice]:
    """A hook's code, and which of its arguments stand for the module."""
    if kind_of(type(hook)) == "partial":
        hook = partial.func.__get__(hook)
    if is_a(hook, FunctionType):
        return unwrapped(hook), slice(1)
    if is_a(hook, MethodType) and is_a(hook.__func__, FunctionType):
        return unwrapped(hook.__func__), slice(0 if hook.__self__ is module else 1, 2)
    call = next(
        (class_dict(base)["__call__"] for base in mro_of(type(hook)) if "__call__" in class_dict(base)), None
    )
    return (unwrapped(call), slice(1, 2)) if is_a(call, FunctionType) else (None, slice(0))


def _words_of(hook: Any, function: FunctionType) -> Iterator[str]:
    """Names that a hook may hand to `setattr`: those that it spells, and those that it holds."""
    held: list[Any] = [*instance_dict(hook).values(), *(function.__defaults__ or ())]
    if kind_of(type(hook)) == "partial":
        held += [*partial.args.__get__(hook), *partial.keywords.__get__(hook).values()]
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # a variable that was never assigned
            held.append(cell.cell_contents)
    for code in codes_of(function):
        held += code.co_consts
    return (word for word in held if type(word) is str)


def _routine_of(function: FunctionType, receivers: slice, owner: str = "", position: int = -1) -> Routine | None:
    found = source_of_function(function)
    if found is None or found.node is None:
        return None
    given = [argument.arg for argument in (*found.node.args.posonlyargs, *found.node.args.args)]
    return Routine(found.node, frozenset(given[receivers]), owner, position)
