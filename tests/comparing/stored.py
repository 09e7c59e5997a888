"""The same tensors stored in every way that can be compared."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch
from safetensors import TensorSpec, serialize
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    State = Mapping[str, torch.Tensor]


def zip_file(path: Path, state: State) -> str:
    torch.save(dict(state), path)
    return str(path)


def legacy_file(path: Path, state: State) -> str:
    torch.save(dict(state), path, _use_new_zipfile_serialization=False)
    return str(path)


def safetensors_file(path: Path, state: State) -> str:
    kept = {name: tensor.contiguous() for name, tensor in state.items()}
    specs = {
        name: TensorSpec(
            dtype=str(tensor.dtype).removeprefix("torch."),
            shape=tensor.shape,
            data_ptr=tensor.data_ptr(),
            data_len=tensor.nbytes,
        )
        for name, tensor in kept.items()
    }
    path.write_bytes(serialize(specs))
    return str(path)


def sharded(path: Path, state: State, write: Callable[[Path, State], str], suffix: str) -> str:
    """Two shards with an index, as Hugging Face writes them."""
    path.mkdir()
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    names = list(state)
    half = -(-len(names) // 2)
    weight_map: dict[str, str] = {}
    for number, own in enumerate((names[:half], names[half:]), start=1):
        file = f"{stem}-{number:05}-of-00002.{suffix}"
        write(path / file, {name: state[name] for name in own})
        weight_map |= dict.fromkeys(own, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (path / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))
    return str(path)


def folder(path: Path, state: State) -> str:
    """A folder with the one file that is not sharded."""
    path.mkdir()
    safetensors_file(path / "model.safetensors", state)
    return str(path)


def sharded_safetensors(path: Path, state: State) -> str:
    return sharded(path, state, safetensors_file, "safetensors")


def sharded_bin(path: Path, state: State) -> str:
    return sharded(path, state, zip_file, "bin")


class Holder(nn.Module):
    """A module whose state_dict is the one given: buffers, in modules where names have dots."""

    def __init__(self, state: State) -> None:
        super().__init__()
        for name, tensor in state.items():
            *path, last = name.split(".")
            owner: nn.Module = self
            for part in path:
                if part not in owner._modules:
                    owner.add_module(part, nn.Module())
                owner = owner.get_submodule(part)
            owner.register_buffer(last, tensor.clone())


def live(_path: Path, state: State) -> nn.Module:
    return Holder(state)


WAYS: dict[str, Callable[[Path, State], str | nn.Module]] = {
    "zip": zip_file,
    "legacy": legacy_file,
    "safetensors": safetensors_file,
    "folder": folder,
    "sharded safetensors": sharded_safetensors,
    "sharded bin": sharded_bin,
    "live": live,
}
