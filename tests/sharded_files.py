"""Sharded checkpoints for tests, and short words for what an inventory says of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch

from bufscan.bytesource import OpenFiles
from bufscan.formats.folders import sharded
from bufscan.formats.reading import read_file
from safetensors_files import save

if TYPE_CHECKING:
    from pathlib import Path

    from bufscan.inventory import Inventory

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"


def weights() -> dict[str, dict[str, torch.Tensor]]:
    """Two shards: 40 bytes and 16 bytes."""
    return {
        FIRST: {"a": torch.arange(6.0).reshape(2, 3), "b": torch.arange(2)},
        SECOND: {"c": torch.arange(4.0)},
    }


def write(
    folder: Path,
    shards: dict[str, dict[str, torch.Tensor]],
    *,
    total_size: float | None = None,
    weight_map: dict[str, str] | None = None,
) -> Path:
    """The shards and their index; `weight_map` is what the index says instead of the truth."""
    folder.mkdir(exist_ok=True)
    for file, tensors in shards.items():
        if file.endswith(".safetensors"):
            (folder / file).write_bytes(save(tensors))
        else:
            torch.save(tensors, folder / file)
    truth = {name: file for file, tensors in shards.items() for name in tensors}
    index = {"metadata": {"total_size": total_size}, "weight_map": truth if weight_map is None else weight_map}
    (folder / INDEX).write_text(json.dumps(index))
    return folder


def read(folder: Path) -> Inventory:
    with OpenFiles() as files:
        return sharded.read_sharded(folder, "folder", read_file, files)


def read_index(path: Path) -> Inventory:
    with OpenFiles() as files:
        return sharded.read_index(path, "folder", read_file, files)


def where(inventory: Inventory) -> dict[str, str | None]:
    return {tensor.name: tensor.file for tensor in inventory.tensors}


def skipped(inventory: Inventory) -> dict[str, str]:
    return {entry.what: entry.reason for entry in inventory.skipped}


def anomalies(inventory: Inventory) -> dict[str, str]:
    return {anomaly.kind: anomaly.message for anomaly in inventory.anomalies}


def stored_bytes_of(folder: Path, inventory: Inventory, name: str) -> bytes:
    (tensor,) = (tensor for tensor in inventory.tensors if tensor.name == name)
    storage = inventory.storages[tensor.storage]
    assert tensor.file == storage.file
    return (folder / storage.file).read_bytes()[storage.offset :][: storage.nbytes]
