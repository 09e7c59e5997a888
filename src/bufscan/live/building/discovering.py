"""The models that a Python module defines, and where in the source a model's classes stand.

Importing the module is the user's wish; nothing in it is called here.
"""

from __future__ import annotations

import ast
import inspect
import pkgutil
import types
from typing import TYPE_CHECKING, Any, NamedTuple

from bufscan.errors import UnreadableError
from bufscan.inventory import Skipped
from bufscan.live.building.config_defaults import config_classes, named, required
from bufscan.live.building.importing import import_source
from bufscan.live.reach.anatomy import is_torch_class, mro_of
from bufscan.live.reach.origin import source_of_class, source_of_function
from bufscan.live.reach.registry import registered_modules
from bufscan.source.files import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn


class Candidate(NamedTuple):
    """A class or a factory that makes a model.

    Attributes:
        source, name: how a target names it: `source:name`.
        missing: the arguments that it cannot be called without.
        types: the names of their types, as far as they are written.
        configs: those of them that are configurations with defaults for everything.
    """

    source: str
    name: str
    missing: tuple[str, ...]
    types: dict[str, str]
    configs: frozenset[str]


class Discovery(NamedTuple):
    """What a module defines, in the order of its source, and what of it could not be examined."""

    candidates: list[Candidate]
    skipped: list[Skipped]


class ClassLines(NamedTuple):
    """Where a class is defined: the file as locations name it, and its lines."""

    file: str
    lines: range


def discover(source: str, *, configs: bool = False) -> Discovery:
    """Every nn.Module class, and every factory whose source shows that it returns one, that a module defines.

    A package is searched with all its submodules; what is only imported from elsewhere is not its own.

    Args:
        source: a dotted name, or the path of a Python file.
        configs: whether factories count that ask for nothing but configurations with defaults for everything.

    Raises:
        UnreadableError: the module cannot be imported.
    """
    discovery = Discovery([], [])
    pending = [source]
    while pending:
        name = pending.pop(0)
        try:
            module = import_source(name)
        except UnreadableError as error:
            if name == source:
                raise
            discovery.skipped.append(Skipped(what=name, reason=error.message, failed=True))
            continue
        _collect(module, name, discovery, configs=configs)
        pending[:0] = _submodules(module)
    return discovery


def classes_of(model: nn.Module) -> list[ClassLines]:
    """Where the classes of a model and of all its modules stand, without torch's own."""
    modules, _ = registered_modules(model)
    classes = {id(base): base for entry in modules for base in mro_of(type(entry.module))}
    found = []
    for cls in classes.values():
        definition = None if is_torch_class(cls) else source_of_class(cls)
        if definition is not None:
            node = definition.node
            file = shown(definition.file.path)
            found.append(ClassLines(file, range(node.lineno, (node.end_lineno or node.lineno) + 1)))
    return found


def _submodules(module: types.ModuleType) -> list[str]:
    """Names of the modules of a package; `__main__` is a program."""
    found = pkgutil.iter_modules(getattr(module, "__path__", ()), f"{module.__name__}.")
    return sorted(each.name for each in found if not each.name.endswith(".__main__"))


def _collect(module: types.ModuleType, source: str, discovery: Discovery, *, configs: bool) -> None:
    for name, value in list(vars(module).items()):
        if getattr(value, "__module__", None) != module.__name__ or getattr(value, "__name__", None) != name:
            continue
        if _is_module_class(value):
            if inspect.isabstract(value):
                what = f"{source}:{name}"
                discovery.skipped.append(
                    Skipped(what=what, reason="an abstract class: nothing can be built of it")
                )
            else:
                discovery.candidates.append(_candidate(source, name, value))
        elif isinstance(value, types.FunctionType) and not name.startswith("_"):
            candidate = _candidate(source, name, value)
            is_complete = not candidate.missing or (configs and candidate.configs.issuperset(candidate.missing))
            if is_complete and _returns_module(value):
                discovery.candidates.append(candidate)


def _is_module_class(value: Any) -> bool:
    from torch import nn

    return isinstance(value, type) and issubclass(value, nn.Module)


def _candidate(source: str, name: str, value: Callable[..., Any]) -> Candidate:
    parameters = required(value)
    types_ = {
        each.name: getattr(each.annotation, "__name__", str(each.annotation))
        for each in parameters
        if each.annotation is not each.empty
    }
    return Candidate(
        source, name, tuple(each.name for each in parameters), types_, frozenset(config_classes(value))
    )


def _returns_module(function: types.FunctionType) -> bool:
    """Whether the source says so: calling a function only to see what it returns could do anything."""
    annotation = function.__annotations__.get("return")
    if _is_module_class(annotation):
        return True
    names = function.__globals__
    if isinstance(annotation, str) and _is_module_class(named(names, annotation)):
        return True
    return any(_is_module_class(named(names, name)) for name in _made_and_returned(function))


def _made_and_returned(function: types.FunctionType) -> Iterator[str]:
    """Names of what is called to make the value that the function returns."""
    found = source_of_function(function)
    if found is None or found.node is None:
        return
    nodes = [node for statement in found.node.body for node in ast.walk(statement)]
    made = {
        target.id: node.value
        for node in nodes
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in nodes:
        if isinstance(node, ast.Return):
            value = made.get(node.value.id) if isinstance(node.value, ast.Name) else node.value
            if isinstance(value, ast.Call):
                yield ast.unparse(value.func)
