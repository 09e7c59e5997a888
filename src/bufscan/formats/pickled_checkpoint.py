"""The parts of a pickled checkpoint: state_dicts, whole modules, optimizers, and loose tensors between them."""

from __future__ import annotations

import re
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from bufscan.formats.collecting import VISIT, FullError, Statement, stated_as
from bufscan.formats.module_instance import class_of, module_state
from bufscan.formats.object_graph import MAX_DEPTH, ObjectPath, step_into, steps_below, walk
from bufscan.formats.pickle_values import Global, Instance, Pairs, elements_of, lookup, pairs_of
from bufscan.formats.pickled_module import ModuleReader
from bufscan.inventory import Facts, ModuleTree, Optimizer, OptimizerGroup

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet

    from bufscan.formats.collecting import Collector

_EXTRA_STATE = "_extra_state"
_TRAINING_KEY = (
    r"(?i)(?:^|[_.])(?:optim(?:izers?)?|(?:lr_?)?sched(?:ulers?)?|(?:grad_?)?scalers?|rngs?|random)(?:[_.\d]|$)"
)

_KEPT_PLAIN = Statement("persistent_buffer", "saved as a plain tensor where Parameters are kept", "inferred")
_EXTRA = Statement(
    "unregistered",
    "inside an object of the state_dict",
    "inferred",
    "extra_state",
    facts=Facts(saved=True, moves=None, trains=False),
)
_IN_OPTIMIZER = Statement("training_state", "optimizer state")
_BY_KEY = Statement("training_state", "under a key for training state", "inferred")
_BESIDE = Statement("training_state", "beside the model of a training checkpoint", "inferred")
_LISTED = Statement("persistent_buffer", "DeepSpeed buffer_names")
_UNLISTED = Statement("parameter", "absent from DeepSpeed buffer_names")

_MOST_VERSION = 1 << 31
# Before torch 1.5, optimizers numbered parameters by their addresses. Integers that are longer than their own hash
# could be made to collide in a dict.
_MOST_INDEX = 1 << 61
_MOST_PARTS = 10_000  # optimizers and module trees in one file
_MOST_NOTES = 100
_LONGEST_SECTION = 200  # characters of a section's name in a note
_STEPS_PER_COPY = 6  # what is copied into the inventory takes memory as well as time

# Fields of an optimizer's state that have the shape of the parameter (torch.optim; Muon included).
_SHAPED_LIKE_PARAMETER = frozenset(
    {
        "exp_avg",
        "exp_avg_sq",
        "max_exp_avg_sq",
        "exp_inf",
        "momentum_buffer",
        "square_avg",
        "acc_delta",
        "grad_avg",
        "sum",
        "prev",
        "ax",
    }
)


