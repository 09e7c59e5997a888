"""Where source gives an attribute, a container's element or a global its value: the one place of several."""

from __future__ import annotations

import ast
import functools
from collections import deque
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from bufscan.inventory import Location
from bufscan.source.files import shown
from bufscan.source.sites import Sites, may_hold_tensor, sites_in_class, sites_in_module, sites_on_class_name
from bufscan.source.slots import constant_key, last_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bufscan.source.project import SourceFile
    from bufscan.source.sites import Site
    from bufscan.source.slots import Key

Want: TypeAlias = Literal["value", "element", "class_value", "registration", "plain_value", "hiding"]
"""What is looked for: what an instance's attribute is set to, what is put into the container that it holds, what
the class itself has under the name, what registers it (`register_buffer`, a Parameter, a Buffer, a module), what
sets it without registering it, or what puts it into the instance dict although it is registered.
"""

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

_Method: TypeAlias = tuple[int, str]
"""Position of a class in the method resolution order, and a method that it defines itself."""

_ENTRIES = ("__new__", "__init__", "__post_init__", "__attrs_post_init__")

_in_class = functools.lru_cache(maxsize=512)(sites_in_class)
_in_module = functools.lru_cache(maxsize=64)(sites_in_module)
_on_class_name = functools.lru_cache(maxsize=64)(sites_on_class_name)


class Origin(NamedTuple):
    """A place in the source that gives something its value.

    Attributes:
        location: of the target, as people are shown it.
        file: the path of that.
        owner: the qualified name of the class that it stands in; "" for a global.
        in_init: whether building an object runs it; False for what a later `forward` sets.
    """

    location: Location
    file: str
    owner: str = ""
    in_init: bool = True


class DefinedClass(NamedTuple):
    """A class of a method resolution order whose source could be read; others leave gaps in `position`."""

    position: int
    file: SourceFile
    node: ast.ClassDef
    name: str


class _Candidate(NamedTuple):
    """A site that may be the one.

    Attributes:
        owner: the class that it stands in.
        position: of that in the method resolution order.
        depth: calls between the constructor and it; None where construction does not run it.
    """

    site: Site
    file: SourceFile
    owner: str = ""
    position: int = 0
    depth: int | None = 0


def origin_in_classes(
    classes: Sequence[DefinedClass], attribute: str, want: Want = "value", key: Key | None = None
) -> Origin | None:
    """Where an attribute was made what it is on a newly built object.

    Of several places, one that can hold a tensor wins over `None` and empty containers, one that construction runs
    (`__init__` and the methods it calls) over others, a derived class over its bases, `__init__` over what it
    calls, and the first in the source over later ones.

    Args:
        classes: in their method resolution order.
        attribute: its name in the object's `__dict__` (private names mangled) or slots.
        want: see `Want`.
        key: which element, where it is known.
    """
    depths = _constructing_methods(classes)
    # A computed name (`f"mask_{i}"`) is believed only where no class spells the name out.
    for sites_of in (Sites.of, Sites.computing):
        candidates: list[_Candidate] = []
        for position, file, node, name in classes:
            for site in sites_of(_in_class(node), attribute):
                depth = 0 if site.method is None else depths.get((position, site.method))
                candidates.append(_Candidate(site, file, name, position, depth))
            if want == "class_value":
                outside = sites_of(_on_class_name(file.tree, node.name), attribute)
                candidates.extend(_Candidate(site, file, name, position) for site in outside)
        if best := _best(candidates, want, key):
            return best
    return None


def origin_in_file(file: SourceFile, name: str) -> Origin | None:
    """Where a global of the file gets its value there."""
    return _best([_Candidate(site, file) for site in _in_module(file.tree).of(name)], "value", None)


def origin_at(file: SourceFile, line: int) -> Origin:
    """A line of a file."""
    return Origin(Location(file=shown(file.path), line=line), str(file.path))


def _constructing_methods(classes: Sequence[DefinedClass]) -> dict[_Method, int]:
    """The methods that construction runs, with the number of calls that lead from the constructor to each.

    A method that is only mentioned (`self.apply(self._init_weights)`) counts as called; branches are not followed.
    """
    depths: dict[_Method, int] = {}
    pending = deque((method, 0) for entry in _ENTRIES for method in _resolved(entry, classes))
    while pending:
        method, depth = pending.popleft()
        if method not in depths:
            depths[method] = depth
            pending.extend((called, depth + 1) for called in _called_by(method, classes))
    return depths


def _called_by(method: _Method, classes: Sequence[DefinedClass]) -> Iterator[_Method]:
    position, name = method
    references = next(_in_class(seen.node).methods[name] for seen in classes if seen.position == position)
    for called in references.own:
        yield from _resolved(called, classes)
    for called in references.parent:
        yield from _resolved(called, [seen for seen in classes if seen.position > position])
    for base, called in references.named:
        yield from _resolved(called, [seen for seen in classes if seen.node.name == base])


def _resolved(name: str, classes: Sequence[DefinedClass]) -> list[_Method]:
    """The first class that defines the method, as attribute lookup would find it."""
    return next(([(seen.position, name)] for seen in classes if name in _in_class(seen.node).methods), [])


def _best(candidates: list[_Candidate], want: Want, key: Key | None) -> Origin | None:
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
    site, file, owner, _, depth = min(ranked, key=lambda entry: entry[0])[1]
    return origin_at(file, site.line)._replace(owner=owner, in_init=depth is not None)


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
