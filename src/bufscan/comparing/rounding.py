"""Whether one side of a pair is the other, rounded to its type."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bufscan.values.decoding import Decoded

# Half a step, and what float32 arithmetic adds to it.
_HALF_STEP = 0.5 + 1e-5


def is_rounded(old: Decoded, new: Decoded, start: int) -> bool:
    """Whether all elements are those of the other side, rounded: old to the type of new, or new to that of old.

    `start` is the chunk's position in the walk.
    """
    return _rounds_to(old, new, start) or _rounds_to(new, old, start)


def _rounds_to(wide: Decoded, narrow: Decoded, start: int) -> bool:
    if wide.decoder.quantization is not None or wide.decoder.pending or narrow.decoder.pending:
        return False
    kinds = wide.decoder.dtype.kind, narrow.decoder.dtype.kind
    if narrow.decoder.quantization is not None:
        return kinds[0] == "float" and _is_quantized_from(wide, narrow, start)
    is_narrower = kinds in (("float", "float"), ("complex", "complex")) and (
        narrow.decoder.dtype.bits <= wide.decoder.dtype.bits
    )
    if not is_narrower and kinds != ("integer", "float"):
        return False
    alone = narrow.decoder.values_per_element == 1 == wide.decoder.values_per_element
    return alone and _is_cast_from(wide, narrow)


def _is_cast_from(wide: Decoded, narrow: Decoded) -> bool:
    import torch

    cast = wide.typed.to(narrow.typed.dtype)
    if torch.equal(cast.view(torch.uint8), narrow.typed.view(torch.uint8)):
        return True
    rounded = torch.empty_like(narrow.numbers)
    narrow.decoder.decode(cast, 0, rounded)
    same = (rounded == narrow.numbers) | (rounded.isnan() & narrow.numbers.isnan())
    # torch casts what is out of range to infinity or NaN; many who write narrow types keep to the largest number.
    largest = torch.finfo(narrow.typed.dtype).max
    kept = (narrow.numbers.abs() == largest) & (wide.numbers * narrow.numbers.sign() > largest)
    return bool((same | kept).all())


def _is_quantized_from(wide: Decoded, narrow: Decoded, start: int) -> bool:
    import torch

    decoder = narrow.decoder
    if decoder.quantization is None:
        return False
    if decoder.channels is None:
        scale, zero_point = decoder.quantization.scale or 0.0, decoder.quantization.zero_point or 0
        ideal = wide.numbers / scale + zero_point
    else:
        channel = decoder.channel_of(start, wide.numbers.numel())
        ideal = wide.numbers / decoder.channels.scales[channel] + decoder.channels.zero_points[channel]
    limits = torch.iinfo(narrow.typed.dtype)
    codes = narrow.typed.to(torch.float64)
    return bool(((ideal.clamp(limits.min, limits.max) - codes).abs() <= _HALF_STEP).all())
