"""A whole nn.Module in a pickle: what it registered, and what it only held.

The dict that a Module pickles states every role: `_parameters`, `_buffers`, `_non_persistent_buffers_set` and
`_modules` (torch/nn/modules/module.py). Whatever tensor is reached in any other way was never registered.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from bufscan.formats.collecting import VISIT, Statement
from bufscan.formats.object_graph import HOLDERS, MAX_DEPTH, ObjectPath, children_of, step_into, walk
from bufscan.formats.pickle_values import Global, Instance, Pairs, elements_of, lookup, named_class, pairs_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.formats.collecting import Collector

_REGISTRIES = ("_parameters", "_buffers", "_modules")
_UNSAVED = "_non_persistent_buffers_set"

_PARAMETER = Statement("parameter", "module pickle: _parameters")
_PERSISTENT = Statement("persistent_buffer", "module pickle: _buffers")
_NON_PERSISTENT = Statement("non_persistent_buffer", f"module pickle: {_UNSAVED}")

_OPTIMIZER = "optimizer"
_EVIDENCE = {
    "attribute": "module pickle: plain attribute",
    "container": "module pickle: inside a container",
    "object": "module pickle: inside another object",
    "hidden_module": "module pickle: inside an unregistered module",
    "stale_alias": "module pickle: another reference to a registered storage",
}


def module_state(value: Any) -> Pairs | None:
    """The instance dict of a pickled nn.Module; None for anything else."""
    if type(value) is not Instance:
        return None
    for state in value.state if type(value.state) is tuple else (value.state,):
        if type(state) is Pairs and pairs_of(lookup(state, "_parameters")) is not None:
            return state if pairs_of(lookup(state, "_modules")) is not None else None
    return None


def class_name(value: Instance) -> str:
    """The qualified name of the instance's class, as the pickle spells it."""
    func = value.func
    if type(func) is Global and func.name == "_reconstructor" and type(value.args) is tuple and value.args:
        func = value.args[0]
    named = named_class(func)
    return "an unnamed class" if named is None else named.qualified


class _Registered(NamedTuple):
    """One registered module: the prefix of its names, and its instance dict."""

    prefix: str
    state: Pairs


class _Way(NamedTuple):
    """Where an unregistered object lies below its module, and how a tensor there would be held.

    `holder` is the outermost hidden module on the way.
    """

    path: ObjectPath
    holding: str
    holder: ObjectPath | None = None


