"""Where the source of live classes and functions stands, and where in it something gets its value.

Source is read as text alone: nothing is imported or run, and what cannot be found is None.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import linecache
import sys
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, NamedTuple

from bufscan.errors import UnreadableError
from bufscan.live.reach.anatomy import class_dict, instance_dict, is_a, mro_of
from bufscan.source.origins import DefinedClass, origin_at, origin_in_classes, origin_in_file
from bufscan.source.project import SourceFile, parse
from bufscan.source.sites import walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.inventory import Location
    from bufscan.source.origins import Origin, Want
    from bufscan.source.project import FunctionNode
    from bufscan.source.slots import Key

_MOST_IMPORTS_FOLLOWED = 8
_MODULE_BASE = "torch.nn.modules.module"  # defines nn.Module, which gives its instances no tensor
_SOURCES_KEPT = 64  # the syntax tree of a long file takes some ten megabytes
_sources: dict[str, tuple[list[str], SourceFile | None]] = {}


class _Imported(NamedTuple):
    line: int
    module: ModuleType | None
    name: str


class ClassSource(NamedTuple):
    """A class definition, the file it stands in, and its qualified name."""

    file: SourceFile
    node: ast.ClassDef
    name: str


class FunctionSource(NamedTuple):
    """A function's file and the line of its `def`; `node` is None for a lambda."""

    file: SourceFile
    line: int
    node: FunctionNode | None


def find_origin(owner: type, attribute: str, want: Want = "value", key: Key | None = None) -> Location | None:
    """File and line that give `owner`'s `attribute` its value; the same choice as `origin_of`."""
    found = origin_of(owner, attribute, want, key)
    return found.location if found else None


def origin_of(owner: type, attribute: str, want: Want = "value", key: Key | None = None) -> Origin | None:
    """Where the attribute was made what it is on a newly built object of the class: see `origin_in_classes`."""
    classes = [
        DefinedClass(position, *found)
        for position, cls in enumerate(mro_of(owner))
        if class_dict(cls).get("__module__") != _MODULE_BASE and (found := source_of_class(cls))
    ]
    return origin_in_classes(classes, attribute, want, key) or _origin_of_cached(owner, attribute)


def _origin_of_cached(owner: type, attribute: str) -> Origin | None:
    """The `def` of a cached property, which sets the attribute when it is first read."""
    found = next((class_dict(cls)[attribute] for cls in mro_of(owner) if attribute in class_dict(cls)), None)
    function = instance_dict(found).get("func") if is_a(found, functools.cached_property) else None
    return origin_of_function(function) if isinstance(function, FunctionType) else None


def find_global_origin(holder: FunctionType | ModuleType, name: str) -> Location | None:
    """File and line that give a global its value: the module's, or that of the module a function is written in."""
    found = origin_of_global(holder, name)
    return found.location if found else None


def origin_of_global(holder: FunctionType | ModuleType, name: str) -> Origin | None:
    """As `origin_of`, for a global. `from package import NAME` is followed into modules already loaded."""
    import_line: Origin | None = None
    for _ in range(_MOST_IMPORTS_FOLLOWED):
        module, file = _module_and_source(holder)
        if file is None:
            break
        if found := origin_in_file(file, name):
            return found
        imported = _import_of(name, file.tree, module)
        if imported is None:
            break
        import_line = import_line or origin_at(file, imported.line)
        if imported.module is None:
            break
        holder, name = imported.module, imported.name
    return import_line


def find_function_origin(function: FunctionType) -> Location | None:
    """File and line of a function's `def`: where its default arguments are written and its closure is made."""
    found = origin_of_function(function)
    return found.location if found else None


def origin_of_function(function: FunctionType) -> Origin | None:
    """The place of a function's `def`."""
    found = source_of_function(function)
    return origin_at(found.file, found.line) if found else None


