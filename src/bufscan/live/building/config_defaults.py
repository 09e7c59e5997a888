"""Arguments that constructors ask for and that are made of nothing: configurations with all their defaults."""

from __future__ import annotations

import dataclasses
import inspect
import types
from typing import TYPE_CHECKING, Any, get_args

from bufscan.live.reach.anatomy import is_stdlib_class, is_torch_class, mro_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NAMED_ALONE = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def required(value: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters without a default."""
    try:
        parameters = inspect.signature(value).parameters.values()
    except (ValueError, TypeError):  # some callables written in C have no signature
        return []
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [each for each in parameters if each.default is each.empty and each.kind not in variadic]


def config_classes(value: Callable[..., Any]) -> dict[str, type]:
    """The classes of configurations that build without arguments, by the required parameters that ask for them."""
    found: dict[str, type] = {}
    for parameter in required(value):
        if parameter.kind in _NAMED_ALONE:
            for cls in _classes_in(parameter.annotation, _globals_of(value)):
                if _is_config(cls) and not required(cls):
                    found.setdefault(parameter.name, cls)
    return found


def _classes_in(annotation: Any, names: dict[str, Any]) -> Iterator[type]:
    """Those that an annotation allows; one that stands as text is looked up where it was written."""
    if isinstance(annotation, str):
        parts = [named(names, part.strip(" '\"")) for part in annotation.split("|")]
        yield from (part for part in parts if isinstance(part, type))
    elif isinstance(annotation, type):
        yield annotation
    else:
        yield from (each for each in get_args(annotation) if isinstance(each, type))


def _globals_of(value: Any) -> dict[str, Any]:
    function = inspect.unwrap(vars(value).get("__init__", value) if isinstance(value, type) else value)
    return function.__globals__ if isinstance(function, types.FunctionType) else {}


def named(names: dict[str, Any], dotted: str) -> Any:
    """What a dotted name means in a module that has these names; None where it means nothing."""
    first, *rest = dotted.split(".")
    found = names.get(first)
    for name in rest:
        found = vars(found).get(name) if isinstance(found, types.ModuleType) else None
    return found


def _is_config(cls: type) -> bool:
    """Whether objects of the class are settings: a dataclass (attrs's too), or by its name or that of a base."""
    if is_torch_class(cls) or is_stdlib_class(cls):
        return False
    is_record = dataclasses.is_dataclass(cls) or hasattr(cls, "__attrs_attrs__")
    return is_record or any(base.__name__.endswith("Config") for base in mro_of(cls))
