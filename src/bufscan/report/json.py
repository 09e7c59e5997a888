"""The report for machines: `bufscan.inspect/1`. Fields are added, never renamed; null is "not known".

ASCII, with one tensor a line, so that two reports compare well line by line. A file of 10 MB can hold 150,000
tensors: what says nothing is left out of a line where the schema allows it, and no line is copied without need.
"""

from __future__ import annotations

from json.encoder import JSONEncoder
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bufscan.report.check_json import finding_fields
from bufscan.report.escaping import MACHINE_LIMIT, shorten
from bufscan.report.selecting import count_ties_once, select

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bufscan.inventory import Inventory, Join, PackedWeight, Part, RoleTotal, Skipped, Tensor
    from bufscan.report.view import View

SCHEMA: Final = "bufscan.inspect/1"

_MOST_AT_ONCE = 1000

_encode = JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode
_encoder = msgspec.json.Encoder()


class _Part(msgspec.Struct, omit_defaults=True, kw_only=True, gc=False):
    """A part as the schema has it; what has a default is left out where it says no more than that."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    storage: str | None
    stride: tuple[int, ...] | None = None
    storage_offset: int = 0
    device: str | None = None


class _Tensor(msgspec.Struct, omit_defaults=True, kw_only=True, gc=False):
    """A tensor as the schema has it; what has a default is left out where it says no more than that."""

    name: str
    section: str
    role: str
    certainty: str
    evidence: str
    shape: tuple[int, ...] | None
    dtype: str | None
    device: str | None
    numel: int | None
    nbytes: int | None
    storage: str | None
    stored_bytes: int
    saved: bool | None
    moves: bool | None
    trains: bool | None
    alias_of: str | None
    origin: dict[str, Any] | None
    suggestion: str | None = None
    suggestion_note: str | None = None
    holding: str | None = None
    holder: str | None = None
    declared: str | None = None
    saved_as: str | None = None
    moved_by_hand: bool = False
    requires_grad: bool | None = None
    layout: str = "strided"
    type_name: str | None = None
    stride: tuple[int, ...] | None = None
    storage_offset: int = 0
    file: str | None = None
    local_shape: tuple[int, ...] | None = None
    placements: tuple[str, ...] = ()
    parts: tuple[_Part, ...] = ()


def render(inventory: Inventory, view: View) -> str:
    """The report as one JSON object. Totals are of the tensors that it lists."""
    shown = select(inventory, view.selection)
    totals = count_ties_once(shown).totals()
    before = {
        "schema": _encode(SCHEMA),
        "target": _encode(_text(shown.target)),
        "format": _encode(shown.format),
        "selection": _encode(_selection(inventory, view)),
    }
    after = {
        "totals": _encode({role: _total(total) for role, total in totals.items()}),
        "stored_bytes": _encode(shown.stored_bytes),
        "optimizers": _lines(
            _encode({"section": _text(each.section), "parameters": sum(each.sizes), "groups": each.sizes})
            for each in shown.optimizers
        ),
        "packed": _lines(_encode(_packed(each)) for each in shown.packed),
        "joins": _lines(_encode(_join(join)) for join in shown.joins),
        "findings": _lines(_encode(finding_fields(finding)) for finding in view.findings),
        "skipped": _lines(_encode(_skipped(each)) for each in shown.skipped),
        "anomalies": _lines(_encode({"kind": a.kind, "message": _text(a.message)}) for a in shown.anomalies),
        "globals": _lines(_encode(_text(name)) for name in shown.globals),
        "notes": _lines(_encode(_text(note)) for note in shown.notes),
        "metadata": _encode({_text(key): _text(value) for key, value in shown.metadata.items()}),
    }
    text = "{" + _members(before) + ',\n "tensors":'
    for lines in _tensor_lines(shown.tensors):
        text += lines  # CPython grows it in place; joined at the end, all lines would be there twice
    text += ",\n " + _members(after) + "}\n"
    return text


def _packed(weight: PackedWeight) -> dict[str, Any]:
    return {
        "name": _text(weight.name),
        "section": _text(weight.section),
        "scheme": weight.scheme,
        "bits": weight.bits,
        "shape": weight.shape,
        "numel": weight.numel,
        "stored_bytes": weight.stored_bytes,
        "members": [_text(name) for name in weight.members],
    }


def _members(fields: dict[str, str]) -> str:
    return ",\n ".join(f'"{key}":{value}' for key, value in fields.items())


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


def _tensor_lines(tensors: Sequence[Tensor]) -> Iterator[str]:
    for start in range(0, len(tensors), _MOST_AT_ONCE):
        yield ",\n  " if start else "[\n  "
        yield _batch([_tensor(tensor) for tensor in tensors[start : start + _MOST_AT_ONCE]])
    yield "\n ]" if tensors else "[]"


def _batch(tensors: list[_Tensor]) -> str:
    try:
        lines = _encoder.encode_lines(tensors)
    except (UnicodeEncodeError, OverflowError):  # a lone surrogate; more than 64 bits
        lines = b""
    if lines and lines.isascii():
        return lines[:-1].replace(b"\n", b",\n  ").decode("ascii")
    return ",\n  ".join(_encode(msgspec.to_builtins(tensor)) for tensor in tensors)


def _tensor(tensor: Tensor) -> _Tensor:
    return _Tensor(
        name=_text(tensor.name),
        section=_text(tensor.section),
        role=tensor.role,
        certainty=tensor.certainty,
        evidence=_text(tensor.evidence),
        shape=tensor.shape,
        dtype=tensor.dtype,
        device=_optional(tensor.device),
        numel=_number(tensor.numel),
        nbytes=_number(tensor.nbytes),
        storage=_optional(tensor.storage),
        stored_bytes=tensor.stored_bytes,
        saved=tensor.saved,
        moves=tensor.moves,
        trains=tensor.trains,
        alias_of=_optional(tensor.alias_of),
        origin=None if tensor.origin is None else {"file": _text(tensor.origin.file), "line": tensor.origin.line},
        suggestion=_optional(tensor.suggestion),
        suggestion_note=_optional(tensor.suggestion_note),
        holding=tensor.holding,
        holder=_optional(tensor.holder),
        declared=tensor.declared,
        saved_as=_optional(tensor.saved_as),
        moved_by_hand=tensor.moved_by_hand,
        requires_grad=tensor.requires_grad,
        layout=tensor.layout,
        type_name=_optional(tensor.type_name),
        stride=_stride(tensor.shape, tensor.stride),
        storage_offset=tensor.storage_offset,
        file=_optional(tensor.file),
        local_shape=tensor.local_shape,
        placements=tuple(map(_text, tensor.placements)),
        parts=tuple(map(_part, tensor.parts)),
    )


def _stride(shape: tuple[int, ...] | None, stride: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """None where the elements lie one after the other, as they mostly do."""
    if shape is None or stride is None:
        return stride
    step = 1
    for size, own in zip(reversed(shape), reversed(stride), strict=False):
        if own != step:
            return stride
        step *= size or 1
    return None


def _part(part: Part) -> _Part:
    return _Part(
        name=_text(part.name),
        shape=part.shape,
        dtype=part.dtype,
        storage=_optional(part.storage),
        stride=_stride(part.shape, part.stride),
        storage_offset=part.storage_offset,
        device=_optional(part.device),
    )


def _join(join: Join) -> dict[str, Any]:
    return {
        "model": _text(join.model),
        "section": _text(join.section),
        "matched": join.matched,
        "missing": msgspec.to_builtins([_tensor(tensor) for tensor in join.missing]),
        "missing_extra_states": [_text(key) for key in join.missing_extra_states],
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
