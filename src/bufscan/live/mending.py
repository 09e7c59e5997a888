"""From what the live walk met to the line that mends it; `suggestion` then knows records only, no objects."""

from __future__ import annotations

import re
from itertools import islice
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from bufscan.live.anatomy import (
    class_dict,
    is_a,
    is_stdlib_class,
    is_torch_class,
    items_of_mapping,
    kind_of,
    member_of,
    mro_of,
    own_attributes,
)
from bufscan.live.describing import elements_of
from bufscan.live.origin import find_assignment, find_default, find_global_assignment
from bufscan.live.registry import table_of
from bufscan.live.suggestion import Fault, Misregistration, suggest
from bufscan.live.wording import Setting

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    import torch
    from torch import nn

    from bufscan.inventory import Location
    from bufscan.live.classifying import Verdict
    from bufscan.live.naming import Place
    from bufscan.live.origin import Assignment
    from bufscan.live.registry import RegisteredTensor
    from bufscan.live.shadowing import Shadow
    from bufscan.live.suggestion import Container, Suggestion
    from bufscan.source.slots import Key

_MOST_KEYS = 1000  # looked at, to tell whether all of a mapping's may be names
_CONTAINERS: Mapping[str, Container] = {"sequence": "sequence", "mapping": "mapping", "set": "set"}
_HELD_BY_FUNCTION = re.compile(
    r"\.__closure__\[(?P<cell>\d+)\]\.cell_contents|\.__defaults__\[(?P<default>\d+)\]"
    r"|\.__kwdefaults__\['(?P<keyword>\w+)'\]"
)
# Classes that make their own __init__ cannot simply be made modules.
_GENERATED_INIT = ("__dataclass_fields__", "__attrs_attrs__")


class _Way(NamedTuple):
    """A way through the object graph, split where the source has a name for its beginning.

    Attributes:
        name: an attribute of a module, or a global, a variable or an argument of a function; dots included.
        where: see `Fault`.
        start: the place that the name stands for.
        steps: the places after it.
    """

    name: str
    where: Literal["instance", "class", "function"]
    start: Place
    steps: list[Place]


def suggestion_at(
    place: Place, tensor: torch.Tensor, verdict: Verdict, found_at: Location | None
) -> Suggestion | None:
    """The line that would register what the walk met, or the outermost hidden module that it is in.

    Args:
        place: where it was met.
        tensor: what was met.
        verdict: what is wrong with it.
        found_at: where the source makes it so.
    """
    is_hidden = verdict.holding == "hidden_module" and place.holder is not None
    way = _way_to(place.holder if is_hidden and place.holder else place)
    if way is None:
        return None
    container = _container_of(way)
    key = way.steps[0].anchor.key if container and way.steps[0].anchor else None
    is_alias = verdict.holding == "stale_alias"
    target = _below(verdict.alias_of, place) if is_alias else None
    fault = Fault(
        kind="shadowed_by_instance" if _hides_a_registered(way, is_module=is_hidden) else verdict.holding,
        name=way.name,
        where=way.where,
        inner="".join(step.prefix + step.suffix for step in way.steps),
        container=container,
        key=key,
        other_keys=_keys_of(way) if container == "mapping" else (),
        owner=_object_on(way) if is_alias else _own_class_on(way),
        is_parameter=_wants_to_train(tensor),
        is_leaf=tensor.is_leaf,
        is_view=is_alias and not _shows_all_of(tensor, place.home.module, target),
        target=target,
        target_is_replaced=target is not None and _is_replaced(type(place.home.module), target),
        is_module=is_hidden,
        trains=place.holder_trains if is_hidden else _wants_to_train(tensor),
        is_complex=tensor.is_complex(),
    )
    return _suggest(fault, _assignment_of(way), place.home.module, found_at)


