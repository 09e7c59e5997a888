"""Whether a tensor that the walk met is one that registration missed, and how it is held."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from functools import cached_property
from itertools import accumulate, pairwise
from operator import itemgetter
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, NamedTuple

from bufscan.inventory import HARMLESS_HOLDINGS
from bufscan.live.reach.anatomy import class_dict, instance_dict, is_a, is_torch_class, module_of, mro_of
from bufscan.live.reach.describing import Places, is_uninitialised
from bufscan.live.reach.functions import codes_of, fills, functions_in, unwrapped
from bufscan.live.reach.origin import origin_of
from bufscan.live.reach.registry import table_of
from bufscan.live.scanning.renewal import Methods, fate_by_hooks
from bufscan.live.scanning.usage import Uses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import torch
    from torch import nn

    from bufscan.inventory import Holding
    from bufscan.live.reach.naming import Place
    from bufscan.live.reach.registry import RegisteredTensor
    from bufscan.live.reach.walking import Reached
    from bufscan.source.abstract_pass import Fate


_FORWARD = ("forward", "__call__")
_LONGEST_CHAIN = 16  # `.to()`, `.cuda()`, `* 0.02`: a whole forward pass is not what made an attribute


class Verdict(NamedTuple):
    """What an unregistered tensor is.

    Attributes:
        holding: see `bufscan.inventory.Holding`.
        moves: measured; None where no measurement can tell.
        evidence: one phrase for people.
        alias_of: the registered tensor whose storage it shows.
    """

    holding: Holding
    moves: bool | None
    evidence: str
    alias_of: str | None = None


class _Taken:
    """The bytes of one storage that registered tensors show, and their names.

    A storage may be cut into any number of tensors, and met in as many others: nothing here looks at all of them.
    """

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int, str]] = []
        self._furthest: list[int] = []

    def add(self, taken: range, name: str) -> None:
        """Note the bytes from the first to the last element of a tensor."""
        self._ranges.append((taken.start, taken.stop, name))
        self._furthest.clear()

    def name_in(self, looked_at: range) -> str | None:
        """Name of the first tensor in the storage that shows one of these bytes."""
        if not self._furthest:
            self._ranges.sort(key=itemgetter(0))
            self._furthest.extend(accumulate((stop for _, stop, _ in self._ranges), max))
        # The first that ends behind the beginning: those before end too early, those after begin later.
        at = bisect_right(self._furthest, looked_at.start)
        if at == len(self._ranges) or self._ranges[at][0] >= looked_at.stop:
            return None
        return self._ranges[at][2]


class Classifier:
    """Judges tensors against one model's registrations and measurement."""

    def __init__(
        self,
        registered: Iterable[RegisteredTensor],
        reached: Iterable[Reached],
        moved: Mapping[int, torch.Tensor] | None,
        was_made: Callable[[str, nn.Module, torch.Tensor], bool] | None = None,
        places: Places | None = None,
    ) -> None:
        self._moved = moved
        self._places = places or Places()
        self._was_made = was_made
        registered, reached = list(registered), list(reached)
        self._homes = [
            *(entry.owner.module for entry in registered),
            *(found.place.home.module for found in reached),
        ]
        self._classes = {id(type(module)): type(module) for module in self._homes}
        self._reached = {id(found.tensor) for found in reached}
        self._methods: dict[int, Methods] = {}
        self._uses: dict[int, Uses] = {}
        self._fates: dict[tuple[int, str, bool], Fate | None] = {}
        self._parameters: dict[int, str] = {}
        self._buffers: dict[int, str] = {}
        self._taken: defaultdict[int, _Taken] = defaultdict(_Taken)
        for entry in registered:
            if entry.tensor is None:
                continue
            if entry.kind == "parameter":
                self._parameters.setdefault(id(entry.tensor), entry.name)
            else:
                self._buffers.setdefault(id(entry.tensor), entry.name)
            found = self._places.byte_range(entry.tensor)
            if found is not None:
                self._taken[found[0]].add(found[1], entry.name)

    def verdict(self, reached: Reached) -> Verdict | None:
        """What the tensor is, or None when it is a registered Parameter reached on another way.

        `.to()` keeps the object of a Parameter, so a second reference to one is as good as the first. It puts
        a new object in the place of a buffer: a second reference keeps the old one.
        """
        place, tensor = reached
        if id(tensor) in self._parameters:
            return self._second_reference(place, tensor)
        verdict = self._verdict_of_any(place, tensor)
        if self._was_made is not None and self._was_made(place.path, place.home.module, tensor):
            return self._seen_to_be_made(place, verdict)
        return verdict

    def _seen_to_be_made(self, place: Place, verdict: Verdict) -> Verdict:
        """What a tensor is that was not there before the first forward pass: state, a cache, or no fault at all.

        A cache that a later pass may take as it is stays one; what every pass makes anew does no harm.
        """
        if verdict.holding in HARMLESS_HOLDINGS or verdict.holding == "state":
            return verdict
        if verdict.holding == "cache" and self._fate_by_forward(place) != "renewed":
            return verdict
        return Verdict("made_by_forward", verdict.moves, "made by a forward pass")

    def _second_reference(self, place: Place, tensor: torch.Tensor) -> Verdict | None:
        """Another way to a Parameter: harmless, unless that has no values, so that another may take its place."""
        if not tensor.is_meta or place.holding not in ("attribute", "container"):
            return None
        name = self._parameters[id(tensor)]
        return Verdict("second_reference", True, f"the Parameter `{name}` until another takes its place", name)

    def _verdict_of_any(self, place: Place, tensor: torch.Tensor) -> Verdict:
        harmless = self._harmless(place, tensor)
        if harmless is not None:
            return harmless
        if is_result(tensor):
            return self._computed(place, tensor)
        shared = self._buffers.get(id(tensor)) or self._overlapped(tensor)
        if shared is not None:
            return self._alias(shared)
        holding = self._holding(place)
        return Verdict(holding, self._left_behind(), _evidence(place, holding))

    def _harmless(self, place: Place, tensor: torch.Tensor) -> Verdict | None:
        """What looks forgotten but is looked after elsewhere."""
        if self._moved is not None and id(tensor) in self._moved and id(tensor) not in self._buffers:
            return Verdict("moved_by_apply", True, f"an overridden `_apply` moves it (in {_class_at(place)})")
        if self._may_be_made_anew(place):
            return Verdict(
                "moved_by_apply", None, f"an overridden `_apply` may make it anew (in {_class_at(place)})"
            )
        reasons: tuple[tuple[Holding, Callable[[Place], bool], str], ...] = (
            ("framework", _is_example_input, "an example input, which Lightning takes to the device"),
            ("follows_device", self._follows_device, "a cache that is made anew for another device"),
            ("seed", self._only_seeds, "a class attribute that objects are made from"),
            ("made_by_forward", self._is_noted_by_hook, "noted by a hook at every pass"),
            ("recomputed", self._is_renewed_by_hook, "a pre-forward hook computes it at every pass"),
        )
        for holding, holds, evidence in reasons:
            if holds(place):
                return Verdict(holding, self._left_behind(), evidence)
        return None

    def _computed(self, place: Place, tensor: torch.Tensor) -> Verdict:
        """What autograd computed: from the model's state, unless that is a Parameter which the model lost.

        What a forward pass keeps may outlive a Parameter too, one that `load_state_dict(assign=True)` replaced.
        """
        leaf = _parameter_before(tensor)
        is_lost = leaf is not None and id(leaf) not in self._parameters and id(leaf) not in self._reached
        if is_lost and not self._is_made_by_forward(place):
            evidence = "computed from an nn.Parameter that the model does not hold"
            return Verdict("lost_parameter", self._left_behind(), evidence)
        return Verdict("computed", self._left_behind(), "a result of autograd, no leaf")

    def _overlapped(self, tensor: torch.Tensor) -> str | None:
        """Name of a registered tensor with which this one has bytes in common."""
        found = self._places.byte_range(tensor)
        return None if found is None or found[0] not in self._taken else self._taken[found[0]].name_in(found[1])

    def _alias(self, name: str) -> Verdict:
        return Verdict("stale_alias", self._left_behind(), f"shares storage with `{name}` until `.to()`", name)

    def _left_behind(self) -> bool | None:
        return None if self._moved is None else False

    def _holding(self, place: Place) -> Holding:
        if place.holding not in ("attribute", "container", "object"):
            return place.holding
        fate = self._fate_by_hooks(place)
        if fate is None and self._is_made_by_forward(place):
            fate = self._fate_by_forward(place) or "cache"
        if fate is None:
            return "carried" if self._is_carried_over(place) else place.holding
        return "state" if fate == "state" else "cache"

    def _is_made_by_forward(self, place: Place) -> bool:
        """Whether a forward pass assigns the attribute that leads to the tensor, or alone fills the container."""
        if place.first_attribute in self._methods_of(type(place.home.module)).assigned_by(_FORWARD):
            return True
        anchor = place.anchor
        if anchor is None or anchor.want != "element" or anchor.name != place.first_attribute:
            return False
        filled = origin_of(type(place.home.module), anchor.name or "", "element", anchor.key)
        return filled is not None and not filled.in_init and self._fate_by_forward(place) is not None

    def _follows_device(self, place: Place) -> bool:
        """Whether it is a cache with an entry for each device, or one that is made anew on another device."""
        name = place.first_attribute
        if place.is_by_device:
            return name is None or self._fate_by_forward(place) != "state"
        if name is None or place.holding not in ("attribute", "container", "object"):
            return False
        if not self._is_made_by_forward(place) or self._fate_by_forward(place) == "state":
            return False
        return self.uses_of(type(place.home.module)).makes_for_device(name)

    def _is_carried_over(self, place: Place) -> bool:
        if place.first_attribute is None or place.holding == "object":
            return False
        return self.uses_of(type(place.home.module)).carries_over(place.first_attribute)

    def uses_of(self, cls: type) -> Uses:
        """What the forward passes of a class do with its attributes."""
        if id(cls) not in self._uses:
            self._uses[id(cls)] = Uses(self._methods_of(cls).reached_from(_FORWARD))
        return self._uses[id(cls)]

    def _only_seeds(self, place: Place) -> bool:
        """Whether it is a class attribute that objects are made from, and that no forward pass reads."""
        first = place.first_step.anchor
        if place.holding != "class_attribute" or first is None or first.want != "class_value":
            return False
        cls, name = type(place.home.module), first.name
        if name in self._names_in_methods:
            return False
        makes = (class_dict(base).get("__init__") for base in mro_of(cls))
        return any(name in code.co_names for init in makes if is_a(init, FunctionType) for code in codes_of(init))

    def _is_noted_by_hook(self, place: Place) -> bool:
        """Whether it lies in something that the code of a hook after forward fills: the latest activation, say."""
        chain = [place]
        while chain[0].parent is not None:
            chain.insert(0, chain[0].parent)
        for step, following in pairwise(chain):
            anchor = following.anchor
            if (
                step.suffix.startswith("._forward_hooks.")
                and anchor is not None
                and is_a(anchor.owner, FunctionType)
            ):
                return any(fills(code) for code in codes_of(anchor.owner))
        name = place.first_attribute
        noting = self._hook_methods.get(id(place.home.module))
        if name is None or noting is None or not Uses(noting).gives(name):
            return False
        reached = self._methods_of(type(place.home.module)).reached_from(_FORWARD)
        return not any(name in code.co_names for each in reached for code in codes_of(each))

    @cached_property
    def _hook_methods(self) -> dict[int, list[FunctionType]]:
        """By the id of a module, its methods that are hooks after the forward pass of any module."""
        found: dict[int, list[FunctionType]] = {}
        for module in self._homes:
            hooks = instance_dict(module).get("_forward_hooks")
            for hook in dict.values(hooks) if isinstance(hooks, dict) else ():
                if is_a(hook, MethodType) and is_a(hook.__func__, FunctionType):
                    found.setdefault(id(hook.__self__), []).append(unwrapped(hook.__func__))
        return found

    @cached_property
    def _names_in_methods(self) -> set[str]:
        """What the methods of the model's classes name that may run in a forward pass."""
        bases = {
            id(base): base for cls in self._classes.values() for base in mro_of(cls) if not is_torch_class(base)
        }
        functions = (function for base in bases.values() for _, function in functions_in(base))
        return {name for function in functions for code in codes_of(unwrapped(function)) for name in code.co_names}

    def _fate_by_forward(self, place: Place) -> Fate | None:
        cls, attribute, is_tensor = (
            type(place.home.module),
            place.first_attribute or "",
            _is_attribute_itself(place),
        )
        key = (id(cls), attribute, is_tensor)
        if key not in self._fates:
            self._fates[key] = self._methods_of(cls).fate(attribute, _FORWARD, is_tensor=is_tensor)
        return self._fates[key]

    def _fate_by_hooks(self, place: Place) -> Fate | None:
        module, attribute = place.home.module, place.first_attribute
        if attribute is None or not instance_dict(module).get("_forward_pre_hooks"):
            return None
        methods = self._methods_of(type(module))
        return fate_by_hooks(module, attribute, methods, is_tensor=_is_attribute_itself(place))

    def _is_renewed_by_hook(self, place: Place) -> bool:
        if place.module is not None and is_recomputed(place.module, _attribute_at(place)):
            return True
        return self._fate_by_hooks(place) == "renewed"

    def _may_be_made_anew(self, place: Place) -> bool:
        """Whether an `_apply` of the module's own assigns the attribute that leads to the tensor.

        The probe shows its function the tensors that such an `_apply` hands over, but not those that it makes anew
        on the new device (kornia's samplers), nor a reference that it renews.
        """
        cls = type(place.home.module)
        return overrides(cls, "_apply") and place.first_attribute in self._methods_of(cls).assigned_by(("_apply",))

    def _methods_of(self, cls: type) -> Methods:
        known = self._methods.get(id(cls))
        if known is None:
            known = self._methods[id(cls)] = Methods(cls)
        return known


