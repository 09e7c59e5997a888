"""Tensors that changed their name: found by the content that no other tensor has, then as others were renamed."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from bufscan.comparing.matching import Match
from bufscan.comparing.name_changes import NameChanges
from bufscan.errors import UnreadableError
from bufscan.values.digest import Digester

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bufscan.comparing.matching import Group
    from bufscan.inventory import Tensor
    from bufscan.opening.artefact import Sides
    from bufscan.values.workers import Meter, Workers

_Candidate: TypeAlias = "tuple[int, str, Tensor]"
"""Side, name, record."""

_Content: TypeAlias = tuple[str, bytes]
"""What tensors of equal content share, and a hash of their elements."""
_Contents: TypeAlias = "Mapping[str, _Content]"


def find_renamed(group: Group, sides: Sides, workers: Workers) -> list[Match]:
    """Move what was merely renamed from the group's removed and added tensors to matches of their own.

    Only tensors whose shape and type occur on both sides are read, each once. Where several have the same content,
    the names decide, if the bytes of another tensor prove how they changed; else all of them stay as they are.
    """
    kinds = [{_kind(tensor) for tensor in names.values()} for names in (group.removed, group.added)]
    wanted = kinds[0] & kinds[1]
    candidates = [
        (side, name, tensor)
        for side, names in enumerate((group.removed, group.added))
        for name, tensor in names.items()
        if sides[side].has_values and tensor.numel and _kind(tensor) in wanted
    ]
    contents: tuple[dict[str, _Content], ...] = ({}, {})
    digests = _digests(candidates, sides, workers)
    for (side, name, tensor), digest in zip(candidates, digests, strict=True):
        if digest is not None:
            contents[side][name] = (_kind(tensor), digest)
    proven = _same_content(*contents)
    pairs = proven + _by_name(NameChanges(proven), contents[0], contents[1], dict(proven))
    return [Match(old, new, group.removed.pop(old), group.added.pop(new), renamed=True) for old, new in pairs]


def _same_content(old: _Contents, new: _Contents) -> list[tuple[str, str]]:
    """The names of what only one tensor of either side holds."""
    names_by_content: tuple[dict[_Content, list[str]], ...] = ({}, {})
    for names, contents in zip(names_by_content, (old, new), strict=True):
        for name, content in contents.items():
            names.setdefault(content, []).append(name)
    pairs = []
    for content, old_names in names_by_content[0].items():
        match old_names, names_by_content[1].get(content):
            case [old_name], [new_name]:
                pairs.append((old_name, new_name))
            case _:
                pass
    return pairs


def _by_name(
    changes: NameChanges, old: _Contents, new: _Contents, proven: Mapping[str, str]
) -> list[tuple[str, str]]:
    """What is left, where its name changed as those of others did and leads to a tensor of its kind."""
    taken = set(proven.values())
    claims: dict[str, list[str]] = {}
    for name, content in old.items():
        fits = {
            other
            for other, needs_bytes in (changes.of(name) if name not in proven else ())
            if other in new and other not in taken and _fits(content, new[other], needs_bytes=needs_bytes)
        }
        if len(fits) == 1:
            claims.setdefault(fits.pop(), []).append(name)
    return [(names[0], other) for other, names in claims.items() if len(names) == 1]


def _fits(old: _Content, new: _Content, *, needs_bytes: bool) -> bool:
    return old == new if needs_bytes else old[0] == new[0]


def _kind(tensor: Tensor) -> str:
    """What tensors of equal content must share besides."""
    parts = [(part.name, part.shape, part.dtype) for part in tensor.parts]
    # As text: hashes of numbers can be foreseen, those of texts are salted.
    return repr((tensor.shape, tensor.dtype, tensor.layout, tensor.pending, tensor.quantization, parts))


def _digests(candidates: list[_Candidate], sides: Sides, workers: Workers) -> list[bytes | None]:
    def work(jobs: Iterator[_Candidate], meter: Meter) -> Iterator[bytes | None]:
        digesters = [Digester(side.inventory.storages, side.reader, meter.advance) for side in sides]
        for side, _, tensor in jobs:
            try:
                yield digesters[side].digest(tensor)
            except UnreadableError:
                yield None  # what cannot be read cannot be recognised

    return workers.map(candidates, work, lambda candidate: candidate[2].nbytes or 0, bytes | None)
