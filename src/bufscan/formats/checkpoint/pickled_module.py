"""A whole nn.Module in a pickle: what it registered, and what it only held.

The dict that a Module pickles states every role: `_parameters`, `_buffers`, `_non_persistent_buffers_set` and
`_modules` (torch/nn/modules/module.py). Whatever tensor is reached in any other way was never registered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from bufscan.formats.checkpoint.collecting import Statement
from bufscan.formats.checkpoint.held_objects import HeldReader
from bufscan.formats.checkpoint.module_instance import UNSAVED, attribute_names, module_state, read_registry
from bufscan.formats.checkpoint.registrations import Registrations
from bufscan.formats.pickle.object_graph import MAX_DEPTH, ObjectPath, step_into
from bufscan.formats.pickle.pickle_values import Instance, Pairs, elements_of, lookup

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.formats.checkpoint.collecting import Collector

_PARAMETER = Statement("parameter", "module pickle: _parameters")
_PERSISTENT = Statement("persistent_buffer", "module pickle: _buffers")
_NON_PERSISTENT = Statement("non_persistent_buffer", f"module pickle: {UNSAVED}")


class _Child(NamedTuple):
    """A registered child, or the root: the prefix of its names, and its path, which spells the same."""

    prefix: str
    path: ObjectPath | None
    value: Any


class _Module(NamedTuple):
    """A registered module with its instance dict; `first`: under the first of its names."""

    prefix: str
    path: ObjectPath | None
    value: Instance
    state: Pairs
    first: bool


class ModuleReader:
    """Reads one pickled module into the collector."""

    def __init__(self, collector: Collector, section: str) -> None:
        self._collector = collector
        self._section = section
        self._seen: set[int] = set()
        self._registrations = Registrations(collector.allowance)
        self._opaque: list[tuple[Instance, ObjectPath]] = []

    def read(self, root: Instance) -> None:
        """Collect the registered tensors under their state_dict names, then the others under their paths."""
        modules = self._registered_modules(root)
        for module in modules:
            self._collect_registered(module)
        held = HeldReader(self._collector, self._section, self._registrations, self._seen)
        for module in modules:
            if module.first:
                held.read_module(module.value, module.state, module.path)
        for value, path in self._opaque:
            held.read_opaque(value, path)

    def _registered_modules(self, root: Instance) -> list[_Module]:
        """Every registered module in the order of state_dict(), a shared one under each of its names."""
        found: list[_Module] = []
        lineage: list[int] = []  # ids of the modules on the way down
        most = self._collector.allowance.entries // 2  # the others are for their tensors
        levels = [iter([_Child("", None, root)])]
        while levels:
            for prefix, path, value in levels[-1]:
                state = module_state(value)
                if state is None and type(value) is Instance and path is not None:
                    self._opaque.append((value, path))
                if state is None or id(value) in lineage:
                    continue
                if len(lineage) >= MAX_DEPTH or len(found) >= most:
                    reason = "more or deeper ones than a file of this size can hold"
                    self._collector.skip("further modules", reason, failed=True)
                    continue
                self._collector.take_text(prefix)
                self._collector.allowance.look_at(len(state))
                found.append(_Module(prefix, path, value, state, id(value) not in self._seen))
                self._seen.add(id(value))
                lineage.append(id(value))
                levels.append(self._children(found[-1]))
                break
            else:
                levels.pop()
                if lineage:
                    lineage.pop()
        return found

    def _children(self, module: _Module) -> Iterator[_Child]:
        for name, value in read_registry(module.state, "_modules", self._collector.allowance):
            yield _Child(f"{module.prefix}{name}.", step_into(module.path, "child", name), value)

    def _collect_registered(self, module: _Module) -> None:
        prefix, state = module.prefix, module.state
        unsaved = self._unsaved_names(state)
        own = attribute_names(module.value)
        for name, value in read_registry(state, "_parameters", self._collector.allowance):
            self._registrations.note_parameter(value)
            self._collect(value, prefix + name, _PARAMETER, shadowed=name in own)
        for name, value in read_registry(state, "_buffers", self._collector.allowance):
            statement = _NON_PERSISTENT if name in unsaved else _PERSISTENT
            self._collect(value, prefix + name, statement, shadowed=name in own)

    def _unsaved_names(self, state: Pairs) -> set[str]:
        listed = elements_of(lookup(state, UNSAVED)) or ()
        self._collector.allowance.look_at(len(listed))
        return {name for name in listed if type(name) is str}

    def _collect(self, value: Any, name: str, statement: Statement, *, shadowed: bool) -> None:
        if self._collector.rebuilder.is_tensor(value):  # it may be registered as None
            if shadowed:
                statement = msgspec.structs.replace(statement, holding="shadowed_by_instance")
            tensor = self._collector.add(value, name, self._section, statement)
            if tensor is not None:
                self._registrations.note(tensor)