def overrides(cls: type, method: str) -> bool:
    """Whether a class outside torch defines the method."""
    definer = next((base for base in mro_of(cls) if method in class_dict(base)), None)
    return definer is not None and not is_torch_class(definer)


def is_result(tensor: torch.Tensor) -> bool:
    """Whether autograd computed it: it cannot be registered, and its inputs are the model's state."""
    return not is_uninitialised(tensor) and not tensor.is_leaf


def _parameter_before(tensor: torch.Tensor) -> torch.Tensor | None:
    """The Parameter that the tensor was computed from, and from nothing else that autograd follows."""
    from torch import nn

    if is_uninitialised(tensor):
        return None
    node = tensor.grad_fn
    for _ in range(_LONGEST_CHAIN):
        if node is None:
            return None
        if type(node).__name__ == "AccumulateGrad":
            leaf = node.variable  # type: ignore[attr-defined]  # the one kind of node that has it
            return leaf if isinstance(leaf, nn.Parameter) else None
        inputs = [before for before, _ in node.next_functions if before is not None]
        node = inputs[0] if len(inputs) == 1 else None
    return None


def is_recomputed(module: nn.Module, attribute: str) -> bool:
    """Whether a forward pre-hook computes the attribute: old weight_norm, spectral_norm, pruning, their copies."""
    hooks = instance_dict(module).get("_forward_pre_hooks")
    if not isinstance(hooks, dict) or not hooks:
        return False
    for hook in dict.values(hooks):
        own = instance_dict(hook)
        if attribute in (own.get("name"), own.get("_tensor_name")):
            return True
    parameters = table_of(module, "_parameters")
    return any(
        all(f"{attribute}{suffix}" in parameters for suffix in suffixes)
        for suffixes in (("_orig",), ("_bar",), ("_g", "_v"))
    )


