"""Fixes that are verified: applied to the text they parse, the fault is gone, and no new one has come."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bufscan.errors import UnreadableError
from bufscan.source.abstract_pass import TooLongError
from bufscan.source.classes import Classes
from bufscan.source.edits import applied
from bufscan.source.faults import Reader
from bufscan.source.proposals import proposed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bufscan.source.edits import Fix
    from bufscan.source.faults import Fault, Measured
    from bufscan.source.project import Project, SourceFile

Key = tuple[str, str]


def key_of(fault: Fault) -> Key:
    """What tells a fault from the others of its file."""
    return fault.code, fault.name


def verified_fixes(
    project: Project,
    source: SourceFile,
    faults: Iterable[Fault],
    measured: Measured | None = None,
    *,
    is_whole: bool = False,
) -> dict[Key, Fix]:
    """The fixes of faults in one file that do what they should.

    Args:
        project: that the file belongs to.
        source: the file.
        faults: of its classes.
        measured: what live models show of these.
        is_whole: whether these are all faults of the file.
    """
    by_key: dict[Key, Fault] = {}
    for fault in faults:
        by_key.setdefault(key_of(fault), fault)
    candidates = {key: list(proposed(fault)) for key, fault in by_key.items()}
    firsts = {key: fixes[0] for key, fixes in candidates.items() if fixes}
    if not firsts:
        return {}
    known = frozenset(by_key)
    if not is_whole:
        known |= _keys_in(project, source, measured) or frozenset()
    trial = _Trial(project, source, known, measured)
    if len(firsts) > 1 and trial.all_mend(firsts):
        return firsts
    found: dict[Key, Fix] = {}
    for key, fixes in candidates.items():
        for fix in fixes:
            if trial.mend({key: fix}) and (not found or trial.all_mend(found | {key: fix})):
                found[key] = fix
                break
    return found


class _Trial(NamedTuple):
    """One file, and what is wrong with it before anything is mended."""

    project: Project
    source: SourceFile
    known: frozenset[Key]
    measured: Measured | None

    def all_mend(self, fixes: dict[Key, Fix]) -> bool:
        """Whether they do so together, and those that are safe without the others too."""
        safe = {key: fix for key, fix in fixes.items() if fix.applicability == "safe"}
        return self.mend(fixes) and (len(safe) in (0, len(fixes)) or self.mend(safe))

    def mend(self, fixes: dict[Key, Fix]) -> bool:
        """Whether the text parses with these fixes, their faults are gone, and no new ones are there."""
        try:
            text = applied(self.source.text, [edit for fix in fixes.values() for edit in fix.edits])
            other, file = self.project.with_text(self.source.path, text)
        except (UnreadableError, ValueError):
            return False
        left = _keys_in(other, file, self.measured)
        return left is not None and left <= self.known - set(fixes)


def _keys_in(project: Project, file: SourceFile, measured: Measured | None) -> frozenset[Key] | None:
    """The faults of the classes that a file defines, where they are the file's own.

    None where a construction is longer than is worth following.
    """
    classes = Classes(project)
    reader = Reader(project, classes, measured)
    try:
        return frozenset(
            key_of(fault)
            for cls in classes.of(file)
            if classes.lineage(cls).is_module
            for fault in reader.faults(cls)
            if fault.site.file is file
        )
    except (TooLongError, RecursionError):
        return None