def suggestion_for(entry: RegisteredTensor, shadow: Shadow | None) -> Suggestion | None:
    """The line that would mend a registered tensor: one that is hidden, or see `misregistration_of`."""
    tensor, owner = entry.tensor, type(entry.owner.module)
    if tensor is None:
        return None
    if shadow is not None:
        cls, name, want, _ = shadow.anchor
        assignment = find_assignment(cls, name, want) if isinstance(cls, type) and name else None
        fault = Fault(kind=shadow.holding, name=shadow.name, is_module=shadow.module is not None)
        return _suggest(fault, assignment, entry.owner.module)
    kind = misregistration_of(entry)
    if kind is None:
        return None
    assignment = find_assignment(owner, entry.attribute, "registration")
    fault = Fault(
        kind=kind,
        name=entry.attribute,
        is_parameter=tensor.requires_grad,
        is_leaf=tensor.is_leaf,
        persistent=entry.persistent,
    )
    return _suggest(fault, assignment, entry.owner.module)


def _suggest(
    fault: Fault, assignment: Assignment | None, module: nn.Module, found_at: Location | None = None
) -> Suggestion | None:
    from torch import nn

    taken = {name for cls in mro_of(type(module)) for name in class_dict(cls)}
    if assignment is not None and assignment.is_cached_property:
        taken.discard(fault.name)  # it goes where it was
    registered = fault.kind in get_args(Misregistration) or fault.kind.startswith("shadowed")
    setting = Setting(
        found_at, hasattr(nn, "Buffer"), () if registered else taken, () if registered else _NamesHeld(module)
    )
    return suggest(fault, assignment, setting)


class _NamesHeld:
    """The names that a module has for something: asked one at a time, for there may be as many as tensors."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def __contains__(self, name: object) -> bool:
        tables = (table_of(self._module, table) for table in ("_parameters", "_buffers", "_modules"))
        return name in own_attributes(self._module) or any(name in table for table in tables)


def misregistration_of(entry: RegisteredTensor) -> Misregistration | None:
    """What is wrong with how a buffer is registered; most often nothing."""
    from torch import nn

    if entry.kind != "buffer" or entry.tensor is None:
        return None
    if isinstance(entry.tensor, nn.Parameter):
        return "parameter_as_buffer"
    if entry.tensor.requires_grad:
        return "trainable_buffer"
    return "uninitialised_buffer" if lacks_values(entry) else None


def lacks_values(entry: RegisteredTensor) -> bool:
    """Whether it is a buffer without values that no checkpoint brings."""
    tensor = entry.tensor
    return entry.kind == "buffer" and not entry.persistent and tensor is not None and tensor.device.type == "meta"


def _way_to(place: Place) -> _Way | None:
    """The way from what a person has a name for; None for one through hooks, partials and the like."""
    chain: list[Place] = []
    here: Place | None = place
    while here is not None and here.parent is not None:
        chain.insert(0, here)
        here = here.parent
    for position in range(len(chain) - 1, -1, -1):
        step = chain[position]
        if step.spelling is not None:
            return _Way(step.spelling, "function", step, chain[position + 1 :])
        if step.anchor is not None and is_a(step.anchor.owner, FunctionType):
            found = _HELD_BY_FUNCTION.fullmatch(step.suffix)
            if found:
                name = _name_in_function(step.anchor.owner, found)
                return _Way(name, "function", step, chain[position + 1 :])
    if not chain or chain[0].anchor is None or not isinstance(chain[0].anchor.owner, type):
        return None
    where: Literal["instance", "class"] = "class" if chain[0].anchor.want == "class_value" else "instance"
    return _Way(chain[0].anchor.name or "", where, chain[0], chain[1:])


def _name_in_function(function: FunctionType, found: re.Match[str]) -> str:
    code = function.__code__
    if found["cell"]:
        return code.co_freevars[int(found["cell"])]
    if found["default"]:
        last = code.co_argcount - len(function.__defaults__ or ())
        return code.co_varnames[last + int(found["default"])]
    return found["keyword"]


def _assignment_of(way: _Way) -> Assignment | None:
    anchor = way.start.anchor
    if anchor is None:
        return None
    owner, name, want, _ = anchor
    if isinstance(owner, type):
        return find_assignment(owner, name or way.name, want)
    if isinstance(owner, FunctionType) and "defaults__" in way.start.suffix:
        return find_default(owner, way.name)
    return find_global_assignment(owner, name or way.name)


def _container_of(way: _Way) -> Container | None:
    """What kind of container the name stands for, where the tensor is one step inside it."""
    if len(way.steps) != 1 or way.steps[0].holding not in (
        "container",
        "hidden_module",
        "class_attribute",
        "global",
    ):
        return None
    return _CONTAINERS.get(kind_of(type(_value_of(way))))


def _keys_of(way: _Way) -> tuple[Key | None, ...]:
    keys = (key for key, _ in islice(items_of_mapping(_value_of(way)), _MOST_KEYS))
    return tuple(key if type(key) in (str, int) else None for key in keys)


def _value_of(way: _Way) -> Any:
    if way.where == "instance" or way.start.anchor is None:
        return own_attributes(way.start.home.module).get(way.name)
    owner, name, *_ = way.start.anchor
    # A class first: asked whether it is a function, it would ask its metaclass.
    if not isinstance(owner, type) and isinstance(owner, FunctionType):
        return owner.__globals__.get(way.name)
    return member_of(owner, name or way.name)


def _is_replaced(owner: type, buffer: str) -> bool:
    """Whether the class gives the buffer another tensor later: its alias may keep the first one on purpose."""
    found = find_assignment(owner, buffer, "registration")
    return found is not None and found.is_replaced


def _own_class_on(way: _Way) -> str | None:
    """The user's own class of the last object on the way, where it could be made a module."""
    for step in reversed(way.steps):
        owner = step.anchor.owner if step.anchor else None
        if step.anchor is not None and step.anchor.want == "class_value":
            return None  # the class has it, not its objects
        if isinstance(owner, type) and kind_of(owner) == "object" and step.suffix.startswith("."):
            return owner.__name__ if _can_be_module(owner) else None
    return None


