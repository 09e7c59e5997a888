"""The walk over everything that hangs off a model: every tensor that no registration accounts for.

The walk reads the object graph through `anatomy`, so it runs no user code; it is iterative, visits every object
once and stops at bounds that it reports.
"""

from __future__ import annotations

import re
import types
from collections import OrderedDict, deque
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from bufscan.inventory import Skipped
from bufscan.live.reach import anatomy
from bufscan.live.reach.anatomy import class_dict, kind_of, mro_of
from bufscan.live.reach.describing import brief, subclasses_not_asked
from bufscan.live.reach.functions import files_of, functions_in, globals_of
from bufscan.live.reach.naming import Anchor, Place, key_step, root_place
from bufscan.live.reach.registry import child_step, is_script, registered_modules, registered_tensors, table_of
from bufscan.tensor_names import spell_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch
    from torch import nn

    from bufscan.live.reach.functions import Global
    from bufscan.live.reach.registry import RegisteredModule

MAX_OBJECTS = 100_000
"""Objects looked into behind one attribute; a vocabulary's strings are not among them."""
MAX_DEPTH = 60
"""Steps from a module; a linked list has a million."""

_DEVICE_NAME = re.compile(r"cpu|(?:cuda|xpu|mps|hpu|xla|npu|meta)(?::\d+)?")

# Methods are walked as functions; descriptors answer for instances and hold nothing themselves.
_CLASS_VALUES = frozenset(("tensor", "module", "sequence", "mapping", "set", "partial", "object", "enum"))
# Registered tensors and modules are seen by `registry`; the rest says when hooks run and is made of flags.
_OWN_TABLES = frozenset(("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"))


class Reached(NamedTuple):
    """A tensor that the walk met, and where."""

    place: Place
    tensor: torch.Tensor


class Walk(NamedTuple):
    """What the walk met, in the order of the modules, and what it left out."""

    reached: list[Reached]
    skipped: list[Skipped]


def walk(modules: Sequence[RegisteredModule]) -> Walk:
    """Every tensor that can be reached from the modules other than by their registration.

    A tensor that is held in several places is met in each of them; a container or an object only once.
    """
    walker = _Walker(modules)
    for entry in modules:
        if entry.first:
            walker.walk_module(entry)
    return Walk(walker.reached, walker.skipped)


