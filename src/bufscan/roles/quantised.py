"""The entries that a quantised weight is packed into: together they are one thing, as the library registers it.

bitsandbytes' `Params4bit` writes its state beside the weight (`weight.absmax`, `weight.quant_map`,
`weight.quant_state.bitsandbytes__nf4`, and with double quantisation `weight.nested_absmax` ...), `Int8Params` an
`SCB`; both weights are Parameters (bitsandbytes 0.45, nn/modules.py). The layers of GPTQ and AWQ register buffers
(auto_gptq, autoawq, transformers). `FP8Linear` of transformers 5 makes `weight_scale_inv` a Parameter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.roles.section import Claim

if TYPE_CHECKING:
    from bufscan.roles.section import Checkpoint, Section

FOUR_BIT = Claim("parameter", "bitsandbytes 4-bit weight and its state")
EIGHT_BIT = Claim("parameter", "bitsandbytes 8-bit weight and its scales")
FP8 = Claim("parameter", "fp8 weight and its scales")
PACKED = Claim("persistent_buffer", "packed weight of GPTQ or AWQ")

_STATE = ("absmax", "quant_map", "nested_absmax", "nested_quant_map")
_STATE_BLOB = "quant_state.bitsandbytes__"
_PACKED = ("qweight", "qzeros", "scales", "g_idx", "bias")


def claim_quantised(checkpoint: Checkpoint) -> None:
    """Settle the entries of weights that are recognised by their neighbours."""
    for section in checkpoint.sections:
        leaves = set(section.leaves)
        if "absmax" in leaves:
            _claim_four_bit(section)
        if leaves & {"qweight", "SCB", "weight_scale_inv"}:
            _claim_beside(section)


def _claim_four_bit(section: Section) -> None:
    for owner, entries in section.modules.items():
        weight = section.positions.get(owner)
        if weight is None or "absmax" not in entries or section.tensors[weight].dtype != "uint8":
            continue
        blobs = section.modules.get(f"{owner}.quant_state", {})
        state = [entries[leaf] for leaf in _STATE if leaf in entries]
        state += [at for leaf, at in blobs.items() if f"quant_state.{leaf}".startswith(_STATE_BLOB)]
        section.settle([weight, *state], FOUR_BIT)


def _claim_beside(section: Section) -> None:
    for entries in section.modules.values():
        weight = entries.get("weight")
        dtype = None if weight is None else section.tensors[weight].dtype
        if {"qweight", "qzeros", "scales"} <= entries.keys():
            section.settle([entries[leaf] for leaf in _PACKED if leaf in entries], PACKED)
        elif weight is not None and "SCB" in entries and dtype == "int8":
            section.settle([weight, entries["SCB"]], EIGHT_BIT)
        elif weight is not None and "weight_scale_inv" in entries and (dtype or "").startswith("float8"):
            section.settle([weight, entries["weight_scale_inv"]], FP8)