def _hides_a_registered(way: _Way, *, is_module: bool) -> bool:
    """Whether the name is one that the module registers too: an assignment would have gone there."""
    module = way.start.home.module
    if is_module:
        registered = {*table_of(module, "_modules")}
    else:
        registered = {*table_of(module, "_parameters"), *table_of(module, "_buffers")}
    return way.where == "instance" and not way.steps and way.name in registered


def _can_be_module(owner: type) -> bool:
    namespaces = [class_dict(cls) for cls in mro_of(owner)]
    if is_torch_class(owner) or any(name in namespace for namespace in namespaces for name in _GENERATED_INIT):
        return False
    return not is_stdlib_class(owner)


def _object_on(way: _Way) -> str | None:
    """The class of an object on the way that is no plain container."""
    for step in way.steps:
        if step.holding not in ("attribute", "container", "class_attribute", "global"):
            return type(step).__name__ if step.anchor is None else str(step.anchor.name)
    return None


def _wants_to_train(tensor: torch.Tensor) -> bool:
    from torch import nn

    return isinstance(tensor, nn.Parameter) or (tensor.requires_grad and tensor.is_leaf)


def _below(name: str | None, place: Place) -> str | None:
    """A registered name as the module whose walk led here would write it, where it is one of its own."""
    prefix = place.home.prefix
    if name is None or not name.startswith(prefix):
        return None
    written = ""
    for part in name.removeprefix(prefix).split("."):
        if not part.isidentifier() and not part.isdecimal():
            return None
        written += f"[{part}]" if part.isdecimal() else f".{part}"
    return written.removeprefix(".")


def _shows_all_of(tensor: torch.Tensor, module: nn.Module, path: str | None) -> bool:
    """Whether the tensor shows the very elements of the registered one at `path`."""
    if path is None:
        return False
    *parents, last = re.findall(r"\w+", path)
    for part in parents:
        module = table_of(module, "_modules")[part]
    registered = table_of(module, "_buffers").get(last)
    return registered is tensor or (registered is not None and elements_of(registered) == elements_of(tensor))
