"""Differences made by hand: what a report test does not name does not matter to it."""

from __future__ import annotations

from math import sqrt
from typing import Any

from report_samples import tensor

from bufscan.comparing.difference import (
    Change,
    Difference,
    Entry,
    LeftOut,
    NotCompared,
    Tolerance,
    ValueStatistics,
)
from bufscan.inventory import Skipped


def statistics(
    relative: float | None, *, numel: int = 100, changed: int | None = None, **fields: Any
) -> ValueStatistics:
    """Values of norm 10 that moved by so much."""
    l2 = 10 * relative if relative is not None else 3.0
    defaults: dict[str, Any] = {
        "numel": numel,
        "changed": numel if changed is None else changed,
        "max_abs": l2 / 2,
        "max_index": (3, 1),
        "mean_abs": l2 / sqrt(numel),
        "l2": l2,
        "rel_l2": relative,
        "cosine": None if relative is None else 0.99,
    }
    return ValueStatistics(**(defaults | fields))


def changed(name: str, values: ValueStatistics | None = None, *changes: Change, **fields: Any) -> Entry:
    record = tensor(name, 10, 10, section=fields.get("section", ""))
    return Entry(status="changed", name=name, old=record, new=record, values=values, changes=changes, **fields)


def difference(*entries: Entry, **fields: Any) -> Difference:
    defaults: dict[str, Any] = {
        "old": "old.pt",
        "new": "new.safetensors",
        "old_format": "torch-zip",
        "new_format": "safetensors",
        "entries": entries,
        "unchanged": 40,
    }
    return Difference(**(defaults | fields))


def sample() -> Difference:
    """One of everything that a report has to show."""
    return difference(
        changed("embed.weight", statistics(0.02)),
        changed("embed.scale", None, Change(aspect="shape", old=(10, 10), new=(12, 10))),
        Entry(status="removed", name="embed.pe", old=tensor("embed.pe", 1, 128, 32, role="persistent_buffer")),
        changed(
            "norm.weight",
            statistics(0.0004, rounding="rounded"),
            Change(aspect="dtype", old="float32", new="bfloat16"),
        ),
        changed(
            "norm.running_mean",
            statistics(None, nan=(0, 2), inf=(1, 1)),
            Change(aspect="role", old="parameter", new="persistent_buffer"),
            Change(aspect="device", old="cuda:0", new="cpu"),
        ),
        changed("head.weight", statistics(0.31, numel=100_000, changed=97_615), old_name="module.head.weight"),
        changed("head.bias", statistics(0.0, changed=0, max_index=None, zero_signs=1, nan_payloads=2)),
        changed("head.mask", ValueStatistics(numel=9), remark="values of bits8 are compared bit by bit alone"),
        changed(
            "head.tied",
            None,
            Change(aspect="tied_to", old=("embed.weight",), new=()),
            Change(aspect="requires_grad", old=True, new=False),
        ),
        Entry(
            status="renamed",
            name="head.gain",
            old_name="head.g",
            old=tensor("head.g", 3),
            new=tensor("head.gain", 3),
        ),
        Entry(status="added", name="head.extra", new=tensor("head.extra", 7, dtype="float16")),
        Entry(
            status="added",
            name="head.more",
            new=tensor("head.more", 7),
            remark="tied to `head.bias`, which both sides have",
        ),
        not_compared=(NotCompared(path="head.lazy", reason="a meta tensor has no values"),),
        left_out=(
            LeftOut(
                side="old", what="section `optimizer`", tensors=84, reason="the other side holds weights alone"
            ),
        ),
        skipped=(Skipped(what="rng", reason="a NumPy array, not a tensor"),),
        notes=("names are compared without `module.` in front of those of the old side",),
    )


def blocks() -> Difference:
    """Enough repeated blocks to be folded, one of which moved more."""
    return difference(
        *(
            changed(f"blocks.{block}.{part}.weight", statistics(0.01 * (1 + block % 2)))
            for block in range(24)
            for part in ("attn", "mlp")
        ),
        changed("head.weight", statistics(0.5)),
        *(
            Entry(status="added", name=f"adapters.{n}.weight", new=tensor(f"adapters.{n}.weight", 4))
            for n in range(50)
        ),
    )


def identical(**fields: Any) -> Difference:
    return difference(**fields)


TOLERANCE = Tolerance(rtol=1e-5, atol=1e-8)
