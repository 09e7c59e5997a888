"""Keeps a model as it is while a rehearsal runs with it: what can change is noted before, and put back after.

Tensors that the move replaces are copies, which are thrown away. What is written to in place although it was there
before is saved by its storage at the first write. Containers and objects are noted item by item; nothing that
holds them is copied.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import random
import sys
import types
from typing import TYPE_CHECKING, Any, NamedTuple

from bufscan.live.reach import anatomy
from bufscan.live.reach.anatomy import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import torch

MAX_OBJECTS = 200_000
"""Objects that are noted: more cannot be told from the whole program."""

# From the globals of a file only these are followed: its other objects may lead to the whole program.
_CONTAINERS = frozenset(("tensor", "module", "mapping", "sequence", "set"))
_LRU_CACHE = type(functools.lru_cache(lambda: None))


class TooManyObjectsError(Exception):
    """The model leads to more than can be put back."""


class _TensorState(NamedTuple):
    tensor: torch.Tensor
    data: torch.Tensor
    grad: torch.Tensor | None
    requires_grad: bool
    version: int | None
    attributes: dict[str, Any]


class Keeper:
    """What one model and everything it leads to was before.

    Attributes:
        tensors: all that were met, for who wants to look at them.
        scripts: whether TorchScript is among what was met.
    """

    def __init__(self, roots: Iterable[object]) -> None:
        """Note everything that `roots` lead to.

        Raises:
            TooManyObjectsError: that is more than `MAX_OBJECTS`.
        """
        self.tensors: list[torch.Tensor] = []
        self.scripts = False
        self._undo: list[Callable[[], object]] = []
        self._states: list[_TensorState] = []
        self._saved: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        self._seen: set[int] = set()
        self._held: list[object] = []
        self._globals: list[object] = []
        self._note_all(list(roots))

    def before_write(self, tensor: torch.Tensor) -> None:
        """Save the whole storage of a tensor that was there before, unless it is saved already."""
        storage = tensor.untyped_storage()
        key = storage._cdata  # noqa: SLF001  # the storage itself: an empty one has no address
        if key not in self._saved:
            self._saved[key] = storage, storage.clone()  # type: ignore[no-untyped-call]

    def restore(self) -> None:
        """Put everything back; nothing of the rehearsal may run any more."""
        for state in self._states:
            _put_tensor_back(state)
        for storage, saved in self._saved.values():
            if storage.nbytes() != saved.nbytes():
                storage.resize_(saved.nbytes())
            storage.copy_(saved)
        for undo in reversed(self._undo):
            undo()
        _put_versions_back(self._states)

    def _note_all(self, pending: list[object]) -> None:
        queue = collections.deque((value, True) for value in pending)
        while queue:
            value, is_near = queue.popleft()
            kind = kind_of(type(value))
            if kind == "atom" or id(value) in self._seen:
                self._note_atom(value)
            elif is_near or kind in _CONTAINERS:
                if len(self._held) >= MAX_OBJECTS:
                    raise TooManyObjectsError
                self._seen.add(id(value))
                self._held.append(value)
                queue.extend((found, is_near) for found in self._note(kind, value))
                queue.extend((found, False) for found in self._globals)
                self._globals.clear()

    def _note_atom(self, value: Any) -> None:
        """Nothing is behind it, but a generator has a state of its own."""
        import torch

        if type(value) is torch.Generator and id(value) not in self._seen:
            self._seen.add(id(value))
            self._undo.append(functools.partial(value.set_state, value.get_state()))
        self.scripts = self.scripts or _is_script(value)

    def _note(self, kind: str, value: Any) -> Iterator[object]:
        """Note one object; yields what it leads to."""
        match kind:
            case "tensor":
                self._note_tensor(value)
            case "mapping" if isinstance(value, dict):
                yield from self._note_dict(value)
            case "sequence":
                yield from self._note_sequence(value)
            case "set":
                yield from self._note_set(value)
            case "function":
                yield from self._note_function(value)
            case "method":
                yield value.__self__
                yield getattr(value, "__func__", None)
            case "partial":
                yield from (value.func, value.args, value.keywords)
            case "class":
                yield from self._note_class(value)
            case "foreign":
                return
            case _:
                pass
        if kind not in ("tensor", "class", "function"):
            yield from self._note_attributes(value)
            yield type(value)

    def _note_attributes(self, value: Any) -> Iterator[object]:
        own = anatomy.instance_dict(value)
        if own:
            yield from self._note_dict(own)
        slots = [
            (name, found)
            for name, found in anatomy.attributes_of(value)
            if name not in own and not name.startswith("__")  # those are C's, and read-only
        ]
        for name, found in slots:
            self._undo.append(functools.partial(_put_slot_back, value, name, found))
            yield found

    def _note_dict(self, value: dict[Any, Any]) -> Iterator[object]:
        kept = dict(dict.items(value))
        self._undo.append(functools.partial(_put_dict_back, value, kept))
        if not anatomy.holds_only_atoms(kept.values()):
            yield from kept.values()

    def _note_sequence(self, value: Any) -> Iterator[object]:
        items = list(anatomy.items_of_sequence(value))
        if isinstance(value, list | collections.deque):
            self._undo.append(functools.partial(_put_sequence_back, value, items))
        if not anatomy.holds_only_atoms(items):
            yield from items

    def _note_set(self, value: Any) -> Iterator[object]:
        items = list(anatomy.items_of_set(value))
        if isinstance(value, set):
            self._undo.append(functools.partial(_put_set_back, value, items))
        yield from items

    def _note_function(self, function: types.FunctionType) -> Iterator[object]:
        for cell in function.__closure__ or ():
            with contextlib.suppress(ValueError):  # a variable that was never assigned
                content = cell.cell_contents
                self._undo.append(functools.partial(_put_cell_back, cell, content))
                yield content
        yield function.__defaults__
        yield function.__kwdefaults__
        yield anatomy.instance_dict(function)

    def _note_class(self, cls: type) -> Iterator[object]:
        """Class attributes, and the globals of the file that defines the class: caches live there too."""
        for base in anatomy.mro_of(cls):
            if anatomy.is_torch_class(base) or anatomy.is_stdlib_class(base) or id(base) in self._seen_classes:
                continue
            self._seen_classes.add(id(base))
            kept = dict(anatomy.class_dict(base))
            self._undo.append(functools.partial(_put_class_back, base, kept))
            self._replace_caches(kept, functools.partial(type.__setattr__, base))
            yield from kept.values()
            module = sys.modules.get(anatomy.module_of(base))
            if isinstance(module, types.ModuleType) and id(module) not in self._seen_classes:
                self._seen_classes.add(id(module))
                namespace = anatomy.module_dict(module)
                names = dict(namespace)
                self._undo.append(functools.partial(_put_globals_back, namespace, names))
                self._replace_caches(names, namespace.__setitem__)
                self._globals.extend(names.values())

    @functools.cached_property
    def _seen_classes(self) -> set[int]:
        return set()

    def _replace_caches(self, names: dict[str, Any], put: Callable[[str, Any], None]) -> None:
        """What an `lru_cache` remembers from the rehearsal is wrong after it: meanwhile another one remembers."""
        for name, found in names.items():
            if type(found) is _LRU_CACHE:
                fresh = functools.lru_cache(**found.cache_parameters())(found.__wrapped__)
                put(name, fresh)

    def _note_tensor(self, tensor: torch.Tensor) -> None:
        import torch

        self.tensors.append(tensor)
        if isinstance(tensor, torch.nn.parameter.UninitializedTensorMixin):  # type: ignore[attr-defined]
            return
        grad = tensor.grad if tensor.is_leaf else None
        version = None if tensor.is_inference() else tensor._version  # noqa: SLF001  # torch has no public reader
        state = _TensorState(
            tensor, tensor.detach(), grad, tensor.requires_grad, version, dict(anatomy.instance_dict(tensor))
        )
        self._states.append(state)
        if grad is not None and id(grad) not in self._seen:
            self._seen.add(id(grad))
            self._note_tensor(grad)


@contextlib.contextmanager
def torch_kept() -> Iterator[None]:
    """Random states, the default dtype and whether gradients are recorded; and no cuDNN meanwhile.

    A recurrent module that moves asks cuDNN about its weights, and that asks the driver.
    """
    import torch

    numpy = sys.modules.get("numpy")
    numpy_state = None if numpy is None else numpy.random.get_state()
    python_state, torch_state = random.getstate(), torch.get_rng_state()
    dtype, grad = torch.get_default_dtype(), torch.is_grad_enabled()
    cudnn, torch.backends.cudnn.enabled = torch.backends.cudnn.enabled, False
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = cudnn
        torch.set_grad_enabled(grad)
        torch.set_default_dtype(dtype)
        torch.set_rng_state(torch_state)
        random.setstate(python_state)
        if numpy is not None:
            numpy.random.set_state(numpy_state)


def _is_script(value: object) -> bool:
    return type(value).__module__.startswith("torch.jit") or type(value).__name__ == "ScriptFunction"


def _put_tensor_back(state: _TensorState) -> None:
    import torch

    tensor, data = state.tensor, state.data
    same = (
        tensor.data_ptr() == data.data_ptr()
        and tensor.shape == data.shape
        and tensor.stride() == data.stride()
        and tensor.dtype is data.dtype
    )
    if not same:
        with torch.no_grad():
            tensor.data = data
    if tensor.is_leaf:
        if tensor.requires_grad is not state.requires_grad:
            tensor.requires_grad_(state.requires_grad)
        if tensor.grad is not state.grad:
            tensor.grad = state.grad
    _put_dict_back(anatomy.instance_dict(tensor), state.attributes)


def _put_versions_back(states: Iterable[_TensorState]) -> None:
    """A graph of the user's own may still wait for its backward pass, which compares versions."""
    import torch

    changed = [
        (state.tensor, state.version)
        for state in states
        if state.version is not None and state.tensor._version != state.version  # noqa: SLF001
    ]
    for tensor, version in changed:
        try:
            torch._C._autograd._unsafe_set_version_counter((tensor,), (version,))  # noqa: SLF001  # torch's own caches do so
        except TypeError:  # until torch 2.6 it took one tensor
            torch._C._autograd._unsafe_set_version_counter(tensor, version)  # type: ignore[arg-type]  # noqa: SLF001


