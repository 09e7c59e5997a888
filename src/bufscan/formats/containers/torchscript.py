"""TorchScript archives (`torch.jit.save` of scripted, traced and frozen modules).

The pickle has the objects, and `code/` the classes as text: of each its `__parameters__` and `__buffers__`. The
text is searched for these lines, never run. A tensor that an object holds in neither list is a plain attribute: it
is in no state_dict, and `.to()` leaves it behind. Whether a buffer was persistent is not written.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from bufscan.errors import UnreadableError
from bufscan.formats.checkpoint.collecting import VISIT, Collector, FullError, Statement
from bufscan.formats.checkpoint.plain_values import plain_values
from bufscan.formats.pickle.foreign_names import foreign_names
from bufscan.formats.pickle.object_graph import MAX_DEPTH, ObjectPath, step_into, steps_below, walk
from bufscan.formats.pickle.pickle_values import Global, Instance, Pairs
from bufscan.formats.tensors.rebuilding import Rebuilder
from bufscan.formats.tensors.storages import StorageTable
from bufscan.inventory import Facts, Inventory
from bufscan.ties import with_ties

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.formats.containers.torch_zip import Archive

_MOST_CODE_BYTES = 1 << 26
_MOST_CODE_FILES = 100_000
_OWN = "__torch__"
_PACKED = "__torch__.torch.classes."

_PARAMETER = Statement("parameter", "TorchScript: __parameters__")
_BUFFER = Statement("persistent_buffer", "TorchScript: __buffers__")
_ATTRIBUTE = Statement(
    "unregistered", "TorchScript: neither in __parameters__ nor in __buffers__", holding="attribute"
)
_CONTAINED = Statement("unregistered", "TorchScript: inside a container", holding="container")
_PACKED_PARAMETERS = Statement(
    "unregistered",
    "TorchScript: packed parameters",
    holding="packed_params",
    facts=Facts(saved=True, moves=None, trains=False),
)
_CONSTANT = Statement("unregistered", "TorchScript: a constant of the code", holding="code_constant")
_INPUT = Statement("training_state", "TorchScript: an input that was kept from tracing")

_CLASS = re.compile(
    rb"^class (\w+)\(Module\):\n"
    rb"(?:  __parameters__ = \[(?P<parameters>[^\n]*)\]\n)?"
    rb"(?:  __buffers__ = \[(?P<buffers>[^\n]*)\]\n)?",
    re.MULTILINE,
)
# The closing quote is optional: a name without one then costs a single pass, not one for each quote in it.
_NAME = re.compile(rb'"((?:[^"\\]++|\\.)*+)"?')


class _Lists(NamedTuple):
    """The registered names of a class; None where its text has no such line, as before torch 1.5."""

    parameters: frozenset[str] | None
    buffers: frozenset[str] | None

    def statement(self, name: str) -> Statement | None:
        """What an attribute of that name is; None where nothing says."""
        if self.parameters is not None and name in self.parameters:
            return _PARAMETER
        if self.buffers is not None and name in self.buffers:
            return _BUFFER
        return None if self.buffers is None else _ATTRIBUTE


_UNKNOWN = _Lists(None, None)


class _Place(NamedTuple):
    """A module on the way, where it lies, and the ids of those that it lies in."""

    value: Instance
    prefix: str
    path: ObjectPath | None
    above: tuple[int, ...]


def read_torchscript(archive: Archive, target: str, *, plain: bool = False) -> Inventory:
    """The inventory of an archive that `torch.jit.save` wrote.

    Raises:
        UnreadableError: one of its pickles is broken, or it has no code.
    """
    classes = _read_classes(archive)
    pickled = archive.run("data.pkl")
    archive.note_anomalies()
    storages = StorageTable(archive.locate_in, byteorder=archive.byteorder(), anomalies=archive.anomalies)
    allowance = pickled.allowance
    collector = Collector(Rebuilder(storages, allowance), allowance)
    reader = _ModuleReader(collector, classes)
    names, constants = list(pickled.globals), 0
    references = list(pickled.persistent_ids)
    archive.name_storages(pickled, "data")
    try:
        reader.read(pickled.value)
        for record, folder, statement in (
            ("constants.pkl", "constants", _CONSTANT),
            ("traced_inputs.pkl", "traced_inputs", _INPUT),
        ):
            beside = archive.run_if_there(record, allowance)
            if beside is not None:
                archive.name_storages(beside, folder)
                found = reader.read_loose(beside.value, statement)
                constants += found if statement is _CONSTANT else 0
                names += beside.globals
                references += beside.persistent_ids
    except FullError:
        collector.skip("further tensors", "more of them than a file of this size can hold", failed=True)
    storages.note_unused(archive.storage_keys("data", "constants", "traced_inputs"), references)
    return Inventory(
        target=target,
        format="torchscript",
        tensors=tuple(with_ties(collector.tensors)),
        storages=storages.storages,
        foreign_names=tuple(foreign_names((name for name in names if not _is_own(name)), "the pickles")),
        anomalies=archive.anomalies.anomalies(),
        skipped=(*collector.skipped, *storages.unreadable(collector.tensors)),
        notes=tuple(_notes(reader, constants)),
        plain=plain_values(pickled.value, collector.rebuilder, allowance) if plain else (),
    )


def _notes(reader: _ModuleReader, constants: int) -> Iterator[str]:
    if not reader.registered and constants:
        yield "frozen: the weights are constants of its code, and their names and roles are lost"
    if reader.buffers:
        yield "TorchScript saves non-persistent buffers too, and does not say which they were"


def _is_own(name: Global) -> bool:
    """Whether a name stands for a class in the archive's own code."""
    return name.module is not None and (name.module == _OWN or name.module.startswith(f"{_OWN}."))


