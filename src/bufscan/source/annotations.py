"""What an annotation says of a value: that it is a tensor, a module, a number."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from bufscan.source.project import dotted_name
from bufscan.source.torch_facts import PARAMETERS, is_module_class, is_tensor_class
from bufscan.source.values import (
    NONE,
    PLAIN,
    UNKNOWN,
    ClassName,
    Container,
    Module,
    Outside,
    Parameter,
    Tensor,
    Value,
    either,
    options_of,
)

if TYPE_CHECKING:
    from bufscan.source.objects import Objects
    from bufscan.source.project import SourceFile

_PLAIN_TYPES = frozenset(
    (
        "int",
        "float",
        "bool",
        "str",
        "bytes",
        "complex",
        "torch.dtype",
        "torch.device",
        "torch.Size",
        "pathlib.Path",
    )
)
_CONTAINERS = frozenset(
    f"{source}{name}"
    for source in ("", "typing.", "collections.abc.")
    for name in ("list", "List", "tuple", "Tuple", "Sequence", "Iterable")
)
_DICTS = frozenset(
    f"{source}{name}" for source in ("", "typing.", "collections.abc.") for name in ("dict", "Dict", "Mapping")
)


def annotated(objects: Objects, file: SourceFile, node: ast.expr, how: str) -> Value:
    """The value that an annotation promises, given from outside; unknown where it promises nothing that counts."""
    match node:
        case ast.Constant(value=None):
            return NONE
        case ast.Constant(value=str() as text):
            try:
                return annotated(objects, file, ast.parse(text, mode="eval").body, how)
            except (SyntaxError, ValueError, RecursionError):
                return UNKNOWN
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _one_of([annotated(objects, file, left, how), annotated(objects, file, right, how)])
        case ast.Subscript(value=outer, slice=inner):
            return _generic(objects, file, outer, inner, how)
        case _:
            name = dotted_name(node)
            return UNKNOWN if name is None else _named(objects, file, name, how)


def _named(objects: Objects, file: SourceFile, name: str, how: str) -> Value:
    match objects.global_named(file, name):
        case Outside(dotted=dotted) if is_tensor_class(dotted):
            return Tensor(f"{how}, which is annotated as a tensor,", has_dimensions=None, is_given=True)
        case Outside(dotted=dotted) if dotted in PARAMETERS:
            return Parameter(how, is_held=True)
        case Outside(dotted=dotted) if is_module_class(dotted):
            return Module(how, is_held=True)
        case Outside(dotted=dotted) if dotted in _PLAIN_TYPES:
            return PLAIN
        case ClassName(cls=cls) if objects.classes.lineage(cls).is_module:
            return Module(how, cls, is_held=True)
        case _:
            return UNKNOWN


def _one_of(values: list[Value]) -> Value:
    """What is one of several types; where one of them is no tensor, nobody knows that it is given a tensor."""
    options = [option for value in values for option in options_of(value)]
    if all(option is NONE or isinstance(option, Tensor | Parameter) for option in options):
        return either(options)
    return UNKNOWN


def _generic(objects: Objects, file: SourceFile, outer: ast.expr, inner: ast.expr, how: str) -> Value:
    name = dotted_name(outer) or ""
    found = objects.global_named(file, name) if name else UNKNOWN
    dotted = found.dotted if isinstance(found, Outside) else name
    parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if dotted in ("typing.Optional", "Optional"):
        return either([annotated(objects, file, parts[0], how), NONE])
    if dotted in ("typing.Union", "Union"):
        return _one_of([annotated(objects, file, part, how) for part in parts])
    if dotted in _CONTAINERS or dotted in _DICTS:
        kept = parts[-1:] if dotted in _DICTS else [part for part in parts if not isinstance(part, ast.Constant)]
        items = [option for part in kept for option in options_of(annotated(objects, file, part, how))]
        tensors = [item for item in items if isinstance(item, Tensor)]
        return Container("list", tensors) if tensors else UNKNOWN
    return UNKNOWN
