"""What of two tensors differs besides their values, as far as both sides state it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.comparing.difference import Change

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.inventory import Tensor


def changes_between(old: Tensor, new: Tensor, *, devices: bool) -> Iterator[Change]:
    """The aspects that differ, in the order of `ASPECTS`; ties are told by the names around, not by two records.

    A role that is not exact on both sides may be a guess gone wrong: it is no change. `devices`: whether it means
    anything where the tensors are.
    """
    if old.shape != new.shape:
        yield Change(aspect="shape", old=old.shape, new=new.shape)
    if old.dtype != new.dtype:
        yield Change(aspect="dtype", old=old.dtype, new=new.dtype)
    if _layout(old) != _layout(new):
        yield Change(aspect="layout", old=old.layout, new=new.layout)
    if old.quantization != new.quantization:
        yield Change(aspect="quantization", old=_mapping(old), new=_mapping(new))
    if old.role != new.role and old.certainty == new.certainty == "exact":
        yield Change(aspect="role", old=old.role, new=new.role)
    if devices and None not in (old.device, new.device) and old.device != new.device:
        yield Change(aspect="device", old=old.device, new=new.device)
    if None not in (old.requires_grad, new.requires_grad) and old.requires_grad != new.requires_grad:
        yield Change(aspect="requires_grad", old=old.requires_grad, new=new.requires_grad)


def _layout(tensor: Tensor) -> str:
    # A storage by itself is read as the one-dimensional tensor that it is.
    return "strided" if tensor.layout == "storage" else tensor.layout


def _mapping(tensor: Tensor) -> str | None:
    """`scale 0.1, zero point 3`; `a scale for each of dimension 0`; None where nothing is quantised."""
    match tensor.quantization:
        case None:
            return None
        case found if found.axis is not None:
            return f"a scale for each of dimension {found.axis}"
        case found:
            return f"scale {found.scale}, zero point {found.zero_point}"


def is_role_unsure(old: Tensor, new: Tensor) -> bool:
    """Whether the two sides give the tensor two roles and one of them is no more than inferred."""
    return old.role != new.role and not old.certainty == new.certainty == "exact"
