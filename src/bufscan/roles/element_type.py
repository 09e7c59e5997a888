"""Element type: integers and bools cannot require grad, so they are buffers unless they are quantised weights.

Only floating point and complex tensors can require grad, yet `Parameter(weight, requires_grad=False)` is allowed
for any type, and libraries that quantise use it: what may be theirs is left open.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bufscan.roles.section import Claim

if TYPE_CHECKING:
    from bufscan.roles.section import Checkpoint, Section

ELEMENT_TYPE = Claim("persistent_buffer", "integer or bool elements")

# Quantised weights are packed into uint8, int8 and int32, so a matrix of these says nothing. Wider integers are
# indices and counters, bools are masks.
_WIDE = frozenset({"int64", "int16", "bool"})
_COUNTER = frozenset({"int64", "int32", "int16", "bool"})

# Words in the names that bitsandbytes, GPTQ, AWQ, HQQ, compressed-tensors, torchao and torch.ao give tensors.
_QUANTISED = re.compile(
    r"weight|scale|zero|packed|quant|absmax|^SCB$|^CB$|^W_q$|^g_idx$|^qzeros$|blocks$|^meta$|shape$|format$"
)


def claim_by_element_type(checkpoint: Checkpoint) -> None:
    """Settle integer and bool entries of modules that show no sign of quantisation."""
    for section in checkpoint.sections:
        for position, tensor in enumerate(section.tensors):
            if tensor.dtype in _COUNTER and section.roles[position] is None and _is_telling(section, position):
                section.settle([position], ELEMENT_TYPE)


def _is_telling(section: Section, position: int) -> bool:
    tensor = section.tensors[position]
    if tensor.dtype not in _WIDE and tensor.shape != ():
        return False
    if _QUANTISED.search(section.leaves[position]):
        return False
    siblings = section.modules[section.owners[position]]
    # A plain `weight` beside it proves nothing of the kind.
    return not any(_QUANTISED.search(leaf) for leaf in siblings if leaf != "weight")
