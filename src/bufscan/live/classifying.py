"""Whether a tensor that the walk met is one that registration missed, and how it is held."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from itertools import accumulate
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from bufscan.inventory import HARMLESS_HOLDINGS
from bufscan.live.anatomy import class_dict, instance_dict, is_torch_class, mro_of
from bufscan.live.describing import byte_range, is_uninitialised
from bufscan.live.registry import table_of
from bufscan.live.renewal import Methods, fate_by_hooks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import torch
    from torch import nn

    from bufscan.inventory import Holding
    from bufscan.live.naming import Place
    from bufscan.live.registry import RegisteredTensor
    from bufscan.live.walking import Reached
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
    ) -> None:
        self._moved = moved
        self._was_made = was_made
        self._reached = {id(found.tensor) for found in reached}
        self._methods: dict[int, Methods] = {}
        self._fates: dict[tuple[int, str, bool], Fate | None] = {}
        self._parameters: set[int] = set()
        self._buffers: dict[int, str] = {}
        self._taken: defaultdict[int, _Taken] = defaultdict(_Taken)
        for entry in registered:
            if entry.tensor is None:
                continue
            if entry.kind == "parameter":
                self._parameters.add(id(entry.tensor))
            else:
                self._buffers.setdefault(id(entry.tensor), entry.name)
            found = byte_range(entry.tensor)
            if found is not None:
                self._taken[found[0]].add(found[1], entry.name)

    def verdict(self, reached: Reached) -> Verdict | None:
        """What the tensor is, or None when it is a registered Parameter reached on another way.

        `.to()` keeps the object of a Parameter, so a second reference to one is as good as the first. It puts
        a new object in the place of a buffer: a second reference keeps the old one.
        """
        place, tensor = reached
        if id(tensor) in self._parameters:
            return None
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
        if self._is_renewed_by_hook(place):
            return Verdict("recomputed", self._left_behind(), "a pre-forward hook computes it at every pass")
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
        found = byte_range(tensor)
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
        return place.holding if fate is None else "state" if fate == "state" else "cache"

    def _is_made_by_forward(self, place: Place) -> bool:
        """Whether a forward pass assigns the attribute that leads to the tensor."""
        return place.first_attribute in self._methods_of(type(place.home.module)).assigned_by(_FORWARD)

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
    return _EVIDENCE["state" if holding == "state" else place.holding].format(home=home, name=name)


_EVIDENCE: dict[Holding, str] = {
    "state": "state that the forward pass of {home} keeps in a plain attribute",
    "attribute": "plain attribute of {home}",
    "container": "in a container that {home} holds",
    "object": "in an object that {home} holds",
    "partial": "argument of a functools.partial that {home} holds",
    "hook": "held by a hook of {home}",
    "closure": "in the closure of a function of {home}",
    "default_argument": "default argument of a function of {home}",
    "class_attribute": "class attribute `{name}`: one tensor for all objects of the class",
    "global": "global `{name}` that the code of {home} names",
}
