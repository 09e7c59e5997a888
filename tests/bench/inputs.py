"""The files that the benchmark reads: made once, and kept in the user's cache folder."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

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
        weight_map = {}
        for number in range(files):
            file = f"model-{number + 1:05}-of-{files:05}.safetensors"
            own = names[number * each : (number + 1) * each]
            save_file({name: state[name] for name in own}, folder / file, metadata={"format": "pt"})
            weight_map |= dict.fromkeys(own, file)
        total = sum(tensor.nbytes for tensor in state.values())
        index.write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}))
    return folder


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
    return {f"layers.{i // 10}.block.{i % 10}.weight": torch.ones(1 + i % 3, 2) for i in range(tensors)}
