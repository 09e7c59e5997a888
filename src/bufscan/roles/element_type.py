"""Element type: integers and bools cannot require grad, so they are buffers unless they are quantised weights.

Only floating point and complex tensors can require grad, yet `Parameter(weight, requires_grad=False)` is allowed
for any type, and libraries that quantise use it: what may be theirs is left open.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bufscan.roles.section import Claim

if TYPE_CHECKING:
    from bufscan.roles.section import Checkpoint

ELEMENT_TYPE = Claim("persistent_buffer", "integer or bool elements")

# Quantised weights are packed into uint8, int8 and int32, so an array of these says nothing. Wider integers are
# indices and counters, bools are masks.
_OF_ANY_RANK = frozenset({"int64", "int16", "bool"})
_OF_RANK_0 = frozenset({"int32"})

# Words in the names that bitsandbytes, GPTQ, AWQ, HQQ, compressed-tensors, torchao and torch.ao give tensors.
_QUANTISED = r"q_?weight|scale|zero|packed|quant|absmax|g_idx|^SCB$|^CB$|^W_q$|blocks$|^meta$|shape$|format$"


def claim_by_element_type(checkpoint: Checkpoint) -> None:
    """Settle integer and bool entries of modules that show no sign of quantisation."""
    for section in checkpoint.sections:
        telling: dict[str, bool] = {}
        for position, tensor in enumerate(section.tensors):
            if section.roles[position] is None and (
                tensor.dtype in _OF_ANY_RANK or (tensor.dtype in _OF_RANK_0 and tensor.shape == ())
            ):
                owner = section.owners[position]
                if owner not in telling:
                    telling[owner] = not any(re.search(_QUANTISED, leaf) for leaf in section.modules[owner])
                if telling[owner] and "weight" not in section.leaves[position]:
                    section.settle([position], ELEMENT_TYPE)
