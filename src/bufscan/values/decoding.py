"""Stored bits as float64 values, and what can be said of a type that has no values."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bufscan.dtypes import DType
    from bufscan.inventory import Quantization

    Numbers: TypeAlias = NDArray[np.float64]
    Elements: TypeAlias = NDArray[Any]

# Types that NumPy lacks, by the type that has the same bits.
_SHELLS = {
    **{f"{sign}int{bits}": f"{sign}int8" for sign in ("", "u") for bits in range(1, 8)},
    "qint8": "int8",
    "quint8": "uint8",
    "qint32": "int32",
    "bool": "uint8",
    "bfloat16": "uint16",
}
_COMPLEX_PARTS = {"complex32": "float16", "complex64": "float32", "complex128": "float64"}
_PACKED = "float4_e2m1fn_x2"
_E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)  # OCP Microscaling 1.0; bit 3 is the sign
_BYTE_CODES = 256


class FloatFormat(NamedTuple):
    """Bits of the exponent and of the mantissa, and the exponent's bias."""

    exponent: int
    mantissa: int
    bias: int


FLOAT8 = {
    "float8_e4m3fn": FloatFormat(4, 3, 7),
    "float8_e5m2": FloatFormat(5, 2, 15),
    "float8_e4m3fnuz": FloatFormat(4, 3, 8),
    "float8_e5m2fnuz": FloatFormat(5, 2, 16),
}
"""The 8-bit floating-point types that have a mantissa (OCP; Graphcore and AMD for `fnuz`)."""


def has_values(dtype: DType) -> bool:
    """Whether the type's bits stand for numbers, and in a way that torch or the format defines."""
    return dtype.kind != "bits" and dtype.name not in ("quint4x2", "quint2x4") and dtype.bits % 8 == 0


def numbers_in_element(dtype: DType) -> tuple[int, int]:
    """Values that an element packs, and numbers that make a value: two of a complex type."""
    return 2 if dtype.name == _PACKED else 1, 2 if dtype.kind == "complex" else 1


class Channels(NamedTuple):
    """The scale and zero point of each channel, and how the elements of a walk run through the channels."""

    scales: Numbers
    zero_points: Numbers
    steps: int


class Decoder(msgspec.Struct, frozen=True, kw_only=True):
    """How the bits of one tensor become values.

    Attributes:
        dtype: of the tensor; one that `has_values`.
        quantization, channels: what the codes of a quantised tensor mean.
        pending: see `Tensor.pending`.
    """

    dtype: DType
    quantization: Quantization | None = None
    channels: Channels | None = None
    pending: tuple[str, ...] = ()

    @property
    def values_per_element(self) -> int:
        """2 for the packed 4-bit type, else 1."""
        return numbers_in_element(self.dtype)[0]

    @property
    def numbers_per_value(self) -> int:
        """2 for complex types, whose real and imaginary parts alternate, else 1."""
        return numbers_in_element(self.dtype)[1]

    @property
    def number_type(self) -> str:
        """The type of the numbers: that of the parts of a complex type."""
        return _COMPLEX_PARTS.get(self.dtype.name, self.dtype.name)

    def stored(self, raw: bytearray | memoryview | Elements) -> Elements:
        """Bytes as numbers in NumPy's types or, of a type that it lacks, as integers of its width."""
        import numpy as np

        if self.dtype.name.startswith(("float8", "float4")):
            return np.frombuffer(raw, np.uint8)
        return np.frombuffer(raw, _SHELLS.get(self.number_type, self.number_type))

    def numbers(self, stored: Elements) -> Elements:
        """The same as numbers of a type that holds them exactly; of a quantised type the codes."""
        import numpy as np

        name = self.number_type
        if name == "bfloat16":  # the upper half of a float32
            wide = stored.astype(np.uint32)
            wide <<= 16
            return wide.view(np.float32)
        if name.startswith(("float8", "float4")):
            return _table(name).take(stored, axis=0).reshape(-1)
        return stored != 0 if name == "bool" else stored

    def decode(self, stored: Elements, start: int, out: Numbers) -> None:
        """Values of the elements from position `start` of the walk on, as float64 into `out`."""
        import numpy as np

        out[:] = self.numbers(stored)
        if self.quantization is not None:
            self._dequantize(out, start)
        if "conj" in self.pending:
            np.negative(out[1::2], out=out[1::2])
        if "neg" in self.pending:
            np.negative(out, out=out)

    def _dequantize(self, codes: Numbers, start: int) -> None:
        scale, zero_point = self.scale_at(start, len(codes))
        codes -= zero_point
        codes *= scale

    def scale_at(self, start: int, count: int) -> tuple[Numbers | float, Numbers | float]:
        """Scale and zero point of `count` elements of a quantised tensor, or those of all of them."""
        import numpy as np

        if self.channels is None:
            assert self.quantization is not None  # noqa: S101 - the caller asked
            return self.quantization.scale or 0.0, self.quantization.zero_point or 0
        scales, zero_points, steps = self.channels
        channel = np.arange(start, start + count) // steps % len(scales) if steps else np.zeros(count, np.int64)
        return scales[channel], zero_points[channel]


@cache
def _table(name: str) -> Elements:
    """The values of each byte of a type that NumPy lacks, one row a byte."""
    import numpy as np

    if name == _PACKED:
        nibble = np.array([*_E2M1, *(-value for value in _E2M1)], np.float32)
        codes = np.arange(_BYTE_CODES)
        return np.stack((nibble[codes % 16], nibble[codes // 16]), axis=1)
    if name == "float8_e8m0fnu":  # an exponent alone, of what scales a block
        return np.array([*(2.0**exponent for exponent in range(-127, 128)), np.nan], np.float32)
    return _float8_values(name)


def _float8_values(name: str) -> Elements:
    import numpy as np

    exponent_bits, mantissa_bits, bias = FLOAT8[name]
    codes = np.arange(_BYTE_CODES // 2)
    exponent = codes >> mantissa_bits & ((1 << exponent_bits) - 1)
    mantissa = (codes & ((1 << mantissa_bits) - 1)) / (1 << mantissa_bits)
    size = np.where(exponent == 0, mantissa * 2.0, 1.0 + mantissa) * 2.0 ** (exponent - bias)
    if name == "float8_e5m2":
        size[-4:] = [np.inf, np.nan, np.nan, np.nan]
    elif name == "float8_e4m3fn":
        size[-1] = np.nan  # it has no infinity
    values = np.concatenate((size, -size))
    if name.endswith("fnuz"):
        values[_BYTE_CODES // 2] = np.nan  # in the place of -0
    return values.astype(np.float32)