class _Walker:
    """The state of one walk: what was visited and found."""

    def __init__(self, modules: Sequence[RegisteredModule]) -> None:
        self.reached: list[Reached] = []
        self.skipped: list[Skipped] = []
        self._visited = {id(entry.module) for entry in modules}
        # What shares a module's own tables (`torch.compile` copies the instance dict) reaches registered tensors.
        tables = (anatomy.instance_dict(entry.module).get(name) for entry in modules for name in _OWN_TABLES)
        self._visited.update(id(table) for table in tables if isinstance(table, dict))
        self._kept_alive: list[object] = []
        self._files = files_of(type(entry.module) for entry in modules)
        # What they have is met as class attributes, whether or not a function names it by its class.
        self._classes = {id(cls) for entry in modules for cls in mro_of(type(entry.module))}
        self._walked: set[int] = set()  # classes, which are visited as values too
        self._registries: set[tuple[int, str | None]] = set()
        self._budget = 0
        self._cut = False

    def walk_module(self, entry: RegisteredModule) -> None:
        """Walk each attribute with a budget of its own, so that a huge one does not hide the others."""
        place = root_place(entry)
        for child, value in self._module_attributes(place, entry.module):
            self._walk_from(child, value)

    def _walk_from(self, place: Place, value: Any) -> None:
        kind = kind_of(type(value))
        if kind == "atom":
            return
        if kind == "tensor":
            self.reached.append(Reached(place, value))
            return
        self._budget, self._cut = MAX_OBJECTS, False
        # Breadth first: what is reached in several ways gets its shortest name.
        queue: deque[tuple[Place, Any]] = deque([(place, value)])
        while queue:
            here, found = queue.popleft()
            queue.extend(self._children(here, found))
        if self._cut:
            reason = f"over {MAX_OBJECTS:,} objects or {MAX_DEPTH} steps: not all examined"
            self.skipped.append(Skipped(what=place.path, reason=reason, failed=True))

    def _children(self, place: Place, value: Any) -> Iterator[tuple[Place, Any]]:
        """Objects one step further that may lead to tensors; tensors are noted here."""
        if id(value) in self._visited:
            return
        self._visited.add(id(value))
        self._kept_alive.append(value)
        for child, found in self._steps(place, value):
            kind = kind_of(type(found))
            if kind == "tensor":
                self.reached.append(Reached(child, found))
            elif kind != "atom" and id(found) not in self._visited:
                if self._budget == 0 or child.depth > MAX_DEPTH:
                    self._cut = True
                    continue
                self._budget -= 1
                yield child, found

    def _steps(self, place: Place, value: Any) -> Iterator[tuple[Place, Any]]:
        match kind_of(type(value)):
            case "module" if (registry := _registry_around(place, value)) is not None:
                self._note_registry(registry)
            case "module":
                yield from self._hidden_module(place, value)
            case "sequence":
                yield from _sequence(place, value)
                yield from _attributes(place, value)
            case "mapping":
                yield from _mapping(place, value)
                yield from _attributes(place, value)
            case "set":
                yield from _set(place, value)
            case "function":
                yield from self._function(place, value)
            case "method":
                yield from _method(place, value)
            case "partial":
                yield from _partial(place, value)
            case "object" | "enum" | "class":
                yield from self._object(place, value)
            case "foreign":
                reason = f"{type(value).__name__} holds training state or data, no part of the model"
                self.skipped.append(Skipped(what=place.path, reason=reason))
            case _:
                return

    def _note_registry(self, registry: Anchor) -> None:
        owner, name, *_ = registry
        if (id(owner), name) not in self._registries:
            self._registries.add((id(owner), name))
            reason = "the class keeps all its instances here, those of other models too"
            self.skipped.append(Skipped(what=f"{owner.__name__}.{name}", reason=reason))

    def _object(self, place: Place, value: Any) -> Iterator[tuple[Place, Any]]:
        match kind_of(type(value)):
            case "enum":
                yield place.step(".value", "object"), anatomy.instance_dict(value).get("_value_")
            case "class":
                if anatomy.is_namespace(value) and kind_of(cast("type", value)) != "module":
                    yield from self._class(place, cast("type", value))
            case _:
                if anatomy.is_functools_cache(value):
                    yield from _cached_results(place, value)
                yield from _attributes(place, value)
                yield from self._class(place, type(value))

    def _class(self, place: Place, cls: type) -> Iterator[tuple[Place, Any]]:
        """Values of a class that is held, or of which an object is; a module's are met with the module."""
        for base in mro_of(cls):
            if id(base) not in self._walked and not anatomy.is_torch_class(base):
                self._walked.add(id(base))
                yield from _class_values(place, base)

    def _module_attributes(self, place: Place, module: nn.Module) -> Iterator[tuple[Place, Any]]:
        """Instance attributes, hooks, class attributes and methods; not what is registered."""
        if is_script(module):
            yield from _script_attributes(place, module)
            return
        cls = type(module)
        for name, value in list(anatomy.attributes_of(module)):
            if name in _OWN_TABLES or anatomy.is_dead_end(value):
                continue
            if name.endswith("_hooks") and type(value) in (dict, OrderedDict):
                yield from _hooks(place, name, value)
            else:
                yield _attribute_of_module(place, module, name), value
        registered = frozenset((*table_of(module, "_parameters"), *table_of(module, "_buffers")))
        for base in mro_of(cls):
            if not anatomy.is_torch_class(base):
                yield from self._class_members(place, base, registered)

    def _class_members(self, place: Place, cls: type, registered: frozenset[str]) -> Iterator[tuple[Place, Any]]:
        """Values and methods of a class, once for all its instances."""
        if id(cls) in self._walked:
            return
        self._walked.add(id(cls))
        yield from _class_values(place, cls, registered)
        for name, function in functions_in(cls):
            yield place.attribute(cls, name), function

    def _hidden_module(self, place: Place, module: nn.Module) -> Iterator[tuple[Place, Any]]:
        """Everything of a module that no module registers, its registered tensors and children first."""
        inside = place.hidden(trains=place.holder is None and _trains(module))
        for table in ("_parameters", "_buffers"):
            for name, tensor in table_of(module, table).items():
                if tensor is not None:
                    yield inside.step(f".{name}"), tensor
        for name, child in table_of(module, "_modules").items():
            if child is not None:
                yield inside.step(child_step(module, name)), child
        yield from self._module_attributes(inside, module)

    def _function(self, place: Place, function: types.FunctionType) -> Iterator[tuple[Place, Any]]:
        for index, default in enumerate(function.__defaults__ or ()):
            yield place.in_function(f".__defaults__[{index}]", function, "default_argument"), default
        for name, default in (function.__kwdefaults__ or {}).items():
            yield place.in_function(f".__kwdefaults__[{name!r}]", function, "default_argument"), default
        for index, cell in enumerate(function.__closure__ or ()):
            try:
                content = cell.cell_contents
            except ValueError:  # a variable that was never assigned
                continue
            yield place.in_function(f".__closure__[{index}].cell_contents", function, "closure"), content
        for name, value in anatomy.instance_dict(function).items():
            yield place.in_function(f".{name}", function, "object"), value
        if id(function.__globals__) in self._files:
            for named in globals_of(function):
                if all(id(namespace) not in self._classes for namespace, _ in named.members):
                    yield _place_of_global(place, function, named), named.value


