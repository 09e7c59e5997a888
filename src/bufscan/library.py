"""What Python callers get: the records of a command, which also know how to show themselves.

`print` gives the report that the command prints, a notebook a table; `repr` is one line. As records they are what
the commands themselves work with.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from msgspec import structs, to_builtins

from bufscan.checking.results import CheckResult, TargetResult
from bufscan.comparing.difference import Difference, Entry
from bufscan.errors import UnknownNameError, did_you_mean
from bufscan.rehearsal import Rehearsed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import msgspec

    from bufscan.findings import Finding
    from bufscan.inventory import Tensor

P = ParamSpec("P")
Shown = TypeVar("Shown")
Item = TypeVar("Item")


class _Report:
    """How a record shows itself."""

    __slots__ = ()

    @classmethod
    def of(cls, found: Any) -> Self:
        """The same record, with ways to show it."""
        return cls(**{name: getattr(found, name) for name in found.__struct_fields__})

    def __repr__(self) -> str:
        return f"<bufscan.{type(self).__name__}: {self.summary}>"

    def __str__(self) -> str:
        return self._written("text").rstrip("\n")

    def _repr_html_(self) -> str:
        raise NotImplementedError

    @property
    def summary(self) -> str:
        """One sentence that says it all."""
        raise NotImplementedError

    def _written(self, format_: str) -> str:
        raise NotImplementedError

    def to_json(self) -> str:
        """What the command writes with `--format json`; `bufscan schema` describes it."""
        return self._written("json")

    def to_html(self) -> str:
        """A page that is complete in itself, as the command writes with `--format html`."""
        return self._written("html")


class InspectReport(_Report, Rehearsed, frozen=True, kw_only=True):
    """What a target holds: `len` counts its tensors, `report[name]` is one, and iteration gives them all."""

    def __len__(self) -> int:
        return len(self.tensors)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.tensors)

    def __contains__(self, name: object) -> bool:
        return any(name in (tensor.path, tensor.name) for tensor in self.tensors)

    def __getitem__(self, name: str) -> Tensor:
        """The tensor of that path or, where no path is that, of that name.

        Raises:
            UnknownNameError: there is none.
        """
        return _named(name, self.tensors, lambda tensor: tensor.path, lambda tensor: tensor.name)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the rules say of it, without what comments in the source ignore."""
        from bufscan.checking.inspected import findings_in

        return findings_in(self)

    @property
    def summary(self) -> str:
        from bufscan.report.inspect.view import View

        return f"{self.target}: {self._written('text', View(quiet=True)).strip()}"

    def to_records(self) -> list[dict[str, Any]]:
        """A dict for each tensor, with the fields of the JSON: for `pandas.DataFrame`, say."""
        from bufscan.report.inspect.json import tensor_record

        return [_plain(tensor_record(tensor)) for tensor in self.tensors]

    def _written(self, format_: str, view: Any = None) -> str:
        from bufscan.report import INSPECT_REPORTS, WITH_FINDINGS
        from bufscan.report.inspect.view import View

        view = view or View()
        marks_rows = format_ == "text" and self.states_registration and not view.quiet
        if format_ in WITH_FINDINGS or marks_rows:
            from linecache import getline

            view = structs.replace(view, findings=self.findings, source_line=getline)
        return INSPECT_REPORTS[format_](self, view)

    def _repr_html_(self) -> str:
        from bufscan.report.html.notebook import inventory_table

        return inventory_table(self, self.summary)


class CheckReport(_Report, CheckResult, frozen=True, kw_only=True):
    """What the rules found: `len` counts findings, iteration gives them, `report[target]` is for one target."""

    def __len__(self) -> int:
        return len(self.findings)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __getitem__(self, target: str) -> TargetResult:
        """The result for that target.

        Raises:
            UnknownNameError: there is none.
        """
        return _named(target, self.targets, lambda result: result.target)

    @property
    def summary(self) -> str:
        from bufscan.report.check.findings import verdict

        return verdict(self)

    def to_records(self) -> list[dict[str, Any]]:
        """A dict for each finding, with the fields of the JSON and its target."""
        from bufscan.report.check.json import finding_record

        return [
            {"target": target.target, **_plain(finding_record(finding))}
            for target in self.targets
            for finding in target.findings
        ]

    def _written(self, format_: str) -> str:
        from linecache import getline

        from bufscan.report import CHECK_REPORTS
        from bufscan.report.check.view import CheckView

        return CHECK_REPORTS[format_](self, CheckView(source_line=getline))

    def _repr_html_(self) -> str:
        from bufscan.report.html.notebook import findings_table

        return findings_table(self, self.summary)


class DiffReport(_Report, Difference, frozen=True, kw_only=True):
    """What differs: `len` counts the tensors that do, iteration gives them, and `report[name]` is one."""

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __bool__(self) -> bool:
        """Whether anything differs, or may: False only for what is known to be the same."""
        return self.identical is not True

    def __contains__(self, name: object) -> bool:
        return any(name in (entry.path, entry.name) for entry in self.entries)

    def __getitem__(self, name: str) -> Entry:
        """What differs of the tensor of that path or name.

        Raises:
            UnknownNameError: nothing does.
        """
        return _named(name, self.entries, lambda entry: entry.path, lambda entry: entry.name)

    @property
    def summary(self) -> str:
        from bufscan.report.diff.wording import verdict

        return verdict(self)

    def to_records(self) -> list[dict[str, Any]]:
        """A dict for each tensor that differs, with the fields of the JSON."""
        from bufscan.report.diff.json import entry_record

        return [_plain(entry_record(entry)) for entry in self.entries]

    def _written(self, format_: str) -> str:
        from bufscan.report import DIFF_REPORTS
        from bufscan.report.diff.view import DiffView

        return DIFF_REPORTS[format_](self, DiffView())

    def _repr_html_(self) -> str:
        from bufscan.report.html.notebook import difference_table

        return difference_table(self, self.summary)


def shown_as(report: Callable[[Any], Shown], function: Callable[P, object]) -> Callable[P, Shown]:
    """The function, with its result as a report."""

    @wraps(function)
    def reporting(*arguments: P.args, **options: P.kwargs) -> Shown:
        return report(function(*arguments, **options))

    return reporting


def _named(name: str, items: Sequence[Item], *names_of: Callable[[Item], str]) -> Item:
    for name_of in names_of:
        for item in items:
            if name_of(item) == name:
                return item
    known: Iterable[str] = (name_of(item) for item in items for name_of in names_of)
    raise UnknownNameError(f"nothing is called `{name}`", hint=did_you_mean(str(name), known))


def _plain(record: msgspec.Struct) -> dict[str, Any]:
    """All its fields, those that say nothing too: rows of a table have the same columns."""
    return {field: to_builtins(getattr(record, field)) for field in record.__struct_fields__}
