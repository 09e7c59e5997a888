"""Where the source gives an attribute, a container's element or a global its value.

Read from source text alone: nothing is imported or run, and what cannot be found is None.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import msgspec

from bufscan.live.anatomy import class_dict, instance_dict, is_a, mro_of
from bufscan.live.assignments import (
    Sites,
    may_hold_tensor,
    sites_in_class,
    sites_in_module,
    sites_on_class_name,
    walk,
)
from bufscan.live.construction import SeenClass, constructing_methods
from bufscan.live.sources import file_of, module_of, source_of_class, source_of_file, source_of_function
from bufscan.source.slots import constant_key, last_name

if TYPE_CHECKING:
    from bufscan.inventory import Location
    from bufscan.live.assignments import Site
    from bufscan.live.sources import Source
    from bufscan.source.slots import Key

Want: TypeAlias = Literal["value", "element", "class_value", "registration", "plain_value", "hiding"]
"""What is looked for: what an instance's attribute is set to, what is put into the container that it holds, what
the class itself has under the name, what registers it (`register_buffer`, a Parameter, a Buffer, a module), what
sets it without registering it, or what puts it into the instance dict although it is registered.
"""

_MOST_IMPORTS_FOLLOWED = 8
_MODULE_BASE = "torch.nn.modules.module"  # defines nn.Module, which gives its instances no tensor

_REGISTERED_TYPES = {"Parameter", "Buffer", "UninitializedParameter", "UninitializedBuffer"}

_Form: TypeAlias = Literal[
    "value",
    "direct value",
    "registered value",
    "class value",
    "empty",
    "direct empty",
    "augmented",
    "registration",
    "field",
    "this element",
    "some element",
    "other element",
]
_Groups: TypeAlias = tuple[tuple[_Form, ...], ...]
_PLAIN: tuple[_Form, ...] = ("value", "direct value")
_EMPTY: tuple[_Form, ...] = ("empty", "direct empty")
_VALUES: tuple[_Form, ...] = (*_PLAIN, "registered value")
_PREFERENCES: dict[Want, tuple[_Groups, _Groups]] = {
    # Where a Parameter is set in one branch and a plain tensor in the other, the plain one is what is asked about.
    "value": (
        (_PLAIN, ("registered value",), ("augmented",)),
        (("registration",), ("class value",), ("field",), _EMPTY),
    ),
    "element": (
        (("this element",), _VALUES, ("class value",), ("some element", "augmented")),
        (("registration",), ("other element",), ("field",), _EMPTY),
    ),
    "class_value": ((("class value",),), (("augmented",), ("field",), _EMPTY)),
    "registration": (
        (("registration", "registered value"),),
        (_PLAIN, ("augmented",), ("class value",), ("field",), _EMPTY),
    ),
    "plain_value": ((_PLAIN,), (("augmented",), _EMPTY, ("field",))),
    "hiding": (
        (("direct value",), ("direct empty",), ("value",)),
        (("registered value",), ("augmented",), ("empty",)),
    ),
}
"""What serves each want, best first: what surely gives the slot what is wanted, then what at least names it."""

_in_class = functools.lru_cache(maxsize=512)(sites_in_class)
_in_module = functools.lru_cache(maxsize=64)(sites_in_module)
_on_class_name = functools.lru_cache(maxsize=64)(sites_on_class_name)


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """A place in the source that gives something its value.

    Attributes:
        location: of the target.
        file: the absolute path of that.
        owner: the qualified name of the class that it stands in; "" for a global.
        in_init: whether building an object runs it; False for what a later `forward` sets.
    """

    location: Location
    file: str
    owner: str = ""
    in_init: bool = True


class _Candidate(NamedTuple):
    """A site that may be the one.

    Attributes:
        owner: the class that it stands in.
        position: of that in the method resolution order.
        depth: calls between the constructor and it; None where construction does not run it.
    """

    site: Site
    source: Source
    owner: str = ""
    position: int = 0
    depth: int | None = 0


class _Imported(NamedTuple):
    line: int
    module: ModuleType | None
    name: str


def find_origin(owner: type, attribute: str, want: Want = "value", key: Key | None = None) -> Location | None:
    """File and line that give `owner`'s `attribute` its value; the same choice as `find_assignment`."""
    found = find_assignment(owner, attribute, want, key)
    return found.location if found else None