def source_of_file(file: str, module: ModuleType | None = None) -> SourceFile | None:
    """Parse `file`, or None where it cannot be read or is no Python.

    The lines are those that `linecache` gives, so that an edited file is noticed.

    Args:
        file: as `__file__` or a code object names it.
        module: the module it is the source of: lets a zip archive's loader hand over the text.
    """
    if file.startswith("<") or "\0" in file:
        return None
    linecache.checkcache(file)
    lines = linecache.getlines(file, module.__dict__ if module is not None else None)
    if not lines:
        return None
    if file not in _sources or _sources[file][0] is not lines:
        if len(_sources) >= _SOURCES_KEPT:
            del _sources[next(iter(_sources))]
        _sources[file] = lines, _parsed(file, "".join(lines))
    return _sources[file][1]


def _parsed(file: str, text: str) -> SourceFile | None:
    try:
        return SourceFile(Path(file), text, parse(text))
    except UnreadableError:  # written for another Python, edited since, or nested deeper than the parser goes
        return None


def source_of_class(owner: type) -> ClassSource | None:
    """Find where `owner` is defined; None for C types, `exec`'d code and classes made by calling `type`."""
    qualname = type.__getattribute__(owner, "__qualname__")
    lines_by_file: dict[str, list[int]] = {}
    for code in _codes_of(owner, qualname):
        lines_by_file.setdefault(code.co_filename, []).append(code.co_firstlineno)
    module = module_of(class_dict(owner).get("__module__"))
    own_file = file_of(module)
    # A class that claims another module than the one it was written in is common; its code cannot lie.
    for file in dict.fromkeys([*lines_by_file, *([own_file] if own_file else [])]):
        source = source_of_file(file, module if file == own_file else None)
        if source is not None and (definitions := source.classes.get(qualname)):
            return ClassSource(source, _defined_around(definitions, lines_by_file.get(file, [])), qualname)
    return None


def _defined_around(definitions: list[ast.ClassDef], lines: list[int]) -> ast.ClassDef:
    """Of several definitions of one name, the one its methods stand in; else the last, as Python has it."""
    for node in definitions:
        if any(node.lineno <= line <= (node.end_lineno or line) for line in lines):
            return node
    return max(definitions, key=lambda node: node.lineno)


def _codes_of(owner: type, qualname: str) -> Iterator[CodeType]:
    for value in class_dict(owner).values():
        function = value.fget if isinstance(value, property) else value
        if isinstance(function, staticmethod | classmethod):
            function = function.__func__
        if isinstance(function, FunctionType) and function.__code__.co_qualname.startswith(f"{qualname}."):
            yield function.__code__


def source_of_function(function: FunctionType) -> FunctionSource | None:
    """Find where a function is written; None for `exec`'d code and what has no file."""
    code = function.__code__
    file = source_of_file(code.co_filename, module_of(function.__globals__.get("__name__")))
    if file is None:
        return None
    node = file.functions.get(code.co_firstlineno)
    if node is not None and node.name == code.co_name:
        return FunctionSource(file, node.lineno, node)
    is_in_it = code.co_firstlineno <= file.text.count("\n") + 1
    return FunctionSource(file, code.co_firstlineno, None) if is_in_it else None


def module_of(name: object) -> ModuleType | None:
    """The loaded module of that name. Nothing is imported."""
    module = sys.modules.get(name) if isinstance(name, str) else None
    return module if isinstance(module, ModuleType) else None


def file_of(module: ModuleType | None) -> str | None:
    """The module's source file as it names it itself; a lazy module is not woken up."""
    file = module.__dict__.get("__file__") if module is not None else None
    return file if isinstance(file, str) and file.endswith(".py") else None


def _module_and_source(holder: FunctionType | ModuleType) -> tuple[ModuleType | None, SourceFile | None]:
    if isinstance(holder, FunctionType):
        found = source_of_function(holder)
        return module_of(holder.__globals__.get("__name__")), found.file if found else None
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
