"""What the walk met, by the names that source has for it: which class, which attribute, which rule it breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.inventory import Slot

if TYPE_CHECKING:
    import torch

    from bufscan.inventory import Holding
    from bufscan.live.reach.naming import Place
    from bufscan.live.reach.registry import RegisteredTensor
    from bufscan.live.scanning.classifying import Verdict
    from bufscan.source.origins import Origin

_LIFETIMES = ("cache", "state", "carried")
_BY_HOLDING = {
    "stale_alias": ("BUF004", "alias"),
    "second_reference": ("BUF004", "second"),
    "split_by_move": ("BUF004", "split"),
    "split_view": ("BUF004", "split"),
    "lost_parameter": ("BUF002", "lost"),
    "shadowed_by_instance": ("BUF006", "hidden"),
    "shadowed_by_class": ("BUF006", "hidden"),
    "class_attribute": ("BUF005", "class"),
    "global": ("BUF005", "code"),
    "default_argument": ("BUF005", "code"),
    "cached_result": ("BUF005", "code"),
}
"""Ways of holding that tell the rule by themselves, with what source calls them."""


def slot_at(place: Place, tensor: torch.Tensor, verdict: Verdict, origin: Origin | None) -> Slot:
    """The slot of what the walk met, or of the outermost hidden module that it is in.

    Args:
        place: where it was met.
        tensor: what was met.
        verdict: what is wrong with it.
        origin: where the source makes it so.
    """
    from torch import nn

    is_hidden = verdict.holding == "hidden_module" and place.holder is not None
    if is_hidden and place.holder is not None:
        place = place.holder
    what = "modules" if is_hidden else "parameters" if isinstance(tensor, nn.Parameter) else "tensors"
    name = place.spelling or (place.anchor and place.anchor.name) or ""
    if verdict.holding in _BY_HOLDING:
        return _slot(origin, name, *_BY_HOLDING[verdict.holding])
    if place.depth == 1:
        kind = "direct" if what != "tensors" else _kind_of(tensor, verdict)
    elif what == "modules" and place.first_step.module is None:
        kind = "module"
    elif place.anchor is not None and place.anchor.want == "element" and place.holding != "object":
        is_filled = verdict.holding in ("cache", "carried")  # as the model runs, so that nothing can be registered
        kind = f"container of {what}" if what != "tensors" else "filled" if is_filled else "container"
    else:
        kind = place.holding if place.holding in ("partial", "hook", "closure", "constant") else "object"
    return _slot(origin, name, {"modules": "BUF003", "parameters": "BUF002", "tensors": "BUF001"}[what], kind)


def _kind_of(tensor: torch.Tensor, verdict: Verdict) -> str:
    """Of a tensor that is itself an attribute."""
    if tensor.requires_grad or tensor.is_complex():
        return "leaf" if tensor.requires_grad else "complex"
    return verdict.holding if verdict.holding in _LIFETIMES else "plain"


def slot_of(entry: RegisteredTensor, holding: Holding | None, origin: Origin | None) -> Slot | None:
    """The slot of a registered tensor, where something is wrong with how that is done: it is hidden, or shared."""
    if holding is not None:
        return _slot(origin, entry.attribute, *_BY_HOLDING[holding])
    code = misregistration_of(entry)
    kind = "uninitialised" if code == "BUF204" else "buffer"
    return None if code is None else _slot(origin, entry.attribute, code, kind)


def misregistration_of(entry: RegisteredTensor) -> str | None:
    """The rule that a buffer breaks by how it is registered; most often none."""
    from torch import nn

    if entry.kind != "buffer" or entry.tensor is None:
        return None
    if isinstance(entry.tensor, nn.Parameter):
        return "BUF102"
    if entry.tensor.requires_grad:
        return "BUF101"
    return "BUF204" if lacks_values(entry) else None


def lacks_values(entry: RegisteredTensor) -> bool:
    """Whether it is a buffer without values that no checkpoint brings."""
    tensor = entry.tensor
    return entry.kind == "buffer" and not entry.persistent and tensor is not None and tensor.device.type == "meta"


def _slot(origin: Origin | None, attribute: str, code: str, kind: str) -> Slot:
    if origin is None:
        return Slot(file="", owner="", attribute=attribute, code=code, kind=kind)
    return Slot(file=origin.file, owner=origin.owner, attribute=attribute, code=code, kind=kind)
