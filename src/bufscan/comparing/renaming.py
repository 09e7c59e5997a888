"""Tensors that only changed their name: found by the content that no other tensor has."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeAlias

from bufscan.comparing.matching import Match
from bufscan.comparing.workers import Meter, run_jobs, stretches
from bufscan.errors import UnreadableError
from bufscan.values.reading import ElementReader
from bufscan.values.strided import strided_of, walk_alone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.comparing.matching import Group
    from bufscan.comparing.opening import Side
    from bufscan.comparing.workers import Progress
    from bufscan.inventory import Tensor

_CHUNK_BYTES = 1 << 18
_MOST_SHOWN = 16  # times the stored bytes: an expanded tensor can show any number of elements

_Kind: TypeAlias = tuple[tuple[int, ...] | None, str | None, tuple[str, ...]]
_Candidate: TypeAlias = "tuple[int, str, Tensor]"
"""Side, name, record."""


def find_renamed(group: Group, sides: tuple[Side, Side], progress: Progress | None = None) -> list[Match]:
    """Move what was merely renamed from the group's removed and added tensors to matches of their own.

    Only tensors whose shape and type occur on both sides are read, each once. Where several have the same content,
    nobody can say which became which: they stay as they are.
    """
    kinds = [{_kind(tensor) for tensor in names.values()} for names in (group.removed, group.added)]
    wanted = kinds[0] & kinds[1]
    candidates = [
        (side, name, tensor)
        for side, names in enumerate((group.removed, group.added))
        for name, tensor in names.items()
        if _kind(tensor) in wanted and _is_readable(tensor)
    ]
    names_by_content: tuple[dict[object, list[str]], ...] = ({}, {})
    digests = _digests(candidates, sides, progress)
    for (side, name, tensor), digest in zip(candidates, digests, strict=True):
        if digest is not None:
            names_by_content[side].setdefault((_kind(tensor), digest), []).append(name)
    found = []
    for content, old_names in names_by_content[0].items():
        match old_names, names_by_content[1].get(content):
            case [old_name], [new_name]:
                found.append(Match(old_name, new_name, group.removed.pop(old_name), group.added.pop(new_name)))
            case _:
                pass
    return found


def _is_readable(tensor: Tensor) -> bool:
    """Whether it is one run of elements, and not far more of them than are stored."""
    plain = not tensor.parts and tensor.quantization is None
    return plain and 0 < (tensor.nbytes or 0) <= _MOST_SHOWN * tensor.stored_bytes


def _kind(tensor: Tensor) -> _Kind:
    return tensor.shape, tensor.dtype, tensor.pending


def _digests(
    candidates: list[_Candidate], sides: tuple[Side, Side], progress: Progress | None
) -> list[bytes | None]:
    nbytes = sum(tensor.nbytes or 0 for _, _, tensor in candidates)
    meter = Meter(nbytes, progress)
    digests: list[bytes | None] = [None] * len(candidates)

    def work(jobs: Iterator[tuple[int, _Candidate]]) -> None:
        buffer = bytearray(_CHUNK_BYTES)
        for position, (side, _, tensor) in jobs:
            try:
                digests[position] = _digest(tensor, sides[side], buffer, meter)
            except UnreadableError:
                digests[position] = None  # what cannot be read cannot be recognised

    run_jobs(enumerate(candidates), work, meter, nbytes)
    return digests


def _digest(tensor: Tensor, side: Side, buffer: bytearray, meter: Meter) -> bytes | None:
    """Hash of the elements in the order of their indices, wherever and however they are stored."""
    if not side.has_values:
        return None
    elements = strided_of(tensor, side.inventory.storages, side.reader)
    if elements.dtype.bits % 8:
        return None
    reader = ElementReader(elements, walk_alone(elements), 0)
    digest = hashlib.sha256()
    for start, count in stretches(elements.numel, _CHUNK_BYTES // reader.itemsize):
        view = memoryview(buffer)[: count * reader.itemsize]
        reader.read_into(start, view)
        digest.update(view)
        meter.advance(len(view))
    return digest.digest()
