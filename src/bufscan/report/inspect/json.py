"""The report for machines: `bufscan.inspect/1`. Fields are added, never renamed; null is "not known".

One tensor a line. A file of 10 MB can hold 150,000 tensors: what says nothing is left out of a line where the
schema allows it, and no line is copied without need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec

from bufscan.inventory import ROLES, Certainty, Role
from bufscan.report.check.json import FindingRecord, finding_record
from bufscan.report.inspect.selecting import count_ties_once, select
from bufscan.report.shared.machine import (
    FailureRecord,
    PlaceRecord,
    Record,
    SkippedRecord,
    Spread,
    encode,
    members,
    number,
    optional,
    skipped_records,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bufscan.inventory import Disagreement, Inventory, Join, PackedWeight, Part, RoleTotal, Tensor
    from bufscan.report.inspect.view import View

SCHEMA: Final = "bufscan.inspect/1"

_MOST_AT_ONCE = 1000

_encoder = msgspec.json.Encoder()


class PartRecord(Record, frozen=True, kw_only=True):
    """One strided tensor inside a compound one."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    storage: str | None
    stride: tuple[int, ...] | None = None
    storage_offset: int = 0
    device: str | None = None


class TensorRecord(Record, frozen=True, kw_only=True):
    """One named tensor and what is known of it."""

    name: str
    section: str
    role: Role
    certainty: Certainty
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
    origin: PlaceRecord | None
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
    local_shapes: tuple[tuple[int, ...], ...] = ()
    placements: tuple[str, ...] = ()
    parts: tuple[PartRecord, ...] = ()


class SelectionRecord(Record, frozen=True, kw_only=True):
    """What was left out, so that nobody takes a part for the whole."""

    roles: tuple[Role, ...]
    match: tuple[str, ...]
    of_tensors: int


class TotalRecord(Record, frozen=True, kw_only=True):
    """Entries of one role, and the elements and bytes of the distinct ones among them."""

    tensors: int
    numel: int | None
    nbytes: int | None


class OptimizerRecord(Record, frozen=True, kw_only=True):
    """An optimizer's state.

    Attributes:
        section: where it lies.
        parameters: how many it holds.
        groups: how many each of its groups holds.
        kind: the classes of torch.optim that keep such a state.
        settings: of each group, as text by their names.
    """

    section: str
    parameters: int
    groups: tuple[int, ...]
    kind: str | None = None
    settings: tuple[dict[str, str], ...] = ()


class TrainingRecord(Record, frozen=True, kw_only=True):
    """A value that says how a checkpoint was trained: where it lies, its type, and its exact text."""

    path: str
    kind: str
    text: str


class SectionRecord(Record, frozen=True, kw_only=True):
    """A part of a checkpoint; ties count once."""

    section: str
    tensors: int
    numel: int | None
    nbytes: int | None


class PackedRecord(Record, frozen=True, kw_only=True):
    """A quantised weight that a library packed into several entries."""

    name: str
    section: str
    scheme: str
    bits: int | None
    shape: tuple[int, ...] | None
    numel: int | None
    stored_bytes: int
    members: tuple[str, ...]


class MismatchRecord(Record, frozen=True, kw_only=True):
    """An entry that is something else in the checkpoint (first) than in the model (second)."""

    name: str
    shape: tuple[tuple[int, ...], tuple[int, ...]] | None
    dtype: tuple[str, str] | None
    role: tuple[str, str] | None


class JoinRecord(Record, frozen=True, kw_only=True):
    """How one section of a checkpoint fits a model."""

    model: str
    section: str
    matched: int
    missing: tuple[TensorRecord, ...]
    missing_extra_states: tuple[str, ...]
    unexpected: tuple[str, ...]
    saved_non_persistent: tuple[str, ...]
    mismatched: tuple[MismatchRecord, ...]
    tied: tuple[str, ...]
    checkpoint_prefix: str
    model_prefix: str
    wrappers: tuple[str, ...]


class AnomalyRecord(Record, frozen=True, kw_only=True):
    """Something about the container that a well-formed file does not have."""

    kind: str
    message: str


class RankRecord(Record, frozen=True, kw_only=True):
    """What one of several processes holds of a model."""

    rank: int
    host: str
    stored_bytes: int


class OtherRanksRecord(Record, frozen=True, kw_only=True):
    """How some ranks have it."""

    value: str
    ranks: tuple[int, ...]