def _place_of_global(place: Place, function: types.FunctionType, named: Global) -> Place:
    here = place.global_of(function, named.name)
    for namespace, name in named.members:
        here = here.member_of(namespace, name)
    return here


def _registry_around(place: Place, module: nn.Module) -> Anchor | None:
    """The class attribute that holds the module, if it is one of the very class whose instance the module is."""
    anchor = place.anchor
    if anchor is None or place.holding not in ("class_attribute", "global"):
        return None
    return anchor if any(base is anchor[0] for base in mro_of(type(module))) else None


def _attribute_of_module(place: Place, module: nn.Module, name: str) -> Place:
    if name.isdecimal() and _is_parameter_list(module):  # where it keeps what is no tensor
        return place.attribute(type(module), name)._replace(module=module, suffix=f"[{name}]")
    child = place.attribute(type(module), name)._replace(module=module)
    if not any(name in table_of(module, table) for table in ("_parameters", "_buffers", "_modules")):
        return child
    return child._replace(suffix=f".__dict__[{name!r}]", anchor=Anchor(type(module), name, "hiding"))


def _trains(module: nn.Module) -> bool:
    """Whether something that is registered in it requires grad."""
    entries = (entry for each in registered_modules(module)[0] for entry in registered_tensors(each))
    return any(
        entry.kind == "parameter" and entry.tensor is not None and entry.tensor.requires_grad for entry in entries
    )


def _is_parameter_list(module: nn.Module) -> bool:
    from torch import nn

    return isinstance(module, nn.ParameterList)


def _method(place: Place, method: Any) -> Iterator[tuple[Place, Any]]:
    yield place.step(".__self__", "object"), method.__self__
    if isinstance(method, types.MethodType):
        yield place.step(".__func__"), method.__func__


def _sequence(place: Place, value: Any) -> Iterator[tuple[Place, Any]]:
    if anatomy.holds_only_atoms(anatomy.items_of_sequence(value)):
        return
    fields = class_dict(type(value)).get("_fields", ())
    for index, item in enumerate(anatomy.items_of_sequence(value)):
        named = isinstance(fields, tuple) and index < len(fields)
        if kind_of(type(item)) != "atom":
            yield place.element(f".{fields[index]}" if named else f"[{index}]", index), item


def _mapping(place: Place, value: Any) -> Iterator[tuple[Place, Any]]:
    items = list(anatomy.items_of_mapping(value))
    if anatomy.holds_only_atoms(item for _, item in items):
        return
    for position, (key, item) in enumerate(items):
        if kind_of(type(item)) != "atom":
            prefix, suffix = key_step(key, position)
            child = place.element(suffix, key, prefix=prefix)
            yield child._replace(is_by_device=True) if _names_device(key) else child, item


def _cached_results(place: Place, cache: Any) -> Iterator[tuple[Place, Any]]:
    """What a functools cache keeps, as the call that gives it."""
    function = anatomy.instance_dict(cache).get("__wrapped__")
    for position, (key, result) in enumerate(anatomy.results_of(cache)):
        if kind_of(type(result)) == "atom":
            continue
        spelled = spell_key(key)
        call = f".cached[{position}]" if spelled is None else f"({spelled.removeprefix('(').removesuffix(')')})"
        if isinstance(function, types.FunctionType):
            child = place.in_function(call, function, "cached_result")
        else:
            child = place.step(call, "cached_result")
        yield child._replace(is_by_device=_names_device(key)), result


