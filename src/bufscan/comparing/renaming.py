"""Tensors that only changed their name: found by the content that no other tensor has."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

from bufscan.comparing.matching import Match
from bufscan.comparing.workers import Meter, run_jobs
from bufscan.errors import UnreadableError
from bufscan.values.digest import Digester

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.comparing.matching import Group
    from bufscan.comparing.workers import Progress
    from bufscan.inventory import Tensor
    from bufscan.opening.artefact import Sides

_Candidate: TypeAlias = "tuple[int, str, Tensor]"
"""Side, name, record."""


def find_renamed(group: Group, sides: Sides, progress: Progress | None = None) -> list[Match]:
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
        if sides[side].has_values and tensor.numel and _kind(tensor) in wanted
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
                old, new = group.removed.pop(old_name), group.added.pop(new_name)
                found.append(Match(old_name, new_name, old, new, renamed=True))
            case _:
                pass
    return found


def _kind(tensor: Tensor) -> str:
    """What tensors of equal content must share besides."""
    parts = [(part.name, part.shape, part.dtype) for part in tensor.parts]
    # As text: hashes of numbers can be foreseen, those of texts are salted.
    return repr((tensor.shape, tensor.dtype, tensor.layout, tensor.pending, tensor.quantization, parts))


def _digests(candidates: list[_Candidate], sides: Sides, progress: Progress | None) -> list[bytes | None]:
    nbytes = sum(tensor.nbytes or 0 for _, _, tensor in candidates)
    meter = Meter(nbytes, progress)
    digests: list[bytes | None] = [None] * len(candidates)

    def work(jobs: Iterator[tuple[int, _Candidate]]) -> None:
        digesters = [Digester(side.inventory.storages, side.reader, meter.advance) for side in sides]
        for position, (side, _, tensor) in jobs:
            # What cannot be read cannot be recognised.
            with suppress(UnreadableError):
                digests[position] = digesters[side].digest(tensor)

    run_jobs(enumerate(candidates), work, meter, nbytes)
    return digests
