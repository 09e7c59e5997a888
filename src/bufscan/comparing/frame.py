"""A chunk of both sides, read and decoded: memory that is kept from chunk to chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bufscan.values.decoding import Decoded

if TYPE_CHECKING:
    import torch

    from bufscan.comparing.difference import Tolerance
    from bufscan.values.decoding import Decoder

CHUNK = 320 << 10
"""Elements looked at in one go: enough that a thread works far longer on each step than it waits for the
interpreter, which starts one step at a time.

A sixth of it stays in a second-level cache of 2 MB, which is faster where one thread is alone, and can make two of
them slower than one. Sums depend on it in their last digits, so it is the same everywhere.
"""

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

    @property
    def bits_are_values(self) -> bool:
        """Whether each value has bits of its own, but for the signs of zeros and the payloads of NaNs."""
        kinds = ("float", "integer")
        return self.same_decoding and self.old.dtype.kind in kinds and self.old.values_per_element == 1


class Room:
    """Memory for a chunk: the bytes of both sides, and both as float64; one for each thread."""

    def __init__(self) -> None:
        import torch

        self.raw = bytearray(2 * CHUNK * _WIDEST)
        # Complex and packed elements are two numbers.
        self.numbers = torch.empty(2 * 2 * CHUNK, dtype=torch.float64)


class Frame:
    """The part of a room that a chunk takes, seen as the types of a comparison. Cheaper to keep than to make.

    The numbers of the new side make room for the difference, so that a chunk takes little of the cache.

    Attributes:
        comparison, count: what it is made for, and elements in it.
        raw: the bytes of either side, to be filled.
        old, new: the same as elements, and as numbers once they are decoded.
        both, turned: the numbers of both sides in two rows, and in two columns.
        difference: the row of the new side once the old one is subtracted.
        gram: room for the products of the rows with each other.
        bits, marks: the elements as integers, and room for a mark of the same type for each. The marks lie where
            the numbers do.
    """

    def __init__(self, comparison: Comparison, count: int, room: Room) -> None:
        import torch

        decoders = comparison.old, comparison.new
        sizes = [decoder.dtype.nbytes(count) for decoder in decoders]
        numbers = count * comparison.old.values_per_element * comparison.old.numbers_per_value
        self.comparison = comparison
        self.count = count
        # Decoded alike, the sides lie end to end, to be decoded as one; else the new one where any type may begin.
        begin = sizes[0] if comparison.same_decoding else CHUNK * _WIDEST
        raw = memoryview(room.raw)
        self.raw = [raw[: sizes[0]], raw[begin : begin + sizes[1]]]
        row = room.numbers[: 2 * numbers]
        self.both = row.view(2, numbers)
        self.turned = self.both.T
        self.difference = self.both[1]
        self.gram = torch.empty(2, 2, dtype=torch.float64)
        self.old, self.new = (
            Decoded(decoder, decoder.typed(torch.frombuffer(side, dtype=torch.uint8)), seen)
            for decoder, side, seen in zip(decoders, self.raw, self.both, strict=True)
        )
        self._decoded = [self.old, self.new]
        if comparison.same_decoding:
            typed = comparison.old.typed(torch.frombuffer(raw[: begin + sizes[1]], dtype=torch.uint8))
            self._decoded = [Decoded(comparison.old, typed, row)]
        self.bits = [_as_integers(side.typed) for side in (self.old, self.new)]
        self._all_bits = [_as_integers(side.typed) for side in self._decoded]
        self.marks = row.view(self.bits[0].dtype)[: self.bits[0].numel()]

    @property
    def same_type(self) -> bool:
        """Whether both sides have the same element type."""
        return self.old.decoder.dtype == self.new.decoder.dtype

    @property
    def width(self) -> int:
        """Numbers that make a value."""
        return self.old.decoder.numbers_per_value

    def decode(self, start: int) -> None:
        """Make numbers of both sides, which begin at position `start` of the walk."""
        for side in self._decoded:
            side.decoder.decode(side.typed, start, side.numbers)

    def may_have_negative_zeros(self) -> bool:
        """Whether a value on either side may be -0.0."""
        if not (self.old.decoder.is_plain and self.new.decoder.is_plain):
            return True
        import torch

        # The sign bit alone makes the smallest integer.
        return any(int(bits.amin()) == torch.iinfo(bits.dtype).min for bits in self._all_bits)


def _as_integers(typed: torch.Tensor) -> torch.Tensor:
    import torch

    return typed.view({1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[typed.element_size()])
