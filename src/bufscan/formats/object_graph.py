"""Paths through the object that a pickle describes, and the children of each object on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from bufscan.formats.pickle_values import Instance, Pairs

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DEPTH = 100  # objects inside objects; the deepest real checkpoints reach about 20

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
                return path.value
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
        elif step.step == "attribute" or plain_keys or not text:
            text += f".{value}" if text else value
        else:
            text += f"[{value!r}]"
    return text


def children_of(value: Any) -> Iterator[tuple[Step, Any, Any]]:
    """How each directly held object is reached, and the object; nothing for scalars.

    What a call was given, was set to and was filled with all count as held by what it makes.
    """
    if type(value) is Pairs:
        for key, held in value.entries():
            yield "key", key, held
    elif type(value) in (list, tuple):
        for index, held in enumerate(value):
            yield "index", index, held
    elif type(value) is Instance:
        if type(value.args) in (list, tuple):
            yield from children_of(value.args)
        for state in value.state if type(value.state) is tuple else (value.state,):
            if type(state) is Pairs:
                for name, held in state.entries():
                    yield "attribute", name, held
            elif type(state) in (list, Instance):
                yield "attribute", "state", state
        if value.items is not None:
            yield from children_of(value.items)
        if value.elements is not None:
            yield from children_of(value.elements)