class ModuleReader:
    """Reads one pickled module into the collector."""

    def __init__(self, collector: Collector, section: str) -> None:
        self._collector = collector
        self._section = section
        self._seen: set[int] = set()
        self._parameters: set[int] = set()
        self._owners: dict[str, str] = {}

    def read(self, root: Instance) -> None:
        """Collect the registered tensors under their state_dict names, then the others under their paths."""
        modules = self._registered_modules(root)
        for module in modules:
            self._collect_registered(module)
        for module in modules:
            self._collect_held(module)

    def _registered_modules(self, root: Instance) -> list[_Registered]:
        """Every registered module in the order of state_dict(), a shared one under each of its names."""
        found: list[_Registered] = []
        lineage: list[int] = []  # ids of the modules on the way down
        most = self._collector.allowance.entries // 2  # the others are for their tensors
        levels = [iter([("", root)])]
        while levels:
            for prefix, value in levels[-1]:
                state = module_state(value)
                if state is None or id(value) in lineage:
                    continue
                if len(lineage) >= MAX_DEPTH or len(found) >= most:
                    reason = "more or deeper ones than a file of this size can hold"
                    self._collector.skip("further modules", reason, failed=True)
                    continue
                self._collector.take_text(prefix)
                self._seen.add(id(value))
                self._collector.allowance.look_at(len(state))
                found.append(_Registered(prefix, state))
                lineage.append(id(value))
                levels.append(self._submodules(prefix, state))
                break
            else:
                levels.pop()
                if lineage:
                    lineage.pop()
        return found

    def _submodules(self, prefix: str, state: Pairs) -> Iterator[tuple[str, Any]]:
        for name, value in self._registry(state, "_modules"):
            yield f"{prefix}{name}.", value

    def _registry(self, state: Pairs, registry: str) -> Iterator[tuple[str, Any]]:
        """The named entries of one of a module's registries."""
        pairs = pairs_of(lookup(state, registry)) or Pairs()
        self._collector.allowance.look_at(len(pairs))
        return ((name, value) for name, value in pairs.entries() if type(name) is str)

    def _collect_registered(self, module: _Registered) -> None:
        prefix, state = module
        unsaved = self._unsaved_names(state)
        for name, value in self._registry(state, "_parameters"):
            self._parameters.add(id(value))
            self._collect(value, prefix + name, _PARAMETER)
        for name, value in self._registry(state, "_buffers"):
            self._collect(value, prefix + name, _NON_PERSISTENT if name in unsaved else _PERSISTENT)

    def _unsaved_names(self, state: Pairs) -> set[str]:
        listed = elements_of(lookup(state, _UNSAVED)) or ()
        self._collector.allowance.look_at(len(listed))
        return {name for name in listed if type(name) is str}

    def _collect(self, value: Any, name: str, statement: Statement) -> None:
        if self._collector.rebuilder.is_tensor(value):  # it may be registered as None
            tensor = self._collector.add(value, name, self._section, statement)
            if tensor is not None and tensor.storage is not None:
                self._owners.setdefault(tensor.storage, name)

    def _collect_held(self, module: _Registered) -> None:
        """Walk everything the module holds besides its registries, and every module hidden in it."""

        def visit(value: Any, way: _Way) -> Iterator[tuple[Any, _Way]] | None:
            self._collector.allowance.look_at(VISIT)
            if self._collector.rebuilder.is_tensor(value):
                self._collect_unregistered(value, module.prefix, way)
            elif self._collector.enter(value, self._seen):
                if way.path.depth < MAX_DEPTH:
                    return self._held_by(value, way)
                self._collector.skip_deep(way.path, module.prefix)
            return None

        self._collector.allowance.look_at(len(module.state))
        walk(
            ((held, _Way(step_into(None, "attribute", name), "attribute")) for name, held in _plain(module.state)),
            visit,
        )

    def _held_by(self, value: Any, way: _Way) -> Iterator[tuple[Any, _Way]]:
        """What an object on the way holds, where that lies, and how a tensor among it would be held."""
        path, holding, holder = way
        state = module_state(value)
        if state is not None:
            members = [self._registry(state, registry) for registry in _REGISTRIES]
            for name, held in chain(*members, _plain(state)):
                yield held, _Way(step_into(path, "attribute", name), "hidden_module", holder or path)
            return
        if _is_optimizer(value):
            holding = _OPTIMIZER
        elif holding == "attribute":
            holding = "object" if type(value) is Instance and elements_of(value) is None else "container"
        for step, key, held in children_of(value):
            yield held, _Way(step_into(path, step, key), holding, holder)

    def _collect_unregistered(self, value: Any, prefix: str, way: _Way) -> None:
        if id(value) in self._parameters:
            return  # a second reference to a Parameter: `.to()` keeps the object, so nothing is left behind
        holding = way.holding
        if holding == _OPTIMIZER:
            statement = Statement("training_state", "module pickle: inside an optimizer")
        else:
            holder = None if way.holder is None else prefix + way.holder.within(None)
            statement = Statement("unregistered", _EVIDENCE[holding], holding=holding, holder=holder)
        tensor = self._collector.add(value, prefix + way.path.within(None), self._section, statement)
        if tensor is not None and tensor.storage in self._owners and holding != _OPTIMIZER:
            self._collector.tensors[-1] = msgspec.structs.replace(
                tensor,
                alias_of=self._owners[tensor.storage],
                evidence=_EVIDENCE["stale_alias"],
                holding="stale_alias",
            )


def _plain(state: Pairs) -> Iterator[tuple[str, Any]]:
    """What may hold a tensor among a module's attributes besides its registries."""
    for name, value in state.entries():
        if type(value) in HOLDERS and type(name) is str and name not in _REGISTRIES and name != _UNSAVED:
            yield name, value


def _is_optimizer(value: Any) -> bool:
    pairs = pairs_of(value.state) if type(value) is Instance else None
    return pairs is not None and lookup(pairs, "param_groups") is not None and lookup(pairs, "state") is not None
