"""Stored bits as float64 values, and what can be said of a type that has no values."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    import torch

    from bufscan.dtypes import DType
    from bufscan.inventory import Quantization

# Types that torch names but cannot compute with, by the type that has the same bits.
_SHELLS = {
    **{f"{sign}int{bits}": f"{sign}int8" for sign in ("", "u") for bits in range(1, 8)},
    "qint8": "int8",
    "quint8": "uint8",
    "qint32": "int32",
    "bool": "uint8",
}
_COMPLEX_PARTS = {"complex32": "float16", "complex64": "float32", "complex128": "float64"}
_PACKED = "float4_e2m1fn_x2"
_E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)  # OCP Microscaling 1.0; bit 3 is the sign
_BYTE_CODES = 256


def has_values(dtype: DType) -> bool:
    """Whether the type's bits stand for numbers, and in a way that torch or the format defines."""
    return dtype.kind != "bits" and dtype.name not in ("quint4x2", "quint2x4") and dtype.bits % 8 == 0


def numbers_in_element(dtype: DType) -> tuple[int, int]:
    """Values that an element packs, and numbers that make a value: two of a complex type."""
    return 2 if dtype.name == _PACKED else 1, 2 if dtype.kind == "complex" else 1


class Channels(NamedTuple):
    """The scale and zero point of each channel, and how the elements of a walk run through the channels."""

    scales: torch.Tensor
    zero_points: torch.Tensor
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
    def is_plain(self) -> bool:
        """Whether the bits are those of floating-point numbers, as they are."""
        is_float = self.dtype.kind in ("float", "complex") and self.dtype.name != _PACKED
        return is_float and self.quantization is None and not self.pending

    def typed(self, raw: torch.Tensor) -> torch.Tensor:
        """Bytes as what torch computes with: numbers for complex types, codes for quantised ones."""
        import torch

        name = self.dtype.name
        name = _COMPLEX_PARTS.get(name, _SHELLS.get(name, name))
        return raw.view(torch.uint8 if name == _PACKED else getattr(torch, name))

    def decode(self, typed: torch.Tensor, start: int, out: torch.Tensor) -> None:
        """Numbers of the elements from position `start` of the walk on, as float64 into `out`."""
        import torch

        name = self.dtype.name
        if name.startswith(("float8", "float4")):
            table = _table(name)
            codes = typed.view(torch.uint8).to(torch.int32)
            torch.index_select(table, 0, codes, out=out.view(codes.numel(), table.shape[1]))
        elif name == "bool":
            out.copy_(typed != 0)
        else:
            out.copy_(typed)
        if self.quantization is not None:
            self._dequantize(out, start)
        if "conj" in self.pending:
            out[1::2].neg_()
        if "neg" in self.pending:
            out.neg_()

    def _dequantize(self, codes: torch.Tensor, start: int) -> None:
        if self.channels is None:
            assert self.quantization is not None  # noqa: S101 - the caller asked
            codes.sub_(self.quantization.zero_point or 0).mul_(self.quantization.scale or 0.0)
            return
        channel = self.channel_of(start, codes.numel())
        codes.sub_(self.channels.zero_points[channel]).mul_(self.channels.scales[channel])

    def channel_of(self, start: int, count: int) -> torch.Tensor:
        """The channel of each of `count` elements."""
        import torch

        assert self.channels is not None  # noqa: S101 - the caller asked
        if not self.channels.steps:
            return torch.zeros(count, dtype=torch.int64)
        return torch.arange(start, start + count) // self.channels.steps % len(self.channels.scales)


class Decoded(NamedTuple):
    """Elements of one side, as torch types them and as float64 numbers."""

    decoder: Decoder
    typed: torch.Tensor
    numbers: torch.Tensor


@cache
def _table(name: str) -> torch.Tensor:
    """The values of each byte of an 8-bit type, one row a byte."""
    import torch

    codes = torch.arange(_BYTE_CODES, dtype=torch.uint8)
    if name != _PACKED:
        return codes.view(getattr(torch, name)).to(torch.float32).to(torch.float64)[:, None]
    nibble = torch.tensor([*_E2M1, *(-value for value in _E2M1)], dtype=torch.float64)
    return torch.stack((nibble[(codes % 16).long()], nibble[(codes // 16).long()]), dim=1)
