"""The report for machines: `bufscan.inspect/1`. Fields are added, never renamed; null is "not known".

ASCII, with one tensor a line, so that two reports compare well line by line.
"""

from __future__ import annotations

from json.encoder import JSONEncoder
from typing import TYPE_CHECKING, Any, Final

from bufscan.report.check_json import finding_fields
from bufscan.report.escaping import MACHINE_LIMIT, shorten
from bufscan.report.selecting import count_ties_once, select

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bufscan.inventory import Inventory, Join, Part, RoleTotal, Skipped, Tensor
    from bufscan.report.view import View

SCHEMA: Final = "bufscan.inspect/1"

_encode = JSONEncoder(ensure_ascii=True, allow_nan=False).encode


def render(inventory: Inventory, view: View) -> str:
    """The report as one JSON object. Totals are of the tensors that it lists."""
    shown = select(inventory, view.selection)
    totals = count_ties_once(shown).totals()
    fields = {
        "schema": _encode(SCHEMA),
        "target": _encode(_text(shown.target)),
        "format": _encode(shown.format),
        "selection": _encode(_selection(inventory, view)),
        "tensors": _lines(_encode(_tensor(tensor)) for tensor in shown.tensors),
        "totals": _encode({role: _total(total) for role, total in totals.items()}),
        "stored_bytes": _encode(shown.stored_bytes),
        "joins": _lines(_encode(_join(join)) for join in shown.joins),
        "findings": _lines(_encode(finding_fields(finding)) for finding in view.findings),
        "skipped": _lines(_encode(_skipped(each)) for each in shown.skipped),
        "anomalies": _lines(_encode({"kind": a.kind, "message": _text(a.message)}) for a in shown.anomalies),
        "globals": _lines(_encode(_text(name)) for name in shown.globals),
        "notes": _lines(_encode(_text(note)) for note in shown.notes),
        "metadata": _encode({_text(key): _text(value) for key, value in shown.metadata.items()}),
    }
    return "{" + ",\n ".join(f'"{key}": {value}' for key, value in fields.items()) + "}\n"


def _lines(items: Iterable[str]) -> str:
    joined = ",\n  ".join(items)
    return f"[\n  {joined}\n ]" if joined else "[]"


def _selection(inventory: Inventory, view: View) -> dict[str, Any] | None:
    """What was left out, so that nobody takes a part for the whole; None for the whole."""
    if not view.selection.narrows:
        return None
    return {
        "roles": list(view.selection.roles),
        "match": [_text(pattern) for pattern in view.selection.patterns],
        "of_tensors": len(inventory.tensors),
    }


def _tensor(tensor: Tensor) -> dict[str, Any]:
    return {
        "name": _text(tensor.name),
        "section": _text(tensor.section),
        "role": tensor.role,
        "certainty": tensor.certainty,
        "evidence": _text(tensor.evidence),
        "shape": tensor.shape,
        "dtype": tensor.dtype,
        "device": _optional(tensor.device),
        "numel": _number(tensor.numel),
        "nbytes": _number(tensor.nbytes),
        "storage": _optional(tensor.storage),
        "stored_bytes": tensor.stored_bytes,
        "saved": tensor.saved,
        "moves": tensor.moves,
        "trains": tensor.trains,
        "alias_of": _optional(tensor.alias_of),
        "origin": None
        if tensor.origin is None
        else {"file": _text(tensor.origin.file), "line": tensor.origin.line},
        "suggestion": _optional(tensor.suggestion),
        "suggestion_note": _optional(tensor.suggestion_note),
        "holding": tensor.holding,
        "holder": _optional(tensor.holder),
        "declared": tensor.declared,
        "saved_as": _optional(tensor.saved_as),
        "requires_grad": tensor.requires_grad,
        "layout": tensor.layout,
        "type_name": _optional(tensor.type_name),
        "stride": tensor.stride,
        "storage_offset": tensor.storage_offset,
        "file": _optional(tensor.file),
        "local_shape": tensor.local_shape,
        "placements": [_text(placement) for placement in tensor.placements],
        "parts": [_part(part) for part in tensor.parts],
    }


def _part(part: Part) -> dict[str, Any]:
    return {
        "name": _text(part.name),
        "shape": part.shape,
        "dtype": part.dtype,
        "stride": part.stride,
        "storage": _optional(part.storage),
        "storage_offset": part.storage_offset,
        "device": _optional(part.device),
    }


def _join(join: Join) -> dict[str, Any]:
    return {
        "model": _text(join.model),
        "section": _text(join.section),
        "matched": join.matched,
        "missing": [_tensor(tensor) for tensor in join.missing],
        "unexpected": [_text(name) for name in join.unexpected],
        "saved_non_persistent": [_text(name) for name in join.saved_non_persistent],
        "mismatched": [
            {"name": _text(each.name), "shape": each.shape, "dtype": each.dtype, "role": each.role}
            for each in join.mismatched
        ],
        "tied": [_text(name) for name in join.tied],
        "checkpoint_prefix": _text(join.checkpoint_prefix),
        "model_prefix": _text(join.model_prefix),
        "wrappers": [_text(name) for name in join.wrappers],
    }


def _skipped(skipped: Skipped) -> dict[str, Any]:
    return {"what": _text(skipped.what), "reason": _text(skipped.reason), "failed": skipped.failed}


def _total(total: RoleTotal) -> dict[str, Any]:
    return {"tensors": total.tensors, "numel": _number(total.numel), "nbytes": _number(total.nbytes)}


def _text(text: str) -> str:
    # Whole for every name that people give; a hostile one could otherwise stand in every record, megabytes long.
    return shorten(text, MACHINE_LIMIT)


def _optional(text: str | None) -> str | None:
    return None if text is None else _text(text)


def _number(number: int | None) -> int | None:
    # A broken shape can multiply to thousands of digits, which readers of JSON choke on: that is not a count.
    return None if number is None or number >= 1 << 63 else number
