"""What a pickled checkpoint is made of: state_dicts, whole modules, optimizers, and tensors that lie in none."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from bufscan.formats.checkpoint.collecting import VISIT, FullError
from bufscan.formats.checkpoint.module_instance import module_state
from bufscan.formats.checkpoint.plain_dicts import PlainDicts
from bufscan.formats.checkpoint.saved_optimizer import optimizer_fields
from bufscan.formats.pickle.object_graph import (
    MAX_DEPTH,
    ObjectPath,
    children_of,
    may_hold,
    steps_below,
    walk,
    width_of,
)
from bufscan.formats.pickle.pickle_values import Instance, Pairs, elements_of, lookup, pairs_of
from bufscan.formats.tensors.numpy_arrays import element_type_name, is_array

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.formats.checkpoint.collecting import Collector

EXTRA_STATE = "_extra_state"
_TRAINING_KEY = (
    r"(?i)(?:^|[_.])(?:optim(?:izers?)?|(?:lr_?)?sched(?:ulers?)?|(?:grad_?)?scalers?|rngs?|random)(?:[_.\d]|$)"
)
_MODEL_KEY = r"(?i)(?:^|[_.])(?:model|state_dict|net|network|module|weights|params)(?:[_.\d]|$)"
_MOST_REPETITIONS = 100  # further names of what is shown already
_MOST_SEARCHED = 200_000  # values that are looked at for tensors, in all that is found again


class Part(NamedTuple):
    """Something that a checkpoint is made of, and where it was found.

    Attributes:
        kind: of dicts of tensors, `training_dict` and `loose_dict` are no model's: by their key, or beside one.
        contents: of a dict of tensors.
    """

    kind: Literal["module", "optimizer", "state_dict", "plain_dict", "training_dict", "loose_dict"]
    value: Any
    path: ObjectPath | None
    contents: Pairs

    @property
    def section(self) -> str:
        """The dotted path of its keys."""
        return "" if self.path is None else self.path.dotted()


class Listed(NamedTuple):
    """What a DeepSpeed checkpoint says of its model (`_common_checkpoint_state` of its engine.py, 0.19).

    Attributes:
        buffers: names of the persistent buffers.
        parameters: a dict of names and shapes for each parameter group; none without ZeRO.
        frozen: a dict of names and shapes of the parameters that do not train, or None.
    """

    buffers: list[Any] | tuple[Any, ...]
    parameters: tuple[Any, ...]
    frozen: Any


class PartFinder:
    """Walks the object that a pickle describes.

    Attributes:
        parts: what was found, in order; what is found again under another name comes again.
        loose: tensors that lie in none of them, with their paths.
        knows_model: whether one of the parts is a model's or an optimizer's beyond doubt, so that what lies
            beside it is no model's.
        listed: what DeepSpeed says of the entries of a state_dict, by its id.
    """

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._seen: set[int] = set()
        self._known: dict[int, Part] = {}
        self._repetitions = 0
        self._left_to_search = _MOST_SEARCHED
        self._most_parts = collector.allowance.entries // 4  # the others are for their tensors
        self.parts: list[Part] = []
        self.loose: list[tuple[Any, ObjectPath | None]] = []
        self.knows_model = False
        self.listed: dict[int, Listed] = {}

    def find(self, root: Any) -> None:
        """Fill `parts` and `loose` with everything below `root`.

        Raises:
            UnreadableError: it is crafted to take long.
            FullError: there is no room for more.
        """
        walk(iter([(root, None)]), self._visit)

    def tell_models_from_loose_dicts(self) -> None:
        """Decide what each plain dict of tensors is; possible when all parts are found."""
        plain = [index for index, part in enumerate(self.parts) if part.kind == "plain_dict"]
        dicts = PlainDicts(self._collector.rebuilder, self._collector.allowance)
        self.knows_model = len(plain) < len(self.parts) or any(
            re.search(_MODEL_KEY, part.path.last_key() if part.path is not None else "")
            or dicts.has_names_of_modules(part.contents)
            for part in self.parts
        )
        if not plain:
            return
        models = dicts.models(
            [self.parts[index].contents for index in plain],
            [part.contents for part in self.parts if part.kind == "state_dict"],
            beside_module=any(part.kind == "module" for part in self.parts),
        )
        for index, is_model in zip(plain, models, strict=True):
            kind: Literal["state_dict", "loose_dict"] = "state_dict" if is_model else "loose_dict"
            self.parts[index] = self.parts[index]._replace(kind=kind)

    def enter(self, value: Any, path: ObjectPath | None, seen: set[int]) -> bool:
        """Whether the object at `path` is to be looked into; what is nested too deep is said to be skipped.

        Raises:
            UnreadableError, FullError: as `Collector.enter`.
        """
        if not self._collector.enter(value, seen):
            return False
        if path is not None and path.depth >= MAX_DEPTH:
            self._collector.skip_deep(path)
            return False
        return True

    def find_again(self, value: Any, path: ObjectPath | None) -> None:
        """Note what a dict or a list holds although it was met before: `{"model": model, "ema": model}`.

        A part of the checkpoint is one under this name too, and comes again; of another object that holds tensors
        it is said that it is there. Objects refer back to each other as a matter of course: nothing is said of it.
        """
        if path is None or path.step in ("attribute", "shadow") or self._repetitions > _MOST_REPETITIONS:
            return
        known = self._known.get(id(value))
        if known is None and not self._holds_tensors(value):
            return
        self._repetitions += 1
        if self._repetitions > _MOST_REPETITIONS:
            reason = (
                f"each is shown under another name already, and there are more than {_MOST_REPETITIONS} of them"
            )
            self._collector.skip("further names of the same objects", reason)
        elif known is not None:
            self.parts.append(known._replace(path=path))
        else:
            self._collector.skip_at(path, "the same object as one that is shown under another name")

    def _visit(self, value: Any, path: ObjectPath | None) -> Iterator[tuple[Any, ObjectPath | None]] | None:
        self._collector.allowance.look_at(VISIT)
        if self._collector.rebuilder.has_elements(value):
            if len(self.loose) > self._collector.allowance.entries:
                raise FullError
            self.loose.append((value, path))
        elif id(value) in self._seen:
            self.find_again(value, path)
        elif self.enter(value, path, self._seen) and not self._find(value, path):
            return steps_below(value, path)
        return None

    def _find(self, value: Any, path: ObjectPath | None) -> bool:
        """Note the value if it is something a checkpoint is known to hold; else False."""
        if is_array(value):
            if self._collector.notes_skipped:
                what = "the file" if path is None else path.dotted()
                self._collector.skip(what, f"a NumPy array {element_type_name(value)}, which torch does not have")
            return True
        part = self._part_of(value, path)
        if part is None:
            return False
        if len(self.parts) >= self._most_parts:
            raise FullError
        self.parts.append(part)
        self._known[id(value)] = part
        return True

    def _part_of(self, value: Any, path: ObjectPath | None) -> Part | None:
        pairs = pairs_of(value)
        if module_state(value) is not None:
            return Part("module", value, path, Pairs())
        if optimizer_fields(value) is not None:
            return Part("optimizer", value, path, Pairs())
        if pairs is None:
            return None
        self._note_listed(pairs)
        if metadata_of(value) is not None:
            return Part("state_dict", value, path, pairs)
        return self._dict_of_tensors(value, pairs, path) if self._holds_only_tensors(pairs) else None

    def _dict_of_tensors(self, value: Any, pairs: Pairs, path: ObjectPath | None) -> Part:
        if path is None:
            return Part("state_dict", value, path, pairs)
        if re.search(_TRAINING_KEY, path.last_key()):
            return Part("training_dict", value, path, pairs)
        is_stated = id(value) in self.listed or any(map(_is_parameter, pairs[1::2]))
        return Part("state_dict" if is_stated else "plain_dict", value, path, pairs)

    def _note_listed(self, pairs: Pairs) -> None:
        """DeepSpeed lists what is what in the state_dict that it saves as `module`."""
        buffers = elements_of(lookup(pairs, "buffer_names"))
        if buffers is not None:
            groups = lookup(pairs, "param_shapes")
            self.listed[id(lookup(pairs, "module"))] = Listed(
                buffers=buffers,
                parameters=tuple(elements_of(groups) or () if pairs_of(groups) is None else (groups,)),
                frozen=lookup(pairs, "frozen_param_shapes"),
            )

    def _holds_only_tensors(self, pairs: Pairs) -> bool:
        """Whether every value is a tensor, an extra state, or missing."""
        found = False
        for name, value in pairs.entries():
            if self._collector.rebuilder.has_elements(value):
                found = True
            elif value is not None and not (type(name) is str and name.endswith(EXTRA_STATE)):
                return False
        return found

    def _holds_tensors(self, root: Any) -> bool:
        """Whether there is a tensor in it, or too much to find out."""
        seen: set[int] = set()
        waiting = [root]
        while waiting and self._left_to_search > 0:
            value = waiting.pop()
            if self._collector.rebuilder.has_elements(value):
                return True
            if id(value) not in seen and may_hold(value):
                seen.add(id(value))
                waiting += [held for _, _, held in islice(children_of(value), self._left_to_search)]
                self._left_to_search -= 1 + width_of(value)
        return bool(waiting)


def metadata_of(value: Any) -> Pairs | None:
    """The `_metadata` that `state_dict()` leaves on the dict it makes."""
    attributes = pairs_of(value.state) if type(value) is Instance else None
    return pairs_of(lookup(attributes, "_metadata")) if attributes is not None else None


def _is_parameter(value: Any) -> bool:
    return type(value) is Instance and value.is_call_of("torch._utils", "_rebuild_parameter")
