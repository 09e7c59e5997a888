"""Where the walk stands: the way from the model to an object, as it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bufscan.tensor_names import spell_key

if TYPE_CHECKING:
    from types import FunctionType

    from torch import nn

    from bufscan.inventory import Holding
    from bufscan.live.reach.functions import Namespace
    from bufscan.live.reach.registry import RegisteredModule
    from bufscan.source.origins import Want

# How an object is held is said by the strongest step on the way to it.
_STRENGTH: tuple[Holding, ...] = (
    *("attribute", "container", "object", "partial", "hook", "closure"),
    *("default_argument", "class_attribute", "global", "cached_result", "constant", "hidden_module"),
)
_RANK = {holding: rank for rank, holding in enumerate(_STRENGTH)}


class Anchor(NamedTuple):
    """What to look for in the source to find where a tensor is assigned.

    Attributes:
        owner: the class whose objects have the attribute, or the function that names the global; of a global
            with dots in its name, the module or class that has it.
        name: the attribute or global; None for what the function itself holds (a default argument, a closure).
        want: which kind of assignment gives it its value.
        key: the element's key or index, where it is written in source.
    """

    owner: FunctionType | Namespace
    name: str | None
    want: Want = "value"
    key: str | int | None = None


class Place(NamedTuple):
    """One step of the way to an object.

    A path of n steps costs n small records, and text only when a tensor is found at its end.

    Attributes:
        parent: the step before; None for a registered module.
        prefix, suffix: what the step writes before and after the path so far.
        holding: the strongest way of holding so far.
        home: the registered module whose walk led here.
        anchor: the assignment in source that led here.
        holder: the outermost module on the way that no module registers.
        module: the module that has it as an attribute; None after any other step.
        spelling: what the code of a function calls it: the name of a global, dots included; None after any other.
        depth: steps from the registered module.
        is_by_device: whether it is the entry of a mapping whose key names the device.
        holder_trains: whether something in `holder` requires grad.
    """

    parent: Place | None
    prefix: str
    suffix: str
    holding: Holding
    home: RegisteredModule
    anchor: Anchor | None = None
    holder: Place | None = None
    module: nn.Module | None = None
    spelling: str | None = None
    depth: int = 0
    is_by_device: bool = False
    holder_trains: bool = False

    @property
    def path(self) -> str:
        """The way without the model's own name: `encoder.0.cache['k'][0]`.

        As the state_dict writes it up to the last registered module, and as Python does beyond.
        """
        before: list[str] = []
        after: list[str] = []
        place: Place | None = self
        while place is not None:
            before.append(place.prefix)
            after.append(place.suffix)
            place = place.parent
        # A wrap like `list(…)` opens before everything that the steps up to it wrote.
        return "".join(before) + (self.home.path + "".join(reversed(after))).removeprefix(".")

    @property
    def first_attribute(self) -> str | None:
        """The attribute of the registered module that leads here; None on a way that begins otherwise."""
        anchor = self.first_step.anchor
        return anchor.name if anchor is not None else None

    @property
    def first_step(self) -> Place:
        """The first step from the registered module; itself where there is none."""
        place = self
        while place.parent is not None and place.parent.parent is not None:
            place = place.parent
        return place

    def step(
        self, suffix: str, holding: Holding | None = None, anchor: Anchor | None = None, *, prefix: str = ""
    ) -> Place:
        """The next step, held at least as strongly as this one; assigned where this one is, unless said."""
        strongest = self.holding if holding is None or _RANK[holding] < _RANK[self.holding] else holding
        return Place(
            self,
            prefix,
            suffix,
            strongest,
            self.home,
            anchor or self.anchor,
            self.holder,
            depth=self.depth + 1,
            is_by_device=self.is_by_device,
            holder_trains=self.holder_trains,
        )

    def attribute(self, owner: type, name: str, holding: Holding | None = None) -> Place:
        """The step to an attribute that the source of `owner` assigns."""
        suffix = f".{name}" if name.isidentifier() else f".__dict__[{name!r}]"
        want: Want = "class_value" if holding == "class_attribute" else "value"
        return self.step(suffix, holding, Anchor(owner, name, want))

    def element(self, suffix: str, key: object = None, *, prefix: str = "") -> Place:
        """The step to an element of a container, which the source may fill elsewhere than it makes it."""
        anchor = self.anchor
        if anchor is not None and anchor.name is not None and anchor.want != "element":
            known = key if isinstance(key, (str, int)) and type(key) in (str, int) else None
            anchor = anchor._replace(want="element", key=known)
        return self.step(suffix, "container", anchor, prefix=prefix)

    def in_function(self, suffix: str, function: FunctionType, holding: Holding) -> Place:
        """The step to something that a function holds."""
        return self.step(suffix, holding, Anchor(function, None))

    def global_of(self, function: FunctionType, name: str) -> Place:
        """The step to what the code of a function calls `name`."""
        return self.step(f".__globals__[{name!r}]", "global", Anchor(function, name))._replace(spelling=name)

    def member_of(self, namespace: Namespace, name: str) -> Place:
        """The step from a class or a module that a function names to what it has."""
        want: Want = "class_value" if isinstance(namespace, type) else "value"
        child = self.step(f".{name}", "global", Anchor(namespace, name, want))
        return child._replace(spelling=f"{self.spelling}.{name}")

    def hidden(self, *, trains: bool) -> Place:
        """This place, seen as the inside of a module that no module registers."""
        if self.holder is not None:
            return self._replace(holding="hidden_module")
        return self._replace(holding="hidden_module", holder=self, holder_trains=trains)


def root_place(home: RegisteredModule) -> Place:
    """Where the walk of a registered module starts."""
    return Place(None, "", "", "attribute", home)


def key_step(key: object, position: int) -> tuple[str, str]:
    """Prefix and suffix of the step into a mapping; a key that Python cannot simply write goes by its position."""
    written = spell_key(key)
    return ("list(", f".values())[{position}]") if written is None else ("", f"[{written}]")
