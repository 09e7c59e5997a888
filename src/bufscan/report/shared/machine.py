"""What the reports for machines share: records that are JSON and JSON Schema at once, and how they are written.

A report is a record, and its fields are the schema: what is not declared cannot get out. ASCII, an item a line, so
that two reports compare well line by line.
"""

from __future__ import annotations

from functools import cache
from json.encoder import JSONEncoder
from typing import TYPE_CHECKING, Any

import msgspec

from bufscan.report.shared.escaping import MACHINE_LIMIT, shorten

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bufscan.inventory import Skipped


class Record(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """An object of a report. A field with a default is left out where it says no more than that."""


class PlaceRecord(Record, frozen=True, kw_only=True):
    """A line of source."""

    file: str
    line: int


class SkippedRecord(Record, frozen=True, kw_only=True):
    """Something that was not examined, and why; `failed` where it should have been.

    `stanza` is what to fill in and write into the configuration, so that it is built.
    """

    what: str
    reason: str
    failed: bool
    stanza: str | None = None


class FailureRecord(Record, frozen=True, kw_only=True):
    """Why a target could not be read or checked."""

    message: str
    hint: str | None


class Spread(Record, frozen=True):
    """A record whose fields stand on lines of their own."""


_SPACED = JSONEncoder(ensure_ascii=True, allow_nan=False)
_DENSE = JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def encode(value: Any, *, dense: bool = False) -> str:
    """One value on one line."""
    return (_DENSE if dense else _SPACED).encode(msgspec.to_builtins(value))


def written(record: Spread, *, dense: bool = False, indent: int = 1) -> str:
    """The record as JSON; `dense` without spaces in its lines."""
    colon = ":" if dense else ": "
    fields = members(record, dense=dense, indent=indent)
    return "{" + f",\n{' ' * indent}".join(f'"{name}"{colon}{value}' for name, value in fields.items()) + "}"


def members(record: Spread, *, dense: bool = False, indent: int = 1) -> dict[str, str]:
    """Its fields as JSON, without those that say nothing."""
    values = {name: getattr(record, name) for name in record.__struct_fields__}
    silent = _silent_where_none(type(record))
    return {
        name: _value(value, dense=dense, indent=indent)
        for name, value in values.items()
        if not (value is None and name in silent)
    }


def _value(value: Any, *, dense: bool, indent: int) -> str:
    if not isinstance(value, tuple):
        return encode(value, dense=dense)
    break_ = f"\n{' ' * (indent + 1)}"
    items = (
        written(item, dense=dense, indent=indent + 2) if isinstance(item, Spread) else encode(item, dense=dense)
        for item in value
    )
    joined = f",{break_}".join(items)
    return f"[{break_}{joined}{break_[:-1]}]" if joined else "[]"


@cache
def _silent_where_none(kind: type[Spread]) -> frozenset[str]:
    return frozenset(field.name for field in msgspec.structs.fields(kind) if field.default is None)


def text(words: str) -> str:
    """Whole for every name that people give; a hostile one could stand in every record, megabytes long."""
    return shorten(words, MACHINE_LIMIT)


def optional(words: str | None) -> str | None:
    """The same of what may be unknown."""
    return None if words is None else text(words)


def number(count: int | None) -> int | None:
    """A count; None where it is none: a broken shape can multiply to more digits than readers of JSON take."""
    return None if count is None or count >= 1 << 63 else count


def skipped_records(skipped: Iterable[Skipped]) -> tuple[SkippedRecord, ...]:
    """What was not examined, as the schemas have it."""
    return tuple(
        SkippedRecord(
            what=text(each.what), reason=text(each.reason), failed=each.failed, stanza=optional(each.stanza)
        )
        for each in skipped
    )
