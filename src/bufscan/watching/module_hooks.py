"""What tells of modules that are made, called and freed: hooks in `nn.Module` itself. Decides nothing.

They are put in place when torch is imported, which is left to the program: its code may set what torch then reads.
"""

from __future__ import annotations

import functools
import sys
import weakref
from contextlib import suppress
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, Protocol

from bufscan.live.reach.anatomy import class_dict, instance_dict, is_torch_class, mro_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from torch import nn

_MARK: Final = "_bufscan_listens"


class Listener(Protocol):
    """Whoever is told."""

    def made(self, module: nn.Module) -> None:
        """`nn.Module.__init__` begins: the module has nothing yet."""

    def called(
        self, call: Callable[..., Any], module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """The module is called: to be answered with what `call(module, *args, **kwargs)` gives."""

    def freed(self, module: nn.Module) -> None:
        """Nobody holds the module any more; it still has everything."""


class ModuleHooks:
    """Puts the hooks in place, and takes them out again.

    Calls are told of only between `listen_to_calls` and `stop_listening`: outside, a call costs nothing. A class
    with a `__call__` of its own is listened to from the first time that an object of it is made.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._finder: _AfterTorch | None = None
        self._undo: list[Callable[[], None]] = []
        self._callable: dict[int, weakref.ref[type]] = {}  # classes with a `__call__` of their own
        self._learnt: dict[int, weakref.ref[type]] = {}
        self._base: type[nn.Module] | None = None
        self.listens = False

    def install(self) -> None:
        """Now where torch is there, else as soon as it is."""
        if "torch" in sys.modules:
            self._hook()
        else:
            self._finder = _AfterTorch(self._hook)
            sys.meta_path.insert(0, self._finder)

    def remove(self) -> None:
        """Leave torch as it was."""
        if self._finder is not None:
            with suppress(ValueError):
                sys.meta_path.remove(self._finder)
        self.stop_listening()
        while self._undo:
            self._undo.pop()()

    def listen_to_calls(self) -> None:
        """From now on, tell of calls."""
        if not self.listens:
            self.listens = True
            for cls in self._classes():
                self._listen_to(cls)

    def stop_listening(self) -> None:
        """From now on, calls go their own way."""
        if not self.listens:
            return
        self.listens = False
        for cls in self._classes():
            call = class_dict(cls).get("__call__")
            if isinstance(call, FunctionType) and hasattr(call, _MARK):  # a tracer may have put its own over it
                type.__setattr__(cls, "__call__", instance_dict(call)["__wrapped__"])
        dynamo = sys.modules.get("torch._dynamo.utils")
        found = getattr(dynamo, "unpatched_nn_module_call", None)
        if hasattr(found, _MARK):  # what it compares with, as it was when it was imported
            dynamo.unpatched_nn_module_call = found.__wrapped__  # type: ignore[union-attr]

    def learn(self, cls: type) -> None:
        """See to it that calls of the objects of a class are told of, whatever `__call__` it has."""
        known = self._learnt.get(id(cls))
        if known is not None and known() is cls:
            return
        self._learnt[id(cls)] = weakref.ref(cls, functools.partial(_forget, self._learnt, id(cls)))
        for base in mro_of(cls):
            if base is self._base:
                break
            own = class_dict(base).get("__call__")
            if isinstance(own, FunctionType) and not hasattr(own, _MARK) and not is_torch_class(base):
                self._callable[id(base)] = weakref.ref(base, functools.partial(_forget, self._callable, id(base)))
                if self.listens:
                    self._listen_to(base)

    def _classes(self) -> Iterator[type]:
        yield from (cls for known in list(self._callable.values()) if (cls := known()) is not None)

    def _listen_to(self, cls: type) -> None:
        call = class_dict(cls).get("__call__")
        if isinstance(call, FunctionType) and not hasattr(call, _MARK):
            type.__setattr__(cls, "__call__", _telling(call, self._listener))

    def _hook(self) -> None:
        import torch
        from torch import nn

        listener, base, init = self._listener, nn.Module, nn.Module.__init__

        @functools.wraps(init)
        def __init__(self: nn.Module, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - it takes its place
            __tracebackhide__ = True
            if not torch.compiler.is_compiling():
                listener.made(self)
            init(self, *args, **kwargs)

        def __del__(self: nn.Module) -> None:  # noqa: N807 - the same
            listener.freed(self)

        self._base = base
        self._callable[id(base)] = weakref.ref(base)
        base.__init__ = __init__  # type: ignore[method-assign]
        self._undo.append(functools.partial(setattr, base, "__init__", init))
        if not hasattr(base, "__del__"):
            base.__del__ = __del__  # type: ignore[attr-defined]
            self._undo.append(functools.partial(delattr, base, "__del__"))


def _telling(call: FunctionType, listener: Listener) -> Any:
    import torch

    @functools.wraps(call)
    def __call__(self: nn.Module, /, *args: Any, **kwargs: Any) -> Any:  # noqa: N807 - it takes its place
        __tracebackhide__ = True
        if torch.compiler.is_compiling():  # the compiler knows the answer, and never sees the other branch
            return call(self, *args, **kwargs)
        return listener.called(call, self, args, kwargs)

    setattr(__call__, _MARK, True)
    return __call__


def _forget(known: dict[int, Any], key: int, _: object) -> None:
    known.pop(key, None)


class _AfterTorch:
    """Finds torch as Python would, and calls back once it has been imported."""

    def __init__(self, then: Callable[[], None]) -> None:
        self._then = then

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find(name, path, target) if find is not None else None
            if spec is not None:
                self._follow(spec)
                return spec
        return None

    def _follow(self, spec: ModuleSpec) -> None:
        loader: Any = spec.loader
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            del loader.exec_module
            execute(module)
            self._then()

        loader.exec_module = exec_module  # of this one object: the module keeps its own loader
