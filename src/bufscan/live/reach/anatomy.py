"""What an object is made of, read without running a line of the user's code.

No property, no `__getattr__`, no overridden `__iter__`, `__len__` or `__class__` is ever called: types are taken
with `type`, attributes from the instance dict and the slots, items with the methods of the built-in base class.
"""

from __future__ import annotations

import argparse
import collections
import enum
import functools
import gc
import queue
import sys
import sysconfig
import types
from itertools import pairwise, repeat
from operator import is_
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeGuard, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Kind = Literal[
    "atom",
    "tensor",
    "module",
    "sequence",
    "mapping",
    "set",
    "function",
    "method",
    "partial",
    "class",
    "enum",
    "foreign",
    "object",
]


_Base = TypeVar("_Base")


class _Layout(NamedTuple):
    """Where the objects of a class keep their attributes: descriptors that read them without asking the class."""

    instance_dict: Any
    slots: tuple[tuple[str, Any], ...]


_mro_of = type.__dict__["__mro__"].__get__
_qualname_of = type.__dict__["__qualname__"].__get__
_dict_of_class = type.__dict__["__dict__"].__get__
_dict_of_module = vars(types.ModuleType)["__dict__"].__get__

# By id, beside the class itself: a metaclass may have made its classes unhashable, or hashing run its code.
_KINDS: dict[int, tuple[type, Kind]] = {}
_LAYOUTS: dict[int, tuple[type, _Layout]] = {}
# Of these, what functions made: the other classes live as long as their modules.
_LOCAL: list[int] = []

_ATOMS = (
    *(type(None), bool, int, float, complex, str, bytes, bytearray, range, slice, type(...), memoryview),
    *(types.ModuleType, types.CodeType, types.FrameType, types.TracebackType, types.GeneratorType),
    *(types.CoroutineType, types.AsyncGeneratorType, types.GenericAlias, types.UnionType),
)
# The classes of the standard library that people keep tensors in; all others of it hold none.
_CACHE = type(functools.lru_cache(lambda: None))
_STDLIB_HOLDERS = (
    *(argparse.Namespace, types.SimpleNamespace, functools.partialmethod, functools.cached_property),
    *(
        staticmethod,
        classmethod,
        property,
        collections.UserDict,
        collections.UserList,
        collections.ChainMap,
        queue.Queue,
    ),
    *(_CACHE, types.CellType),
)
# torch's own objects hold its machinery (graphs, handles, streams), but these hold the user's tensors.
_TORCH_HOLDERS = ("torch.distributions.", "torch.nn.", "torch.ao.")
# The mask that a pruning method was given has become a buffer; the one that its hook keeps serves no forward.
_TORCH_LEFTOVERS = "torch.nn.utils.prune"
# Training state and data: tensors of their own that are no part of a model.
_FOREIGN = ("torch.optim", "torch.utils.data", "torch.amp.grad_scaler")
_C_DESCRIPTORS = (types.GetSetDescriptorType, types.MemberDescriptorType)
_BUILTIN_METHODS = (types.BuiltinMethodType, types.MethodWrapperType)


def kind_of(cls: type) -> Kind:
    """How objects of exactly this class are looked into. An "atom" holds no tensor."""
    known = _KINDS.get(id(cls))
    if known is None:
        known = _KINDS[id(cls)] = (cls, _decide_kind(cls))
        _note_local(cls)
    return known[1]


def forget_local_classes() -> None:
    """Let go of the classes that functions made: whoever looks at many models in a row would keep them all."""
    while _LOCAL:
        key = _LOCAL.pop()
        _KINDS.pop(key, None)
        _LAYOUTS.pop(key, None)


def _note_local(cls: type) -> None:
    if "<locals>" in _qualname_of(cls):
        _LOCAL.append(id(cls))


