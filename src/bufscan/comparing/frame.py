"""A chunk of both sides, read and decoded: memory that is kept from chunk to chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bufscan.values.decoding import Decoded

if TYPE_CHECKING:
    import torch

    from bufscan.comparing.difference import Tolerance
    from bufscan.values.decoding import Decoder

CHUNK = 1 << 15
"""Elements looked at in one go: few enough that all that is made of them stays in the second-level cache, and
enough that each step takes longer than Python takes to start it."""

_WIDEST = 16  # bytes of a complex128


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """How to compare the elements of a pair of tensors.

    Attributes:
        old, new: how the bits of either side become values.
        same_decoding: whether equal bits mean equal values.
        tolerance: None when every bit counts.
    """

    old: Decoder
    new: Decoder
    same_decoding: bool
    tolerance: Tolerance | None


class Room:
    """Memory for a chunk: the bytes of either side, both as float64, their difference; one for each thread."""

    def __init__(self) -> None:
        import torch

        self.raw = bytearray(CHUNK * _WIDEST), bytearray(CHUNK * _WIDEST)
        # Complex and packed elements are two numbers.
        self.both = torch.empty(2, 2 * CHUNK, dtype=torch.float64)
        self.difference = torch.empty(2 * CHUNK, dtype=torch.float64)
        self.marks = torch.empty(CHUNK, dtype=torch.int64)


class Frame:
    """The part of a room that a chunk takes, seen as the types of a comparison. Cheaper to keep than to make.

    Attributes:
        comparison, count: what it is made for, and elements in it.
        raw: the bytes of either side, to be filled.
        old, new: the same as elements, and as numbers once they are decoded.
        both, difference: the numbers of both sides in two rows, and room for their difference.
        bits, marks: the elements as integers, and room for one of the same type for each.
    """

    def __init__(self, comparison: Comparison, count: int, room: Room) -> None:
        import torch

        decoders = comparison.old, comparison.new
        sizes = [decoder.dtype.nbytes(count) for decoder in decoders]
        numbers = count * comparison.old.values_per_element * comparison.old.numbers_per_value
        self.comparison = comparison
        self.count = count
        self.raw = [memoryview(raw)[:size] for raw, size in zip(room.raw, sizes, strict=True)]
        self.both = room.both[:, :numbers]
        self.difference = room.difference[:numbers]
        self.old, self.new = (
            Decoded(decoder, decoder.typed(torch.frombuffer(raw, dtype=torch.uint8)), seen)
            for decoder, raw, seen in zip(decoders, self.raw, self.both, strict=True)
        )
        self.bits = [_as_integers(side.typed) for side in (self.old, self.new)]
        self.marks = room.marks.view(self.bits[0].dtype)[: self.bits[0].numel()]

    @property
    def same_type(self) -> bool:
        """Whether both sides have the same element type."""
        return self.old.decoder.dtype == self.new.decoder.dtype

    @property
    def width(self) -> int:
        """Numbers that make a value."""
        return self.old.decoder.numbers_per_value


def _as_integers(typed: torch.Tensor) -> torch.Tensor:
    import torch

    return typed.view({1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[typed.element_size()])
