"""Tables for the output of a notebook's cell: what stands out first, and no more rows than one looks through."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bufscan.report.diff.wording import changes_of, number, share
from bufscan.report.html.page import rendered
from bufscan.report.shared.sizes import size
from bufscan.report.shared.wording import TIED, UNKNOWN, facts_of, role_of, shape_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bufscan.checking.results import CheckResult
    from bufscan.comparing.difference import Difference, Entry, ValueStatistics
    from bufscan.inventory import Inventory, Tensor

_MOST_ROWS = 40


class Column(NamedTuple):
    """A heading, and how what stands below it is written."""

    title: str
    side: str = "left"
    code: bool = False


_TENSOR = (
    *(Column("name", code=True), Column("role"), Column("shape"), Column("dtype"), Column("device")),
    *(Column("size", "right"), Column("SMT", code=True)),
)
_FINDING = (
    Column("severity"),
    Column("rule"),
    Column("where", code=True),
    Column("what"),
    Column("fix", code=True),
)
_ENTRY = (
    *(Column("status"), Column("name", code=True), Column("shape"), Column("changed", "right")),
    *(Column("relative", "right"), Column("what")),
)


def inventory_table(inventory: Inventory, caption: str) -> str:
    """A row for each tensor, those first that should be registered and are not."""
    ordered = sorted(inventory.tensors, key=lambda tensor: not tensor.lacks_registration)
    return _table(caption, _TENSOR, [_tensor(tensor) for tensor in ordered[:_MOST_ROWS]], len(ordered))


def findings_table(result: CheckResult, caption: str) -> str:
    """A row for each finding, and one for each target that could not be examined."""
    rows = []
    for target in result.targets:
        failures = [] if target.failure is None else [target.failure.message]
        failures += [f"{skipped.what}: {skipped.reason}" for skipped in target.skipped if skipped.failed]
        rows += [("not checked", "", target.target, message, "") for message in failures]
        for each in target.findings:
            place = target.target if each.location is None else f"{each.location.file}:{each.location.line}"
            rows.append((each.severity, f"{each.code} {each.name}", place, each.message, each.suggestion or ""))
    return _table(caption, _FINDING, rows[:_MOST_ROWS], len(rows))


def difference_table(difference: Difference, caption: str) -> str:
    """A row for each tensor that differs, the largest changes first."""
    ordered = sorted(difference.entries, key=lambda entry: -(_relative(entry) or 0.0))
    return _table(caption, _ENTRY, [_entry(entry) for entry in ordered[:_MOST_ROWS]], len(ordered))


def _table(caption: str, columns: Sequence[Column], rows: Sequence[tuple[str, ...]], of: int) -> str:
    return rendered("notebook", caption=caption, columns=columns, rows=rows, more=of - len(rows))


def _tensor(tensor: Tensor) -> tuple[str, ...]:
    nbytes = tensor.nbytes
    return (
        tensor.path,
        role_of(tensor),
        shape_of(tensor),
        tensor.dtype or UNKNOWN,
        tensor.device or UNKNOWN,
        TIED if tensor.alias_of is not None else UNKNOWN if nbytes is None else size(nbytes),
        facts_of(tensor),
    )


def _share(values: ValueStatistics) -> str:
    return share(values.changed, values.numel)


def _relative(entry: Entry) -> float | None:
    return None if entry.values is None else entry.values.rel_l2


def _entry(entry: Entry) -> tuple[str, ...]:
    side = entry.new or entry.old
    return (
        entry.status,
        entry.path,
        UNKNOWN if side is None else shape_of(side),
        "" if entry.values is None else _share(entry.values),
        number(_relative(entry)),
        changes_of(entry),
    )
