"""The difference for machines: `bufscan.diff/1`. Fields are added, never renamed; null is "not known".

One entry a line. Numbers that JSON does not have are null.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec

from bufscan.comparing.difference import (
    ASPECTS,
    Aspect,
    RelationKind,
    Rounding,
    Status,
)
from bufscan.inventory import Certainty, Role  # noqa: TC001 - msgspec reads them
from bufscan.report.shared.machine import Record, Spread, number, optional, text, written

if TYPE_CHECKING:
    from bufscan.comparing.difference import Difference, Entry, Relation, ValueStatistics
    from bufscan.inventory import Tensor
    from bufscan.report.diff.view import DiffView

SCHEMA: Final = "bufscan.diff/1"


class ToleranceRecord(Record, frozen=True, kw_only=True):
    """What counts as equal: |new - old| <= atol + rtol * |old|."""

    rtol: float
    atol: float


class SideRecord(Record, frozen=True, kw_only=True):
    """A tensor on one side."""

    role: Role
    certainty: Certainty
    shape: tuple[int, ...] | None
    dtype: str | None
    device: str | None


class ValuesRecord(Record, frozen=True, kw_only=True):
    """How far the values of two tensors of equal shape are apart."""

    numel: int | None
    changed: int | None
    max_abs: float | None
    max_index: tuple[int, ...] | None
    mean_abs: float | None
    l2: float | None
    rel_l2: float | None
    cosine: float | None
    nonfinite: tuple[int, int]
    nan: tuple[int, int]
    inf: tuple[int, int]
    zero_signs: int
    nan_payloads: int
    rounding: Rounding | None


class RelationRecord(Record, frozen=True, kw_only=True):
    """How the bytes of a tensor are found on the other side, where that is not plainly the same tensor."""

    kind: RelationKind
    names: tuple[str, ...] = ()
    dim: int | None = None
    unchanged: int | None = None
    common: int | None = None


class EntryRecord(Record, frozen=True, kw_only=True):
    """One tensor that is not the same on both sides; `changes` has what it was and what it is, by aspect."""

    status: Status
    name: str
    old_name: str | None
    section: str
    old_section: str | None
    changes: Annotated[
        dict[Aspect, tuple[Any, Any]], msgspec.Meta(extra_json_schema={"propertyNames": {"enum": list(ASPECTS)}})
    ]
    values: ValuesRecord | None
    remark: str | None
    old: SideRecord | None
    new: SideRecord | None
    relation: RelationRecord | None = None


class PlainRecord(Record, frozen=True, kw_only=True):
    """One value beside the tensors that is not the same on both sides."""

    status: Literal["added", "removed", "changed"]
    path: str
    old: str | None
    new: str | None


class NotComparedRecord(Record, frozen=True, kw_only=True):
    """What both sides may differ in without anyone knowing."""

    name: str
    reason: str


class LeftOutRecord(Record, frozen=True, kw_only=True):
    """Tensors of one side that are beside the question."""

    side: Literal["old", "new"]
    what: str
    tensors: int
    reason: str


class SkippedPartRecord(Record, frozen=True, kw_only=True):
    """A part of a target that was not examined and is no part of the question."""

    what: str
    reason: str


class DiffSummaryRecord(Record, frozen=True, kw_only=True):
    """Counts of tensors by status, and of everything else."""

    added: int
    removed: int
    changed: int
    renamed: int
    unchanged: int
    within_tolerance: int
    plain: int
    plain_unchanged: int
    not_compared: int
    left_out: int


class DiffRecord(Spread, frozen=True, kw_only=True):
    """What `bufscan diff --format json` writes."""

    schema: Literal["bufscan.diff/1"]
    old: str
    new: str
    old_format: str
    new_format: str
    identical: bool | None
    compared_values: bool
    tolerance: ToleranceRecord | None
    entries: tuple[EntryRecord, ...]
    plain: tuple[PlainRecord, ...]
    tensors_only: bool
    summary: DiffSummaryRecord
    not_compared: tuple[NotComparedRecord, ...]
    left_out: tuple[LeftOutRecord, ...]
    skipped: tuple[SkippedPartRecord, ...]
    notes: tuple[str, ...]


def render(difference: Difference, _view: DiffView | None = None) -> str:
    """The report as one JSON object."""
    return written(record_of(difference)) + "\n"


def record_of(difference: Difference) -> DiffRecord:
    """The report."""
    tolerance = difference.tolerance
    return DiffRecord(
        schema=SCHEMA,
        old=text(difference.old),
        new=text(difference.new),
        old_format=difference.old_format,
        new_format=difference.new_format,
        identical=difference.identical,
        compared_values=difference.compared_values,
        tolerance=None if tolerance is None else ToleranceRecord(rtol=tolerance.rtol, atol=tolerance.atol),
        entries=tuple(map(entry_record, difference.entries)),
        plain=tuple(
            PlainRecord(status=each.status, path=text(each.path), old=optional(each.old), new=optional(each.new))
            for each in difference.plain
        ),
        tensors_only=difference.tensors_only,
        summary=_summary(difference),
        not_compared=tuple(
            NotComparedRecord(name=text(each.path), reason=text(each.reason)) for each in difference.not_compared
        ),
        left_out=tuple(
            LeftOutRecord(side=each.side, what=text(each.what), tensors=each.tensors, reason=text(each.reason))
            for each in difference.left_out
        ),
        skipped=tuple(
            SkippedPartRecord(what=text(each.what), reason=text(each.reason)) for each in difference.skipped
        ),
        notes=tuple(map(text, difference.notes)),
    )


def entry_record(entry: Entry) -> EntryRecord:
    """What differs of a tensor, as the schema has it."""
    is_new = entry.status == "added"
    return EntryRecord(
        status=entry.status,
        name=text(entry.name),
        old_name=None if is_new else text(entry.old_name or entry.name),
        section=text(entry.section),
        old_section=None if is_new else text(entry.section if entry.old_section is None else entry.old_section),
        changes={change.aspect: (_value(change.old), _value(change.new)) for change in entry.changes},
        values=None if entry.values is None else _statistics(entry.values),
        remark=optional(entry.remark),
        old=None if entry.old is None else _side(entry.old),
        new=None if entry.new is None else _side(entry.new),
        relation=None if entry.relation is None else _relation(entry.relation),
    )


def _relation(relation: Relation) -> RelationRecord:
    return RelationRecord(
        kind=relation.kind,
        names=tuple(map(text, relation.names)),
        dim=relation.dim,
        unchanged=relation.unchanged,
        common=relation.common,
    )


def _side(tensor: Tensor) -> SideRecord:
    return SideRecord(
        role=tensor.role,
        certainty=tensor.certainty,
        shape=tensor.shape,
        dtype=tensor.dtype,
        device=optional(tensor.device),
    )


def _statistics(values: ValueStatistics) -> ValuesRecord:
    return ValuesRecord(
        numel=number(values.numel),
        changed=number(values.changed),
        max_abs=values.max_abs,
        max_index=values.max_index,
        mean_abs=values.mean_abs,
        l2=values.l2,
        rel_l2=values.rel_l2,
        cosine=values.cosine,
        nonfinite=values.nonfinite,
        nan=values.nan,
        inf=values.inf,
        zero_signs=values.zero_signs,
        nan_payloads=values.nan_payloads,
        rounding=values.rounding,
    )


def _summary(difference: Difference) -> DiffSummaryRecord:
    return DiffSummaryRecord(
        added=difference.count("added"),
        removed=difference.count("removed"),
        changed=difference.count("changed"),
        renamed=difference.count("renamed"),
        unchanged=difference.unchanged,
        within_tolerance=difference.close,
        plain=len(difference.plain),
        plain_unchanged=difference.same_plain,
        not_compared=len(difference.not_compared),
        left_out=sum(each.tensors for each in difference.left_out),
    )


def _value(value: object) -> object:
    match value:
        case str():
            return text(value)
        case tuple():
            return [_value(each) for each in value]
        case _:
            return value
