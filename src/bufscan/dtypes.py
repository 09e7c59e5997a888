"""Element types by torch's names: their width and kind, and the other names that files give them.

Widths and kinds are those of torch 2.13; safetensors codes are those of safetensors 0.8.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["float", "complex", "integer", "bool", "quantized", "bits", "blocks"]


class DType(msgspec.Struct, frozen=True):
    """An element type.

    Attributes:
        name: torch's name without the `torch.` prefix, or the format's where torch has none.
        bits: width of one element, or of one block; under 8 only where elements are packed.
        kind: what the bits mean.
        block: how many elements share these bits, and cannot be told apart by their place in memory.
    """

    name: str
    bits: int
    kind: Kind
    block: int = 1

    @property
    def can_require_grad(self) -> bool:
        """Whether torch lets a tensor of this type require grad: floating point and complex only."""
        return self.kind in ("float", "complex")

    def nbytes(self, numel: int) -> int:
        """Bytes that `numel` packed elements take."""
        return (-(-numel // self.block) * self.bits + 7) // 8


def _table(kind: Kind, widths: dict[str, int]) -> dict[str, DType]:
    return {name: DType(name, bits, kind) for name, bits in widths.items()}


DTYPES: dict[str, DType] = {
    **_table("float", {"float64": 64, "float32": 32, "float16": 16, "bfloat16": 16}),
    **_table(
        "float",
        {
            "float8_e4m3fn": 8,
            "float8_e5m2": 8,
            "float8_e4m3fnuz": 8,
            "float8_e5m2fnuz": 8,
            "float8_e8m0fnu": 8,
            "float4_e2m1fn_x2": 8,  # two elements in a byte; torch counts bytes
            "float6_e2m3fn": 6,  # safetensors only
            "float6_e3m2fn": 6,  # safetensors only
        },
    ),
    **_table("complex", {"complex128": 128, "complex64": 64, "complex32": 32}),
    **_table(
        "integer",
        {
            **{f"{sign}int{bits}": bits for sign in ("", "u") for bits in (8, 16, 32, 64)},
            # The sub-byte integers of torch are shells: one byte an element.
            **{f"{sign}int{bits}": 8 for sign in ("", "u") for bits in range(1, 8)},
        },
    ),
    **_table("bool", {"bool": 8}),
    **_table("quantized", {"qint8": 8, "quint8": 8, "qint32": 32, "quint4x2": 8, "quint2x4": 8}),
    **_table("bits", {"bits1x8": 8, "bits2x4": 8, "bits4x2": 8, "bits8": 8, "bits16": 16}),
}

# Elements and bytes of the blocks that GGUF packs weights in (gguf 0.19, `GGML_QUANT_SIZES`).
GGUF_BLOCKS: dict[str, tuple[int, int]] = {
    "Q4_0": (32, 18),
    "Q4_1": (32, 20),
    "Q5_0": (32, 22),
    "Q5_1": (32, 24),
    "Q8_0": (32, 34),
    "Q8_1": (32, 40),
    "Q2_K": (256, 84),
    "Q3_K": (256, 110),
    "Q4_K": (256, 144),
    "Q5_K": (256, 176),
    "Q6_K": (256, 210),
    "Q8_K": (256, 292),
    "IQ2_XXS": (256, 66),
    "IQ2_XS": (256, 74),
    "IQ3_XXS": (256, 98),
    "IQ1_S": (256, 50),
    "IQ4_NL": (32, 18),
    "IQ3_S": (256, 110),
    "IQ2_S": (256, 82),
    "IQ4_XS": (256, 136),
    "IQ1_M": (256, 56),
    "TQ1_0": (256, 54),
    "TQ2_0": (256, 66),
    "MXFP4": (32, 17),
    "NVFP4": (64, 36),
    "Q1_0": (128, 18),
}

DTYPES |= {name: DType(name, nbytes * 8, "blocks", elements) for name, (elements, nbytes) in GGUF_BLOCKS.items()}

STORAGE_CLASSES: dict[str, DType] = {
    class_name: DTYPES[name]
    for class_name, name in {
        "DoubleStorage": "float64",
        "FloatStorage": "float32",
        "HalfStorage": "float16",
        "BFloat16Storage": "bfloat16",
        "LongStorage": "int64",
        "IntStorage": "int32",
        "ShortStorage": "int16",
        "CharStorage": "int8",
        "ByteStorage": "uint8",
        "BoolStorage": "bool",
        "ComplexDoubleStorage": "complex128",
        "ComplexFloatStorage": "complex64",
        "QInt8Storage": "qint8",
        "QUInt8Storage": "quint8",
        "QInt32Storage": "qint32",
        "QUInt4x2Storage": "quint4x2",
        "QUInt2x4Storage": "quint2x4",
        "UntypedStorage": "uint8",
    }.items()
}
"""Element type by the class name in a storage's persistent id (`torch.FloatStorage`)."""

ALIASES: dict[str, str] = {
    "double": "float64",
    "float": "float32",
    "half": "float16",
    "long": "int64",
    "int": "int32",
    "short": "int16",
    "cdouble": "complex128",
    "cfloat": "complex64",
    "chalf": "complex32",
}
"""torch's second names: `torch.half is torch.float16`."""


def dtype_named(name: str) -> DType | None:
    """The element type that torch calls `name` (`float32`, `half`), or None when there is no such type."""
    return DTYPES.get(ALIASES.get(name, name))
