"""What following a method once tells of all objects that are alike in what it asked: its effects, done again.

Most classes of a project run the same constructor of the same base. What that asks of the object (which method or
value a name has in its class, what an attribute holds) decides what it does, so it is followed once for all
objects that answer alike. What cannot be done again (it uses what something else may change) is not kept.
"""

from __future__ import annotations

import ast
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from bufscan.source.project import nodes_in
from bufscan.source.values import (
    ClassName,
    Container,
    Either,
    Function,
    Held,
    Instance,
    MethodOf,
    Module,
    Parameter,
    Super,
    Tensor,
    Unknown,
    Value,
    signature,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bufscan.source.classes import Classes, ClassInfo, Lineage
    from bufscan.source.objects import NamedBuffer

Question = tuple[str, str, object]
"""What was asked: its kind (`attribute`, or `method`, `setter`, `value` of the class), a name, and the class
behind which was looked; `class` where anything at all may have been asked.
"""

_WORTH_KEEPING = 40  # steps


class CannotRepeatError(Exception):
    """What a method did is bound to values that are not its own."""


class Recording:
    """What one method asks and does while it is followed.

    Attributes:
        receiver: the object that the method belongs to, or its class.
        entry: what the object's attributes held before.
        heap, buffers, depth, steps: how far the construction had come.
        asked: the questions in their order, and of whom.
        ran: the functions that were followed.
        is_cut: whether a call was not followed for what goes on around the method.
    """

    def __init__(self, receiver: Instance | ClassName, heap: int, buffers: int, depth: int, steps: int) -> None:
        self.receiver = receiver
        self.entry = dict(receiver.attributes) if isinstance(receiver, Instance) else {}
        self.heap, self.buffers, self.depth, self.steps = heap, buffers, depth, steps
        self.asked: dict[tuple[Instance | ClassInfo, Question], None] = {}
        self.ran: set[int] = set()
        self.is_cut = False

    def ask(self, receiver: Instance | ClassName, questions: Iterable[Question]) -> None:
        """Note what a method asked that was not followed again."""
        for question in questions:
            is_of_class = question[0] != "attribute" or isinstance(receiver, ClassName)
            self.asked[receiver.cls if is_of_class else receiver, question] = None  # type: ignore[index]

    def absorb(self, inner: Recording) -> None:
        """What a method that this one calls asked is asked by this one too."""
        self.asked |= inner.asked
        self.ran |= inner.ran

    def questions(self, made: Iterable[Instance]) -> list[Question] | None:
        """All that was asked of the receiver; None where objects that others made were asked too."""
        own = set(made)
        found: list[Question] = []
        for owner, question in self.asked:
            if owner is self.receiver or owner is self.receiver.cls:
                found.append(question)
            elif isinstance(owner, Instance) and owner not in own:
                return None
        return found


class Effect(NamedTuple):
    """What a method gives, and what it leaves of its object.

    Attributes:
        receiver: the object that it is done to.
        questions: what it asks of it.
        given: what it returns.
        attributes: what those that it changed hold; a number stands for what the object held at that place before.
        made: objects that it makes and leaves somewhere.
        steps: how long it was.
    """

    receiver: Instance | ClassName
    questions: list[Question]
    given: Value
    attributes: dict[str, tuple[Held | int, ...] | None]
    made: list[Instance]
    buffers: list[NamedBuffer]
    ran: set[int]
    steps: int

    def again(self, receiver: Instance | ClassName) -> Effect:
        """The same for another object, of values of its own."""
        copier = _Copier(self.receiver, receiver)
        attributes = {
            name: None if several is None else tuple(copier.held(each) for each in several)
            for name, several in self.attributes.items()
        }
        given = copier.copy(self.given)
        return Effect(receiver, self.questions, given, attributes, copier.made, self.buffers, self.ran, self.steps)


class Effects:
    """The effects of one method, called with arguments that are alike.

    The answers to what it asked decide what it asks next, so this is a tree: a question, and the rest by answer.

    Attributes:
        was_followed: whether the method was followed before.
        question: what it asks first; None where nothing is known, or the method ends here.
        rest: what comes after the question, by its answer.
        effect: what it does where it asks nothing more.
    """

    def __init__(self) -> None:
        self.was_followed = False
        self.question: Question | None = None
        self.rest: dict[object, Effects] = {}
        self.effect: Effect | None = None

    def find(self, classes: Classes, receiver: Instance | ClassName) -> Effect | None:
        """What the method does with an object, where it did so with one that is alike."""
        lineage = classes.lineage(receiver.cls)
        here: Effects | None = self
        while here is not None and here.effect is None:
            if here.question is None:
                return None
            here = here.rest.get(_answer(lineage, receiver, here.question))
        return None if here is None or here.effect is None else here.effect.again(receiver)

    def keep(self, classes: Classes, recording: Recording, did: Effect) -> None:
        """Take in what a method did, if it can be done again."""
        questions = recording.questions(did.made)
        if recording.is_cut or did.steps < _WORTH_KEEPING or questions is None:
            return
        receiver, before = recording.receiver, recording.entry
        lineage = classes.lineage(receiver.cls)
        path = [(question, _answer(lineage, receiver, question, before)) for question in questions]
        if any(answer is None for _, answer in path):
            return
        effect = _kept(did, recording, questions)
        here = self
        for question, answer in path:
            if effect is None or here.effect is not None or here.question not in (None, question):
                return
            here.question = question
            here = here.rest.setdefault(answer, Effects())
        here.effect = here.effect or effect


def _kept(did: Effect, recording: Recording, questions: list[Question]) -> Effect | None:
    """An effect apart from the construction that it was seen in; None where it cannot be told apart."""
    receiver, before = recording.receiver, recording.entry
    stand_in: Instance | ClassName = ClassName(receiver.cls)
    if isinstance(receiver, Instance):
        stand_in = Instance(receiver.cls, is_module=receiver.is_module)
    now = receiver.attributes if isinstance(receiver, Instance) else {}
    changed = {name: now.get(name) for name in {**before, **now} if before.get(name) is not now.get(name)}
    foreign = [held.value for _, name, _ in questions for held in before.get(name, ())]
    copier = _Copier(receiver, stand_in, foreign)
    try:
        attributes = {
            name: None if several is None else _by_place(several, before.get(name, ()), copier)
            for name, several in changed.items()
        }
        given = copier.copy(did.given)
    except CannotRepeatError:
        return None
    return did._replace(
        receiver=stand_in, questions=questions, given=given, attributes=attributes, made=copier.made
    )


def _by_place(several: tuple[Held, ...], before: tuple[Held, ...], copier: _Copier) -> tuple[Held | int, ...]:
    places = {id(held): place for place, held in enumerate(before)}
    return tuple(places[id(each)] if id(each) in places else copier.held(each) for each in several)


def _answer(
    lineage: Lineage,
    receiver: Instance | ClassName,
    question: Question,
    attributes: dict[str, tuple[Held, ...]] | None = None,
) -> object:
    """What an object answers, the same for all that are alike in it; None for an answer that is like no other."""
    kind, name, after = question
    match kind:
        case "attribute":
            if attributes is None:
                attributes = receiver.attributes if isinstance(receiver, Instance) else {}
            several = tuple((_seen(each.value), each.registration) for each in attributes.get(name, ()))
            return None if any(sign is None for sign, _ in several) else several
        case "method" | "setter":
            method = lineage.setter(name) if kind == "setter" else lineage.method(name, after)  # type: ignore[arg-type]
            return "none" if method is None else method.node
        case "value":
            value = lineage.attribute(name)
            return "none" if value is None else _spelled(value[1])
        case _:
            return receiver.cls


@lru_cache(maxsize=4096)
def _spelled(node: ast.expr) -> object:
    """The same for what a class body spells alike, where that means the same everywhere."""
    is_literal = not any(isinstance(each, ast.Name) for each in nodes_in(node))
    return ast.dump(node) if is_literal else node


def _seen(value: Value) -> object:
    """The same for values that a method cannot tell apart: of modules, it sees the class alone."""
    if isinstance(value, Module) and value.is_held:
        return "module", value.cls
    return signature(value)


class _Copier:
    """Copies what may be changed, each once, with one object in the place of another.

    Raises:
        CannotRepeatError: a value is bound to what is not copied.
    """

    def __init__(
        self, old: Instance | ClassName, new: Instance | ClassName, foreign: Iterable[Value] = ()
    ) -> None:
        self._old, self._new = old, new
        self._foreign = frozenset(id(value) for value in foreign if signature(value) is None)
        self._copies: dict[int, Value] = {id(old): new}
        self.made: list[Instance] = []

    def held(self, each: Held | int) -> Held | int:
        return each if isinstance(each, int) else each._replace(value=self.copy(each.value))

    def copy(self, value: Value) -> Value:
        known = self._copies.get(id(value))
        if known is not None:
            return known
        if id(value) in self._foreign:
            raise CannotRepeatError
        return self._copied(value)

    def _copied(self, value: Value) -> Value:
        match value:
            case Tensor() | Unknown():
                return value
            case ClassName(cls=cls) if cls is self._old.cls:
                raise CannotRepeatError
            case Either(options=options):
                return Either(tuple(map(self.copy, options)))
            case Parameter():
                parameter = Parameter(value.how, is_held=value.is_held, has_grad=value.has_grad)
                parameter.name = value.name
                self._copies[id(value)] = parameter
                return parameter
            case Module(how=how, cls=cls, is_held=is_held):
                module = self._copies[id(value)] = Module(how, cls, is_held=is_held)
                return module
            case Container():
                container = self._copies[id(value)] = Container(value.kind)
                container.items = list(map(self.copy, value.items))
                container.keys = list(value.keys)
                return container
            case Instance():
                instance = Instance(value.cls, is_module=value.is_module)
                self._copies[id(value)] = instance
                self.made.append(instance)
                for name, several in value.attributes.items():
                    instance.attributes[name] = tuple(
                        each._replace(value=self.copy(each.value)) for each in several
                    )
                return instance
            case Function(names=None, receiver=Value() as receiver):
                return Function(value.file, value.node, owner=value.owner, receiver=self.copy(receiver))
            case MethodOf(of=of, name=name):
                return MethodOf(self.copy(of), name)
            case Super(after=after, receiver=receiver):
                return Super(after, self.copy(receiver))
            case _ if signature(value) is not None:
                return value
            case _:
                raise CannotRepeatError