def _decide_kind(cls: type) -> Kind:
    import torch

    kinds: tuple[tuple[Kind, tuple[type, ...]], ...] = (
        ("tensor", (torch.Tensor,)),
        ("module", (torch.nn.Module,)),
        ("atom", (torch.Size, *_ATOMS)),
        ("sequence", (list, tuple, collections.deque)),
        ("mapping", (dict, types.MappingProxyType)),
        ("set", (set, frozenset)),
        ("function", (types.FunctionType,)),
        ("method", (types.MethodType, *_BUILTIN_METHODS)),
        ("partial", (functools.partial,)),
        ("class", (type,)),
    )
    if _derives(cls, enum.Enum):
        return "enum" if _has_tensors_as_members(cls) else "atom"
    for kind, bases in kinds:
        if _derives(cls, *bases):
            return kind
    if any(module_of(base).startswith(_FOREIGN) for base in mro_of(cls)):
        return "foreign"
    return "object" if _may_hold_tensors(cls) else "atom"


def _has_tensors_as_members(cls: type) -> bool:
    """Whether a member of an enum may lead to a tensor: nearly none does, and all of them are known."""
    members = class_dict(cls).get("_member_map_")
    values = (instance_dict(member).get("_value_") for member in members.values()) if type(members) is dict else ()
    return not holds_only_atoms(values)


def mro_of(cls: type) -> tuple[type, ...]:
    """The method resolution order, past any metaclass that would answer for the class."""
    order: tuple[type, ...] = _mro_of(cls)
    return order


def module_of(cls: type) -> str:
    """Name of the module that defines the class; "" where the class does not say it plainly."""
    name = class_dict(cls).get("__module__", "builtins")
    return name if isinstance(name, str) else ""


def class_dict(cls: type) -> types.MappingProxyType[str, Any]:
    """The class's own namespace, past any metaclass."""
    namespace: types.MappingProxyType[str, Any] = _dict_of_class(cls)
    return namespace


def module_dict(module: types.ModuleType) -> dict[str, Any]:
    """The module's namespace itself; a lazy module fills its own when asked by name."""
    namespace: dict[str, Any] = _dict_of_module(module)
    return namespace


def is_namespace(value: Any) -> TypeGuard[type | types.ModuleType]:
    """Whether it is a module or a class of neither torch nor the standard library."""
    if _derives(type(value), types.ModuleType):
        name = module_dict(value).get("__name__")
    elif _derives(type(value), type):
        name = module_of(value)
    else:
        return False
    return isinstance(name, str) and not _is_torch_module(name) and not _is_stdlib_module(name)


def member_of(namespace: type | types.ModuleType, name: str) -> Any:
    """What a class or a module itself has under a name; None too where it would have to be asked."""
    if is_a(namespace, types.ModuleType):
        return module_dict(namespace).get(name)
    spaces = (class_dict(base) for base in mro_of(cast("type", namespace)))
    return next((space[name] for space in spaces if name in space), None)


def instance_dict(value: object) -> dict[str, Any]:
    """The instance dict itself, not what a property or `__getattribute__` called `__dict__` would answer."""
    descriptor = _layout_of(type(value)).instance_dict
    found = descriptor.__get__(value) if descriptor is not None else None
    return found if type(found) is dict else {}


def attributes_of(value: object) -> Iterator[tuple[str, Any]]:
    """Instance dict and filled `__slots__`."""
    yield from instance_dict(value).items()
    for name, slot in _layout_of(type(value)).slots:
        try:
            yield name, slot.__get__(value)
        except AttributeError:  # a slot that nothing was assigned to
            continue


def own_attributes(value: object) -> Mapping[str, Any]:
    """The same by name. Where there are no slots nothing is copied: a module may have thousands of attributes."""
    own = instance_dict(value)
    return dict(attributes_of(value)) if _layout_of(type(value)).slots else own


def _layout_of(cls: type) -> _Layout:
    known = _LAYOUTS.get(id(cls))
    if known is None:
        known = _LAYOUTS[id(cls)] = (cls, _find_layout(cls))
        _note_local(cls)
    return known[1]


