"""What tells a model from others: classes, names and shapes. Models that agree in it are measured once."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from bufscan.live.reach.anatomy import class_dict, instance_dict, kind_of
from bufscan.live.reach.describing import is_uninitialised, subclasses_not_asked
from bufscan.live.reach.registry import is_script, table_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    import torch
    from torch import nn

_SIZED = (dict, list, tuple, set, collections.OrderedDict, collections.deque)
_TABLES: Final = ("_parameters", "_buffers")


class Structure(NamedTuple):
    """Of one model.

    Attributes:
        key: the same for models of the same classes, with attributes of the same names, kinds, shapes and dtypes.
            Of plain containers, how much is in them; what lies deeper is not looked at.
        modules: all that are registered in it, itself first.
    """

    key: int
    modules: list[nn.Module]


def structure_of(root: nn.Module) -> Structure:
    """Takes about a microsecond an attribute, and runs none of the user's code."""
    modules: list[nn.Module] = []
    parts: list[Hashable] = []
    seen: dict[int, int] = {}
    pending = [root]
    with subclasses_not_asked():
        while pending:
            module = pending.pop()
            if id(module) in seen:
                parts.append(seen[id(module)])
                continue
            seen[id(module)] = len(modules)
            modules.append(module)
            parts.append(tuple(_looks_of(module)))
            children = table_of(module, "_modules")
            parts.append(tuple(children))
            pending.extend(child for child in children.values() if child is not None)
    return Structure(hash(tuple(parts)), modules)


def name_of_class(cls: type) -> tuple[str, str]:
    """Module and qualified name; a class that a function makes has the same every time."""
    names = (class_dict(cls).get("__module__"), type.__dict__["__qualname__"].__get__(cls))
    return str(names[0]), str(names[1])


def _looks_of(module: nn.Module) -> Iterator[Hashable]:
    yield name_of_class(type(module))
    for table in _TABLES:
        for name, tensor in table_of(module, table).items():
            yield name, _look_of(tensor)
    if is_script(module):
        return
    transient = instance_dict(module).get("_non_persistent_buffers_set")
    yield frozenset(transient) if type(transient) is set else None
    for name, value in list(instance_dict(module).items()):
        if name not in _TABLES and name != "_modules":
            yield name, _look_of(value)


def _look_of(value: Any) -> Hashable:
    cls = type(value)
    if cls in _SIZED:
        return cls.__name__, len(value)
    return _look_of_tensor(value) if kind_of(cls) == "tensor" else cls.__name__


def _look_of_tensor(tensor: torch.Tensor) -> Hashable:
    if is_uninitialised(tensor):
        return "uninitialised"
    return type(tensor).__name__, tuple(tensor.shape), tensor.dtype, tensor.requires_grad, tensor.device.type
