"""A checkpoint held against its model: given, named, or described by the checkpoint's own folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from bufscan.joining.counterpart import Counterpart, build_described, build_named
from bufscan.joining.fit import join
from bufscan.live.scanning import scan

if TYPE_CHECKING:
    from torch import nn

    from bufscan.inventory import Inventory
    from bufscan.opening.artefact import Artefact, BuildOptions


class Joined(NamedTuple):
    """A checkpoint and its model.

    Attributes:
        checkpoint: with how it fits the model.
        model: the model's own inventory.
        module: the model itself.
    """

    checkpoint: Inventory
    model: Inventory
    module: nn.Module


def join_model(artefact: Artefact, model: str | nn.Module | None, build: BuildOptions) -> Joined:
    """Hold an opened checkpoint against the `model`; against the one that its `config.json` describes where None.

    Raises:
        UsageError, UnreadableError: there is no such model, or it cannot be built.
    """
    checkpoint = artefact.inventory
    if model is None:
        other = build_described(artefact.target, [tensor.name for tensor in checkpoint.tensors])
    elif isinstance(model, str):
        other = build_named(model, device=build.device, dtype=build.dtype)
    else:
        other = Counterpart(model, type(model).__qualname__)
    live = scan(other.model, other.name)
    joined = join(checkpoint, live, other.converted)
    if other.note is not None:
        joined = msgspec.structs.replace(joined, notes=(*joined.notes, other.note))
    return Joined(joined, live, other.model)
