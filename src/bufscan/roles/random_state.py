"""The state of torch's random number generators, which trainers save in files of their own (`rng_state.pth`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.roles.section import Claim

if TYPE_CHECKING:
    from bufscan.inventory import Tensor
    from bufscan.roles.section import Checkpoint

RANDOM_STATE = Claim("training_state", "length and type of a random number generator's state")

# `torch.get_rng_state()` and `torch.cuda.get_rng_state()`, torch 1.8 to 2.13.
_CPU_BYTES = 5056
_CUDA_BYTES = 16


def claim_random_states(checkpoint: Checkpoint) -> None:
    """Settle the state of the CPU's generator, and what lies beside it and looks like the state of a GPU's.

    A module's entry has a dot in its name; without one, no packed weight has this length by chance.
    """
    for section in checkpoint.sections:
        tensors = enumerate(section.tensors)
        lengths = {position: _length(tensor) for position, tensor in tensors if tensor.dtype == "uint8"}
        if _CPU_BYTES in lengths.values():
            states = (position for position, length in lengths.items() if length in (_CPU_BYTES, _CUDA_BYTES))
            section.settle(states, RANDOM_STATE)


def _length(tensor: Tensor) -> int | None:
    is_vector = tensor.shape is not None and len(tensor.shape) == 1
    return tensor.numel if is_vector and "." not in tensor.name else None
