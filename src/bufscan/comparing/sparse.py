"""Sparse tensors in coordinate format: the same values may be stored in any order."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from bufscan.comparing.verdict import Verdict
from bufscan.errors import UnreadableError
from bufscan.values.reading import ElementReader
from bufscan.values.strided import strided_of, walk_alone

if TYPE_CHECKING:
    from bufscan.comparing.pieces import Content
    from bufscan.inventory import Part, Tensor
    from bufscan.opening.artefact import Artefact, Sides

# Both are held in memory, as Python objects.
_MOST_ENTRIES = 1 << 20
_MOST_BYTES = 64 << 20

_Entries = list[tuple[tuple[int, ...], bytes]]


def is_in_coordinates(content: Content) -> bool:
    """Whether both sides list indices and values, and these are of one type."""
    sides = (content.old, content.new)
    if any(tensor.layout != "sparse_coo" or len(tensor.parts) != 2 for tensor in sides):  # noqa: PLR2004 - one of each
        return False
    return content.old.parts[1].dtype == content.new.parts[1].dtype


def verdict_in_order(content: Content, sides: Sides, by_bytes: Verdict) -> Verdict:
    """The verdict once the entries of both sides are in the order of their indices; the one by bytes at worst."""
    try:
        old, new = (_entries(tensor, side) for tensor, side in zip((content.old, content.new), sides, strict=True))
    except UnreadableError:
        return by_bytes
    if old == new:
        return Verdict(same=True)
    indices = [[index for index, _ in entries] for entries in (old, new)]
    if any(one == other for each in indices for one, other in pairwise(each)):
        reason = "some of its indices occur more than once: their values stand for a sum"
        return Verdict(same=False, failure=reason)
    if indices[0] == indices[1]:
        return Verdict(same=False, remark="values differ, and are stored in another order")
    return by_bytes


def _entries(tensor: Tensor, side: Artefact) -> _Entries:
    """Index and bytes of each stored value, in the order of the indices.

    Raises:
        UnreadableError: they cannot be read, or are too many to be held.
    """
    indices, values = tensor.parts
    count = values.shape[0] if values.shape else 0
    # Indices without a row say of no value where it belongs.
    rows = indices.shape[0] if indices.shape[1:] == (count,) else 0
    if count > _MOST_ENTRIES or not rows or indices.dtype != "int64":
        raise UnreadableError("it is no small list of indices and values")
    if not count:
        return []
    places = memoryview(_bytes_of(indices, side)).cast("q").tolist()
    columns = [places[start : start + count] for start in range(0, len(places), count)]
    raw = _bytes_of(values, side)
    width = len(raw) // count
    entries = ((index, raw[at * width : (at + 1) * width]) for at, index in enumerate(zip(*columns, strict=True)))
    return sorted(entries, key=lambda entry: entry[0])


def _bytes_of(part: Part, side: Artefact) -> bytes:
    elements = strided_of(part, side.inventory.storages, side.reader)
    nbytes = elements.dtype.nbytes(elements.numel)
    if nbytes > _MOST_BYTES:
        raise UnreadableError(f"its part `{part.name}` is too large")
    raw = bytearray(nbytes)
    ElementReader(elements, walk_alone(elements), 0).read_into(0, memoryview(raw))
    return bytes(raw)