def _is_example_input(place: Place) -> bool:
    """Whether it is what Lightning's summary and exporters feed to the model, on its device."""
    return place.first_attribute in ("_example_input_array", "example_input_array") and any(
        module_of(base).startswith(("pytorch_lightning.", "lightning."))
        for base in mro_of(type(place.home.module))
    )


def _is_attribute_itself(place: Place) -> bool:
    """Whether the tensor is the attribute, rather than something in it."""
    return place.parent is not None and place.parent.parent is None


def _attribute_at(place: Place) -> str:
    return place.anchor.name or "" if place.anchor else ""


def _class_at(place: Place) -> str:
    return type(place.home.module).__name__


def _evidence(place: Place, holding: Holding) -> str:
    if place.holder is not None:
        return f"in `{place.holder.path}`, which no module registers"
    home, anchor = _class_at(place), place.anchor
    name = anchor.name if anchor is not None and anchor.name is not None else "?"
    return _EVIDENCE[holding if holding in ("state", "carried") else place.holding].format(home=home, name=name)


_EVIDENCE: dict[Holding, str] = {
    "state": "state that the forward pass of {home} keeps in a plain attribute",
    "carried": "plain attribute of {home}, which its forward pass takes to a device at each use",
    "attribute": "plain attribute of {home}",
    "container": "in a container that {home} holds",
    "object": "in an object that {home} holds",
    "partial": "argument of a functools.partial that {home} holds",
    "hook": "held by a hook of {home}",
    "closure": "in the closure of a function of {home}",
    "default_argument": "default argument of a function of {home}",
    "class_attribute": "class attribute `{name}`: one tensor for all objects of the class",
    "cached_result": "result that a functools cache keeps, for code of {home}",
    "constant": "constant of the graph of {home}",
    "global": "global `{name}` that the code of {home} names",
}