def _put_dict_back(found: dict[Any, Any], kept: dict[Any, Any]) -> None:
    same = len(found) == len(kept) and all(
        name is other and value is kept[other]
        for (name, value), other in zip(dict.items(found), kept, strict=True)
    )
    if not same:
        dict.clear(found)
        for name, value in kept.items():
            dict.__setitem__(found, name, value)


def _put_globals_back(found: dict[str, Any], kept: dict[str, Any]) -> None:
    for name in [name for name in found if name not in kept]:
        del found[name]
    found.update((name, value) for name, value in kept.items() if found.get(name) is not value)


def _put_class_back(cls: type, kept: dict[str, Any]) -> None:
    found = anatomy.class_dict(cls)
    for name in [name for name in found if name not in kept]:
        type.__delattr__(cls, name)
    for name, value in kept.items():
        if found.get(name) is not value:
            type.__setattr__(cls, name, value)


def _put_sequence_back(found: Any, kept: list[Any]) -> None:
    base = list if isinstance(found, list) else collections.deque
    now = list(base.__iter__(found))
    if len(now) != len(kept) or any(one is not other for one, other in zip(now, kept, strict=True)):
        base.clear(found)
        base.extend(found, kept)


def _put_set_back(found: set[Any], kept: list[Any]) -> None:
    if set.__len__(found) != len(kept) or {id(each) for each in set.__iter__(found)} != {
        id(each) for each in kept
    }:
        set.clear(found)
        set.update(found, kept)


def _put_slot_back(value: object, name: str, kept: Any) -> None:
    if getattr(value, name, None) is not kept:
        object.__setattr__(value, name, kept)


def _put_cell_back(cell: types.CellType, kept: Any) -> None:
    cell.cell_contents = kept
