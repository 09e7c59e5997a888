"""Which of the rules on unregistered tensors a tensor belongs to, and the words that they share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.inventory import Inventory, Tensor

SHARED_IN_CODE = frozenset(("class_attribute", "global", "default_argument", "cached_result"))
_SHADOWED = frozenset(("shadowed_by_instance", "shadowed_by_class"))
# Rules of their own: BUF003, BUF004, BUF007.
_ELSEWHERE = frozenset(("hidden_module", "stale_alias", "second_reference", "state_dict_only"))

_WORDS = {
    "attribute": "is a plain attribute",
    "container": "lies in a plain container",
    "object": "lies in a plain object",
    "partial": "is an argument of a functools.partial",
    "hook": "is held by a hook",
    "closure": "is held by a closure",
    "lost_parameter": "became a plain tensor when something was computed from it",
    "maybe_computed": "requires grad, and no file says whether autograd computed it",
    "cache": "is a plain attribute that the forward pass assigns anew",
    "carried": "is a plain attribute that the forward pass takes to a device at each use",
    "state": "is state that the forward pass keeps in a plain attribute",
    "class_attribute": "is a class attribute, shared by all objects of the class",
    "global": "is a global that the code of the model uses",
    "cached_result": "is kept by a functools cache that knows no device",
    "constant": "is a constant in the graph of a TorchScript module",
    "default_argument": "is a default argument, made once for all calls",
}

_SHADOWING = re.compile(r"(?P<owner>(?:.*?\.)?)(?:__dict__\['(?P<instance>.+)'\]|__class__\.(?P<cls>\w+))")


def loose_tensors(inventory: Inventory) -> Iterator[Tensor]:
    """Tensors that are held where registration does not look, without those that a more exact rule tells of."""
    shadowing = shadowing_paths(inventory)
    for tensor in unregistered_tensors(inventory):
        if tensor.holding not in _ELSEWHERE and tensor.path not in shadowing:
            yield tensor


def unregistered_tensors(inventory: Inventory) -> Iterator[Tensor]:
    """Tensors that are held by code or objects, neither registered nor harmless."""
    for tensor in inventory.tensors:
        if tensor.holding and tensor.lacks_registration:
            yield tensor


def shadowed_tensors(inventory: Inventory) -> Iterator[Tensor]:
    """Registered tensors whose name gives something else."""
    return (tensor for tensor in inventory.tensors if tensor.holding in _SHADOWED)


def shadowing_paths(inventory: Inventory) -> set[str]:
    """Paths of the tensors that hide a registered one: BUF006 tells of both at once."""
    shadowed = {tensor.path for tensor in shadowed_tensors(inventory)}
    return {tensor.path for tensor in inventory.tensors if shadowed and _hidden_name(tensor.path) in shadowed}


def holder_path(tensor: Tensor) -> str:
    """Path of the module around the tensor that no one finds: no module registers it, or its name is hidden."""
    return f"{tensor.section}.{tensor.holder}" if tensor.section else str(tensor.holder)


def words_for(tensor: Tensor) -> str:
    """How an unregistered tensor is held, as a predicate."""
    return _WORDS.get(tensor.holding or "", "is registered by no module")


def is_parameter(tensor: Tensor) -> bool:
    """Whether it was made to be trained: as an nn.Parameter."""
    return tensor.declared == "parameter" or tensor.holding == "lost_parameter"


def loss_of(tensor: Tensor) -> str:
    """What will go wrong with an unregistered tensor, by the facts that were measured on it, as a sentence."""
    proof = " (a fresh model that loads the state_dict was seen to have other values)" * tensor.lost_on_reload
    losses = [f"is not saved{proof}"] * (tensor.saved is False)
    unknown = ["is saved"] * (tensor.saved is None)
    if tensor.holding == "carried":
        also = " (a buffer would move, and be cast with the model)" * (tensor.dtype == "float32")
        if tensor.lost_on_reload:
            return f"it is not saved{proof}"
        return f"it is not saved{also}" if tensor.saved is False else f"whether it is saved is unknown{also}"
    if tensor.shape != ():
        losses += ["does not move with the model"] * (tensor.moves is False and not tensor.moved_by_hand)
        unknown += ["moves with the model"] * (tensor.moves is None)
    if is_parameter(tensor) and tensor.trains is not True:
        losses.append("is seen by no optimizer")
    clauses = [f"it {listed(losses)}"] if losses else []
    clauses += ["the forward pass moves it by hand at each use"] * tensor.moved_by_hand
    clauses += [f"whether it {listed(unknown)} is unknown"] if unknown else []
    return "; ".join(clauses) or "no module registers it"


def listed(phrases: list[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(phrases[:-1]), phrases[-1]] if len(phrases) > 1 else phrases)


def _hidden_name(path: str) -> str | None:
    """The registered name that an attribute of this path hides; None for an attribute that hides none."""
    found = _SHADOWING.fullmatch(path)
    if found is None:
        return None
    return f"{found['owner']}{found['instance'] or found['cls']}"
