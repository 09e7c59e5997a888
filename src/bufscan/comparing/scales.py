"""Which scale belongs to the codes of a weight that was stored in 8 bits, and which codes each scale is for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bufscan.comparing.difference import Relation
from bufscan.dtypes import DTYPES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bufscan.comparing.matching import Match
    from bufscan.inventory import Tensor
    from bufscan.opening.artefact import Sides

_CODES = ("int8", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")
_WIDE = ("float64", "float32", "float16", "bfloat16")

_LLM_INT8 = "SCB"  # bitsandbytes: the largest size in each row, which the code 127 stands for
_LLM_INT8_PEAK = 127.0
_SUFFIXES = ("_scale_inv", "_scale")  # DeepSeek and FP8 of transformers; compressed-tensors, FBGEMM, ModelOpt

_BLOCK = 128  # of DeepSeek, and the default of transformers; the last block of a dimension may be smaller


class Scale(NamedTuple):
    """What the codes of a tensor are multiplied by: one number for each block of them.

    Attributes:
        tensor: where the numbers are.
        grid: how many blocks there are along each dimension of the codes.
        blocks: how many codes along each dimension a block has; the last may have fewer.
        peak: what the numbers are to be divided by.
    """

    tensor: Tensor
    grid: tuple[int, ...]
    blocks: tuple[int, ...]
    peak: float = 1.0


class Scaled(NamedTuple):
    """The codes of one side of a pair and their scale, or why it is not applied.

    Attributes:
        side: which side has the codes.
        codes: their record.
        found: the scale's record.
        scale: None where it is not applied.
        reason: why not.
    """

    side: int
    codes: Tensor
    found: Tensor
    scale: Scale | None
    reason: str = ""

    @property
    def relation(self) -> Relation:
        """What the report says of the weight."""
        name = _short(self.found)
        if self.scale is not None:
            words = f"compared with the scale `{name}` applied"
            return Relation(kind="scaled", words=words, names=(self.found.path,))
        words = f"its scale `{name}` was not applied: {self.reason}"
        return Relation(kind="unscaled", words=words, names=(self.found.path,))

    @property
    def relation_of_scale(self) -> Relation:
        """What the report says of the scale."""
        return Relation(kind="scale", words=f"the scale of `{_short(self.codes)}`", names=(self.codes.path,))


def find_scaled(matches: Sequence[Match], sides: Sides) -> dict[int, Scaled]:
    """Pairs of which a side has codes with a scale beside them, by their positions."""
    names = [_by_name(side.inventory.tensors) for side in sides]
    return {at: found for at, match in enumerate(matches) if (found := _scaled(match, names)) is not None}


def _by_name(tensors: Sequence[Tensor]) -> dict[tuple[str, str], Tensor]:
    return {(tensor.section, tensor.name): tensor for tensor in tensors}


def _scaled(match: Match, names: Sequence[Mapping[tuple[str, str], Tensor]]) -> Scaled | None:
    pair = match.old, match.new
    if match.old.shape != match.new.shape or not match.old.shape or not match.old.numel:
        return None
    found = [_companion(tensor, named) for tensor, named in zip(pair, names, strict=True)]
    side = 0 if found[0] is not None else 1
    scale = found[side]
    if scale is None:
        return None
    codes, other = pair[side], pair[1 - side]
    if other.dtype not in _WIDE:
        return Scaled(side, codes, scale, None, f"the other side is {other.dtype}")
    if (codes.section, f"{codes.name}_zero_point") in names[side]:
        return Scaled(side, codes, scale, None, "there is a zero point besides")
    laid_out = _laid_out(codes, scale)
    if isinstance(laid_out, str):
        return Scaled(side, codes, scale, None, laid_out)
    return Scaled(side, codes, scale, laid_out)


def _companion(tensor: Tensor, named: Mapping[tuple[str, str], Tensor]) -> Tensor | None:
    """The scale beside a tensor of codes."""
    if tensor.dtype not in _CODES:
        return None
    return next(
        (found for name in _names_of_scale(tensor) if (found := named.get((tensor.section, name))) is not None),
        None,
    )


def _names_of_scale(tensor: Tensor) -> Iterator[str]:
    yield from (f"{tensor.name}{suffix}" for suffix in _SUFFIXES)
    module, _, last = tensor.name.rpartition(".")
    if tensor.dtype == "int8" and last == "weight":
        yield f"{module}.{_LLM_INT8}" if module else _LLM_INT8


def _laid_out(codes: Tensor, scale: Tensor) -> Scale | str:
    """The scale over the codes, or why it cannot be laid out over them."""
    shape = codes.shape or ()
    dtype = None if scale.dtype is None else DTYPES[scale.dtype]
    if dtype is None or dtype.name not in _WIDE:
        return f"its numbers are {scale.dtype}"
    if scale.shape is None:
        return "it has no shape"
    grid = (1,) * len(shape) if scale.numel == 1 else scale.shape
    if len(grid) < len(shape) and grid == shape[: len(grid)]:
        grid = (*grid, *(1,) * (len(shape) - len(grid)))  # one number for each row
    if len(grid) != len(shape):
        return "its shape is not that of blocks"
    blocks = [_block(size, number) for size, number in zip(shape, grid, strict=True)]
    if None in blocks:
        return "the size of its blocks is not known"
    peak = _LLM_INT8_PEAK if scale.name.rpartition(".")[2] == _LLM_INT8 else 1.0
    return Scale(scale, grid, tuple(block for block in blocks if block is not None), peak)


def _block(size: int, number: int) -> int | None:
    """How long the blocks are that cut a dimension into so many; None where several lengths would do."""
    if number == 1:
        return size
    if number == -(-size // _BLOCK):
        return _BLOCK
    return size // number if number and size % number == 0 else None


def _short(tensor: Tensor) -> str:
    """Its name within the layer, so that what is said of many layers is the same."""
    return ".".join(tensor.name.split(".")[-2:])
