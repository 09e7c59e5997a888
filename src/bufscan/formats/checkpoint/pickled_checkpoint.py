"""Reads the parts of a pickled checkpoint, each in its way, and collects every tensor in them."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from bufscan.formats.checkpoint.checkpoint_parts import EXTRA_STATE, PartFinder, metadata_of
from bufscan.formats.checkpoint.collecting import VISIT, FullError, Statement, stated_as
from bufscan.formats.checkpoint.saved_optimizer import OptimizerReader, optimizer_fields
from bufscan.formats.listing import counted
from bufscan.formats.pickle.object_graph import step_into, steps_below, walk
from bufscan.formats.pickle.pickle_values import Instance, Pairs, lookup, pairs_of
from bufscan.inventory import ExtraState, Facts, ModuleTree, facts_of
from bufscan.tensor_names import extra_state_key, spell_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet

    from bufscan.formats.checkpoint.checkpoint_parts import Part
    from bufscan.formats.checkpoint.collecting import Collector
    from bufscan.formats.pickle.object_graph import ObjectPath
    from bufscan.inventory import Optimizer

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
_PERHAPS_BESIDE = Statement("training_state", "beside what may be a model", "assumed")
_LISTED = Statement("persistent_buffer", "DeepSpeed buffer_names")
_UNLISTED = Statement("parameter", "absent from DeepSpeed buffer_names")
_TRAINED = Statement("parameter", "DeepSpeed param_shapes", facts=facts_of("parameter", True))
_FROZEN = Statement("parameter", "DeepSpeed frozen_param_shapes", facts=facts_of("parameter", False))

_MOST_VERSION = 1 << 31
_MOST_PARTS = 10_000  # optimizers and module trees in one file
_MOST_NOTES = 100
_LONGEST_SECTION = 200  # characters of a section's name in a note
NO_TENSOR = "an entry of the state_dict that is no tensor"
_MOST_OTHERS = 20  # of one state_dict: every layer of a large model may have an extra state
_LONGEST_NAME = 200
_STEPS_PER_COPY = 6  # what is copied into the inventory takes memory as well as time


class CheckpointReader:
    """Collects every tensor in the object that a pickle describes.

    Attributes:
        module_trees, optimizers, extra_states: as in the inventory, in the order of the parts.
        whole_modules: sections that hold a module itself.
        notes: as in the inventory.
        apart: ids of the models, optimizers and other parts with tensors; none where there is nothing beside one.
    """

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._finder = PartFinder(collector)
        self.module_trees: list[ModuleTree] = []
        self.optimizers: list[Optimizer] = []
        self.extra_states: list[ExtraState] = []
        self.whole_modules: list[str] = []
        self.notes: list[str] = []
        self.apart: frozenset[int] = frozenset()

    def read(self, root: Any) -> None:
        """Collect everything below `root`.

        Raises:
            UnreadableError: it is crafted to take long.
        """
        with self._until_full():
            self._finder.find(root)
        with self._until_full():
            self._finder.tell_models_from_loose_dicts()
            for part in self._finder.parts:
                self._read_part(part)
            parts = self._finder.parts
            if all(part.path is not None for part in parts):
                self.apart = frozenset(id(each) for part in parts for each in (part.value, part.contents))
        with self._until_full():
            self._collect_loose()

    @contextmanager
    def _until_full(self) -> Iterator[None]:
        try:
            yield
        except FullError:
            reason = "more of them than a file of this size can hold"
            self._collector.skip("further tensors", reason, failed=True)

    def _read_part(self, part: Part) -> None:
        if len(self.optimizers) + len(self.module_trees) >= _MOST_PARTS:
            self._collector.skip("further parts", f"more than {_MOST_PARTS:,} of them", failed=True)
            return
        section = part.section
        self._collector.take_text(section)
        match part.kind:
            case "module":
                self._read_module(part.value, section)
            case "optimizer":
                self._read_optimizer(part, section)
            case "training_dict":
                self._collect_below(part.value, part.path, section, _BY_KEY)
            case "loose_dict":
                self._collect_below(part.value, part.path, section, self._beside)
            case "state_dict" | "plain_dict":
                self._read_state_dict(part, section)

    def _read_module(self, value: Any, section: str) -> None:
        from bufscan.formats.checkpoint.module_instance import class_of
        from bufscan.formats.checkpoint.pickled_module import ModuleReader  # few files hold a module

        ModuleReader(self._collector, section).read(value)
        self.whole_modules.append(section)
        if len(self.notes) < _MOST_NOTES:
            where = section[:_LONGEST_SECTION] or "the file"
            self.notes.append(f"{where} is a whole module, {class_of(value) or 'of an unnamed class'}")

    def _read_optimizer(self, part: Part, section: str) -> None:
        fields = optimizer_fields(part.value)
        if fields is not None:
            reader = OptimizerReader(fields, self._collector.rebuilder, self._collector.allowance)
            self.optimizers.append(reader.evidence(section))
            self._collect_below(reader.contents, part.path, section, _IN_OPTIMIZER)

    def _module_versions(self, metadata: Pairs) -> dict[str, int | None]:
        """The version of every module, by the prefix of its names."""
        self._collector.allowance.look_at(_STEPS_PER_COPY * len(metadata))
        versions: dict[str, int | None] = {}
        for prefix, contents in metadata.entries():
            if type(prefix) is str:
                fields = pairs_of(contents)
                version = lookup(fields, "version") if fields is not None else None
                versions[prefix] = version if type(version) is int and 0 <= version < _MOST_VERSION else None
        return versions

    def _read_state_dict(self, part: Part, section: str) -> None:
        metadata = metadata_of(part.value)
        versions = None if metadata is None else self._module_versions(metadata)
        if versions is not None:
            self.module_trees.append(ModuleTree(section=section, versions=versions))
        stated = self._stated_by_name(part.value)
        first = len(self._collector.tensors)
        hooked: set[str] = set()
        others: list[str] = []
        for name, held in _last_entries(part.contents, self._collector.allowance.entries):
            if extra_state_key(name) == name:
                self._collector.allowance.look_at(_STEPS_PER_COPY)
                self.extra_states.append(ExtraState(section=section, key=name))
            if self._collector.rebuilder.has_elements(held):
                statement = None if stated is None else stated.get(name, _UNLISTED)
                self._collector.add(held, name, section, statement, detached=True)
                continue
            if held is not None:
                others.append(name)
            if type(held) in (Instance, Pairs, list, tuple):
                self._collect_below(held, step_into(None, "key", name), section, _EXTRA)
                if not name.endswith(EXTRA_STATE):
                    owner = name.rpartition(".")[0]
                    hooked |= {owner, owner.rpartition(".")[0]}
        self._skip_others(others, section)
        if versions is not None:
            self._state_plain_entries(first, versions.keys() - hooked)

    def _skip_others(self, names: list[str], section: str) -> None:
        """Entries that are no tensors: extra states, and what hooks put there."""
        for name in names[:_MOST_OTHERS]:
            self._collector.skip((f"{section}.{name}" if section else name)[:_LONGEST_NAME], NO_TENSOR)
        if more := names[_MOST_OTHERS:]:
            self._collector.skip(
                f"{counted(len(more), 'more entry', 'more entries')} of the state_dict", NO_TENSOR
            )

    def _stated_by_name(self, value: Any) -> dict[str, Statement] | None:
        """What DeepSpeed states of a state_dict's entries; None where it wrote no such lists."""
        listed = self._finder.listed.get(id(value))
        if listed is None:
            return None
        trained = [pairs for group in listed.parameters if (pairs := pairs_of(group)) is not None]
        frozen = pairs_of(listed.frozen)
        named = [
            *((pairs[::2], _TRAINED) for pairs in trained),
            (frozen[::2] if frozen is not None else (), _FROZEN),
            (listed.buffers, _LISTED),
        ]
        stated: dict[str, Statement] = {}
        for names, statement in named:
            self._collector.allowance.look_at(len(names))
            stated |= dict.fromkeys((name for name in names if type(name) is str), statement)
        return stated

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

    def _collect_below(self, value: Any, path: ObjectPath | None, section: str, statement: Statement) -> None:
        """Collect every tensor in `value` under the one statement.

        Names are the ways from `path`, where the section is; but an extra state is an entry of its section.
        """
        start = None if statement is _EXTRA else path
        seen = {id(value)}

        def visit(held: Any, here: ObjectPath) -> Iterator[tuple[Any, ObjectPath]] | None:
            self._collector.allowance.look_at(VISIT)
            if self._collector.rebuilder.has_elements(held):
                self._collector.add(held, here.within(start), section, statement)
            elif id(held) in seen:
                self._finder.find_again(held, here)
            elif self._finder.enter(held, here, seen):
                return steps_below(held, here)
            return None

        walk(steps_below(value, path), visit)

    @property
    def _beside(self) -> Statement:
        return _BESIDE if self._finder.knows_model else _PERHAPS_BESIDE

    def _collect_loose(self) -> None:
        """Tensors that lie in no state_dict: training state beside what is surely a model, else entries."""
        statement = _BESIDE if self._finder.knows_model else None
        for value, path in self._finder.loose:
            section, name = "", "" if path is None else path.within(None)
            if path is not None and path.parent is not None and path.step == "key":
                section = path.parent.dotted()
                name = path.value if type(path.value) is str else path.within(path.parent)
            self._collector.add(value, name, section, statement, detached=True)


def _last_entries(pairs: Pairs, most: int) -> Iterator[tuple[str, Any]]:
    """Names and values as a dict would hold them: of entries with one text key the last, where the first was.

    Other keys are not compared, so each of their entries counts. After `most` entries and one more it ends.
    """
    entries: dict[Any, Any] = {}
    spelled: dict[int, str] = {}
    for position, (key, held) in enumerate(islice(pairs.entries(), most + 1)):
        if type(key) is str:
            entries[key] = held
        else:
            entries[position] = held
            spelled[position] = f"[{spell_key(key) or f'key {position}'}]"
    return ((spelled.get(key, key), held) for key, held in entries.items())
