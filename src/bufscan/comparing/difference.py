"""What was found between two targets: immutable records. Nothing here compares or reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import msgspec

if TYPE_CHECKING:
    from bufscan.inventory import Skipped, Tensor

Status = Literal["added", "removed", "changed", "renamed"]

STATUSES: tuple[Status, ...] = get_args(Status)

Aspect = Literal["shape", "dtype", "layout", "quantization", "role", "device", "requires_grad", "tied_to"]
"""What, besides its values, may have changed of a tensor."""

ASPECTS: tuple[Aspect, ...] = get_args(Aspect)

Rounding = Literal["exact", "rounded"]

RelationKind = Literal["equal", "transposed", "grown", "shrunk", "fused", "part", "scaled", "unscaled", "scale"]
"""How the bytes of a tensor are found on the other side; one word for machines."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One aspect before and after, as its inventory records it; `tied_to` lists the names tied to the tensor."""

    aspect: Aspect
    old: object
    new: object


class ValueStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """How far the values of two tensors of equal shape are apart, all sums in float64.

    Differences are of elements that are finite on both sides; for complex types their modulus. Numbers are None
    where they do not exist: of a type without values, where no pair is finite, relative to nothing but zeros, or
    beyond float64.

    Attributes:
        numel: values compared; of a compound tensor, such as a sparse one, those that are stored.
        changed: values that differ; with a tolerance, by more than that. A NaN equals a NaN, -0 equals 0.
        max_abs, mean_abs: of the differences.
        max_index: where the largest difference is; None in a compound tensor.
        l2: Euclidean norm of the differences.
        rel_l2: the same relative to the norm of the old values.
        cosine: of the angle between old and new values.
        nan, inf: values of either side that are not finite.
        zero_signs: zeros that differ in their sign alone.
        nan_payloads: NaNs that differ in their bits alone.
        rounding: between types, `exact` when no value changed and `rounded` when every new value is the old one
            rounded to the new type, or the other way round; None otherwise and within one type.
    """

    numel: int
    changed: int | None = None
    max_abs: float | None = None
    max_index: tuple[int, ...] | None = None
    mean_abs: float | None = None
    l2: float | None = None
    rel_l2: float | None = None
    cosine: float | None = None
    nan: tuple[int, int] = (0, 0)
    inf: tuple[int, int] = (0, 0)
    zero_signs: int = 0
    nan_payloads: int = 0
    rounding: Rounding | None = None

    @property
    def nonfinite(self) -> tuple[int, int]:
        """NaNs and infinities of either side."""
        return self.nan[0] + self.inf[0], self.nan[1] + self.inf[1]


class Relation(msgspec.Struct, frozen=True, kw_only=True):
    """How the bytes of a tensor are found on the other side, where that is not plainly the same tensor.

    Attributes:
        kind: `equal`: only the device differs. `transposed`. `grown`, `shrunk`: along one dimension.
            `fused`: tensors of the other side one after another. `part`: of such a tensor. `scaled`: one side has
            codes, and their scale is applied; `unscaled`: it is not. `scale`: of codes.
        words: the same for people.
        names: the other tensors that belong to it.
        dim: along which it grew or was put together.
        unchanged, common: rows at the start that are the same, of those that both sides have.
    """

    kind: RelationKind
    words: str
    names: tuple[str, ...] = ()
    dim: int | None = None
    unchanged: int | None = None
    common: int | None = None

    @property
    def has_other_values(self) -> bool:
        """Whether elements that both sides have differ, as far as it is the relation that tells."""
        return self.unchanged != self.common


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One tensor that is not the same on both sides.

    Attributes:
        status: `renamed` when another name holds the very same bytes, or when the names of one side have a prefix
            that no wrapper is known to add; it may have changed otherwise too.
        name: on the new side; of a removed tensor, on the old.
        old_name: where it differs from `name`, else None.
        section, old_section: likewise.
        old, new: the records; None on the side that does not have the tensor.
        changes: aspects that differ, in the order of `ASPECTS`.
        values: how far the values are apart; None when they are the same or were not compared.
        remark: what else is to be said, in a few words.
        relation: what the bytes prove of it, which the remark says in words; None where there is nothing to prove.
    """

    status: Status
    name: str
    old_name: str | None = None
    section: str = ""
    old_section: str | None = None
    old: Tensor | None = None
    new: Tensor | None = None
    changes: tuple[Change, ...] = ()
    values: ValueStatistics | None = None
    remark: str | None = None
    relation: Relation | None = None

    @property
    def path(self) -> str:
        """Section and name together."""
        return f"{self.section}.{self.name}" if self.section else self.name

    @property
    def aspects(self) -> frozenset[Aspect]:
        """What changed besides the values."""
        return frozenset(change.aspect for change in self.changes)


class PlainEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One value beside the tensors that is not the same on both sides.

    Attributes:
        path: as Python would write it, `optimizer.param_groups[0].lr`.
        old, new: as exact text; None on the side that lacks it.
    """

    status: Literal["added", "removed", "changed"]
    path: str
    old: str | None = None
    new: str | None = None


