"""Inventories of models whose roles are known, as a reader would make them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from safetensors import TensorSpec, serialize
from torch import nn

from bufscan.inspecting import inspect
from bufscan.inventory import Inventory, ModuleTree, Optimizer, OptimizerGroup, Tensor
from bufscan.ties import with_ties

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Shape = tuple[int, ...]


class Holding(nn.Module):
    """A module with the given parameters and buffers, in that order of registration."""

    def __init__(self, parameters: dict[str, torch.Tensor], buffers: dict[str, torch.Tensor]) -> None:
        super().__init__()
        for name, data in parameters.items():
            self.register_parameter(name, nn.Parameter(data, requires_grad=data.is_floating_point()))
        for name, data in buffers.items():
            self.register_buffer(name, data)


def stepped(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    return optimizer.state_dict()


def saved(folder: Path, content: Any) -> Inventory:
    """What bufscan says of a file that torch.save makes of `content`."""
    path = folder / "saved.pt"
    torch.save(content, path)
    return inspect(str(path))


def saved_as_safetensors(folder: Path, state: Mapping[str, torch.Tensor]) -> Inventory:
    """What bufscan says of a safetensors file. `safetensors.torch.save_file` itself would need numpy."""
    specs = {
        name: TensorSpec(
            dtype=str(tensor.dtype).removeprefix("torch."),
            shape=tensor.shape,
            data_ptr=tensor.data_ptr(),
            data_len=tensor.nbytes,
        )
        for name, tensor in state.items()
    }
    path = folder / "saved.safetensors"
    path.write_bytes(serialize(specs))
    return inspect(str(path))


def said(inventory: Inventory) -> dict[str, tuple[str, str]]:
    """Role and evidence by path, without what stays assumed and without training state."""
    return {
        tensor.path: (tensor.role, tensor.evidence)
        for tensor in inventory.tensors
        if tensor.certainty != "assumed" and tensor.role != "training_state"
    }


def entries(state: Mapping[str, torch.Tensor], section: str = "") -> tuple[Tensor, ...]:
    """Records of a state_dict's entries about which a file states nothing."""
    return tuple(
        with_ties(
            [
                Tensor(
                    name=name,
                    section=section,
                    shape=tuple(value.shape),
                    dtype=str(value.dtype).removeprefix("torch."),
                    stride=value.stride(),
                    storage=f"{section}{value.data_ptr()}",
                    stored_bytes=value.nbytes,
                )
                for name, value in state.items()
            ]
        )
    )


def tree(state: Any, section: str = "") -> ModuleTree:
    versions = {prefix: fields.get("version") for prefix, fields in state._metadata.items()}
    return ModuleTree(section=section, versions=versions)


def optimizer(*groups: Sequence[Shape | None]) -> Optimizer:
    return Optimizer(section="optimizer", groups=tuple(OptimizerGroup(shapes=tuple(shapes)) for shapes in groups))


def true_roles(model: nn.Module, section: str = "") -> dict[str, str]:
    prefix = f"{section}." if section else ""
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    return {
        f"{prefix}{name}": "parameter" if name in parameters else "persistent_buffer"
        for name in model.state_dict()
    }