class DisagreementRecord(Record, frozen=True, kw_only=True):
    """What some ranks have otherwise than the first: a field of a tensor, or its `presence`."""

    name: str
    aspect: str
    first: str
    others: tuple[OtherRanksRecord, ...]


class InspectRecord(Spread, frozen=True, kw_only=True):
    """What `bufscan inspect --format json` writes of one target. Totals are of the tensors that it lists."""

    schema: Literal["bufscan.inspect/1"]
    target: str
    format: str
    selection: SelectionRecord | None
    tensors: tuple[TensorRecord, ...]
    totals: Annotated[
        dict[str, TotalRecord], msgspec.Meta(extra_json_schema={"propertyNames": {"enum": list(ROLES)}})
    ]
    stored_bytes: int
    sections: tuple[SectionRecord, ...]
    training: tuple[TrainingRecord, ...]
    optimizers: tuple[OptimizerRecord, ...]
    packed: tuple[PackedRecord, ...]
    joins: tuple[JoinRecord, ...]
    findings: tuple[FindingRecord, ...]
    skipped: tuple[SkippedRecord, ...]
    anomalies: tuple[AnomalyRecord, ...]
    globals: tuple[str, ...]
    notes: tuple[str, ...]
    metadata: dict[str, str]
    ranks: tuple[RankRecord, ...] | None = None
    disagreements: tuple[DisagreementRecord, ...] | None = None


class NotInspectedRecord(Record, frozen=True, kw_only=True):
    """What stands in a list of several targets for one that could not be read."""

    schema: Literal["bufscan.inspect/1"]
    target: str
    failure: FailureRecord


def render(inventory: Inventory, view: View) -> str:
    """The report as one JSON object."""
    shown = select(inventory, view.selection)
    report, start = "", "{"
    for name, value in members(record_of(inventory, shown, view), dense=True).items():
        report += f'{start}"{name}":{value if name != "tensors" else ""}'
        start = ",\n "
        for line in _tensor_lines(shown.tensors) if name == "tensors" else ():
            report += line  # CPython grows it in place; joined at the end, all lines would be there twice
    return report + "}\n"


def record_of(inventory: Inventory, shown: Inventory, view: View) -> InspectRecord:
    """All of the report but the tensors; `shown` is what the view selects of the inventory."""
    narrows = view.selection.narrows
    return InspectRecord(
        schema=SCHEMA,
        target=text(shown.target),
        format=shown.format,
        selection=_selection(inventory, view) if narrows else None,
        tensors=(),
        totals={role: _total(total) for role, total in count_ties_once(shown).totals().items()},
        stored_bytes=shown.stored_bytes,
        sections=tuple(_section(name, total) for name, total in shown.sections().items()),
        training=tuple(
            TrainingRecord(path=text(each.path), kind=each.kind, text=text(each.text)) for each in shown.training
        ),
        optimizers=tuple(
            OptimizerRecord(
                section=text(each.section),
                parameters=sum(each.sizes),
                groups=tuple(each.sizes),
                kind=each.kind,
                settings=tuple(group.settings for group in each.groups),
            )
            for each in shown.optimizers
        ),
        packed=tuple(map(_packed, shown.packed)),
        joins=tuple(map(_join, shown.joins)),
        findings=tuple(map(finding_record, view.findings)),
        skipped=skipped_records(shown.skipped),
        anomalies=tuple(AnomalyRecord(kind=each.kind, message=text(each.message)) for each in shown.anomalies),
        globals=tuple(map(text, shown.globals)),
        notes=tuple(map(text, shown.notes)),
        metadata={text(key): text(value) for key, value in shown.metadata.items()},
        ranks=tuple(
            RankRecord(rank=each.rank, host=text(each.host), stored_bytes=each.stored_bytes)
            for each in shown.ranks
        )
        or None,
        disagreements=tuple(map(_disagreement, shown.disagreements)) if shown.ranks else None,
    )


def _disagreement(each: Disagreement) -> DisagreementRecord:
    others = (OtherRanksRecord(value=text(value), ranks=ranks) for value, ranks in each.others.items())
    return DisagreementRecord(
        name=text(each.name), aspect=each.aspect, first=text(each.first), others=tuple(others)
    )