def find_assignment(
    owner: type, attribute: str, want: Want = "value", key: Key | None = None
) -> Assignment | None:
    """Find the assignment that made `attribute` what it is on a newly built object, or None.

    Of several, one that can hold a tensor wins over `None` and empty containers, one that construction runs
    (`__init__` and the methods it calls) over others, a derived class over its bases, `__init__` over what it
    calls, and the first in the source over later ones.

    Args:
        owner: class of the object that holds the attribute.
        attribute: its name in the object's `__dict__` (private names mangled) or slots.
        want: see `Want`.
        key: which element, where it is known.
    """
    classes = [
        (position, found)
        for position, cls in enumerate(mro_of(owner))
        if class_dict(cls).get("__module__") != _MODULE_BASE and (found := source_of_class(cls))
    ]
    seen = [SeenClass(at, found.node.name, _in_class(found.node)) for at, found in classes]
    depths = constructing_methods(seen)
    # A computed name (`f"mask_{i}"`) is believed only where no class spells the name out.
    for sites_of in (Sites.of, Sites.computing):
        candidates: list[_Candidate] = []
        for position, (source, node, name) in classes:
            for site in sites_of(_in_class(node), attribute):
                depth = 0 if site.method is None else depths.get((position, site.method))
                candidates.append(_Candidate(site, source, name, position, depth))
            if want == "class_value":
                outside = sites_of(_on_class_name(source.tree, node.name), attribute)
                candidates.extend(_Candidate(site, source, name, position) for site in outside)
        if best := _best(candidates, want, key):
            return best
    return _find_cached_property(owner, attribute)


def _find_cached_property(owner: type, attribute: str) -> Assignment | None:
    found = next((class_dict(cls)[attribute] for cls in mro_of(owner) if attribute in class_dict(cls)), None)
    function = instance_dict(found).get("func") if is_a(found, functools.cached_property) else None
    return find_function(function) if isinstance(function, FunctionType) else None


def find_global_origin(holder: FunctionType | ModuleType, name: str) -> Location | None:
    """File and line that give a global its value: the module's, or that of the module a function is written in."""
    found = find_global_assignment(holder, name)
    return found.location if found else None


def find_global_assignment(
    holder: FunctionType | ModuleType, name: str, want: Want = "value", key: Key | None = None
) -> Assignment | None:
    """As `find_assignment`, for a global. `from package import NAME` is followed into modules already loaded."""
    import_line: Assignment | None = None
    for _ in range(_MOST_IMPORTS_FOLLOWED):
        module, source = _module_and_source(holder)
        if source is None:
            break
        if sites := _in_module(source.tree).of(name):
            return _best([_Candidate(site, source) for site in sites], want, key)
        imported = _import_of(name, source.tree, module)
        if imported is None:
            break
        import_line = import_line or _at(source, imported.line)
        if imported.module is None:
            break
        holder, name = imported.module, imported.name
    return import_line


def find_function(function: FunctionType) -> Assignment | None:
    """A function's `def`: where its default arguments are written and its closure is made."""
    found = source_of_function(function)
    return _at(found.source, found.line) if found else None


def find_function_origin(function: FunctionType) -> Location | None:
    """File and line of a function's `def`."""
    found = find_function(function)
    return found.location if found else None


def _at(source: Source, line: int) -> Assignment:
    return Assignment(location=source.location(line), file=source.file)