class NotCompared(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor, or a part of a target, that both sides may differ in without anyone knowing."""

    path: str
    reason: str


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """Tensors of one side that are beside the question: an optimizer where the other side has weights alone.

    Attributes:
        side: which side has them.
        what: a section, or a kind of tensors.
    """

    side: Literal["old", "new"]
    what: str
    tensors: int
    reason: str


class Tolerance(msgspec.Struct, frozen=True, kw_only=True):
    """What counts as equal: |new - old| <= atol + rtol * |old|, as in `torch.testing.assert_close`."""

    rtol: float = 0.0
    atol: float = 0.0


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that two targets differ in.

    Attributes:
        old, new: the targets as the user named them.
        old_format, new_format: as in `Inventory.format`.
        entries: in the order of the old side, then what was added in the order of the new.
        unchanged: matched tensors without any difference.
        close: those of them whose values differ within the tolerance.
        plain: values beside the tensors that are not the same.
        same_plain: how many of them are.
        tensors_only: whether these were not to be compared.
        not_compared: what nobody knows to be the same. A matched tensor may be here and in `entries`.
        incomplete: whether a part of a target could not be read; then nothing is said to be added or removed that
            may be there.
        left_out: what was set aside, and why.
        skipped: parts of the targets that were not examined and are no part of the question.
        compared_values: whether values were to be compared.
        tolerance: None when every bit counts.
        notes: how the two were matched, one sentence each.
    """

    old: str
    new: str
    old_format: str
    new_format: str
    entries: tuple[Entry, ...] = ()
    unchanged: int = 0
    close: int = 0
    plain: tuple[PlainEntry, ...] = ()
    same_plain: int = 0
    tensors_only: bool = False
    not_compared: tuple[NotCompared, ...] = ()
    incomplete: bool = False
    left_out: tuple[LeftOut, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    compared_values: bool = True
    tolerance: Tolerance | None = None
    notes: tuple[str, ...] = ()

    @property
    def identical(self) -> bool | None:
        """Whether both sides hold the same, tensors and other values; None when that is not known."""
        if self.entries or self.plain or self.close:
            return False
        return None if self.not_compared or not self.compared_values or self.is_empty else True

    @property
    def is_empty(self) -> bool:
        """Whether nothing was compared, so that nothing can be said."""
        return not (self.entries or self.plain or self.unchanged or self.same_plain or self.not_compared)

    @property
    def differs(self) -> bool | None:
        """Whether there is a difference that counts; None when none was found but not all was compared."""
        if self.entries or self.plain:
            return True
        return None if self.not_compared or self.is_empty else False

    def count(self, status: Status) -> int:
        """Entries of that status."""
        return sum(entry.status == status for entry in self.entries)
