"""Registered tensors that share elements with others: `.to()` keeps Parameters one, and makes two of buffers."""

from __future__ import annotations

from collections import defaultdict
from math import gcd
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from bufscan.live.reach.describing import Elements, Places
    from bufscan.live.reach.registry import RegisteredTensor
    from bufscan.live.scanning.usage import Uses


class Split(NamedTuple):
    """What becomes of a buffer.

    Attributes:
        holding: `split_by_move`: one of the two is written to, so that they differ from then on; `split_view`: it
            shows other elements than the other, and nothing writes to either.
        other: name of the tensor that it shares elements with.
    """

    holding: Literal["split_by_move", "split_view"]
    other: str


def splits(
    registered: Iterable[RegisteredTensor], uses_of: Callable[[type], Uses], places: Places
) -> dict[str, Split]:
    """By name, the buffers that `.to()` parts from another registered tensor so that it matters.

    A tensor that several modules register and nobody writes to does no harm: each has its own copy afterwards.

    Args:
        registered: all of a model.
        uses_of: what the forward passes of a class do with its attributes.
        places: where they lie.
    """
    found: dict[str, Split] = {}
    for one, other in _overlapping(registered, places):
        buffer, kept = (other, one) if other.kind == "buffer" else (one, other)
        trains = kept.kind == "parameter" and kept.tensor is not None and kept.tensor.requires_grad
        if trains or any(uses_of(type(each.owner.module)).writes(each.attribute) for each in (buffer, kept)):
            found[buffer.name] = Split("split_by_move", kept.name)
        elif _elements(buffer, places) != _elements(kept, places):
            found[buffer.name] = Split("split_view", kept.name)
    return found


def _overlapping(
    registered: Iterable[RegisteredTensor], places: Places
) -> Iterator[tuple[RegisteredTensor, RegisteredTensor]]:
    """Each with the one before it in the storage, where they share elements and are not both Parameters."""
    storages: defaultdict[int, list[tuple[int, int, int, RegisteredTensor]]] = defaultdict(list)
    for position, entry in enumerate(registered):
        tensor = entry.tensor if entry.owner.first else None
        if tensor is not None and (place := places.byte_range(tensor)) is not None:
            storages[place[0]].append((place[1].start, -place[1].stop, position, entry))
    for entries in storages.values():
        furthest, widest = 0, None
        for start, stop, _, entry in sorted(entries, key=lambda each: each[:3]):
            is_apart = widest is None or start >= furthest or {widest.kind, entry.kind} == {"parameter"}
            if not is_apart and widest is not None and _have_common_elements(widest, entry, places):
                yield widest, entry
            if widest is None or -stop > furthest:
                furthest, widest = -stop, entry


def _have_common_elements(one: RegisteredTensor, other: RegisteredTensor, places: Places) -> bool:
    """False for what is surely apart: the even elements and the odd ones of one table."""
    first, second = _elements(one, places), _elements(other, places)
    if first is None or second is None or first.dtype != second.dtype:
        return True
    sizes = [*zip(first.shape, first.stride, strict=True), *zip(second.shape, second.stride, strict=True)]
    step = gcd(*(stride for size, stride in sizes if size > 1))
    return step == 0 or (first.offset - second.offset) % step == 0


def _elements(entry: RegisteredTensor, places: Places) -> Elements | None:
    return None if entry.tensor is None else places.elements_of(entry.tensor)
