"""Fixes that are verified: applied to the text they parse, the fault is gone, and no new one has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.errors import UnreadableError
from bufscan.source.abstract_pass import TooLongError
from bufscan.source.classes import Classes
from bufscan.source.edits import applied, proposed
from bufscan.source.faults import Reader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bufscan.source.edits import Fix
    from bufscan.source.faults import Fault
    from bufscan.source.project import Project, SourceFile

Key = tuple[str, str]


def key_of(fault: Fault) -> Key:
    """What tells a fault from the others of its file."""
    return fault.code, fault.name


def verified_fixes(project: Project, source: SourceFile, faults: Sequence[Fault]) -> dict[Key, Fix]:
    """The fixes of faults in one file that do what they should."""
    by_key: dict[Key, Fault] = {}
    for fault in faults:
        by_key.setdefault(key_of(fault), fault)
    known = frozenset(by_key)
    candidates = {key: list(proposed(fault)) for key, fault in by_key.items()}
    firsts = {key: fixes[0] for key, fixes in candidates.items() if fixes}
    if len(firsts) > 1 and _all_mend(project, source, firsts, known):
        return firsts
    found: dict[Key, Fix] = {}
    for key, fixes in candidates.items():
        for fix in fixes:
            if _mends(project, source, {key: fix}, known) and (
                not found or _all_mend(project, source, found | {key: fix}, known)
            ):
                found[key] = fix
                break
    return found


def _all_mend(project: Project, source: SourceFile, fixes: dict[Key, Fix], known: frozenset[Key]) -> bool:
    """Whether they do so together, and those that are safe without the others too."""
    safe = {key: fix for key, fix in fixes.items() if fix.applicability == "safe"}
    together = _mends(project, source, fixes, known)
    return together and (len(safe) in (0, len(fixes)) or _mends(project, source, safe, known))


def _mends(project: Project, source: SourceFile, fixes: dict[Key, Fix], known: frozenset[Key]) -> bool:
    """Whether the text parses with these fixes, their faults are gone, and no new ones are there."""
    try:
        text = applied(source.text, [edit for fix in fixes.values() for edit in fix.edits])
        other, file = project.with_text(source.path, text)
        left = keys_in(other, file)
    except (UnreadableError, TooLongError, ValueError):
        return False
    return left <= known - set(fixes)


def keys_in(project: Project, file: SourceFile) -> frozenset[Key]:
    """The faults of the classes that a file defines, where they are the file's own.

    Raises:
        TooLongError: a construction is longer than is worth following.
    """
    classes = Classes(project)
    reader = Reader(project, classes)
    return frozenset(
        key_of(fault)
        for cls in classes.of(file)
        if classes.lineage(cls).is_module
        for fault in reader.faults(cls)
        if fault.site.file is file
    )