def _best(candidates: list[_Candidate], want: Want, key: Key | None) -> Assignment | None:
    ranked: list[tuple[tuple[int, ...], _Candidate]] = []
    for given in candidates:
        candidate = _with_element(given, key) if want == "element" and key is not None else given
        rank = _rank(candidate.site, want, key)
        if rank is not None:
            weak, place = rank
            depth = candidate.depth
            order = (weak, depth is None, place, candidate.position, depth or 0, candidate.site.line)
            ranked.append((order, candidate))
    if not ranked:
        return None
    site, source, owner, _, depth = min(ranked, key=lambda entry: entry[0])[1]
    return Assignment(
        location=source.location(site.line), file=source.file, owner=owner, in_init=depth is not None
    )


def _rank(site: Site, want: Want, key: Key | None) -> tuple[bool, int] | None:
    """Whether a site is only a last resort for what is wanted, and its place; None where it never serves."""
    form = _form_of(site, key)
    strong, weak = _PREFERENCES[want]
    for place, forms in enumerate([*strong, *weak]):
        if form in forms:
            return place >= len(strong), place
    return None


def _form_of(site: Site, key: Key | None) -> _Form:
    holds = may_hold_tensor(site.value)
    match site.kind:
        case "whole":
            return _form_of_whole(site, key) if holds else "direct empty" if site.is_direct else "empty"
        case "element" if not holds or (key is not None and site.key is not None and site.key != key):
            return "other element"
        case "element":
            return "this element" if key is not None and site.key == key else "some element"
        case kind:
            return kind


def _form_of_whole(site: Site, key: Key | None) -> _Form:
    if site.on_class:
        return "class value"
    if key is not None and isinstance(site.value, ast.List | ast.Tuple | ast.Dict):
        return "other element"  # were the key in this literal, its element would stand here instead
    if isinstance(site.value, ast.Call) and last_name(site.value.func) in _REGISTERED_TYPES:
        return "registered value"
    return "direct value" if site.is_direct else "value"


def _with_element(candidate: _Candidate, key: Key) -> _Candidate:
    """Point at one element of a literal container rather than at the whole."""
    site = candidate.site
    element: ast.expr | None = None
    match site.value:
        case ast.List(elts=elements) | ast.Tuple(elts=elements) if isinstance(key, int):
            plain = not any(isinstance(part, ast.Starred) for part in elements)
            element = elements[key] if plain and key < len(elements) else None
        case ast.Dict(keys=keys, values=values):
            named = [value for name, value in zip(keys, values, strict=True) if name and constant_key(name) == key]
            element = named[-1] if named else None
        case _:
            pass
    if site.kind != "whole" or element is None:
        return candidate
    found = site._replace(kind="element", line=element.lineno, value=element, key=key)
    return candidate._replace(site=found)


def _module_and_source(holder: FunctionType | ModuleType) -> tuple[ModuleType | None, Source | None]:
    if isinstance(holder, FunctionType):
        found = source_of_function(holder)
        return module_of(holder.__globals__.get("__name__")), found.source if found else None
    file = file_of(holder)
    return holder, source_of_file(file, holder) if file else None


def _import_of(name: str, tree: ast.Module, module: ModuleType | None) -> _Imported | None:
    """The `from … import` that brings in a global, and the loaded module that it names."""
    package = module.__dict__.get("__package__") if module is not None else None
    imports = [node for node in walk(tree.body, into_functions=False) if isinstance(node, ast.ImportFrom)]
    for node in reversed(imports):  # the last one holds
        origin = _module_named(node, package)
        for alias in node.names:
            if name == (alias.asname or alias.name):
                return _Imported(node.lineno, origin, alias.name)
            if alias.name == "*" and origin is not None and name in origin.__dict__:
                return _Imported(node.lineno, origin, name)
    return None


def _module_named(node: ast.ImportFrom, package: object) -> ModuleType | None:
    relative = "." * node.level + (node.module or "")
    try:
        return module_of(importlib.util.resolve_name(relative, package if isinstance(package, str) else None))
    except ImportError:  # it leads out of the package
        return None