class CheckpointReader:
    """Walks the object that a pickle describes and collects every tensor in it."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._seen: set[int] = set()
        self._buffer_names: dict[int, list[Any] | tuple[Any, ...]] = {}
        self._loose: list[tuple[Any, ObjectPath | None]] = []
        self.module_trees: list[ModuleTree] = []
        self.optimizers: list[Optimizer] = []
        self.notes: list[str] = []

    def read(self, root: Any) -> None:
        """Collect everything below `root`.

        Raises:
            UnreadableError: it is crafted to take long.
        """
        with self._until_full():
            walk(iter([(root, None)]), self._visit)
        with self._until_full():
            self._collect_loose()

    @contextmanager
    def _until_full(self) -> Iterator[None]:
        try:
            yield
        except FullError:
            reason = "more of them than a file of this size can hold"
            self._collector.skip("further tensors", reason, failed=True)

    def _visit(self, value: Any, path: ObjectPath | None) -> Iterator[tuple[Any, ObjectPath | None]] | None:
        self._collector.allowance.look_at(VISIT)
        if self._collector.rebuilder.is_tensor(value):
            if len(self._loose) > self._collector.allowance.entries:
                raise FullError
            self._loose.append((value, path))
        elif self._enter(value, path) and not self._read_known(value, path):
            return steps_below(value, path)
        return None

    def _enter(self, value: Any, path: ObjectPath | None) -> bool:
        if not self._collector.enter(value, self._seen):
            return False
        if path is not None and path.depth >= MAX_DEPTH:
            self._collector.skip_deep(path)
            return False
        return True

    def _read_known(self, value: Any, path: ObjectPath | None) -> bool:
        """Read the value if it is something a checkpoint is known to hold; else False."""
        if module_state(value) is not None:
            section = _section(path)
            ModuleReader(self._collector, section).read(value)
            if len(self.notes) < _MOST_NOTES:
                where = section[:_LONGEST_SECTION] or "the file"
                self.notes.append(f"{where} is a whole module, {class_of(value) or 'of an unnamed class'}")
            return True
        if _is_array(value):
            if self._collector.notes_skipped:
                self._collector.skip(_section(path) or "the file", "a NumPy array, not a tensor")
            return True
        pairs = pairs_of(value)
        return pairs is not None and self._read_mapping(value, pairs, path)

    def _read_mapping(self, value: Any, pairs: Pairs, path: ObjectPath | None) -> bool:
        self._note_buffer_names(pairs)
        if len(self.optimizers) + len(self.module_trees) >= _MOST_PARTS:
            self._collector.skip("further optimizers and module trees", f"more than {_MOST_PARTS:,} of them")
            return False
        if lookup(pairs, "param_groups") is not None and lookup(pairs, "state") is not None:
            self._read_optimizer(pairs, path)
            return True
        versions = self._module_versions(value)
        if versions is None and not self._looks_like_state_dict(pairs):
            return False
        section = _section(path)
        self._collector.take_text(section)
        if versions is not None:
            self.module_trees.append(ModuleTree(section=section, versions=versions))
        elif path is not None and re.search(_TRAINING_KEY, path.last_key()):
            self._collect_below(value, path, section, _BY_KEY)
            return True
        self._read_state_dict(value, pairs, section, versions)
        return True

    def _note_buffer_names(self, pairs: Pairs) -> None:
        """DeepSpeed lists the persistent buffers of the state_dict that it saves as `module`."""
        listed = elements_of(lookup(pairs, "buffer_names"))
        if listed is not None:
            self._buffer_names[id(lookup(pairs, "module"))] = listed

    def _module_versions(self, value: Any) -> dict[str, int | None] | None:
        """The `_metadata` of a state_dict: the version of every module, by the prefix of its names."""
        attributes = pairs_of(value.state) if type(value) is Instance else None
        metadata = pairs_of(lookup(attributes, "_metadata")) if attributes is not None else None
        if metadata is None:
            return None
        self._collector.allowance.look_at(_STEPS_PER_COPY * len(metadata))
        versions: dict[str, int | None] = {}
        for prefix, contents in metadata.entries():
            if type(prefix) is str:
                fields = pairs_of(contents)
                version = lookup(fields, "version") if fields is not None else None
                versions[prefix] = version if type(version) is int and 0 <= version < _MOST_VERSION else None
        return versions

    def _looks_like_state_dict(self, pairs: Pairs) -> bool:
        """Whether every value is a tensor, an extra state, or missing."""
        found = False
        for name, value in pairs.entries():
            if self._collector.rebuilder.is_tensor(value):
                found = True
            elif value is not None and not (type(name) is str and name.endswith(_EXTRA_STATE)):
                return False
        return found

    def _read_state_dict(
        self, value: Any, pairs: Pairs, section: str, versions: dict[str, int | None] | None
    ) -> None:
        buffer_names = self._listed_buffers(value)
        first = len(self._collector.tensors)
        hooked: set[str] = set()
        for name, held in _last_entries(pairs, self._collector.allowance.entries):
            if self._collector.rebuilder.is_tensor(held):
                stated = None if buffer_names is None else _LISTED if name in buffer_names else _UNLISTED
                self._collector.add(held, name, section, stated, detached=True)
            elif type(held) in (Instance, Pairs, list, tuple):
                self._collect_below(held, step_into(None, "key", name), section, _EXTRA)
                if not name.endswith(_EXTRA_STATE):
                    owner = name.rpartition(".")[0]
                    hooked |= {owner, owner.rpartition(".")[0]}
        if versions is not None:
            self._state_plain_entries(first, versions.keys() - hooked)

    def _listed_buffers(self, value: Any) -> set[str] | None:
        listed = self._buffer_names.get(id(value))
        if listed is None:
            return None
        self._collector.allowance.look_at(len(listed))
        return {name for name in listed if type(name) is str}

    def _state_plain_entries(self, first: int, modules: AbstractSet[str]) -> None:
        """`state_dict(keep_vars=True)` keeps Parameters as they are: a module's other entries are buffers.

        One Parameter alone proves nothing: quantisation libraries put theirs into detached state_dicts. A plain
        `weight` or `bias` among the entries shows that this is one of those.

        Args:
            first: where the entries begin among the tensors.
            modules: those whose entries may be told by that. Where a module or its child saves an object (packed
                parameters), its hooks make entries, and may have made the plain ones too.
        """
        entries = range(first, len(self._collector.tensors))
        tensors = self._collector.tensors
        plain = [index for index in entries if tensors[index].certainty == "assumed"]
        kept = any(tensors[index].role == "parameter" and tensors[index].certainty == "exact" for index in entries)
        if kept and not any(tensors[index].name.rpartition(".")[2] in ("weight", "bias") for index in plain):
            for index in plain:
                if tensors[index].name.rpartition(".")[0] in modules:
                    tensors[index] = stated_as(tensors[index], _KEPT_PLAIN)

    def _read_optimizer(self, pairs: Pairs, path: ObjectPath | None) -> None:
        section = _section(path)
        shapes: dict[int, tuple[int, ...]] = {}
        state = pairs_of(lookup(pairs, "state")) or Pairs()
        self._collector.allowance.look_at(_STEPS_PER_COPY * len(state))
        for index, fields in state.entries():
            shape = self._shape_in_state(pairs_of(fields))
            if _is_index(index) and shape is not None:
                shapes[index] = shape
        groups = []
        for group in self._elements(lookup(pairs, "param_groups")):
            contents = pairs_of(group) or Pairs()
            indices = self._elements(lookup(contents, "params"))
            names = lookup(contents, "param_names")
            groups.append(
                OptimizerGroup(
                    shapes=tuple(shapes.get(index) if _is_index(index) else None for index in indices),
                    names=None if names is None else tuple(n for n in self._elements(names) if type(n) is str),
                )
            )
        self.optimizers.append(Optimizer(section=section, groups=tuple(groups)))
        self._collect_below(pairs, path, section, _IN_OPTIMIZER)

    def _elements(self, value: Any) -> list[Any] | tuple[Any, ...]:
        """Elements that go into the inventory, counted among what the file can make bufscan copy."""
        elements = elements_of(value) or ()
        self._collector.allowance.look_at(_STEPS_PER_COPY * len(elements))
        return elements

    def _shape_in_state(self, fields: Pairs | None) -> tuple[int, ...] | None:
        """The shape of the parameter that an optimizer keeps this state for, where the state shows it."""
        for name, value in fields.entries() if fields is not None else ():
            if type(name) is str and name in _SHAPED_LIKE_PARAMETER and self._collector.rebuilder.is_tensor(value):
                return self._collector.rebuilder.shape_of(value)
        return None

    def _collect_below(self, value: Any, path: ObjectPath | None, section: str, statement: Statement) -> None:
        """Collect every tensor in `value` under the one statement; names are the ways from its section."""
        ancestor = (
            path if section and path is not None and path.parent is None and path.dotted() == section else None
        )

        def visit(held: Any, here: ObjectPath) -> Iterator[tuple[Any, ObjectPath]] | None:
            self._collector.allowance.look_at(VISIT)
            if self._collector.rebuilder.is_tensor(held):
                self._collector.add(held, here.within(ancestor), section, statement)
            elif self._enter(held, here):
                return steps_below(held, here)
            return None

        walk(steps_below(value, path), visit)

    def _collect_loose(self) -> None:
        """Tensors that lie in no state_dict: training state beside a model, entries when there is nothing else."""
        statement = _BESIDE if self._collector.tensors else None
        for value, path in self._loose:
            section, name = "", "" if path is None else path.within(None)
            if path is not None and path.parent is not None and path.step == "key":
                section, name = path.parent.dotted(), _key_text(path.value)
            self._collector.add(value, name, section, statement, detached=True)


def _section(path: ObjectPath | None) -> str:
    return "" if path is None else path.dotted()


def _key_text(key: Any) -> str:
    """A dict's key as an entry's name; only text and numbers are spelled out."""
    if type(key) is str:
        return key
    return f"[{key}]" if type(key) is int and abs(key) < _MOST_INDEX else "[...]"


def _is_index(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MOST_INDEX


def _last_entries(pairs: Pairs, most: int) -> Iterator[tuple[str, Any]]:
    """Names and values as a dict would hold them: of entries with one text key the last, where the first was.

    Other keys are not compared, so each of their entries counts. After `most` entries and one more it ends.
    """
    entries = {
        key if type(key) is str else position: (key, held)
        for position, (key, held) in enumerate(islice(pairs.entries(), most + 1))
    }
    return ((_key_text(key), held) for key, held in entries.values())


def _is_array(value: Any) -> bool:
    if type(value) is not Instance or type(value.func) is not Global:
        return False
    module = value.func.module or ""
    return module.startswith("numpy.") and value.func.name in ("_reconstruct", "_frombuffer")
