"""Tensors that torch.distributed.checkpoint cut in pieces and wrote to several safetensors files.

Each file says in `DCP_SHARDING_INFO` at which index of the whole tensor its piece begins; the header has the shape
of the piece alone. torch takes the whole to reach as far as the pieces at hand do.
"""

from __future__ import annotations

from operator import add
from typing import TYPE_CHECKING, TypeAlias

from msgspec.structs import replace

from bufscan.errors import UnreadableError
from bufscan.formats.containers.strict_json import load_json
from bufscan.formats.listing import counted, listed
from bufscan.formats.tensors.coverage import Region, fault_in_coverage
from bufscan.inventory import Part, Skipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bufscan.inventory import Tensor

SHARDING_INFO = "DCP_SHARDING_INFO"
PIECES_NOTE = "written in pieces by torch.distributed.checkpoint: shapes are those of the pieces in this file"

_LARGEST = (1 << 63) - 1  # sizes are int64 in torch
_MOST_DIMENSIONS = 64

_Piece: TypeAlias = "tuple[tuple[int, ...] | None, Tensor]"
"""Where in the whole tensor a piece begins, as far as that is known, and the piece."""


def join_pieces(tensors: Sequence[Tensor], sharding_info: dict[str, str]) -> tuple[list[Tensor], list[Skipped]]:
    """The tensors, each put together from its pieces as far as they are there, and what is not.

    `sharding_info` is what each file says of its pieces.
    """
    failed: list[Skipped] = []
    begins: dict[tuple[str | None, str], tuple[int, ...]] = {}
    for file, text in sharding_info.items():
        try:
            begins.update({(file, name): begin for name, begin in _read_begins(text)})
        except UnreadableError as error:
            failed.append(Skipped(what=file, reason=error.message, failed=True))
    pieces: dict[str, list[_Piece]] = {}
    for tensor in tensors:
        pieces.setdefault(tensor.name, []).append((begins.get((tensor.file, tensor.name)), tensor))
    joined: list[Tensor] = []
    faults: dict[str, str] = {}
    for name, found in pieces.items():
        if (whole := _join(found)) is None:
            joined += [tensor for _, tensor in found]
            continue
        joined.append(whole)
        regions = [Region(begin or (), tensor.shape or ()) for begin, tensor in found]
        if (fault := fault_in_coverage(whole.shape or (), regions)) is not None:
            faults[name] = fault
    if faults:
        reason = (
            f"they do not make up the whole: {listed(list(faults))}; of the first, {next(iter(faults.values()))}"
        )
        failed.append(Skipped(what=f"pieces of {counted(len(faults), 'tensor')}", reason=reason, failed=True))
    return joined, failed


def _read_begins(text: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    info = load_json(text.encode(), what=f"`{SHARDING_INFO}`")
    for name, entry in info.items() if isinstance(info, dict) else ():
        match entry:
            case {"saved_offsets": [*begin]} if all(
                type(index) is int and 0 <= index <= _LARGEST for index in begin
            ):
                yield name, tuple(begin)


def _join(pieces: Sequence[_Piece]) -> Tensor | None:
    """The whole tensor; None where these are not pieces of one."""
    parts = [part for begin, piece in pieces if (part := _make_part(begin, piece)) is not None]
    if len(parts) != len(pieces) or len({(part.dtype, len(part.shape)) for part in parts}) != 1:
        return None
    ends = [tuple(map(add, begin or (), piece.shape or ())) for begin, piece in pieces]
    shape = tuple(map(max, ends[0], *ends))
    first = pieces[0][1]
    if len(pieces) == 1 and shape == first.shape:
        return first
    return replace(
        first,
        shape=shape,
        stride=None,
        storage=None,
        stored_bytes=sum(piece.stored_bytes for _, piece in pieces),
        file=first.file if len({piece.file for _, piece in pieces}) == 1 else None,
        parts=tuple(parts),
    )


def _make_part(begin: tuple[int, ...] | None, piece: Tensor) -> Part | None:
    """The piece, named by what it is of the whole: `[4:8, 0:4]`; None where that is not known."""
    if begin is None or piece.shape is None or piece.stride is None or piece.dtype is None:
        return None
    if not len(begin) == len(piece.shape) <= _MOST_DIMENSIONS:
        return None
    return Part(
        name=str(Region(begin, piece.shape)),
        shape=piece.shape,
        dtype=piece.dtype,
        stride=piece.stride,
        storage=piece.storage,
    )
