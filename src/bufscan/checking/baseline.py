"""Findings that were there before: read and written as JSON that does not change when lines of source shift."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING, Final

import msgspec

from bufscan.checking.results import Known
from bufscan.errors import UsageError
from bufscan.target import in_folder, named_from_here
from bufscan.tensor_names import in_one_spelling, names_a_position, without_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bufscan.checking.results import CheckResult, TargetResult
    from bufscan.findings import Finding

SCHEMA: Final = "bufscan.baseline/1"


class BaselineFile(msgspec.Struct, frozen=True):
    """The file as a whole."""

    schema: str
    findings: tuple[Known, ...]


def known_as(target: str, finding: Finding) -> Known:
    """How a baseline remembers a finding in a target, which is to be named from the current folder."""
    return Known(target=_encodable(target), code=finding.code, tensor=_encodable(finding.identity))


def read_baseline(data: bytes, folder: str = os.curdir) -> frozenset[Known]:
    """The findings that a baseline file lists, whose paths are seen from `folder`.

    Raises:
        UsageError: it is no baseline.
    """
    try:
        file = msgspec.json.decode(data, type=BaselineFile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"no baseline: {error}", hint="`--write-baseline FILE` makes one") from error
    if file.schema != SCHEMA:
        raise UsageError(f"no baseline that this version reads: its schema is {file.schema!r}")
    named = cache(lambda target: named_from_here(in_folder(target, folder)))
    return frozenset(msgspec.structs.replace(each, target=named(each.target)) for each in file.findings)


class Baseline:
    """Looks findings up among those that were there before, however an earlier version spelled their names."""

    def __init__(self, entries: Iterable[Known]) -> None:
        self.entries = frozenset(entries)
        self._by_name: defaultdict[Known, list[Known]] = defaultdict(list)
        self._by_container: defaultdict[Known, list[Known]] = defaultdict(list)
        for entry in self.entries:
            self._by_name[_renamed(entry, in_one_spelling)].append(entry)
            if names_a_position(entry.tensor):
                self._by_container[_renamed(entry, without_keys)].append(entry)

    def matching(self, known: Known) -> list[Known]:
        """The entries that are about this finding."""
        if known in self.entries:
            return [known]
        named = self._by_name.get(_renamed(known, in_one_spelling), [])
        if named or not self._by_container:
            return named
        return self._by_container.get(_renamed(known, without_keys), [])


def known_findings(result: CheckResult, folder: str = os.curdir) -> list[Known]:
    """Everything that no comment and no configuration ignores, in an order that does not depend on the run.

    Paths are seen from `folder`.
    """
    targets = [(named_from_here(target.target, folder), target) for target in result.targets]
    return sorted({known_as(name, finding) for name, target in targets for finding in _remembered(target)})


def written_baseline(known: Iterable[Known]) -> str:
    """The file that `read_baseline` reads, a finding a line."""
    fields = ({"target": each.target, "code": each.code, "tensor": each.tensor} for each in known)
    lines = ",\n  ".join(map(json.dumps, fields))
    findings = f"[\n  {lines}\n ]" if lines else "[]"
    return f'{{"schema": "{SCHEMA}",\n "findings": {findings}}}\n'


def _remembered(target: TargetResult) -> Iterable[Finding]:
    yield from target.findings
    yield from (ignored.finding for ignored in target.ignored if ignored.by == "baseline")


def _renamed(known: Known, spelled: Callable[[str], str]) -> Known:
    return msgspec.structs.replace(known, tensor=spelled(known.tensor))


def _encodable(text: str) -> str:
    """A name from a file may hold half a surrogate pair, which no JSON reader takes back."""
    return text.encode("utf-8", "backslashreplace").decode()
