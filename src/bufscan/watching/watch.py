"""Looks at each model of a program when it is complete: before its first forward pass, after it, and at its end.

A model is a module that was made and is not registered in another one. Only weak references to models are kept.
"""

from __future__ import annotations

import gc
import os
import sys
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from bufscan.live.reach.anatomy import forget_local_classes
from bufscan.live.reach.registry import table_of
from bufscan.watching.measuring_models import Kind, Measurer
from bufscan.watching.module_hooks import ModuleHooks
from bufscan.watching.structure import structure_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch import nn

    from bufscan.findings import Rule
    from bufscan.watching.faults import Sightings
    from bufscan.watching.structure import Structure

_QUIET_CALLS = 2000
"""So many calls of modules that are all known, and nobody listens until another one is made."""


class Observer(Protocol):
    """Someone else who wants to know of first forward passes."""

    def before_first_pass(
        self, model: nn.Module, called: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """`called(*args, **kwargs)` is about to run, the first pass of `model`, which it is or is a part of."""


class _Model:
    """A model that was looked at.

    Attributes:
        root: the module itself.
        kind: what is known of its like.
        parts: the modules that make it up by their ids, its own first.
        test: what ran when it was met.
        waits: whether its first pass is still to come, and of interest.
    """

    def __init__(self, root: nn.Module, kind: Kind, modules: Iterable[nn.Module], test: str | None) -> None:
        self.root = weakref.ref(root)
        self.kind = kind
        self.parts = {id(module): weakref.ref(module) for module in modules}
        self.test = test
        self.waits = False


class Watch:
    """Looks on while a program runs, between `start` and `stop`."""

    def __init__(
        self,
        rules: Iterable[Rule],
        *,
        sources: Sequence[str] = (),
        rehearses: bool = False,
        observers: Sequence[Observer] = (),
    ) -> None:
        """Begin with nothing.

        Args:
            rules: judge the models.
            sources: the packages whose code is the user's own; () for all that is not installed.
            rehearses: whether the first forward pass of each kind of model is rehearsed on another device before.
            observers: told of first forward passes.
        """
        self._rehearses = rehearses
        self._observers = tuple(observers)
        self._hooks = ModuleHooks(self)
        self._measurer = Measurer(rules, sources)
        self._process = os.getpid()
        self._pending: dict[int, weakref.ref[nn.Module]] = {}  # made, and not seen to be a part of a model yet
        self._model_of: dict[int, _Model] = {}  # by the ids of their parts, the models that were looked at
        self._left: list[nn.Module] = []  # models that the collector found, until they can be looked at
        self._collects = False
        self._in_pass = False
        self._quiet_calls = 0

    def start(self) -> None:
        """From now on, or from the import of torch on."""
        gc.callbacks.append(self._note_collection)
        self._hooks.install()

    def stop(self) -> Sightings:
        """Look at what is left, leave torch as it was, and say what was seen."""
        self.settle()
        for model in {id(each): each for each in self._model_of.values()}.values():
            self._look_again(model)
        self._hooks.remove()
        with suppress(ValueError):
            gc.callbacks.remove(self._note_collection)
        seen = self._measurer.sightings()
        seen.processes = _processes_made()
        return seen

    def settle(self, test: str | None = None) -> None:
        """Look at the models that are there and that nobody has called yet: a test is over, or the program.

        `test`: its name, which the environment no longer has.
        """
        if self._is_away():
            return
        self._measurer.test = test
        self._look_at_what_is_left()
        parents = self._parents()
        for module in [module for known in list(self._pending.values()) if (module := known()) is not None]:
            if id(module) in self._pending:
                self._meet(_root_above(module, parents))
        self._pending.clear()
        self._forget_the_dead()
        self._hooks.stop_listening()

    # What the hooks tell.

    def made(self, module: nn.Module) -> None:
        """A module is being made."""
        if self._is_away():
            return
        if self._left:
            self._look_at_what_is_left()
        key = id(module)
        self._model_of.pop(key, None)  # whatever had this id is gone
        self._pending[key] = weakref.ref(module)
        self._quiet_calls = 0
        self._hooks.learn(type(module))
        self._hooks.listen_to_calls()

    def called(
        self, call: Callable[..., Any], module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """A module is called: perhaps the first forward pass of its model."""
        __tracebackhide__ = True
        model = None if self._in_pass or self._is_away() else self._model_before_its_pass(module, args, kwargs)
        root = None if model is None else model.root()
        if model is None or root is None:
            return call(module, *args, **kwargs)
        self._in_pass = True
        try:
            for observer in self._observers:
                observer.before_first_pass(root, module, args, kwargs)
            result = call(module, *args, **kwargs)
        finally:
            self._in_pass = False
        self._pass_is_over(model)
        return result

    def freed(self, module: nn.Module) -> None:
        """Nobody holds a module any more: the last look at it, where it was a model."""
        key = id(module)
        model = self._model_of.get(key)
        if self._is_away() or (key not in self._pending if model is None else key != next(iter(model.parts))):
            return
        if not self._collects:
            self._look_at_last(module)
        elif not self._measurer.knows(structure_of(module), None if model is None else model.kind):
            # The program may be in the midst of anything now, in Python's own parser even.
            self._left.append(module)

    # What follows from it.

    def _look_at_last(self, module: nn.Module) -> None:
        model = self._model_of.get(id(module))
        if model is None:
            self._meet(module, is_dying=True)
        else:
            # It may have been garbage for long: what runs now has nothing to do with it.
            self._look(module, structure_of(module), model.kind, is_sure=False, test=model.test)
            self._forget(model)

    def _look_at_what_is_left(self) -> None:
        left, self._left = self._left, []
        parts = {id(child) for module in left for child in table_of(module, "_modules").values()}
        for module in left:
            if id(module) not in parts:
                self._look_at_last(module)

    def _note_collection(self, phase: str, _: object) -> None:
        self._collects = phase == "start"

    def _is_away(self) -> bool:
        """Whether this is a look itself, or a process that the watched one forked."""
        return self._measurer.is_looking or os.getpid() != self._process

    def _model_before_its_pass(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> _Model | None:
        """The model that the module is or is a part of, where this is the first call of any of its parts."""
        model, pending = self._model_of.get(id(module)), self._pending.get(id(module))
        waits = model is not None and model.waits
        if not waits and (pending is None or pending() is not module):
            self._quiet_calls += 1
            if self._quiet_calls > _QUIET_CALLS:
                self._hooks.stop_listening()
            return None
        self._quiet_calls = 0
        if not _is_plain_run():
            return None
        if waits:
            return model
        root = _root_above(module, self._parents())
        if _is_being_made(root):
            return None
        return self._meet(root, first_call=(args, kwargs) if self._rehearses and root is module else None)

    def _meet(
        self,
        root: nn.Module,
        *,
        is_dying: bool = False,
        first_call: tuple[tuple[Any, ...], dict[str, Any]] | None = None,
    ) -> _Model | None:
        """The first look at a model. What is given back waits for its first pass; None where none is of use."""
        structure = structure_of(root)
        for part in structure.modules:
            self._pending.pop(id(part), None)
        kind = self._measurer.kind_of(structure)
        self._look(root, structure, kind, is_sure=not is_dying, first_call=first_call)
        if is_dying:
            return None
        model = _Model(root, kind, structure.modules, self._measurer.running_test())
        self._model_of.update(dict.fromkeys(model.parts, model))
        if kind.has_run:
            return None
        self._measurer.remember_before(kind)
        model.waits = True
        return model

    def _pass_is_over(self, model: _Model) -> None:
        model.waits = False
        model.kind.has_run = True
        self._look_again(model)

    def _look_again(self, model: _Model) -> None:
        root = model.root()
        if root is not None:
            self._look(root, structure_of(root), model.kind)

    def _look(  # noqa: PLR0913 - all but the model and what it is have names and defaults
        self,
        root: nn.Module,
        structure: Structure,
        kind: Kind,
        *,
        is_sure: bool = True,
        first_call: tuple[tuple[Any, ...], dict[str, Any]] | None = None,
        test: str | None = None,
    ) -> None:
        """Of what was looked at as a model before it became a part of this one, all has been said."""
        known = {
            part
            for part in map(id, structure.modules)
            if (model := self._model_of.get(part)) is not None and model.root() is not root
        }
        self._measurer.look(root, structure, kind, known=known, is_sure=is_sure, first_call=first_call, test=test)
        forget_local_classes()

    def _parents(self) -> dict[int, nn.Module]:
        """Of each module that is registered in one of those not met yet, that one, by its id."""
        found: dict[int, nn.Module] = {}
        for known in list(self._pending.values()):
            module = known()
            for child in () if module is None else table_of(module, "_modules").values():
                if child is not None and module is not None:
                    found[id(child)] = module
        return found

    def _forget_the_dead(self) -> None:
        for model in {id(each): each for each in self._model_of.values()}.values():
            if model.root() is None:
                self._forget(model)

    def _forget(self, model: _Model) -> None:
        """What outlives it stays known as a part of it: of that, all has been said."""
        root = model.root()
        for part, reference in model.parts.items():
            module = reference()
            if self._model_of.get(part) is model and (module is None or module is root):
                del self._model_of[part]


def _root_above(module: nn.Module, parents: dict[int, nn.Module]) -> nn.Module:
    seen = {id(module)}
    while (parent := parents.get(id(module))) is not None and id(parent) not in seen:
        seen.add(id(parent))
        module = parent
    return module


def _is_being_made(module: nn.Module) -> bool:
    """Whether an `__init__` of the module is running: it is called to learn a shape, say."""
    frame = sys._getframe(1)  # noqa: SLF001 - documented, and `inspect.currentframe` is the same
    while frame is not None:
        code = frame.f_code
        if code.co_name == "__init__" and code.co_argcount and frame.f_locals.get(code.co_varnames[0]) is module:
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


def _processes_made() -> int:
    """By this one, with `multiprocessing`, whichever way it starts them; it numbers them for their names."""
    numbers = getattr(sys.modules.get("multiprocessing.process"), "_process_counter", None)
    return 0 if numbers is None else next(numbers) - 1


def _is_plain_run() -> bool:
    """Whether no tracer, no transformation and no mode would see what a look does to the model."""
    import torch

    return (
        torch._C._get_tracing_state() is None  # noqa: SLF001 - torch has no public readers of these three
        and torch._C._functorch.peek_interpreter_stack() is None  # noqa: SLF001
        and not torch._C._len_torch_dispatch_stack()  # noqa: SLF001
    )
