"""Names that, with the right element type and rank, only buffers have been seen to carry.

Counts are registrations as a buffer, by syntax tree, in torch.nn and torch.ao 2.13, transformers 5.23, timm
1.0.31, torchmetrics and torchao 0.18; none of these names is assigned a Parameter there. Words that anybody might
give a parameter (`mean`, `mask`, `eps`, `filter`, `pe`) are left out however often they are counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bufscan.dtypes import DTYPES
from bufscan.roles.section import Claim

if TYPE_CHECKING:
    from bufscan.dtypes import Kind
    from bufscan.roles.section import Checkpoint


class KnownBuffer(NamedTuple):
    """What a tensor of that name must look like. `registrations` is the count the entry rests on."""

    registrations: int
    kinds: tuple[Kind, ...]
    ranks: tuple[int, ...]


_FLOAT: tuple[Kind, ...] = ("float",)
_INTEGER: tuple[Kind, ...] = ("integer",)
_MASK: tuple[Kind, ...] = ("float", "bool", "integer")

KNOWN_BUFFERS: dict[str, KnownBuffer] = {
    "inv_freq": KnownBuffer(225, _FLOAT, (1,)),
    "original_inv_freq": KnownBuffer(200, _FLOAT, (1,)),
    "position_ids": KnownBuffer(100, _INTEGER, (1, 2)),
    "token_type_ids": KnownBuffer(28, _INTEGER, (1, 2)),
    "running_var": KnownBuffer(22, _FLOAT, (1,)),
    "final_logits_bias": KnownBuffer(22, _FLOAT, (2,)),
    "running_mean": KnownBuffer(19, _FLOAT, (1,)),
    "relative_position_index": KnownBuffer(19, _INTEGER, (1, 2)),
    "embed_scale": KnownBuffer(13, _FLOAT, (0,)),
    "attention_bias_idxs": KnownBuffer(10, _INTEGER, (1, 2)),
    "input_min": KnownBuffer(4, _FLOAT, (0,)),
    "input_max": KnownBuffer(4, _FLOAT, (0,)),
    "output_min": KnownBuffer(4, _FLOAT, (0,)),
    "output_max": KnownBuffer(4, _FLOAT, (0,)),
    "cluster_size": KnownBuffer(3, _FLOAT, (1, 2)),
    "embed_avg": KnownBuffer(3, _FLOAT, (2, 3)),
    "inv_timescales": KnownBuffer(7, _FLOAT, (1, 2, 3)),
    "attn_mask": KnownBuffer(6, _MASK, (2, 3, 4)),
    "empty_weight": KnownBuffer(9, _FLOAT, (1,)),
    "pos_weight": KnownBuffer(3, _FLOAT, (0, 1)),
    "relative_coords_table": KnownBuffer(4, _FLOAT, (3, 4)),
    "num_batches_tracked": KnownBuffer(2, _INTEGER, (0,)),  # in the text; every BatchNorm inherits it
}

FLAT_PARAMETERS = ("_flat_param", "flat_param")
"""What FSDP packs the parameters of a module into (torch/distributed/fsdp/_flat_param.py, torch 2.13)."""

_FLAT = Claim("parameter", "flat parameter of FSDP")
_CLAIMS = {name: Claim("persistent_buffer", f"well-known buffer name {name}") for name in KNOWN_BUFFERS}


def claim_by_known_name(checkpoint: Checkpoint) -> None:
    """Settle the entries whose name and looks are those of a known buffer."""
    for section in checkpoint.sections:
        for position, leaf in enumerate(section.leaves):
            if leaf in FLAT_PARAMETERS:
                section.settle([position], _FLAT)
            elif leaf in KNOWN_BUFFERS:
                known = KNOWN_BUFFERS[leaf]
                tensor = section.tensors[position]
                if (
                    tensor.shape is not None
                    and tensor.dtype is not None
                    and len(tensor.shape) in known.ranks
                    and DTYPES[tensor.dtype].kind in known.kinds
                ):
                    section.settle([position], _CLAIMS[leaf])
