"""Paths through the object that a pickle describes, and the children of each object on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

from bufscan.formats.pickle.pickle_values import Instance, Pairs, PersistentId, elements_of, is_set
from bufscan.tensor_names import spell_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_DEPTH = 100  # objects inside objects; the deepest real checkpoints reach about 20
_LONGEST_STEP = 200  # characters of a key that a path shows; one huge key may be a step of every path

# What may be a tensor or hold one. The many scalars of a checkpoint are passed over as early as possible.
HOLDERS = frozenset({Instance, PersistentId, Pairs, list, tuple})

# `key`: a dict's, which a section spells with a dot. `item`: a key that is always spelled in brackets. `child`: a
# registered module, by the name that a state_dict gives it. `value`, `member`: by position, what has no name among
# a dict's values or a set's members. `shadow`: an attribute that has the name of a registered tensor.
Step = Literal["key", "index", "attribute", "item", "child", "value", "member", "shadow"]


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
        text = _step_from(text, step, plain_keys=plain_keys)
    return text


def _step_from(text: str, step: ObjectPath, *, plain_keys: bool) -> str:
    value = step.value
    if step.step == "value" and not text:
        return f"[key {value}]"
    if step.step in ("value", "member"):
        return f"list({text}{'.values()' if step.step == 'value' else ''})[{value}]"
    if type(value) is not str:
        return f"{text}[{spell_key(value)}]"
    if len(value) > _LONGEST_STEP:
        value = value[:_LONGEST_STEP] + "…"
    if step.step == "shadow" or (step.step == "attribute" and not value.isidentifier()):
        return f"{text}.__dict__[{value!r}]".removeprefix(".")
    if step.step != "item" and (step.step in ("attribute", "child") or plain_keys or not text):
        return f"{text}.{value}" if text else value
    return f"{text}[{value!r}]"


def children_of(value: Any) -> Iterator[tuple[Step, Any, Any]]:
    """How each directly held object is reached that may be or hold a tensor, and the object.

    What a call was given, was set to and was filled with all count as held by what it makes.
    """
    if type(value) is Pairs:
        for position, (key, held) in enumerate(value.entries()):
            if type(held) in HOLDERS:
                is_named = type(key) is str or spell_key(key) is not None
                yield ("key", key, held) if is_named else ("value", position, held)
            if type(key) in HOLDERS:
                yield "member", position, key
    elif type(value) in (list, tuple):
        yield from _elements(value)
    elif type(value) is Instance:
        if type(value.func) is Instance:
            yield "attribute", "function", value.func
        yield from _arguments(value)
        yield from _attributes(value.state)
        if value.items is not None:
            yield from children_of(value.items)
        if value.elements is not None:
            yield from _elements(value.elements)


def _elements(values: Any, step: Step = "index") -> Iterator[tuple[Step, Any, Any]]:
    for index, held in enumerate(values):
        if type(held) in HOLDERS:
            yield step, index, held


def _arguments(call: Instance) -> Iterator[tuple[Step, Any, Any]]:
    """What a call was given; a set is made of one list, a bound method of its object and a name."""
    inner = elements_of(call) if call.elements is None else None
    if inner is not None:
        yield from _elements(inner, "member" if is_set(call) else "index")
    elif type(call.args) in (list, tuple):
        is_method = call.is_call_of("builtins", "getattr") or call.is_call_of("__builtin__", "getattr")
        for step, index, held in _elements(call.args):
            yield ("attribute", "__self__", held) if is_method and index == 0 else (step, index, held)


def partial_children(call: Instance) -> Iterator[tuple[Step, Any, Any]]:
    """The function of a `functools.partial`, its arguments, and its attributes."""
    for name, part in zip(("func", "args", "keywords"), call.state, strict=False):
        if type(part) in HOLDERS:
            yield "attribute", name, part
    yield from _attributes(call.state[3:])


def _attributes(state: Any) -> Iterator[tuple[Step, Any, Any]]:
    parts = state if type(state) is tuple else (state,)
    if all(type(part) is Pairs or part is None for part in parts):  # the dict, and that of the slots
        for part in parts:
            for name, held in part.entries() if part is not None else ():
                if type(held) in HOLDERS:
                    yield "attribute", name, held
    elif type(state) in HOLDERS:
        yield "attribute", "state", state


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
