"""What a pickled module holds besides its registrations: in attributes, containers, objects and hidden modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from bufscan.formats.checkpoint.collecting import VISIT, Statement, stated_as
from bufscan.formats.checkpoint.module_instance import (
    attribute_names,
    child_step,
    class_of,
    held_by_module,
    module_state,
    read_registry,
    recomputed_attributes,
    registered_in,
)
from bufscan.formats.checkpoint.own_apply import moved_attributes
from bufscan.formats.checkpoint.saved_optimizer import optimizer_fields
from bufscan.formats.pickle.object_graph import (
    HOLDERS,
    MAX_DEPTH,
    ObjectPath,
    children_of,
    partial_children,
    step_into,
    walk,
)
from bufscan.formats.pickle.pickle_values import Instance, Pairs, elements_of, lookup, pairs_of
from bufscan.inventory import Facts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.formats.checkpoint.collecting import Collector
    from bufscan.formats.checkpoint.registrations import Registrations

# How a tensor is held is said by the strongest step on the way to it.
_STRENGTH = (
    *("attribute", "container", "object", "partial", "hook", "hidden_module"),
    *("moved_by_apply", "recomputed", "packed_object", "packed_params", "optimizer", "unstated"),
)
_RANK = {holding: rank for rank, holding in enumerate(_STRENGTH)}

_EVIDENCE = {
    "attribute": "module pickle: plain attribute",
    "container": "module pickle: inside a container",
    "object": "module pickle: inside another object",
    "partial": "module pickle: argument of a functools.partial",
    "hook": "module pickle: held by a hook",
    "hidden_module": "module pickle: inside an unregistered module",
    "maybe_computed": "module pickle: requires grad, but is no nn.Parameter",
    "moved_by_apply": "module pickle: the `_apply` of its library moves it",
    "recomputed": "module pickle: a pre-forward hook computes it",
    "packed_params": "module pickle: packed parameters",
    "stale_alias": "module pickle: another reference to a registered storage",
}
_FACTS = {
    "moved_by_apply": Facts(saved=None, moves=None, trains=False),
    "packed_object": Facts(saved=None, moves=None, trains=False),
    "packed_params": Facts(saved=True, moves=None, trains=False),
}
_OPTIMIZER_STATE = Statement("training_state", "module pickle: inside an optimizer")

# torch's own objects hold its machinery, but these hold the user's tensors.
_TORCH_HOLDERS = (
    *("torch.distributions.", "torch.nn.", "torch.ao.", "torch.quantization."),
    *("torch.return_types.", "torch.Size"),
)
_TRAINING = ("torch.optim.", "torch.amp.grad_scaler.", "torch.cuda.amp.grad_scaler.")
_DATA = "torch.utils.data."
_SCRIPT_OBJECT = "torch.ScriptObject"
_QUANTIZED = ("torch.ao.", "torch.nn.quantized.", "torch.nn.intrinsic.", "torch.nn.quantizable.")


class HeldAt(NamedTuple):
    """Where an object lies, and how a tensor there would be held.

    `holder` is the outermost hidden module on the way.
    """

    path: ObjectPath
    holding: str
    holder: ObjectPath | None = None

    def step(self, step: Any, value: Any, holding: str = "attribute") -> HeldAt:
        """The way one step further, held at least as strongly."""
        strongest = max(self.holding, holding, key=_RANK.__getitem__)
        return HeldAt(step_into(self.path, step, value), strongest, self.holder)


class HeldReader:
    """Collects the tensors that the registered modules hold without registering them."""

    def __init__(self, collector: Collector, section: str, registrations: Registrations, seen: set[int]) -> None:
        self._collector = collector
        self._section = section
        self._registrations = registrations
        self._seen = seen
        self._recomputed: set[int] = set()

    def read_module(self, module: Instance, state: Pairs, path: ObjectPath | None) -> None:
        """Walk everything a registered module holds, and every module hidden in it."""
        self._walk(self._attributes(module, state, path), path)

    def read_opaque(self, module: Instance, path: ObjectPath) -> None:
        """Walk a registered module that is pickled in a form of its own, which states no roles."""
        holding = "packed_params" if class_of(module).startswith(_QUANTIZED) else "unstated"
        self._walk(iter([(module, HeldAt(path, holding))]), path)

    def _walk(self, start: Iterator[tuple[Any, HeldAt]], path: ObjectPath | None) -> None:
        deepest = MAX_DEPTH + (0 if path is None else path.depth)

        def visit(value: Any, way: HeldAt) -> Iterator[tuple[Any, HeldAt]] | None:
            self._collector.allowance.look_at(VISIT)
            if self._collector.rebuilder.is_tensor(value):
                self._collect(value, way)
            elif self._collector.enter(value, self._seen):
                if way.path.depth < deepest:
                    return self._held_by(value, way)
                self._collector.skip_deep(way.path)
            return None

        walk(start, visit)

    def _attributes(
        self, module: Instance, state: Pairs, path: ObjectPath | None, way: HeldAt | None = None
    ) -> Iterator[tuple[Any, HeldAt]]:
        """What a module holds besides its registries; `way` leads to a hidden one."""
        own = attribute_names(module)
        self._collector.allowance.look_at(2 * len(own))
        self._note_recomputed(state)
        moved = moved_attributes(class_of(module), own, state) if way is None else set()
        shadows = own.intersection(
            name for registry in ("_parameters", "_buffers") for name, _ in registered_in(state, registry)
        )
        packs = way is None and class_of(module).startswith(_QUANTIZED)
        for name, held in held_by_module(module):
            holding = "attribute" if way is None else way.holding
            if name in moved:
                holding = "moved_by_apply"
            elif packs and type(held) is Instance and class_of(held) == _SCRIPT_OBJECT:
                holding = "packed_params"
            step = step_into(path, "shadow" if name in shadows else "attribute", name)
            here = HeldAt(step, holding, None if way is None else way.holder)
            hooks = pairs_of(held) if name.endswith("_hooks") else None
            if hooks is None:
                yield held, here
            else:  # by position: the keys count every hook of the process
                for position, hook in enumerate(hooks[1::2]):
                    if type(hook) in HOLDERS:
                        yield hook, here.step("value", position, "hook")

    def _note_recomputed(self, state: Pairs) -> None:
        for name in recomputed_attributes(state):
            held = lookup(state, name)
            if type(held) is Instance:
                self._recomputed.add(id(held))

    def _held_by(self, value: Any, way: HeldAt) -> Iterator[tuple[Any, HeldAt]] | None:
        """What an object on the way holds, where that lies, and how a tensor among it would be held."""
        state = module_state(value)
        if state is not None:
            return self._in_hidden_module(value, state, way)
        if type(value) is Instance and class_of(value).startswith(_DATA):
            self._collector.skip_at(way.path, "it holds data, no part of the model")
            return None
        holding = _holding_in(value)
        if holding is None:
            return None
        children = partial_children(value) if holding == "partial" else children_of(value)
        return ((held, way.step(step, key, holding)) for step, key, held in children)

    def _in_hidden_module(self, module: Instance, state: Pairs, way: HeldAt) -> Iterator[tuple[Any, HeldAt]]:
        inside = HeldAt(way.path, max(way.holding, "hidden_module", key=_RANK.__getitem__), way.holder or way.path)
        for registry in ("_parameters", "_buffers"):
            for name, held in read_registry(state, registry, self._collector.allowance):
                yield held, inside.step("attribute", name)
        for name, held in read_registry(state, "_modules", self._collector.allowance):
            yield held, inside.step(*child_step(module, name))
        yield from self._attributes(module, state, inside.path, inside)

    def _collect(self, value: Any, way: HeldAt) -> None:
        """Note a tensor; a second reference to a Parameter is none, for `.to()` keeps the object."""
        if self._registrations.is_parameter(value):
            return
        name = way.path.within(None)
        if way.holding in ("optimizer", "unstated"):
            statement = _OPTIMIZER_STATE if way.holding == "optimizer" else None
            self._collector.add(value, name, self._section, statement)
            return
        holding = "recomputed" if id(value) in self._recomputed else way.holding
        holder = None if way.holder is None else way.holder.within(None)
        tensor = self._collector.add(value, name, self._section, _unregistered(holding, holder))
        if tensor is None or _RANK[holding] > _RANK["hidden_module"]:
            return
        owner = self._registrations.overlapping(tensor)
        if tensor.requires_grad and tensor.declared is None:
            tensor = stated_as(tensor, _unregistered("maybe_computed", holder))
        elif owner is not None:
            tensor = msgspec.structs.replace(
                stated_as(tensor, _unregistered("stale_alias", holder)), alias_of=owner
            )
        self._collector.tensors[-1] = tensor


def _unregistered(holding: str, holder: str | None) -> Statement:
    said = "packed_params" if holding == "packed_object" else holding
    return Statement("unregistered", _EVIDENCE[said], holding=said, holder=holder, facts=_FACTS.get(holding))


def _holding_in(value: Any) -> str | None:
    """How a container or an object holds tensors; None for one of torch's that holds none of the user's."""
    if type(value) is not Instance or pairs_of(value) is not None or elements_of(value) is not None:
        return "container"
    cls = class_of(value)
    if optimizer_fields(value) is not None or cls.startswith(_TRAINING):
        return "optimizer"
    if cls.startswith("torch."):
        return _holding_in_torchs(cls)
    is_partial = value.is_call_of("functools", "partial") and type(value.state) is tuple
    return "partial" if is_partial else "object"


def _holding_in_torchs(cls: str) -> str | None:
    if cls == _SCRIPT_OBJECT:
        return "packed_object"
    if cls.startswith("torch.nn.utils.prune."):
        return "recomputed"  # the masks that a hook was made with: it uses the registered ones
    return "object" if cls.startswith(_TORCH_HOLDERS) else None
