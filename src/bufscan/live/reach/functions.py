"""What functions reach without holding it in an instance: globals, and which functions belong to a model."""

from __future__ import annotations

import builtins
import dis
import sys
import types
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from bufscan.live.reach.anatomy import (
    class_dict,
    instance_dict,
    is_a,
    is_namespace,
    is_torch_class,
    kind_of,
    member_of,
    module_dict,
    module_of,
    mro_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# What runs only while the model is made or shown: the tensors it names need not move with the model.
_NOT_IN_FORWARD = frozenset(
    (
        *("__init__", "__new__", "__post_init__", "__init_subclass__", "__repr__", "__str__", "extra_repr"),
        *(
            "reset_parameters",
            "_reset_parameters",
            "init_weights",
            "_init_weights",
            "_init_weight",
            "initialize_weights",
        ),
    )
)


Namespace: TypeAlias = type | types.ModuleType

# Of what a namespace has; its functions belong to other files, and its classes hold nothing until they are named.
_VALUES_IN_NAMESPACES = frozenset(("tensor", "module", "sequence", "mapping", "set", "partial", "object", "enum"))
_LOADS_ATTRIBUTE = ("LOAD_ATTR", "LOAD_METHOD")
_MOST_CODES = 5000  # of functions, whose byte code is remembered


class Global(NamedTuple):
    """What a function's code calls `MASK`, or `tables.MASK`.

    Attributes:
        name: in the function's global namespace.
        members: the names after the dots, each with the module or class that has it.
        value: what the last name stands for.
    """

    name: str
    members: tuple[tuple[Namespace, str], ...]
    value: Any


def files_of(classes: Iterable[type]) -> set[int]:
    """Ids of the global namespaces of the files that define the classes, without torch's own."""
    bases = {id(base): base for cls in classes for base in mro_of(cls) if not is_torch_class(base)}
    modules = (sys.modules.get(module_of(base)) for base in bases.values())
    return {id(module_dict(module)) for module in modules if module is not None and module is not builtins}


def functions_in(cls: type) -> Iterator[tuple[str, types.FunctionType]]:
    """The methods that a class itself defines and that may run in a forward pass."""
    for name, value in list(class_dict(cls).items()):
        function = _function_behind(value)
        if is_a(function, types.FunctionType) and name not in _NOT_IN_FORWARD:
            yield name, function


def globals_of(function: types.FunctionType) -> Iterator[Global]:
    """The globals that the function's code, and code nested in it, loads and that may lead to tensors.

    A name in `co_names` may as well be an attribute (`self.mask`), so what counts is the instruction.
    """
    found: dict[tuple[str, ...], Global] = {}
    for code in codes_of(function):
        known = {name: function.__globals__[name] for name in code.co_names if name in function.__globals__}
        wanted = {name for name, value in known.items() if kind_of(type(value)) not in ("atom", "class")}
        spaces = {name for name, value in known.items() if is_namespace(value)}
        if not wanted and not spaces:
            continue
        loaded = _globals_in(code)
        for name in loaded:
            if name in wanted:
                found.setdefault((name,), Global(name, (), known[name]))
        if not spaces.isdisjoint(loaded):
            for member in _members_named(code, {name: known[name] for name in spaces}):
                found.setdefault((member.name, *(name for _, name in member.members)), member)
    yield from found.values()


def _members_named(code: types.CodeType, spaces: dict[str, Namespace]) -> Iterator[Global]:
    """What the code takes from modules and classes among its globals: `tables.MASK`, `Tables.mask`."""
    for name, *attributes in _dotted_in(code):
        here = Global(name, (), spaces[name]) if name in spaces else None
        for attribute in attributes:
            if here is None:
                break
            value = member_of(here.value, attribute)
            member = Global(name, (*here.members, (here.value, attribute)), value)
            here = member if is_namespace(value) else None
            if kind_of(type(value)) in _VALUES_IN_NAMESPACES:
                yield member


# A program that is watched has models of the same classes scanned a hundred times.
@lru_cache(maxsize=_MOST_CODES)
def _globals_in(code: types.CodeType) -> tuple[str, ...]:
    return tuple(names_in(code, "LOAD_GLOBAL"))


@lru_cache(maxsize=_MOST_CODES)
def _dotted_in(code: types.CodeType) -> tuple[tuple[str, ...], ...]:
    """The globals that the code loads, each with the attributes that it takes from it at once."""
    found: list[tuple[str, ...]] = []
    follows = False
    for step in dis.get_instructions(code):
        if step.opname == "LOAD_GLOBAL":
            found.append((step.argval,))
        elif follows and step.opname in _LOADS_ATTRIBUTE:
            found[-1] = (*found[-1], step.argval)
        follows = step.opname == "LOAD_GLOBAL" or (follows and step.opname in _LOADS_ATTRIBUTE)
    return tuple(each for each in found if each[1:])


def _function_behind(value: Any) -> object:
    if is_a(value, staticmethod) or is_a(value, classmethod):
        return value.__func__
    if is_a(value, property):
        return value.fget
    if is_a(value, types.FunctionType) and str(value.__globals__.get("__name__")).startswith("bufscan."):
        return unwrapped(value)  # `bufscan run` looks on through it
    return value.func if is_a(value, cached_property) else value


def unwrapped(function: types.FunctionType) -> types.FunctionType:
    """What a decorator such as `torch.no_grad()` wraps."""
    seen = {id(function)}
    wrapped: Any = instance_dict(function).get("__wrapped__")
    while is_a(wrapped, types.FunctionType) and id(wrapped) not in seen:
        function = wrapped
        seen.add(id(function))
        wrapped = instance_dict(function).get("__wrapped__")
    return function


def names_in(code: types.CodeType, operation: Literal["LOAD_GLOBAL", "STORE_ATTR"]) -> Iterator[str]:
    """The names that one kind of instruction takes, in the order of the code.

    `dis.get_instructions` says the same at fifty times the cost. `co_code` is pairs of operation and argument
    bytes; an argument over 255 has its higher bytes in EXTENDED_ARG operations before it, and LOAD_GLOBAL's
    lowest bit is a flag.
    """
    operations, arguments = code.co_code[::2], code.co_code[1::2]
    wanted = dis.opmap[operation]
    position = operations.find(wanted)
    while position != -1:
        argument, before, shift = arguments[position], position - 1, 8
        while before >= 0 and operations[before] == dis.EXTENDED_ARG:
            argument |= arguments[before] << shift
            before, shift = before - 1, shift + 8
        yield code.co_names[argument >> 1 if operation == "LOAD_GLOBAL" else argument]
        position = operations.find(wanted, position + 1)


_FILLING = frozenset(("append", "appendleft", "add", "extend", "update", "insert", "setdefault", "copy_"))


def fills(code: types.CodeType) -> bool:
    """Whether the code puts something into what it was handed, or assigns to a variable outside itself."""
    stores = ("STORE_SUBSCR", "STORE_ATTR", "STORE_GLOBAL", "STORE_DEREF")
    operations = code.co_code[::2]
    if not _FILLING.isdisjoint(code.co_names):
        return True
    own = frozenset(code.co_cellvars)
    return any(dis.opmap[name] in operations for name in stores[:3]) or (
        dis.opmap["STORE_DEREF"] in operations and bool(frozenset(code.co_freevars) - own)
    )


def codes_of(function: types.FunctionType) -> Iterator[types.CodeType]:
    """The function's code and all code nested in it."""
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        codes.extend(constant for constant in code.co_consts if isinstance(constant, types.CodeType))
        yield code
