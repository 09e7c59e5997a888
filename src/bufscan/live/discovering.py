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
from bufscan.live.anatomy import is_torch_class, mro_of
from bufscan.live.importing import import_source
from bufscan.live.origin import source_of_class, source_of_function
from bufscan.live.registry import registered_modules
from bufscan.source.files import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn


class Candidate(NamedTuple):
    """A class or a factory that makes a model.

    Attributes:
        source, name: how a target names it: `source:name`.
        missing: the arguments that it cannot be called without.
    """

    source: str
    name: str
    missing: tuple[str, ...]


class Discovery(NamedTuple):
    """What a module defines, in the order of its source, and what of it could not be examined."""

    candidates: list[Candidate]
    skipped: list[Skipped]


class ClassLines(NamedTuple):
    """Where a class is defined: the file as locations name it, and its lines."""

    file: str
    lines: range


def discover(source: str) -> Discovery:
    """Every nn.Module class, and every factory whose source shows that it returns one, that a module defines.

    A package is searched with all its submodules; what is only imported from elsewhere is not its own.

    Args:
        source: a dotted name, or the path of a Python file.

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
        _collect(module, name, discovery)
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


def _collect(module: types.ModuleType, source: str, discovery: Discovery) -> None:
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
                discovery.candidates.append(Candidate(source, name, _required(value)))
        elif isinstance(value, types.FunctionType) and not name.startswith("_"):
            missing = _required(value)
            if not missing and _returns_module(value):
                discovery.candidates.append(Candidate(source, name, missing))


def _is_module_class(value: Any) -> bool:
    from torch import nn

    return isinstance(value, type) and issubclass(value, nn.Module)


def _required(value: Callable[..., Any]) -> tuple[str, ...]:
    """Names of the parameters without a default."""
    try:
        parameters = inspect.signature(value).parameters.values()
    except (ValueError, TypeError):  # some callables written in C have no signature
        return ()
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return tuple(
        parameter.name
        for parameter in parameters
        if parameter.default is inspect.Parameter.empty and parameter.kind not in variadic
    )


def _returns_module(function: types.FunctionType) -> bool:
    """Whether the source says so: calling a function only to see what it returns could do anything."""
    annotation = function.__annotations__.get("return")
    if _is_module_class(annotation):
        return True
    if isinstance(annotation, str) and _is_module_class(_named(function, annotation)):
        return True
    return any(_is_module_class(_named(function, name)) for name in _made_and_returned(function))


def _named(function: types.FunctionType, dotted: str) -> Any:
    """What a dotted name means in the function's module; None where it means nothing."""
    first, *rest = dotted.split(".")
    found = function.__globals__.get(first)
    for name in rest:
        found = vars(found).get(name) if isinstance(found, types.ModuleType) else None
    return found


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
