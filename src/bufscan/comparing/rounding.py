"""Whether one side of a pair is the other, rounded to its type."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bufscan.values.decoding import FLOAT8, FloatFormat

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bufscan.values.decoding import Decoder, Elements, Numbers

# Half a step, and what float32 arithmetic adds to it.
_HALF_STEP = 0.5 + 1e-5

_FLOAT32_MANTISSA = 23
# What NumPy has no type for; a type of 8 bits has a largest number that follows from its table.
_FORMATS = {"bfloat16": FloatFormat(8, 7, 127), "float8_e8m0fnu": FloatFormat(8, 0, 128), **FLOAT8}
_WITH_INFINITY = ("float64", "float32", "float16", "bfloat16", "float8_e5m2")
_LARGEST = {
    "bfloat16": float.fromhex("0x1.fep127"),
    "float8_e4m3fn": 448.0,
    "float8_e5m2": 57344.0,
    "float8_e4m3fnuz": 240.0,
    "float8_e5m2fnuz": 57344.0,
    "float8_e8m0fnu": 2.0**127,
}


class Side(NamedTuple):
    """Elements of one side, as they are stored and as float64 values."""

    decoder: Decoder
    stored: Elements
    values: Numbers


def is_rounded(old: Side, new: Side, start: int) -> bool:
    """Whether all elements are those of the other side, rounded: old to the type of new, or new to that of old.

    `start` is the chunk's position in the walk.
    """
    return _rounds_to(old, new, start) or _rounds_to(new, old, start)


def _rounds_to(wide: Side, narrow: Side, start: int) -> bool:
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


def _is_cast_from(wide: Side, narrow: Side) -> bool:
    import numpy as np

    name = narrow.decoder.number_type
    rounded, largest = _cast(wide.decoder.numbers(wide.stored), name)
    beyond = np.abs(rounded) > largest
    if beyond.any():
        rounded[beyond] = np.copysign(np.inf, rounded[beyond]) if name in _WITH_INFINITY else np.nan
    same = (rounded == narrow.values) | (np.isnan(rounded) & np.isnan(narrow.values))
    if same.all():
        return True
    # A cast turns what is out of range into infinity or NaN; many writers keep to the largest number.
    kept = (np.abs(narrow.values) == largest) & (wide.values * np.sign(narrow.values) > largest)
    return bool((same | kept).all())


def _cast(numbers: Elements, name: str) -> tuple[Elements, float]:
    """The numbers rounded to a type as torch does it, and the largest number of that type."""
    import numpy as np

    if name not in _FORMATS:
        # torch rounds to float16 by way of float32.
        narrow = (numbers.astype(np.float32) if name == "float16" else numbers).astype(name)
        return narrow, float(np.finfo(narrow.dtype).max)
    return _rounded(numbers.astype(np.float32), _FORMATS[name], name), _LARGEST[name]


def _rounded(numbers: NDArray[np.float32], form: FloatFormat, name: str) -> NDArray[np.float32]:
    """To the nearest number of the format, to the even one of two; without a bound on the exponent."""
    import numpy as np

    least = 2.0 ** (1 - form.bias)
    dropped = _FLOAT32_MANTISSA - form.mantissa
    bits = numbers.view(np.uint32)
    half = np.uint32((1 << (dropped - 1)) - 1)
    even = np.uint32(1) if name == "float8_e8m0fnu" else bits >> dropped & 1  # there ties go up
    rounded = ((bits + half + even) >> dropped << dropped).view(np.float32)
    # Near zero the steps no longer shrink: those of a float32 of this size are as long.
    shift = np.float32(least * 2.0**dropped)
    near_zero = np.abs(numbers) < least
    rounded[near_zero] = np.copysign(np.abs(numbers[near_zero]) + shift - shift, numbers[near_zero])
    rounded[np.isnan(numbers)] = np.nan
    return rounded


def _is_quantized_from(wide: Side, narrow: Side, start: int) -> bool:
    import numpy as np

    scale, zero_point = narrow.decoder.scale_at(start, len(wide.values))
    limits = np.iinfo(narrow.stored.dtype)
    ideal = np.clip(wide.values / scale + zero_point, limits.min, limits.max)
    return bool((np.abs(ideal - narrow.stored) <= _HALF_STEP).all())
