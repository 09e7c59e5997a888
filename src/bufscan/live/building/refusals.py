"""What torch means when it refuses to register a name or a value, in one clear sentence and a way out.

The texts are those of torch 2.13's `nn.Module`; an error that says anything else is none of ours.
"""

from __future__ import annotations

import re
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from bufscan.live.reach.anatomy import class_dict, instance_dict, is_torch_class, mro_of
from bufscan.live.reach.origin import find_origin
from bufscan.live.reach.registry import table_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

_RAISES = "torch.nn.modules.module"
_METHODS = (FunctionType, staticmethod, classmethod)


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why torch refused, and what to do about it."""

    message: str
    hint: str


class _Asked(NamedTuple):
    """What torch was asked to do.

    Attributes:
        module: that should have registered it; None where no traceback tells.
        found: the match of the error's text.
    """

    module: nn.Module | None
    found: re.Match[str]

    @property
    def thing(self) -> str:
        """A buffer, a parameter or a module."""
        return self.found["thing"]


def explain_refusal(error: BaseException) -> Refusal | None:
    """Explain an error that `register_buffer` or its like raised; None for any other error.

    Args:
        error: as caught; its traceback tells which module refused, and without one less is said.
    """
    if not isinstance(error, KeyError | TypeError | AttributeError | ValueError | RuntimeError) or not error.args:
        return None
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = None
    if trace is not None:
        if trace.tb_frame.f_globals.get("__name__") != _RAISES:
            return None
        module = trace.tb_frame.f_locals.get("self")
    for pattern, explain in _EXPLANATIONS:
        if found := re.fullmatch(pattern, str(error.args[0]), re.DOTALL):
            return explain(_Asked(module, found))
    return None


def _name_is_taken(asked: _Asked) -> Refusal:
    name = asked.found["name"]
    taken = Refusal(
        message=f"no buffer, parameter or module can be called `{name}`: the module already has that attribute",
        hint=f"choose another name, such as `{name}_buffer`, or remove what has this one",
    )
    return taken if asked.module is None else _who_has(asked.module, name) or taken


def _set_by_torch() -> frozenset[str]:
    """What `nn.Module.__init__` assigns: `training` and the tables of what is registered."""
    from torch import nn

    return frozenset(instance_dict(nn.Module()))


def _who_has(module: nn.Module, name: str) -> Refusal | None:
    refused = f"no buffer, parameter or module can be called `{name}`"
    cls = type(module)
    for table, thing in (("_parameters", "parameter"), ("_buffers", "buffer"), ("_modules", "child module")):
        if name in table_of(module, table):  # type: ignore[arg-type]  # mypy widens the literals of a tuple
            return Refusal(message=f"{refused}: it is a {thing} already", hint="choose another name")
    another = f"choose another name, such as `{name}_buffer`"
    if name in _set_by_torch():
        return Refusal(message=f"{refused}: it is an attribute of every nn.Module", hint=another)
    if name in instance_dict(module):
        origin = find_origin(cls, name, "plain_value")
        where = f" ({origin.file}:{origin.line})" if origin else ""
        return Refusal(
            message=f"{refused}: it was assigned as a plain attribute before{where}",
            hint="remove that assignment: registering makes the attribute",
        )
    for owner in mro_of(cls):
        if name in class_dict(owner):
            what = _kind_of(class_dict(owner)[name])
            whose = "nn.Module" if is_torch_class(owner) else owner.__name__
            hint = another
            if not is_torch_class(owner) and what == "a class attribute":
                hint = f"remove the value from the class body (`{name}: torch.Tensor` may stay)"
            return Refusal(message=f"{refused}: it is {what} of {whose}", hint=hint)
    return None


def _kind_of(value: Any) -> str:
    if isinstance(value, _METHODS):
        return "a method"
    return "a property" if isinstance(value, property) else "a class attribute"


def _name_has_a_dot(asked: _Asked) -> Refusal:
    return Refusal(
        message=f"the name of a {asked.thing} cannot contain a dot: dots separate modules in a state_dict",
        hint='write an underscore instead, as in `name.replace(".", "_")`',
    )


def _name_is_empty(asked: _Asked) -> Refusal:
    return Refusal(message=f"the name of a {asked.thing} cannot be empty", hint="give it a name")


def _name_is_no_string(asked: _Asked) -> Refusal:
    return Refusal(
        message=f"the name of a {asked.thing} must be a string, not {_a(asked.found['type'])}",
        hint='number several as in `f"mask_{i}"`',
    )


def _value_is_no_tensor(asked: _Asked) -> Refusal:
    name, given = asked.found["name"], _a(asked.found["type"])
    return {
        "buffer": Refusal(
            message=f"buffer `{name}` must be a tensor or None, not {given}",
            hint="wrap it in `torch.tensor(...)`; a plain number that no tensor needs can stay an attribute",
        ),
        "parameter": Refusal(
            message=f"parameter `{name}` must be an nn.Parameter or None, not {given}",
            hint=f"wrap it: `self.{name} = nn.Parameter(...)`; a tensor that is not trained is a buffer",
        ),
        "module": Refusal(
            message=f"child module `{name}` must be an nn.Module or None, not {given}",
            hint="choose another name for what is no module",
        ),
    }[asked.thing]


def _value_is_no_module(asked: _Asked) -> Refusal:
    return Refusal(
        message=f"a child module must be an nn.Module or None, not {_a(asked.found['type'])}",
        hint="add_module takes modules; a tensor is registered with register_buffer or as an nn.Parameter",
    )


def _parameter_is_computed(asked: _Asked) -> Refusal:
    name = asked.found["name"]
    return Refusal(
        message=f"parameter `{name}` was computed from other tensors, and only leaves can be trained",
        hint="compute it in forward, or detach it first",
    )


def _module_is_not_ready(asked: _Asked) -> Refusal:
    return Refusal(
        message=f"a {asked.thing} was assigned before `super().__init__()` had run",
        hint="call `super().__init__()` first in `__init__`",
    )


def _script_cannot(_: _Asked) -> Refusal:
    return Refusal(
        message="a ScriptModule has no non-persistent buffers", hint="register it without `persistent=False`"
    )


def _a(type_name: str) -> str:
    return f"{'an' if type_name[:1] in 'aeiou' else 'a'} {type_name}"


_THING = r"(?P<thing>buffer|parameter|module)"
_EXPLANATIONS: tuple[tuple[str, Callable[[_Asked], Refusal]], ...] = (
    (r"attribute '(?P<name>.*)' already exists", _name_is_taken),
    (_THING + r" name can't contain \"\.\".*", _name_has_a_dot),
    (_THING + r" name can't be empty string \"\"", _name_is_empty),
    (_THING + r" name should be a string\. Got (?P<type>.*)", _name_is_no_string),
    (
        rf"cannot assign '(?P<type>.*)' (object to|as)( child)? {_THING} '(?P<name>.*)' \(torch.*\)",
        _value_is_no_tensor,
    ),
    (r"(?P<type>.*) is not a Module subclass", _value_is_no_module),
    (r"Cannot assign non-leaf Tensor to parameter '(?P<name>.*?)'.*", _parameter_is_computed),
    (rf"cannot assign {_THING}s? before Module\.__init__\(\) call", _module_is_not_ready),
    (r"ScriptModule does not support non-persistent buffers", _script_cannot),
)
