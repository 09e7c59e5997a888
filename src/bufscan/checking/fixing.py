"""Apply the edits of findings to the files that they are about, or show what that would change."""

from __future__ import annotations

import difflib
import io
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bufscan.atomicfile import read_whole, write_whole
from bufscan.errors import UnreadableError
from bufscan.source.edits import applied
from bufscan.source.project import decode
from bufscan.source.reading import digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bufscan.checking.results import CheckResult
    from bufscan.findings import Finding


class Change(NamedTuple):
    """What edits make of a file.

    Attributes:
        file: its name.
        before, after: its text.
        mended: how many findings the edits are for.
    """

    file: str
    before: str
    after: str
    mended: int


def changes_for(result: CheckResult, *, unsafe: bool, texts: Mapping[str, str] | None = None) -> Iterator[Change]:
    """What the fixes of a result make of each file; a file that has changed since it was read is left alone.

    Args:
        result: of `lint`. Findings that are ignored are not mended.
        unsafe: whether to take fixes that change more than what moves.
        texts: sources that do not stand in the files of their names.
    """
    digests = {} if result.source is None else result.source.digests
    for target in result.targets:
        edits = [
            edit
            for finding in target.findings
            if _is_meant(finding, unsafe=unsafe)
            for edit in finding.edits or ()
        ]
        if not edits:
            continue
        try:
            before = (texts or {}).get(target.target) or decode(read_whole(Path(target.target)))
        except UnreadableError:
            continue
        if digest_of(before) == digests.get(target.target):
            mended = sum(_is_meant(finding, unsafe=unsafe) for finding in target.findings)
            yield Change(target.target, before, applied(before, edits), mended)


def _is_meant(finding: Finding, *, unsafe: bool) -> bool:
    return finding.edits is not None and (unsafe or finding.is_safe)


def write(change: Change) -> None:
    """Put the new text in the place of the old one, in the encoding of the file.

    Raises:
        BufscanError: it cannot be written.
    """
    path = Path(change.file)
    encoding, _ = tokenize.detect_encoding(io.BytesIO(read_whole(path)).readline)
    write_whole(path, change.after.encode(encoding))


def diff_of(change: Change) -> str:
    """The change as a unified diff."""
    before, after = (text.splitlines(keepends=True) for text in (change.before, change.after))
    lines = difflib.unified_diff(before, after, f"a/{change.file}", f"b/{change.file}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
