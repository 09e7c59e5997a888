"""The difference for machines: `bufscan.diff/1`. Fields are added, never renamed; null is "not known".

ASCII, with one entry a line, so that two reports compare well line by line. Numbers that JSON does not have are
null.
"""

from __future__ import annotations

from json.encoder import JSONEncoder
from typing import TYPE_CHECKING, Any, Final

from bufscan.comparing.difference import STATUSES
from bufscan.report.escaping import MACHINE_LIMIT, shorten

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bufscan.comparing.difference import Difference, Entry, Relation, ValueStatistics
    from bufscan.inventory import Tensor

SCHEMA: Final = "bufscan.diff/1"

_encode = JSONEncoder(ensure_ascii=True, allow_nan=False).encode


def render(difference: Difference) -> str:
    """The report as one JSON object."""
    tolerance = difference.tolerance
    fields = {
        "schema": _encode(SCHEMA),
        "old": _encode(_text(difference.old)),
        "new": _encode(_text(difference.new)),
        "old_format": _encode(difference.old_format),
        "new_format": _encode(difference.new_format),
        "identical": _encode(difference.identical),
        "compared_values": _encode(difference.compared_values),
        "tolerance": _encode(None if tolerance is None else {"rtol": tolerance.rtol, "atol": tolerance.atol}),
        "entries": _lines(_encode(_entry(entry)) for entry in difference.entries),
        "plain": _lines(
            _encode(
                {
                    "status": each.status,
                    "path": _text(each.path),
                    "old": None if each.old is None else _text(each.old),
                    "new": None if each.new is None else _text(each.new),
                }
            )
            for each in difference.plain
        ),
        "tensors_only": _encode(difference.tensors_only),
        "summary": _encode(_summary(difference)),
        "not_compared": _lines(
            _encode({"name": _text(each.path), "reason": _text(each.reason)}) for each in difference.not_compared
        ),
        "left_out": _lines(
            _encode(
                {
                    "side": each.side,
                    "what": _text(each.what),
                    "tensors": each.tensors,
                    "reason": _text(each.reason),
                }
            )
            for each in difference.left_out
        ),
        "skipped": _lines(
            _encode({"what": _text(each.what), "reason": _text(each.reason)}) for each in difference.skipped
        ),
        "notes": _lines(_encode(_text(note)) for note in difference.notes),
    }
    return "{" + ",\n ".join(f'"{key}": {value}' for key, value in fields.items()) + "}\n"


def _lines(items: Iterable[str]) -> str:
    joined = ",\n  ".join(items)
    return f"[\n  {joined}\n ]" if joined else "[]"


def _entry(entry: Entry) -> dict[str, Any]:
    fields = {
        "status": entry.status,
        "name": _text(entry.name),
        "old_name": _text(entry.old_name or entry.name) if entry.status != "added" else None,
        "section": _text(entry.section),
        "old_section": _text(entry.section if entry.old_section is None else entry.old_section)
        if entry.status != "added"
        else None,
        "changes": {change.aspect: [_value(change.old), _value(change.new)] for change in entry.changes},
        "values": None if entry.values is None else _statistics(entry.values),
        "remark": None if entry.remark is None else _text(entry.remark),
        "old": None if entry.old is None else _tensor(entry.old),
        "new": None if entry.new is None else _tensor(entry.new),
    }
    return fields if entry.relation is None else fields | {"relation": _relation(entry.relation)}


def _relation(relation: Relation) -> dict[str, Any]:
    """What is proven, without what says nothing about its kind."""
    fields = {
        "kind": relation.kind,
        "names": [_text(name) for name in relation.names] or None,
        "dim": relation.dim,
        "unchanged": relation.unchanged,
        "common": relation.common,
    }
    return {key: value for key, value in fields.items() if value is not None}


def _tensor(tensor: Tensor) -> dict[str, Any]:
    return {
        "role": tensor.role,
        "certainty": tensor.certainty,
        "shape": tensor.shape,
        "dtype": tensor.dtype,
        "device": None if tensor.device is None else _text(tensor.device),
    }


def _statistics(values: ValueStatistics) -> dict[str, Any]:
    return {
        "numel": _number(values.numel),
        "changed": _number(values.changed),
        "max_abs": values.max_abs,
        "max_index": values.max_index,
        "mean_abs": values.mean_abs,
        "l2": values.l2,
        "rel_l2": values.rel_l2,
        "cosine": values.cosine,
        "nonfinite": values.nonfinite,
        "nan": values.nan,
        "inf": values.inf,
        "zero_signs": values.zero_signs,
        "nan_payloads": values.nan_payloads,
        "rounding": values.rounding,
    }


def _summary(difference: Difference) -> dict[str, int]:
    return {
        **{status: difference.count(status) for status in STATUSES},
        "unchanged": difference.unchanged,
        "within_tolerance": difference.close,
        "plain": len(difference.plain),
        "plain_unchanged": difference.same_plain,
        "not_compared": len(difference.not_compared),
        "left_out": sum(each.tensors for each in difference.left_out),
    }


def _value(value: object) -> object:
    match value:
        case str():
            return _text(value)
        case tuple():
            return [_value(each) for each in value]
        case _:
            return value


def _number(number: int | None) -> int | None:
    # An expanded dimension can multiply to thousands of digits, which readers of JSON choke on.
    return None if number is None or number >= 1 << 63 else number


def _text(text: str) -> str:
    # Whole for every name that people give; a hostile one could otherwise stand in every record, megabytes long.
    return shorten(text, MACHINE_LIMIT)
