"""What a rehearsal calls the model with: words that make tensors, a function of the user's, or the model's own.

The words are read, never evaluated: `randn(2, 16, 64), mask=ones(2, 16, dtype=bool)`.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from bufscan.errors import UnreadableError, UsageError
from bufscan.live.building.importing import call_target
from bufscan.live.building.user_code import failure_of, summary_of
from bufscan.target import ObjectTarget, parse_target

if TYPE_CHECKING:
    import torch
    from torch import nn

OWN_INPUTS = "auto"
"""The word for the model's own: `dummy_inputs` (diffusers, transformers), `example_input_array` (Lightning)."""

_OWN_ATTRIBUTES = ("dummy_inputs", "example_input_array")
_FACTORIES = ("randn", "rand", "randint", "zeros", "ones", "arange", "full", "tensor")
_HINT = (
    "write `randn(2, 16), mask=ones(2, dtype=bool)`, or name a function that returns them: `module:make_inputs`"
)
_SEED = 0  # the same inputs in every run


class Inputs(NamedTuple):
    """The arguments of one call."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def inputs_for(model: nn.Module, text: str) -> Inputs:
    """What `text` means for this model.

    Raises:
        UsageError: it is none of the ways to give inputs, or the model has none of its own.
        UnreadableError: the user's function failed.
    """
    if text.strip() == OWN_INPUTS:
        return _own_inputs(model)
    call = _call_with(text)
    if call is not None:
        return _made(call)
    target = parse_target(text)
    if not isinstance(target, ObjectTarget):
        raise UsageError(f"these are no inputs: `{text}`", hint=_HINT)
    return _as_inputs(call_target(target), f"`{text}`")


def _call_with(text: str) -> ast.Call | None:
    """The text as the arguments of a call; None where it is none, as `module:name`."""
    try:
        node = ast.parse(f"_({text})", mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    return node if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_" else None


def _made(call: ast.Call) -> Inputs:
    import torch

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(_SEED)
        args = tuple(_value(argument) for argument in call.args)
        kwargs = {}
        for keyword in call.keywords:
            if keyword.arg is None:
                raise UsageError("`**` cannot be unpacked in inputs", hint=_HINT)
            kwargs[keyword.arg] = _value(keyword.value)
    return Inputs(args, kwargs)


def _value(node: ast.expr) -> Any:
    """A tensor, a literal, or a container of both."""
    match node:
        case ast.Call():
            return _tensor(node)
        case ast.List(elts=elements):
            return [_value(element) for element in elements]
        case ast.Tuple(elts=elements):
            return tuple(_value(element) for element in elements)
        case ast.Dict(keys=keys, values=values):
            return {
                _literal(key): _value(value) for key, value in zip(keys, values, strict=True) if key is not None
            }
        case _:
            return _literal(node)


def _tensor(node: ast.Call) -> torch.Tensor:
    import torch

    name = ast.unparse(node.func).removeprefix("torch.")
    if name not in _FACTORIES:
        raise UsageError(f"`{name}` makes no input", hint=f"these do: {', '.join(_FACTORIES)}")
    args = [_literal(argument) for argument in node.args]
    kwargs = {}
    for keyword in node.keywords:
        if keyword.arg == "dtype":
            kwargs["dtype"] = _dtype(ast.unparse(keyword.value))
        elif keyword.arg in ("low", "high", "size", "fill_value", "start", "end", "step", "data"):
            kwargs[keyword.arg] = _literal(keyword.value)
        else:
            raise UsageError(f"`{name}` takes no `{keyword.arg}` here", hint=_HINT)
    try:
        made: torch.Tensor = getattr(torch, name)(*args, **kwargs)
    except (TypeError, ValueError, RuntimeError, MemoryError, OverflowError) as error:
        raise UsageError(f"`{ast.unparse(node)}` makes no tensor: {summary_of(error)}") from error
    return made


def _dtype(text: str) -> torch.dtype:
    import torch

    found = getattr(torch, text.removeprefix("torch.").strip("'\""), None)
    if not isinstance(found, torch.dtype):
        raise UsageError(f"torch has no dtype `{text}`", hint="name one as torch does: int64, bool, bfloat16")
    return found


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, MemoryError, RecursionError) as error:
        raise UsageError(
            f"`{ast.unparse(node)}` is neither a literal nor one of the tensors", hint=_HINT
        ) from error


def _own_inputs(model: nn.Module) -> Inputs:
    for name in _OWN_ATTRIBUTES:
        try:
            found = getattr(model, name, None)
        except Exception as error:
            raise failure_of(f"`{name}` of the model", error) from error
        if found is not None:
            return _as_inputs(found, f"`{name}` of the model")
    raise UsageError(
        f"the model has no inputs of its own, neither `{'` nor `'.join(_OWN_ATTRIBUTES)}`", hint=_HINT
    )


def _as_inputs(found: Any, what: str) -> Inputs:
    """A tuple is the positional arguments, a mapping with text keys the keyword ones, a tensor the only one."""
    import torch

    if isinstance(found, Mapping) and all(isinstance(key, str) for key in found):
        return Inputs((), dict(found))
    if isinstance(found, tuple):
        return Inputs(tuple(found), {})
    if isinstance(found, torch.Tensor):
        return Inputs((found,), {})
    raise UnreadableError(
        f"{what} gives {type(found).__name__}, no inputs",
        hint="give the positional arguments as a tuple, or the keyword arguments as a dict",
    )