def _section(name: str, total: RoleTotal) -> SectionRecord:
    return SectionRecord(
        section=text(name), tensors=total.tensors, numel=number(total.numel), nbytes=number(total.nbytes)
    )


def _packed(weight: PackedWeight) -> PackedRecord:
    return PackedRecord(
        name=text(weight.name),
        section=text(weight.section),
        scheme=weight.scheme,
        bits=weight.bits,
        shape=weight.shape,
        numel=weight.numel,
        stored_bytes=weight.stored_bytes,
        members=tuple(map(text, weight.members)),
    )


def _selection(inventory: Inventory, view: View) -> SelectionRecord:
    return SelectionRecord(
        roles=view.selection.roles,
        match=tuple(map(text, view.selection.patterns)),
        of_tensors=len(inventory.tensors),
    )


def _tensor_lines(tensors: Sequence[Tensor]) -> Iterator[str]:
    for start in range(0, len(tensors), _MOST_AT_ONCE):
        yield ",\n  " if start else "[\n  "
        yield _batch([tensor_record(tensor) for tensor in tensors[start : start + _MOST_AT_ONCE]])
    yield "\n ]" if tensors else "[]"


def _batch(tensors: list[TensorRecord]) -> str:
    try:
        lines = _encoder.encode_lines(tensors)
    except (UnicodeEncodeError, OverflowError):  # a lone surrogate; more than 64 bits
        lines = b""
    if lines and lines.isascii():
        return lines[:-1].replace(b"\n", b",\n  ").decode("ascii")
    return ",\n  ".join(encode(tensor, dense=True) for tensor in tensors)


def tensor_record(tensor: Tensor) -> TensorRecord:
    """A tensor as the schema has it."""
    return TensorRecord(
        name=text(tensor.name),
        section=text(tensor.section),
        role=tensor.role,
        certainty=tensor.certainty,
        evidence=text(tensor.evidence),
        shape=tensor.shape,
        dtype=tensor.dtype,
        device=optional(tensor.device),
        numel=number(tensor.numel),
        nbytes=number(tensor.nbytes),
        storage=optional(tensor.storage),
        stored_bytes=tensor.stored_bytes,
        saved=tensor.saved,
        moves=tensor.moves,
        trains=tensor.trains,
        alias_of=optional(tensor.alias_of),
        origin=None
        if tensor.origin is None
        else PlaceRecord(file=text(tensor.origin.file), line=tensor.origin.line),
        suggestion=optional(tensor.suggestion),
        suggestion_note=optional(tensor.suggestion_note),
        holding=tensor.holding,
        holder=optional(tensor.holder),
        declared=tensor.declared,
        saved_as=optional(tensor.saved_as),
        moved_by_hand=tensor.moved_by_hand,
        requires_grad=tensor.requires_grad,
        layout=tensor.layout,
        type_name=optional(tensor.type_name),
        stride=_stride(tensor.shape, tensor.stride),
        storage_offset=tensor.storage_offset,
        file=optional(tensor.file),
        local_shape=tensor.local_shape,
        local_shapes=tensor.local_shapes,
        placements=tuple(map(text, tensor.placements)),
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


def _part(part: Part) -> PartRecord:
    return PartRecord(
        name=text(part.name),
        shape=part.shape,
        dtype=part.dtype,
        storage=optional(part.storage),
        stride=_stride(part.shape, part.stride),
        storage_offset=part.storage_offset,
        device=optional(part.device),
    )


def _join(join: Join) -> JoinRecord:
    return JoinRecord(
        model=text(join.model),
        section=text(join.section),
        matched=join.matched,
        missing=tuple(map(tensor_record, join.missing)),
        missing_extra_states=tuple(map(text, join.missing_extra_states)),
        unexpected=tuple(map(text, join.unexpected)),
        saved_non_persistent=tuple(map(text, join.saved_non_persistent)),
        mismatched=tuple(
            MismatchRecord(name=text(each.name), shape=each.shape, dtype=each.dtype, role=each.role)
            for each in join.mismatched
        ),
        tied=tuple(map(text, join.tied)),
        checkpoint_prefix=text(join.checkpoint_prefix),
        model_prefix=text(join.model_prefix),
        wrappers=tuple(map(text, join.wrappers)),
    )


def _total(total: RoleTotal) -> TotalRecord:
    return TotalRecord(tensors=total.tensors, numel=number(total.numel), nbytes=number(total.nbytes))
