"""The entries that a quantised weight is packed into: together they are one thing, as the library registers it.

bitsandbytes' `Params4bit` writes its state beside the weight (`weight.absmax`, `weight.quant_map`,
`weight.quant_state.bitsandbytes__nf4`, and with double quantisation `weight.nested_absmax` ...), `Int8Params` an
`SCB`; both weights are Parameters (bitsandbytes 0.45, nn/modules.py). The layers of GPTQ and AWQ register buffers
(auto_gptq, autoawq, transformers). `FP8Linear` of transformers 5 makes `weight_scale_inv` a Parameter, compressed-
tensors everything that it puts in a layer, and the experts of gpt-oss their `_blocks` and `_scales`
(transformers 5, integrations/mxfp4.py). The exporter of modelopt registers scales as buffers.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NamedTuple

from bufscan.inventory import PackedWeight
from bufscan.roles.section import Claim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bufscan.inventory import Tensor
    from bufscan.roles.section import Checkpoint, Section

FOUR_BIT = Claim("parameter", "bitsandbytes 4-bit weight and its state")
EIGHT_BIT = Claim("parameter", "bitsandbytes 8-bit weight and its scales")
FP8 = Claim("parameter", "fp8 weight and its scales")
INT8 = Claim("parameter", "int8 weight and its scales")
PACKED = Claim("persistent_buffer", "packed weight of GPTQ or AWQ")
COMPRESSED = Claim("parameter", "packed weight of compressed-tensors")
NVFP4_WEIGHT = Claim("parameter", "NVFP4 weight")
NVFP4_SCALE = Claim("persistent_buffer", "scales of an NVFP4 weight")
MXFP4 = Claim("parameter", "MXFP4 weight: blocks and their scales")

_STATE = ("absmax", "quant_map", "nested_absmax", "nested_quant_map")
_STATE_BLOB = "quant_state.bitsandbytes__"
_PACKED = ("qweight", "qzeros", "scales", "g_idx")
_SCALES = ("weight_scale", "weight_scale_inv", "input_scale", "weight_zero_point")
_COMPRESSED = (
    *("weight_packed", "weight_scale", "weight_zero_point", "weight_shape", "weight_g_idx"),
    *("weight_global_scale", "input_global_scale", "input_scale"),
)
_NVFP4 = ("weight_scale", "weight_scale_2", "input_scale")
_SIGNS = {"qweight", "SCB", "weight_scale", "weight_scale_inv", "weight_packed", "absmax"}
_WORD = 32
_BYTE = 8
_MATRIX = 2


class _Found(NamedTuple):
    """One packed weight.

    Attributes:
        weight: what the unpacked weight is called.
        scheme: how it is packed.
        members: positions of its entries, with what each is.
        shape, numel: of the unpacked weight; None where that is not known.
        bits: of one element.
    """

    weight: str
    scheme: str
    members: tuple[tuple[int, Claim], ...]
    bits: int | None
    shape: tuple[int, ...] | None
    numel: int | None


def claim_quantised(checkpoint: Checkpoint) -> None:
    """Settle the entries of weights that are recognised by their neighbours, and note each weight as one thing."""
    for section in checkpoint.sections:
        leaves = set(section.leaves)
        if not leaves & _SIGNS and not any(leaf.endswith("_blocks") for leaf in leaves):
            continue
        for found in _find(section):
            for position, claim in found.members:
                section.settle([position], claim)
            members = [section.tensors[position] for position, _ in found.members]
            checkpoint.packed.append(_record(found, members, section.name))
        for entries in section.modules.values():
            if _PACKED[0] in entries and "bias" in entries:
                section.settle([entries["bias"]], PACKED)


def _record(found: _Found, members: Sequence[Tensor], section: str) -> PackedWeight:
    return PackedWeight(
        name=found.weight,
        section=section,
        scheme=found.scheme,
        bits=found.bits,
        shape=found.shape,
        numel=found.numel,
        members=tuple(tensor.name for tensor in members),
        stored_bytes=sum(tensor.stored_bytes for tensor in members),
    )


def _find(section: Section) -> Iterator[_Found]:
    for owner, entries in section.modules.items():
        if "absmax" in entries:
            yield from _four_bit(section, owner, entries)
        elif {"qweight", "qzeros", "scales"} <= entries.keys():
            yield _words(section, owner, entries)
        elif "weight_packed" in entries and "weight_scale" in entries:
            yield _compressed(section, owner, entries)
        elif "weight" in entries:
            yield from _scaled(section, owner, entries)
        yield from _blocks(section, owner, entries)


def _name(owner: str, leaf: str) -> str:
    return f"{owner}.{leaf}" if owner else leaf


def _all(entries: dict[str, int], leaves: Sequence[str], claim: Claim) -> tuple[tuple[int, Claim], ...]:
    return tuple((entries[leaf], claim) for leaf in leaves if leaf in entries)


def _four_bit(section: Section, owner: str, entries: dict[str, int]) -> Iterator[_Found]:
    weight = section.positions.get(owner)
    if weight is None or section.tensors[weight].dtype != "uint8":
        return
    blobs = section.modules.get(f"{owner}.quant_state", {})
    state = [at for leaf, at in blobs.items() if f"quant_state.{leaf}".startswith(_STATE_BLOB)]
    members = ((weight, FOUR_BIT), *_all(entries, _STATE, FOUR_BIT), *((at, FOUR_BIT) for at in state))
    numel = section.tensors[weight].numel
    yield _Found(owner, "bitsandbytes 4-bit", members, 4, None, None if numel is None else 2 * numel)


def _words(section: Section, owner: str, entries: dict[str, int]) -> _Found:
    """GPTQ packs along the inputs, AWQ along the outputs; both into words of 32 bits."""
    shapes = [section.tensors[entries[leaf]].shape or () for leaf in ("qweight", "qzeros", "scales")]
    members = _all(entries, _PACKED, PACKED)
    if any(len(shape) != _MATRIX for shape in shapes):
        return _Found(_name(owner, "weight"), "GPTQ or AWQ", members, None, None, None)
    (rows, columns), (_, zeros), (_, outputs) = shapes
    if columns != outputs:
        bits = columns * _WORD // outputs if outputs else 0
        return _with_shape(_Found(_name(owner, "weight"), "AWQ", members, bits, None, None), (outputs, rows))
    order = section.tensors[entries["g_idx"]].shape if "g_idx" in entries else None
    if order and len(order) == 1 and order[0]:
        inputs, bits = order[0], rows * _WORD // order[0]
    else:
        bits = zeros * _WORD // outputs if outputs else 0
        inputs = rows * _WORD // bits if bits else 0
    return _with_shape(_Found(_name(owner, "weight"), "GPTQ", members, bits, None, None), (outputs, inputs))


def _with_shape(found: _Found, shape: tuple[int, ...]) -> _Found:
    if not found.bits or found.bits > _BYTE:
        return found._replace(bits=None)
    return found._replace(shape=shape, numel=prod(shape))


def _compressed(section: Section, owner: str, entries: dict[str, int]) -> _Found:
    """Into words of 32 bits, and only the configuration says of how many elements each; NVFP4 into bytes."""
    packed = section.tensors[entries["weight_packed"]]
    members = _all(entries, _COMPRESSED, COMPRESSED)
    found = _Found(_name(owner, "weight"), "compressed-tensors", members, None, None, None)
    if packed.dtype != "uint8" or not packed.shape:
        return found
    whole = (*packed.shape[:-1], 2 * packed.shape[-1])
    return _with_shape(found._replace(scheme="NVFP4 of compressed-tensors", bits=4), whole)


def _scaled(section: Section, owner: str, entries: dict[str, int]) -> Iterator[_Found]:
    """A weight of the usual name in few bits, with scales beside it."""
    weight = section.tensors[entries["weight"]]
    name, shape, dtype = _name(owner, "weight"), weight.shape or (), weight.dtype or ""
    members: tuple[tuple[int, Claim], ...]
    if "SCB" in entries and dtype == "int8":
        members = ((entries["weight"], EIGHT_BIT), (entries["SCB"], EIGHT_BIT))
        yield _with_shape(_Found(name, "bitsandbytes 8-bit", members, 8, None, None), shape)
    elif "weight_scale_2" in entries and dtype == "uint8" and shape:
        members = ((entries["weight"], NVFP4_WEIGHT), *_all(entries, _NVFP4, NVFP4_SCALE))
        whole = (*shape[:-1], 2 * shape[-1])
        yield _with_shape(_Found(name, "NVFP4", members, 4, None, None), whole)
    elif {"weight_scale", "weight_scale_inv"} & entries.keys() and (dtype == "int8" or dtype.startswith("float8")):
        claim = INT8 if dtype == "int8" else FP8
        members = ((entries["weight"], claim), *_all(entries, _SCALES, claim))
        yield _with_shape(
            _Found(name, "int8 with scales" if claim is INT8 else "fp8", members, 8, None, None), shape
        )


def _blocks(section: Section, owner: str, entries: dict[str, int]) -> Iterator[_Found]:
    """MXFP4 of gpt-oss: `down_proj_blocks`, two elements a byte, with `down_proj_scales` of one byte a block."""
    for leaf, at in entries.items():
        stem = leaf.removesuffix("_blocks")
        scales = entries.get(f"{stem}_scales") if stem != leaf else None
        blocks = section.tensors[at]
        if scales is None or blocks.dtype != "uint8" or not blocks.shape or len(blocks.shape) < _MATRIX:
            continue
        if section.tensors[scales].shape != blocks.shape[:-1] or section.tensors[scales].dtype != "uint8":
            continue
        whole = (*blocks.shape[:-2], blocks.shape[-2] * blocks.shape[-1] * 2)
        yield _with_shape(
            _Found(_name(owner, stem), "MXFP4", ((at, MXFP4), (scales, MXFP4)), 4, None, None), whole
        )
