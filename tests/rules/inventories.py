"""Inventories made by hand, and what a rule finds in them."""

from __future__ import annotations

from math import prod
from typing import Any

from bufscan.findings import Finding, Subject
from bufscan.inventory import Inventory, Skipped, Storage, Tensor, facts_of
from bufscan.rules import RULES


def tensor(name: str, *shape: int, role: str = "parameter", **fields: Any) -> Tensor:
    """A contiguous float32 tensor on the CPU with the facts of its role."""
    saved, moves, trains = facts_of(role, role == "parameter")
    defaults: dict[str, Any] = {
        "role": role,
        "certainty": "exact",
        "shape": shape,
        "dtype": "float32",
        "device": "cpu",
        "stride": tuple(prod(shape[axis + 1 :]) for axis in range(len(shape))),
        "storage": name,
        "stored_bytes": 4 * prod(shape),
        "saved": saved,
        "moves": moves,
        "trains": trains,
    }
    return Tensor(name=name, **(defaults | fields))


def held(name: str, *shape: int, holding: str = "attribute", **fields: Any) -> Tensor:
    """A tensor that nobody registered."""
    return tensor(name, *shape, role="unregistered", holding=holding, **fields)


def live(*tensors: Tensor, **fields: Any) -> Inventory:
    return inventory(*tensors, format="live", **fields)


def inventory(*tensors: Tensor, **fields: Any) -> Inventory:
    storages = {t.storage: Storage(key=t.storage, nbytes=t.stored_bytes) for t in tensors if t.storage is not None}
    return Inventory(
        **({"target": "model.pt", "format": "torch-zip", "tensors": tensors, "storages": storages} | fields)
    )


def said(found: Inventory, code: str = "BUF", **subject: Any) -> list[Finding | Skipped]:
    """What the rules whose codes begin with `code` say."""
    target = Subject(inventory=found, **subject)
    return [each for rule in RULES if rule.code.startswith(code) for each in rule.check(rule, target)]


def brief(found: Inventory, code: str = "BUF", **subject: Any) -> list[tuple[str, str, str]]:
    """The same as code, severity and tensor."""
    return [
        (each.code, each.severity, each.tensor)
        for each in said(found, code, **subject)
        if isinstance(each, Finding)
    ]
