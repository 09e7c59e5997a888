"""What a model registers: its modules, parameters and buffers under the names that `state_dict` uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from bufscan.inventory import Skipped
from bufscan.live.reach.anatomy import instance_dict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import torch
    from torch import nn


class RegisteredModule(NamedTuple):
    """A module as the model registers it.

    Attributes:
        prefix: what its tensors' names begin with in a state_dict (`layers.0.`, `` for the root).
        first: whether this is the first name under which the module is met.
    """

    prefix: str
    module: nn.Module
    first: bool

    @property
    def path(self) -> str:
        """Its own name (`layers.0`, `` for the root)."""
        return self.prefix.removesuffix(".")


class RegisteredTensor(NamedTuple):
    """An entry of a module's `_parameters` or `_buffers`; `tensor` is None where None is registered."""

    name: str
    attribute: str
    kind: Literal["parameter", "buffer"]
    persistent: bool
    tensor: torch.Tensor | None
    owner: RegisteredModule


class _Node(NamedTuple):
    parent: _Node | None
    entry: RegisteredModule


def registered_modules(root: nn.Module) -> tuple[list[RegisteredModule], list[Skipped]]:
    """Every registered module in the order of `state_dict`, under each of its names.

    A module registered in one of its own descendants would have names without end: it is skipped there.
    """
    found: list[RegisteredModule] = []
    skipped: list[Skipped] = []
    seen: set[int] = set()
    stack = [_Node(None, RegisteredModule("", root, first=True))]
    while stack:
        node = stack.pop()
        entry = node.entry._replace(first=id(node.entry.module) not in seen)
        seen.add(id(entry.module))
        found.append(entry)
        children: list[_Node] = []
        for name, child in table_of(entry.module, "_modules").items():
            if child is None:
                continue
            step = RegisteredModule(f"{entry.prefix}{name}.", child, first=True)
            if _is_ancestor(child, node):
                skipped.append(Skipped(what=step.path, reason="the module is registered inside itself"))
            else:
                children.append(_Node(node, step))
        stack.extend(reversed(children))
    return found, skipped


def registered_tensors(entry: RegisteredModule) -> Iterator[RegisteredTensor]:
    """The parameters, then the buffers, of one module: the order of `state_dict`."""
    transient = _non_persistent_names(entry.module)
    for name, tensor in table_of(entry.module, "_parameters").items():
        yield RegisteredTensor(f"{entry.prefix}{name}", name, "parameter", True, tensor, entry)
    for name, tensor in table_of(entry.module, "_buffers").items():
        yield RegisteredTensor(f"{entry.prefix}{name}", name, "buffer", name not in transient, tensor, entry)


def table_of(module: nn.Module, name: Literal["_parameters", "_buffers", "_modules"]) -> Mapping[str, Any]:
    """One of the registration dicts; a ScriptModule answers with views of its C++ object."""
    table = instance_dict(module).get(name)
    if isinstance(table, dict):
        return table
    if is_script(module):
        return dict(getattr(module, name).items())
    return {}


def is_script(module: nn.Module) -> bool:
    """Whether the module lives in TorchScript: its attributes are C++ ones."""
    import torch

    return isinstance(module, torch.jit.ScriptModule)


def child_step(module: nn.Module, name: str) -> str:
    """How Python reaches the child `name` of a module that no module registers: `[0]`, `['a']`, `.norm`."""
    from torch import nn

    if isinstance(module, nn.ModuleDict):
        return f"[{name!r}]"
    if isinstance(module, (nn.Sequential, nn.ModuleList)) and name.isdecimal():
        return f"[{name}]"
    return f".{name}" if name.isidentifier() else f"._modules[{name!r}]"


def _non_persistent_names(module: nn.Module) -> set[str]:
    names = instance_dict(module).get("_non_persistent_buffers_set")
    return names if isinstance(names, set) else set()


def _is_ancestor(module: nn.Module, node: _Node | None) -> bool:
    while node is not None:
        if node.entry.module is module:
            return True
        node = node.parent
    return False
