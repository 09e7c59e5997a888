"""Paths through the object that a pickle describes, and the children of each object on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

from bufscan.formats.pickle_values import Instance, Pairs, PersistentId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_DEPTH = 100  # objects inside objects; the deepest real checkpoints reach about 20
_LONGEST_STEP = 200  # characters of a key that a path shows; one huge key may be a step of every path

# What may be a tensor or hold one. The many scalars of a checkpoint are passed over as early as possible.
HOLDERS = frozenset({Instance, PersistentId, Pairs, list, tuple})

Step = Literal["key", "index", "attribute"]


class ObjectPath(msgspec.Struct, frozen=True, eq=False):
    """Where an object was reached: the last step, and the path of the object that holds it.

    Linked rather than spelled out: a path is only written when a tensor is found at its end.
    """

    parent: ObjectPath | None
    step: Step
    value: Any
    depth: int

    def dotted(self) -> str:
        """As a section: `model`, `optimizer_states[0]`."""
        return _spell(self, plain_keys=True)

    def within(self, ancestor: ObjectPath | None) -> str:
        """As Python would write the way from `ancestor`: `state[0]['exp_avg']`, `prior.loc`."""
        return _spell(self, plain_keys=False, ancestor=ancestor)

    def last_key(self) -> str:
        """The nearest text key on the way up; "" when there is none."""
        path: ObjectPath | None = self
        while path is not None:
            if type(path.value) is str:
                return path.value[:_LONGEST_STEP]
            path = path.parent
        return ""


def step_into(parent: ObjectPath | None, step: Step, value: Any) -> ObjectPath:
    """The path one step further."""
    return ObjectPath(parent, step, value, 1 if parent is None else parent.depth + 1)


def _spell(path: ObjectPath, *, plain_keys: bool, ancestor: ObjectPath | None = None) -> str:
    steps: list[ObjectPath] = []
    here: ObjectPath | None = path
    while here is not None and here is not ancestor:
        steps.append(here)
        here = here.parent
    text = ""
    for step in reversed(steps):
        value = step.value
        if type(value) is not str:
            text += f"[{value if type(value) is int else '...'}]"
            continue
        if len(value) > _LONGEST_STEP:
            value = value[:_LONGEST_STEP] + "…"
        if step.step == "attribute" or plain_keys or not text:
            text += f".{value}" if text else value
        else:
            text += f"[{value!r}]"
    return text


def children_of(value: Any) -> Iterator[tuple[Step, Any, Any]]:
    """How each directly held object is reached that may be or hold a tensor, and the object.

    What a call was given, was set to and was filled with all count as held by what it makes.
    """
    if type(value) is Pairs:
        for key, held in value.entries():
            if type(held) in HOLDERS:
                yield "key", key, held
            if type(key) in HOLDERS:
                yield "key", None, key
    elif type(value) in (list, tuple):
        for index, held in enumerate(value):
            if type(held) in HOLDERS:
                yield "index", index, held
    elif type(value) is Instance:
        if type(value.func) is Instance:
            yield "attribute", "function", value.func
        if type(value.args) in (list, tuple):
            yield from children_of(value.args)
        yield from _attributes(value.state)
        if value.items is not None:
            yield from children_of(value.items)
        if value.elements is not None:
            yield from children_of(value.elements)


def _attributes(state: Any) -> Iterator[tuple[Step, Any, Any]]:
    for part in state if type(state) is tuple else (state,):
        if type(part) is Pairs:
            for name, held in part.entries():
                if type(held) in HOLDERS:
                    yield "attribute", name, held
        elif type(part) in HOLDERS:
            yield "attribute", "state", part


def may_hold(value: Any) -> bool:
    """Whether it is an object or a container with something in it."""
    return type(value) is Instance or (type(value) in (Pairs, list, tuple) and bool(value))


def holds_any(container: Pairs | list[Any] | tuple[Any, ...]) -> bool:
    """Whether anything in it may be a tensor or hold one."""
    return not HOLDERS.isdisjoint(map(type, container))


def width_of(value: Any) -> int:
    """How many values the object holds directly: what it costs to look into it."""
    if type(value) is not Instance:
        return len(value)
    parts = [value.args, value.items, value.elements, value.state]
    if type(value.state) is tuple:
        parts += value.state
    return sum(len(part) for part in parts if type(part) in (Pairs, list, tuple))


Context = TypeVar("Context")


def walk(
    start: Iterator[tuple[Any, Context]],
    visit: Callable[[Any, Context], Iterator[tuple[Any, Context]] | None],
) -> None:
    """Visit what `start` gives and then, depth first, what each visit gives.

    No more is held than one iterator for each level, however many objects there are.
    """
    levels = [start]
    while levels:
        for value, context in levels[-1]:
            below = visit(value, context)
            if below is not None:
                levels.append(below)
                break
        else:
            levels.pop()


def steps_below(value: Any, path: ObjectPath | None) -> Iterator[tuple[Any, ObjectPath]]:
    """The children of an object that lies at `path`, with their paths."""
    for step, key, held in children_of(value):
        yield held, step_into(path, step, key)
