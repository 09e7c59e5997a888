"""The files that the benchmark reads: made once, and kept in the user's cache folder."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)

FOLDER = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "bufscan-bench-2"
"""A number in its name goes up when the inputs change."""

_ROWS_AT_ONCE = 1 << 14

_CODES = {
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.float8_e4m3fn: "F8_E4M3",
}


def small() -> Path:
    """The state_dict of three layers."""
    path = _made("small.pt")
    if not path.exists():
        torch.save(nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8)).state_dict(), path)
    return path


def state_dict(tensors: int) -> Path:
    """Many small tensors in one .pt."""
    path = _made(f"state-{tensors}.pt")
    if not path.exists():
        torch.save(_state(tensors), path)
    return path


def shards(tensors: int, files: int) -> Path:
    """The same in a folder of safetensors with an index, each shard with layers of its own."""
    folder = _made(f"shards-{tensors}-{files}")
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        folder.mkdir(exist_ok=True)
        state = _state(tensors)
        names = list(state)
        each = -(-tensors // files)
        weight_map: dict[str, str] = {}
        for number in range(files):
            file = f"model-{number + 1:05}-of-{files:05}.safetensors"
            own = names[number * each : (number + 1) * each]
            save_file({name: state[name] for name in own}, folder / file, metadata={"format": "pt"})
            weight_map |= dict.fromkeys(own, file)
        total = sum(tensor.nbytes for tensor in state.values())
        index.write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}))
    return folder


def dcp(tensors: int, ranks: int) -> Path:
    """A folder of torch.distributed.checkpoint: matrices that were cut into a piece for each rank."""
    folder = _made(f"dcp-{tensors}-{ranks}")
    if (folder / ".metadata").exists():
        return folder
    folder.mkdir(exist_ok=True)
    buffer = io.BytesIO()
    torch.save(torch.ones(1, 4), buffer)
    piece = buffer.getvalue()
    for rank in range(ranks):
        (folder / f"__{rank}_0.distcp").write_bytes(piece * tensors)
    chunks = [ChunkStorageMetadata(torch.Size((rank, 0)), torch.Size((1, 4))) for rank in range(ranks)]
    properties = TensorProperties.create_from_tensor(torch.ones(1, 4))
    state: dict[str, TensorStorageMetadata | BytesStorageMetadata] = {}
    places = {}
    for number, name in enumerate(_names(tensors)):
        state[name] = TensorStorageMetadata(properties, torch.Size((ranks, 4)), chunks)
        for rank, chunk in enumerate(chunks):
            index = MetadataIndex(name, chunk.offsets, rank)
            places[index] = _StorageInfo(f"__{rank}_0.distcp", number * len(piece), len(piece))
    (folder / ".metadata").write_bytes(pickle.dumps(Metadata(state, storage_data=places)))
    return folder


def source_of(package: str) -> Path:
    """A copy of an installed package: compiling it must not touch what is installed."""
    copy = _made(package)
    if not copy.exists():
        found = find_spec(package)
        assert found is not None
        assert found.submodule_search_locations is not None
        shutil.copytree(found.submodule_search_locations[0], copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def copy_of(path: Path) -> Path:
    """Another file with the same bytes."""
    copy = path.with_name(f"copy-of-{path.name}")
    if not copy.exists():
        shutil.copy(path, copy)
    return copy


def values(dtype: torch.dtype, nbytes: float, *, moved_by: float = 0.0, tensors: int = 50) -> Path:
    """A safetensors file of so many bytes; values of the same seed, moved by noise."""
    path = _made(f"values-{_CODES[dtype]}-{nbytes:.0f}-{moved_by:g}-{tensors}.safetensors")
    if path.exists():
        return path
    generator, noise = torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)
    rows = int(nbytes) // tensors // dtype.itemsize // 1024
    size = rows * 1024 * dtype.itemsize
    header = {
        f"layers.{number}.weight": {
            "dtype": _CODES[dtype],
            "shape": [rows, 1024],
            "data_offsets": [number * size, (number + 1) * size],
        }
        for number in range(tensors)
    }
    text = json.dumps(header).encode()
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for at in range(0, tensors * rows, _ROWS_AT_ONCE):
            drawn = torch.randn(min(_ROWS_AT_ONCE, tensors * rows - at), 1024, generator=generator) * 0.02
            if moved_by:
                drawn += torch.randn(len(drawn), 1024, generator=noise) * moved_by
            file.write(drawn.to(dtype).view(torch.uint8).numpy().data)
    part.rename(path)
    return path


def _made(name: str) -> Path:
    FOLDER.mkdir(parents=True, exist_ok=True)
    return FOLDER / name


def _state(tensors: int) -> dict[str, torch.Tensor]:
    return {name: torch.ones(1 + i % 3, 2) for i, name in enumerate(_names(tensors))}


def _names(tensors: int) -> list[str]:
    return [f"layers.{i // 10}.block.{i % 10}.weight" for i in range(tensors)]