def _read_classes(archive: Archive) -> dict[str, _Lists]:
    """The lists of every class in `code/`, by its qualified name."""
    records = [record for record in archive.below("code/") if record.name.endswith(".py")]
    if not records:
        raise UnreadableError(
            "a TorchScript archive, for it has `constants.pkl`, but without its code: torch cannot load it"
        )
    most = min(_MOST_CODE_BYTES, archive.most_text)
    if len(records) > _MOST_CODE_FILES or sum(record.size for record in records) > most:
        raise UnreadableError(f"a TorchScript archive with more than {most:,} bytes of code")
    classes: dict[str, _Lists] = {}
    for record in records:
        module = record.name.partition("/code/")[2].removesuffix(".py").replace("/", ".")
        for found in _CLASS.finditer(archive.read_record(record, most)):
            lists = (_names_in(found[which]) for which in ("parameters", "buffers"))
            classes[f"{module}.{found[1].decode()}"] = _Lists(*lists)
    return classes


def _names_in(text: bytes | None) -> frozenset[str] | None:
    if text is None:
        return None
    return frozenset(found[1].decode("utf-8", "replace") for found in _NAME.finditer(text))


class _ModuleReader:
    """Collects the tensors of the objects in the archive.

    Attributes:
        registered: how many were parameters or buffers.
        buffers: how many buffers of any class but BatchNorm's there were.
    """

    def __init__(self, collector: Collector, classes: dict[str, _Lists]) -> None:
        self._collector = collector
        self._classes = classes
        self._seen: set[int] = set()
        self.registered = 0
        self.buffers = 0

    def read(self, root: Any) -> None:
        """Collect what the module and those below it hold, in the order in which they hold it."""
        if not self._is_module(root):
            raise UnreadableError("a TorchScript archive whose pickle holds no module")
        waiting = [_Place(root, "", None, ())]
        while waiting:
            place = waiting.pop()
            waiting += reversed(list(self._read_module(place)))

    def _is_module(self, value: Any) -> bool:
        return type(value) is Instance and _class_of(value) in self._classes

    def _read_module(self, place: _Place) -> Iterator[_Place]:
        """Collect the tensors of one module; the modules in it are still to be read."""
        state = place.value.state
        lists = self._classes.get(_class_of(place.value), _UNKNOWN)
        for name, held in state.entries() if type(state) is Pairs else ():
            self._collector.allowance.look_at(VISIT)
            if type(name) is not str:
                continue
            if self._collector.rebuilder.is_tensor(held):
                self._collect(held, place.prefix + name, lists.statement(name), _class_of(place.value))
            elif self._is_module(held):
                if id(held) not in place.above and len(place.above) < MAX_DEPTH:
                    self._collector.take_room(place.prefix + name, "")
                    step = step_into(place.path, "child", name)
                    yield _Place(held, f"{place.prefix}{name}.", step, (*place.above, id(place.value)))
            elif type(held) in (Instance, Pairs, list, tuple):
                self._read_held(held, step_into(place.path, "attribute", name))

    def _collect(self, value: Any, name: str, statement: Statement | None, cls: str) -> None:
        if self._collector.add(value, name, "", statement) is None:
            return
        if statement is _PARAMETER or statement is _BUFFER:
            self.registered += 1
            self.buffers += statement is _BUFFER and ".batchnorm." not in cls

    def _read_held(self, value: Any, path: ObjectPath) -> None:
        """Collect the tensors in a list, a dict or an object that is no module."""
        is_packed = type(value) is Instance and _class_of(value).startswith(_PACKED)
        statement = _PACKED_PARAMETERS if is_packed else _CONTAINED

        def visit(held: Any, here: ObjectPath) -> Iterator[tuple[Any, ObjectPath]] | None:
            self._collector.allowance.look_at(VISIT)
            if self._collector.rebuilder.is_tensor(held):
                self._collector.add(held, here.within(None), "", statement)
            elif self._collector.enter(held, self._seen):
                if here.depth < MAX_DEPTH:
                    return steps_below(held, here)
                self._collector.skip_deep(here)
            return None

        walk(iter([(value, path)]), visit)

    def read_loose(self, value: Any, statement: Statement) -> int:
        """Collect the tensors of a tuple beside the module, and count them; named as the code names constants."""
        found = 0
        prefix = "CONSTANTS.c" if statement is _CONSTANT else "traced_inputs."
        elements = value if type(value) in (tuple, list) else ()
        for position, held in enumerate(elements):
            self._collector.allowance.look_at(VISIT)
            if self._collector.rebuilder.is_tensor(held):
                self._collector.add(held, f"{prefix}{position}", "", statement)
                found += 1
        return found


def _class_of(value: Instance) -> str:
    return value.func.qualified if type(value.func) is Global else ""