def _find_layout(cls: type) -> _Layout:
    found: Any = None
    slots: list[tuple[str, Any]] = []
    for base in mro_of(cls):
        descriptor = class_dict(base).get("__dict__")
        if found is None and isinstance(descriptor, _C_DESCRIPTORS) and descriptor.__objclass__ is base:
            found = descriptor
        if module_of(base) != "builtins":
            slots.extend(
                (name, value)
                for name, value in class_dict(base).items()
                if type(value) is types.MemberDescriptorType and name != "__dict__"
            )
    return _Layout(found, tuple(slots))


def items_of_sequence(value: Any) -> Iterable[Any]:
    """Elements of a list, tuple or deque, by the built-in iterator even where a subclass has its own."""
    base = next(base for base in (list, tuple, collections.deque) if _derives(type(value), base))
    return base.__iter__(value)


def items_of_mapping(value: Any) -> Iterable[tuple[Any, Any]]:
    """Keys and values of a dict or a mapping proxy."""
    return dict.items(value) if _derives(type(value), dict) else types.MappingProxyType.items(value)


def is_functools_cache(value: object) -> bool:
    """Whether it is a function that `functools.cache` or `lru_cache` wraps."""
    return type(value) is _CACHE


def results_of(cache: object) -> list[tuple[Any, Any]]:
    """Arguments and results that a functools cache keeps; only the collector is shown them."""
    shown = gc.get_referents(cache)
    table = next((each for each in shown if type(each) is dict and each is not instance_dict(cache)), {})
    if all(type(value).__name__ != "_lru_list_elem" for value in table.values()):
        return list(table.items())
    # Of a bounded one the table leads to links, which show nothing themselves: it shows their keys and results.
    keys = {id(key) for key in table}
    return [(key, result) for key, result in pairwise(shown) if id(key) in keys]


def items_of_set(value: Any) -> Iterable[Any]:
    """Elements of a set or frozenset."""
    return set.__iter__(value) if _derives(type(value), set) else frozenset.__iter__(value)


def holds_only_atoms(values: Iterable[Any]) -> bool:
    """Whether no element can lead to a tensor; a million strings cost one look at their one type."""
    classes = list(map(type, values))
    if classes and all(map(is_, classes, repeat(classes[0]))):
        return kind_of(classes[0]) == "atom"
    # By id: hashing or comparing them may ask a metaclass.
    return all(kind_of(cls) == "atom" for cls in {id(cls): cls for cls in classes}.values())


def is_dead_end(value: Any) -> bool:
    """Whether nothing can be behind the value: the usual attribute (an int, a tuple of ints) costs one look."""
    cls = type(value)
    if cls is tuple or cls is list:
        return not value or holds_only_atoms(value)
    if cls is dict or cls is collections.OrderedDict:
        return not value or holds_only_atoms(value.values())
    return kind_of(cls) == "atom"


def is_torch_class(cls: type) -> bool:
    """Whether torch itself defines the class."""
    return _is_torch_module(module_of(cls))


def is_stdlib_class(cls: type) -> bool:
    """Whether the standard library defines the class, or the interpreter itself."""
    return _is_stdlib_module(module_of(cls))


def is_a(value: object, *bases: type[_Base]) -> TypeGuard[_Base]:
    """As `isinstance`, which asks what is no such object for its `__class__`, and may so run the user's code."""
    return _derives(type(value), *bases)


def _derives(cls: type, *bases: type) -> bool:
    # By identity: `in` and `issubclass` would ask a metaclass.
    return any(own is base for own in mro_of(cls) for base in bases)


def _may_hold_tensors(cls: type) -> bool:
    module = module_of(cls)
    if _derives(cls, *_STDLIB_HOLDERS):
        return True
    if _is_torch_module(module):
        return module.startswith(_TORCH_HOLDERS) and module != _TORCH_LEFTOVERS
    return not _is_stdlib_module(module)


def _is_torch_module(name: str) -> bool:
    return name == "torch" or name.startswith("torch.")


@functools.cache
def _is_stdlib_module(name: str) -> bool:
    """By name and place: a user's own `code.py` is not the standard library's."""
    top = name.partition(".")[0]
    if top not in sys.stdlib_module_names:
        return False
    file = getattr(sys.modules.get(top), "__file__", None)
    return not isinstance(file, str) or file.startswith(sysconfig.get_path("stdlib"))
