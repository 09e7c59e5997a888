"""What stands behind the colon of `pkg.module:expression`: an attribute path, perhaps called with literals."""

from __future__ import annotations

import ast
from typing import Any

import msgspec

from bufscan.errors import UsageError

_HINT = 'write an attribute path, perhaps called with literals: `Model` or `make_model(dim=64, act="relu")`'


class Expression(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed expression.

    Attributes:
        path: the attributes to follow from the module: `("models", "small")`.
        called: whether parentheses followed.
        args, kwargs: the literal arguments in them.
    """

    path: tuple[str, ...]
    called: bool
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """The attribute path as written."""
        return ".".join(self.path)


def parse_expression(text: str) -> Expression:
    """Parse without evaluating: no name, no operator and no call inside the parentheses is ever run.

    Raises:
        UsageError: anything but an attribute path with at most one call at its end.
    """
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise UsageError(f"`{text}` is no Python expression", hint=_HINT) from error
    if not isinstance(node, ast.Call):
        return Expression(path=_attribute_path(node, text), called=False)
    return Expression(
        path=_attribute_path(node.func, text),
        called=True,
        args=tuple(_literal(argument) for argument in node.args),
        kwargs={_keyword_name(keyword): _literal(keyword.value) for keyword in node.keywords},
    )


def _attribute_path(node: ast.expr, text: str) -> tuple[str, ...]:
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise UsageError(f"`{text}` is more than an attribute path and one call", hint=_HINT)
    return (node.id, *reversed(names))


def _keyword_name(keyword: ast.keyword) -> str:
    if keyword.arg is None:
        raise UsageError("`**` cannot be unpacked in a target", hint=_HINT)
    return keyword.arg


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, MemoryError, RecursionError) as error:
        raise UsageError(f"the argument `{ast.unparse(node)}` is no literal", hint=_HINT) from error