def _names_device(key: Any) -> bool:
    """Whether the key, or a part of it, is a device or the name of one with its index."""
    import torch

    if type(key) is torch.device:
        return True
    if type(key) is str:
        return _DEVICE_NAME.fullmatch(key) is not None
    parts = tuple.__iter__(key) if isinstance(key, tuple) else list.__iter__(key) if isinstance(key, list) else ()
    return any(map(_names_device, parts))


def _set(place: Place, value: Any) -> Iterator[tuple[Place, Any]]:
    if anatomy.holds_only_atoms(anatomy.items_of_set(value)):
        return
    # A set's own order differs from run to run: by what the items are, as far as that tells them apart.
    for position, item in enumerate(sorted(anatomy.items_of_set(value), key=_looks_of)):
        yield place.element(f")[{position}]", prefix="list("), item


def _looks_of(item: Any) -> tuple[str, list[str]]:
    """What can be told of an object without running its code, and stays the same from run to run."""
    held = [item]
    if kind_of(type(item)) == "module":
        held = [tensor for name in ("_parameters", "_buffers") for tensor in table_of(item, name).values()]
    with subclasses_not_asked():
        looks = [brief(each) for each in held if kind_of(type(each)) == "tensor"]
    return type.__repr__(type(item)), looks


def _partial(place: Place, value: Any) -> Iterator[tuple[Place, Any]]:
    yield place.step(".func", "partial"), partial.func.__get__(value)
    for index, argument in enumerate(partial.args.__get__(value)):
        yield place.step(f".args[{index}]", "partial"), argument
    for name, argument in partial.keywords.__get__(value).items():
        yield place.step(f".keywords[{name!r}]", "partial"), argument
    for name, item in anatomy.instance_dict(value).items():
        yield place.attribute(type(value), name, "object"), item


def _hooks(place: Place, table: str, hooks: dict[int, Any]) -> Iterator[tuple[Place, Any]]:
    # By position: the keys count every hook of the process.
    for position, hook in enumerate(hooks.values()):
        yield place.step(f".{table}.values())[{position}]", "hook", prefix="list("), hook


def _attributes(place: Place, value: Any) -> Iterator[tuple[Place, Any]]:
    owner = type(value)
    is_foreign = anatomy.is_stdlib_class(owner) or any(map(anatomy.is_torch_class, mro_of(owner)))
    for name, item in list(anatomy.attributes_of(value)):
        # The source of such a class says nothing about the model: what counts is where that makes the object.
        yield place.step(f".{name}", "object") if is_foreign else place.attribute(owner, name, "object"), item


def _class_values(place: Place, cls: type, hidden: frozenset[str] = frozenset()) -> Iterator[tuple[Place, Any]]:
    # An enum keeps each member twice: under its name, and in tables of its own.
    private = "_" if "_member_map_" in class_dict(cls) else "__"
    for name, value in list(class_dict(cls).items()):
        if kind_of(type(value)) in _CLASS_VALUES and not name.startswith(private):
            child = place.attribute(cls, name, "class_attribute")
            yield child._replace(suffix=f".__class__.{name}") if name in hidden else child, value


def _script_attributes(place: Place, module: Any) -> Iterator[tuple[Place, Any]]:
    """Attributes of the C++ object; its Python side only repeats them."""
    inner = getattr(module, "_actual_script_module", module)
    buffers = table_of(inner, "_buffers")
    known = getattr(inner, "_concrete_type", None)  # a frozen module has none, and no attributes
    for name in known.get_attributes() if known is not None else ():
        if name not in buffers:
            yield place.step(f".{name}"), inner._c.getattr(name)  # noqa: SLF001
    for method in map(inner._c._get_method, inner._c._method_names()):  # noqa: SLF001  # torch has no public reader
        for node in method.graph.findAllNodes("prim::Constant"):
            if node.hasAttribute("value") and node.kindOf("value") == "t" and node.t("value").dim():
                name = node.output().debugName().removeprefix("self.")
                yield place.step(f".{method.name}.graph[{name!r}]", "constant"), node.t("value")
