"""Apply the edits of findings to the files that they are about, or show what that would change."""

from __future__ import annotations

import difflib
import io
import os
import sys
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from bufscan.atomicfile import read_whole, write_whole
from bufscan.errors import BufscanError, UnreadableError, about
from bufscan.source.edits import applied
from bufscan.source.files import is_installed
from bufscan.source.project import decode
from bufscan.source.reading import digest_of
from bufscan.target import ModuleTarget, ObjectTarget, parse_code_or_target

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bufscan.checking.results import CheckResult
    from bufscan.findings import Finding


class Change(NamedTuple):
    """What edits make of a file.

    Attributes:
        file: its name.
        before, after: its text.
        mended: the findings that the edits are for.
    """

    file: str
    before: str
    after: str
    mended: tuple[Finding, ...]


def changes_for(result: CheckResult, *, unsafe: bool, texts: Mapping[str, str] | None = None) -> Iterator[Change]:
    """What the fixes of a result make of each file; a file that has changed since it was read is left alone.

    Args:
        result: of `lint` or `check`. Findings that are ignored are not mended.
        unsafe: whether to take fixes that change more than what moves.
        texts: sources that do not stand in the files of their names.
    """
    meant: dict[str, list[Finding]] = {}
    for finding in result.findings:
        if finding.edits is not None and finding.location is not None and (unsafe or finding.is_safe):
            meant.setdefault(finding.location.file, []).append(finding)
    for file, findings in meant.items():
        try:
            before = (texts or {}).get(file) or decode(read_whole(Path(file)))
        except UnreadableError:
            continue
        if digest_of(before) == result.digests.get(file):
            edits = [edit for finding in findings for edit in finding.edits or ()]
            yield Change(file, before, applied(before, edits), tuple(findings))


def without_mended(result: CheckResult, changes: Sequence[Change]) -> CheckResult:
    """What is left of a result once the changes are made, without looking again."""
    mended = {id(finding) for change in changes for finding in change.mended}
    by_file = {change.file: change for change in changes}
    targets = tuple(
        msgspec.structs.replace(
            target, findings=tuple(_moved(each, by_file) for each in target.findings if id(each) not in mended)
        )
        for target in result.targets
    )
    return msgspec.structs.replace(result, targets=targets, mended=len(mended))


def _moved(finding: Finding, changes: Mapping[str, Change]) -> Finding:
    """The finding at its new line; edits that were not made are for a text that is no more."""
    place = finding.location
    change = None if place is None else changes.get(place.file)
    if change is None or place is None:
        return finding
    edits = {edit for each in change.mended for edit in each.edits or ()}
    moved = sum(
        edit.text.count("\n") - (edit.end_line - edit.line) for edit in edits if edit.end_line <= place.line
    )
    place = msgspec.structs.replace(place, line=place.line + moved)
    return msgspec.structs.replace(finding, location=place, edits=None, is_safe=False)


class Editable:
    """Decides which files edits are offered for: the user's own, below the current folder or what was named.

    A link is where it leads to: one in a project does not make what it leads to part of it.
    """

    def __init__(self, targets: Iterable[str], paths: Iterable[str] = ()) -> None:
        """`targets` are models and modules, `paths` files and folders of source."""
        named = [*filter(None, map(_place_of, targets)), *map(Path, paths)]
        self._folders = [Path(os.path.realpath(place)) for place in (Path.cwd(), *named)]

    def without_others(self, finding: Finding) -> Finding:
        """The finding, without edits of a file that is not to be edited."""
        if finding.edits is None or finding.location is None or self._covers(finding.location.file):
            return finding
        return msgspec.structs.replace(finding, edits=None, is_safe=False)

    def _covers(self, file: str) -> bool:
        path = Path(os.path.realpath(file))
        return path.is_file() and not is_installed(str(path)) and any(map(path.is_relative_to, self._folders))


def _place_of(target: str) -> Path | None:
    """Where the source of a target lies: its file, or the folder of its package."""
    try:
        named = parse_code_or_target(target)
    except BufscanError:
        return None
    if not isinstance(named, ObjectTarget | ModuleTarget):
        return None
    if named.source.endswith(".py"):
        return Path(os.path.abspath(named.source))  # noqa: PTH100 - links stay
    package = sys.modules.get(named.source.partition(".")[0])
    file = getattr(package, "__file__", None)
    if not isinstance(file, str):
        return None
    return Path(file).parent if hasattr(package, "__path__") else Path(file)


def write(changes: Iterable[Change]) -> None:
    """Put each new text in the place of the old one, in the encoding of the file.

    Raises:
        TargetError: a file cannot be written.
    """
    for change in changes:
        path = Path(change.file)
        with about(change.file):
            encoding, _ = tokenize.detect_encoding(io.BytesIO(read_whole(path)).readline)
            write_whole(path, change.after.encode(encoding))


def diff_of(change: Change) -> str:
    """The change as a unified diff."""
    before, after = (text.splitlines(keepends=True) for text in (change.before, change.after))
    lines = difflib.unified_diff(before, after, f"a/{change.file}", f"b/{change.file}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
