"""A model that several processes hold together, as one inventory: what each has of it, and where they disagree."""

from __future__ import annotations

from hashlib import sha256
from socket import gethostname
from typing import TYPE_CHECKING

import msgspec
from msgspec import structs

from bufscan.inventory import Disagreement, RankShare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bufscan.inventory import Inventory, Tensor
    from bufscan.ranks import Ranks

_ASPECTS = (
    "role",
    "shape",
    "dtype",
    "layout",
    "device",
    "placements",
    "requires_grad",
    "saved",
    "moves",
    "trains",
)

_Facts = dict[str, dict[str, str]]
"""By path: each aspect in words."""


class _View(msgspec.Struct, frozen=True, array_like=True):
    """What a rank tells of its model: little, for there may be thousands of ranks, and mostly they agree."""

    host: str
    stored_bytes: int
    digest: bytes
    local_shapes: list[tuple[int, ...] | None]


def in_all_ranks(inventory: Inventory, ranks: Ranks) -> Inventory:
    """The inventory of this rank's model with what the others have of it; alone, as it is.

    Raises:
        RanksError: another rank failed, or is gone.
    """
    if ranks.size == 1:
        return inventory
    facts = {tensor.path: _facts_of(tensor) for tensor in inventory.tensors}
    encoded = msgspec.msgpack.encode(facts)
    shapes = [tensor.local_shape for tensor in inventory.tensors]
    own = _View(gethostname(), inventory.stored_bytes, sha256(encoded).digest(), shapes)
    told = ranks.exchange("model", msgspec.msgpack.encode(own))
    views = [msgspec.msgpack.decode(each, type=_View) for each in told]
    disagreements: list[Disagreement] = []
    alike = [view for view in views if view.digest == own.digest]
    if len(alike) < len(views):
        told = ranks.exchange("facts", encoded)
        disagreements = _disagreements([msgspec.msgpack.decode(each, type=_Facts) for each in told])
    return structs.replace(
        inventory,
        tensors=tuple(
            map(_with_shapes, inventory.tensors, zip(*(view.local_shapes for view in alike), strict=True))
        ),
        ranks=tuple(
            RankShare(rank=rank, host=view.host, stored_bytes=view.stored_bytes) for rank, view in enumerate(views)
        ),
        disagreements=tuple(disagreements),
    )


def _facts_of(tensor: Tensor) -> dict[str, str]:
    return {aspect: _said(tensor, aspect) for aspect in _ASPECTS}


def _said(tensor: Tensor, aspect: str) -> str:
    match getattr(tensor, aspect):
        case tuple() as several:
            return (
                ", ".join(map(str, several)) if aspect == "placements" else "x".join(map(str, several)) or "scalar"
            )
        case str() as device if aspect == "device":
            return device.partition(":")[0]  # each rank has an accelerator of its own
        case None:
            return "unknown"
        case other:
            return str(other)


def _with_shapes(tensor: Tensor, shapes: Sequence[tuple[int, ...] | None]) -> Tensor:
    if tensor.local_shape is None:
        return tensor
    return structs.replace(tensor, local_shapes=tuple(dict.fromkeys(each for each in shapes if each is not None)))


def _disagreements(told: Sequence[_Facts]) -> list[Disagreement]:
    """Every aspect of every tensor that is not as the first rank has it, in the order of the tensors."""
    names = dict.fromkeys(name for facts in told for name in facts)
    found = []
    for name in names:
        have = [facts.get(name) for facts in told]
        if None in have:
            words = ["absent" if each is None else "there" for each in have]
            found.append(_disagreement(name, "presence", words))
            continue
        for aspect in _ASPECTS:
            words = [each[aspect] for each in have if each is not None]
            if len(set(words)) > 1:
                found.append(_disagreement(name, aspect, words))
    return found


def _disagreement(name: str, aspect: str, words: Sequence[str]) -> Disagreement:
    others: dict[str, tuple[int, ...]] = {}
    for rank, word in enumerate(words):
        if word != words[0]:
            others[word] = (*others.get(word, ()), rank)
    return Disagreement(name=name, aspect=aspect, first=words[0], others=others)
