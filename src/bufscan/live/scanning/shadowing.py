"""What hides registrations: Python looks into the instance dict and the classes before `nn.Module` is asked."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any, NamedTuple

from bufscan.inventory import Skipped
from bufscan.live.reach.anatomy import class_dict, instance_dict, is_a, kind_of, mro_of
from bufscan.live.reach.naming import Anchor
from bufscan.live.reach.registry import is_script, table_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bufscan.inventory import Holding
    from bufscan.live.reach.registry import RegisteredModule, RegisteredTensor

# What they give is bound to the instance, and never what is registered there.
_METHODS = (types.FunctionType, staticmethod, classmethod, types.BuiltinFunctionType)


class Shadow(NamedTuple):
    """What `module.name` gives instead of what is registered under that name.

    Attributes:
        what: a phrase for people.
        anchor: where it comes from.
        name: the hidden name.
        module: path of the registered module that it hides; None where it hides a tensor.
    """

    holding: Holding
    what: str
    anchor: Anchor
    name: str
    module: str | None = None


class Shadows:
    """The shadows of one model.

    Attributes:
        skipped: what may hide something and may not.
    """

    def __init__(self, modules: Iterable[RegisteredModule]) -> None:
        self.skipped: list[Skipped] = []
        self._of_modules: dict[str, Shadow] = {}
        for entry in modules:
            around = self._of_modules.get(entry.prefix)
            for name, child in table_of(entry.module, "_modules").items():
                shadow = around or (None if child is None else self._hiding_module(entry, name))
                if shadow is not None:
                    self._of_modules[f"{entry.prefix}{name}."] = shadow

    def of(self, entry: RegisteredTensor) -> Shadow | None:
        """What hides a registered tensor, or a module around it."""
        around = self._of_modules.get(entry.owner.prefix)
        if around is not None or entry.tensor is None:
            return around
        return self._at(entry.owner, entry.attribute)

    def _hiding_module(self, entry: RegisteredModule, name: str) -> Shadow | None:
        shadow = self._at(entry, name)
        # A module in the way is told of as one that no module registers.
        if shadow is None or kind_of(type(instance_dict(entry.module).get(name))) == "module":
            return None
        return shadow._replace(module=f"{entry.prefix}{name}")

    def _at(self, entry: RegisteredModule, name: str) -> Shadow | None:
        """What surely hides a registered name. A property may well give what is registered: it is not asked."""
        if is_script(entry.module):
            return None
        cls = type(entry.module)
        if name in instance_dict(entry.module):
            return Shadow("shadowed_by_instance", "an instance attribute", Anchor(cls, name, "hiding"), name)
        base = next((base for base in mro_of(cls) if name in class_dict(base)), None)
        if base is None:
            return None
        value = class_dict(base)[name]
        if is_a(value, *_METHODS):
            return Shadow("shadowed_by_class", f"a method of {base.__name__}", _anchor_of(value, base, name), name)
        if any("__get__" in class_dict(each) for each in mro_of(type(value))):
            reason = (
                f"a property of {base.__name__} has the same name: whether it gives what is registered is unknown"
            )
            self.skipped.extend([Skipped(what=f"{entry.prefix}{name}", reason=reason)] * entry.first)
            return None
        what = f"a class attribute of {base.__name__}"
        return Shadow("shadowed_by_class", what, Anchor(base, name, "class_value"), name)


def _anchor_of(method: Any, base: type, name: str) -> Anchor:
    function: Any = method.__func__ if is_a(method, staticmethod) or is_a(method, classmethod) else method
    if is_a(function, types.FunctionType):
        return Anchor(function, None)
    return Anchor(base, name, "class_value")
