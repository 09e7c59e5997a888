"""Source text of the classes and functions that a live model is made of: parsed once a file, never executed."""

from __future__ import annotations

import ast
import linecache
import os
import sys
from functools import cached_property
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from bufscan.inventory import Location
from bufscan.live.anatomy import class_dict

if TYPE_CHECKING:
    from collections.abc import Iterator

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef

_BODIES = (ast.stmt, ast.excepthandler, ast.match_case)
"""Nodes that can hold statements; expressions never do."""


class Source:
    """One parsed file. Its lines are those `linecache` gives, so that an edited file is noticed."""

    def __init__(self, file: str, lines: list[str], tree: ast.Module) -> None:
        self.file = file
        self.lines = lines
        self.tree = tree

    def location(self, line: int) -> Location:
        """The place to show a person: relative to the current folder where the file lies inside it."""
        return Location(file=shown_path(self.file), line=line)

    @cached_property
    def classes(self) -> dict[str, list[ast.ClassDef]]:
        """Class definitions by `__qualname__`; several where one is redefined or chosen by an `if`."""
        found: dict[str, list[ast.ClassDef]] = {}
        for name, node in self._definitions:
            if isinstance(node, ast.ClassDef):
                found.setdefault(name, []).append(node)
        return found

    @cached_property
    def functions(self) -> dict[int, Function]:
        """Function definitions by the first line of their code objects, which is that of the first decorator."""
        return {
            min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]): node
            for _, node in self._definitions
            if not isinstance(node, ast.ClassDef)
        }

    @cached_property
    def _definitions(self) -> list[tuple[str, ast.ClassDef | Function]]:
        found: list[tuple[str, ast.ClassDef | Function]] = []
        pending: list[tuple[str, ast.AST]] = [("", self.tree)]
        while pending:
            prefix, node = pending.pop()
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.ClassDef):
                    found.append((f"{prefix}{child.name}", child))
                    pending.append((f"{prefix}{child.name}.", child))
                elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                    found.append((f"{prefix}{child.name}", child))
                    pending.append((f"{prefix}{child.name}.<locals>.", child))
                elif isinstance(child, _BODIES):
                    pending.append((prefix, child))
        return found


class ClassSource(NamedTuple):
    """A class definition, the file it stands in, and its qualified name."""

    source: Source
    node: ast.ClassDef
    name: str


_sources: dict[str, Source | None] = {}
_SOURCES_KEPT = 64  # the syntax tree of a long file takes some ten megabytes


def source_of_file(file: str, module: ModuleType | None = None) -> Source | None:
    """Parse `file`, or None where it cannot be read or is no Python.

    Args:
        file: as `__file__` or a code object names it.
        module: the module it is the source of: lets a zip archive's loader hand over the text.
    """
    if file.startswith("<") or "\0" in file:
        return None
    linecache.checkcache(file)
    lines = linecache.getlines(file, module.__dict__ if module is not None else None)
    known = _sources.get(file)
    if known is not None and known.lines is lines:
        return known
    if not lines:
        return None
    if len(_sources) >= _SOURCES_KEPT:
        del _sources[next(iter(_sources))]
    _sources[file] = parsed = _parse(file, lines)
    return parsed


def _parse(file: str, lines: list[str]) -> Source | None:
    try:
        return Source(file, lines, ast.parse("".join(lines)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # Written for another Python, edited since, or nested deeper than the parser goes.
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


class FunctionSource(NamedTuple):
    """A function's file and the line of its `def`; `node` is None for a lambda."""

    source: Source
    line: int
    node: Function | None


def source_of_function(function: FunctionType) -> FunctionSource | None:
    """Find where a function is written; None for `exec`'d code and what has no file."""
    code = function.__code__
    source = source_of_file(code.co_filename, module_of(function.__globals__.get("__name__")))
    if source is None or code.co_firstlineno > len(source.lines):
        return None
    node = source.functions.get(code.co_firstlineno)
    if node is None or node.name != code.co_name:
        return FunctionSource(source, code.co_firstlineno, None)
    return FunctionSource(source, node.lineno, node)


def module_of(name: object) -> ModuleType | None:
    """The loaded module of that name. Nothing is imported."""
    module = sys.modules.get(name) if isinstance(name, str) else None
    return module if isinstance(module, ModuleType) else None


def file_of(module: ModuleType | None) -> str | None:
    """The module's source file as it names it itself; a lazy module is not woken up."""
    file = module.__dict__.get("__file__") if module is not None else None
    return file if isinstance(file, str) and file.endswith(".py") else None


def shown_path(file: str) -> str:
    """A file as a location names it: relative to the current folder where it lies inside it."""
    try:
        here = os.getcwd()  # noqa: PTH109 - Path.cwd() says no more, and costs twice as much
    except OSError:  # the folder is gone
        return file
    return file[len(here) + 1 :] if file.startswith(here.rstrip(os.sep) + os.sep) else file
