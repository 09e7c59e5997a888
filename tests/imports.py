"""The imports that a source file makes, without running it."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

When = Literal["start", "call", "typing"]


class Import(NamedTuple):
    """One imported module, and when: as the importing module starts, in a call, or for types only."""

    module: str
    when: When
    line: int


def imports_of(source: str) -> list[Import]:
    """Every import in `source`; `from a import b` counts as `a.b`, since b may be a module."""
    return list(_walk(ast.parse(source), "start"))


def _walk(node: ast.AST, when: When) -> Iterator[Import]:
    match node:
        case ast.Import():
            yield from (Import(alias.name, when, node.lineno) for alias in node.names)
        case ast.ImportFrom():
            yield from (Import(f"{node.module}.{alias.name}", when, node.lineno) for alias in node.names)
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
            when = "call"
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            for child in node.body:
                yield from _walk(child, "typing")
            for child in node.orelse:
                yield from _walk(child, when)
            return
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, when)


def sources_below(package: Path) -> dict[str, str]:
    """Dotted module name to source text, for every module of the package; data that only ends in `.py` is none."""
    return {
        _dotted(package, path): path.read_text()
        for path in sorted(package.rglob("*.py"))
        if (path.parent / "__init__.py").exists()
    }


def _dotted(package: Path, path: Path) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
