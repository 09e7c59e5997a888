"""Inventories made by hand, with good defaults: what a report test does not name does not matter to it."""

from __future__ import annotations

from math import prod
from typing import Any

from bufscan.dtypes import DTYPES
from bufscan.inventory import (
    Anomaly,
    ForeignName,
    Inventory,
    Location,
    Skipped,
    Storage,
    Tensor,
    facts_of,
)
from bufscan.ties import with_ties


def tensor(name: str, *shape: int, role: str = "parameter", **fields: Any) -> Tensor:
    """A contiguous tensor in a storage of its own, with the facts of its role."""
    dtype = fields.setdefault("dtype", "float32")
    nbytes = DTYPES[dtype].nbytes(prod(shape))
    section = fields.get("section", "")
    saved, moves, trains = facts_of(role, True if role == "parameter" else None)
    defaults: dict[str, Any] = {
        "shape": shape,
        "role": role,
        "certainty": "exact",
        "evidence": f"module pickle: {role}",
        "device": "cpu",
        "stride": tuple(prod(shape[axis + 1 :]) for axis in range(len(shape))),
        "storage": f"{section}/{name}",
        "stored_bytes": nbytes,
        "saved": saved,
        "moves": moves,
        "trains": trains,
    }
    return Tensor(name=name, **(defaults | fields))


def inventory(*tensors: Tensor, **fields: Any) -> Inventory:
    """An inventory whose storages are those of its tensors."""
    storages: dict[str, Storage] = {}
    for each in tensors:
        if each.storage is not None and each.storage not in storages:
            storages[each.storage] = Storage(key=each.storage, nbytes=each.stored_bytes, file=each.file)
    defaults: dict[str, Any] = {
        "target": "model.pt",
        "format": "torch-zip",
        "tensors": tuple(with_ties(tensors)),
        "storages": storages,
    }
    return Inventory(**(defaults | fields))


def sample() -> Inventory:
    """One of everything that a report has to show."""
    return inventory(
        tensor("embed.weight", 64, 32, section="model"),
        tensor(
            "embed.pe",
            1,
            128,
            32,
            section="model",
            role="unregistered",
            evidence="module pickle: attribute",
            origin=Location(file="model.py", line=21),
            suggestion='self.register_buffer("pe", pe, persistent=False)',
            suggestion_note="with persistent=False old checkpoints still load",
        ),
        tensor("embed.mask", 128, 128, dtype="bool", section="model", role="non_persistent_buffer"),
        tensor("norm.weight", 32, section="model", certainty="inferred", evidence="optimizer state order"),
        tensor("norm.running_mean", 32, section="model", role="persistent_buffer"),
        tensor("norm.num_batches_tracked", section="model", role="persistent_buffer", dtype="int64"),
        tensor("head.weight", 64, 32, section="model", storage="model/embed.weight"),
        tensor("head.scale", 4, section="model", storage="flat", stored_bytes=4096, device="cuda:0"),
        tensor(
            "head.lazy",
            section="model",
            shape=None,
            dtype="float32",
            storage=None,
            stored_bytes=0,
            certainty="assumed",
            evidence="nothing says otherwise",
            trains=None,
        ),
        tensor("state.0.exp_avg", 64, 32, section="optimizer", role="training_state"),
        tensor("state.0.step", section="optimizer", role="training_state"),
        foreign_names=(ForeignName(name="argparse.Namespace", library="Python"),),
        anomalies=(Anomaly(kind="trailing_bytes", message="17 bytes follow the archive"),),
        skipped=(Skipped(what="model.extra", reason="a numpy array of objects"),),
        notes=("the order of the optimizer's parameters was matched to the model's",),
        metadata={"format": "pt"},
    )


def blocks() -> Inventory:
    """Repeated blocks, enough for a listing to fold: experts inside layers, one layer without them."""
    tensors = [tensor("embed.weight", 100, 16)]
    for layer in range(8):
        tensors += [
            tensor(f"layers.{layer}.attn.q.weight", 16, 16),
            tensor(f"layers.{layer}.attn.rotary.freq", 8, role="non_persistent_buffer"),
        ]
        if layer == 3:
            tensors.append(tensor(f"layers.{layer}.mlp.weight", 32, 16))
        else:
            tensors += [tensor(f"layers.{layer}.experts.{expert}.w", 16, 8) for expert in range(4)]
    return inventory(*tensors)


def sharded() -> Inventory:
    """A folder of two safetensors files, which records no device."""
    return inventory(
        *(
            tensor(
                name,
                *shape,
                file=file,
                device=None,
                trains=None,
                certainty="assumed",
                evidence="nothing says otherwise",
            )
            for name, shape, file in (
                ("a.weight", (64, 32), "model-00001-of-00002.safetensors"),
                ("a.bias", (64,), "model-00001-of-00002.safetensors"),
                ("b.weight", (32, 64), "model-00002-of-00002.safetensors"),
            )
        ),
        target="model/",
        format="safetensors-sharded",
        notes=("the index names 2 files, total_size is right",),
    )
