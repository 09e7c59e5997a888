"""Read many files: what is wrong with the classes in them, as plain records that another process can hand over."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from bufscan.errors import UnreadableError
from bufscan.findings import SEVERITIES, Severity
from bufscan.source.abstract_pass import TooLongError
from bufscan.source.classes import Classes
from bufscan.source.edits import Fix, changed_line
from bufscan.source.faults import Reader
from bufscan.source.files import shown
from bufscan.source.mending import key_of, verified_fixes
from bufscan.source.project import Project
from bufscan.source.proposals import advice_on

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from bufscan.source.faults import Fault
    from bufscan.source.project import SourceFile


class FileFault(msgspec.Struct, frozen=True, kw_only=True):
    """A fault, by plain values.

    Attributes:
        file, line: where.
        code, severity, name, message: as in `Fault`.
        fix: what mends it, verified; None where nothing is known to.
        suggestion: the line that the fix makes, where it is one.
        note: what the fix does to old checkpoints; what to do, where there is none.
    """

    file: str
    line: int
    code: str
    severity: Severity
    name: str
    message: str
    fix: Fix | None = None
    suggestion: str | None = None
    note: str | None = None

    @property
    def identity(self) -> tuple[str, str, str]:
        """The same for all that is wrong with one attribute in one way, wherever it is assigned."""
        return self.file, self.code, self.name

    @property
    def order(self) -> tuple[int, int, bool]:
        """The worst of these comes first, then the first in the source, and then one that can be mended."""
        return SEVERITIES.index(self.severity), self.line, self.fix is None


class Reading(msgspec.Struct, kw_only=True):
    """What was read.

    Attributes:
        faults: by file.
        failures: why a file could not be read.
        too_long: classes whose construction could not be followed, by file.
        classes: of modules, in all.
        read: the classes of modules that were found, by file.
        digests: of the texts that fixes are for, by file.
    """

    faults: dict[str, list[FileFault]] = {}
    failures: dict[str, str] = {}
    too_long: dict[str, list[str]] = {}
    classes: int = 0
    read: dict[str, list[str]] = {}
    digests: dict[str, str] = {}

    def named(self) -> list[str]:
        """The files that there is something to say of."""
        return sorted({*self.faults, *self.failures, *self.too_long})

    def add(self, fault: FileFault) -> None:
        """Take in a fault; the same one, seen from another class, only once."""
        known = self.faults.setdefault(fault.file, [])
        same = next((place for place, each in enumerate(known) if each.identity == fault.identity), None)
        if same is None:
            known.append(fault)
        elif fault.order < known[same].order:
            known[same] = fault

    @classmethod
    def together(cls, readings: Iterable[Reading], files: Iterable[Path]) -> Reading:
        """Several readings as one, without what files outside them are blamed for, each fault once."""
        wanted = {shown(file) for file in files}
        whole = cls()
        for reading in readings:
            for fault in (each for several in reading.faults.values() for each in several):
                if fault.file in wanted:
                    whole.add(fault)
            whole.failures |= reading.failures
            whole.too_long |= reading.too_long
            whole.classes += reading.classes
            whole.digests |= reading.digests
        return whole


def read_all(
    files: Sequence[Path],
    folder: Path,
    piped: tuple[Path, str] | None = None,
    only: Mapping[Path, Collection[str]] | None = None,
) -> Reading:
    """Read files, and the text of one more as if it stood in a file.

    Args:
        files: which.
        folder: where names of modules may be counted from, beside the roots of packages.
        piped: a path and the text that goes by it.
        only: the classes to read of each file, by qualified name; None for all.
    """
    project = Project(folder)
    reading = Reading()
    sources: list[SourceFile] = []
    if piped is not None:
        try:
            sources.append(project.read(*piped))
        except UnreadableError as error:
            reading.failures[shown(piped[0])] = error.message
    for file in files:
        try:
            sources.append(project.file(file))
        except UnreadableError as error:
            reading.failures[shown(file)] = error.message
    classes = Classes(project)
    reader = Reader(project, classes)
    for source in sources:
        found: list[Fault] = []
        for cls in classes.of(source):
            wanted = only is None or cls.name in only.get(source.path, ())
            if wanted and classes.lineage(cls).is_module:
                reading.classes += 1
                reading.read.setdefault(shown(source.path), []).append(cls.name)
                try:
                    found += reader.faults(cls)
                except (TooLongError, RecursionError):
                    reading.too_long.setdefault(shown(source.path), []).append(cls.name)
        own = [fault for fault in found if fault.site.file is source]
        fixes = verified_fixes(project, source, own, is_whole=only is None) if own else {}
        if fixes:
            reading.digests[shown(source.path)] = digest_of(source.text)
        for fault in found:
            reading.add(_plain(fault, fixes.get(key_of(fault)) if fault.site.file is source else None))
    return reading


def _plain(fault: Fault, fix: Fix | None) -> FileFault:
    advice = advice_on(fault.kind, fault.attribute)
    return FileFault(
        file=shown(fault.site.file.path),
        line=fault.site.line,
        code=fault.code,
        severity=fault.severity,
        name=fault.name,
        message=fault.message,
        fix=fix,
        suggestion=None if fix is None else changed_line(fault.site.file.text, fix),
        note=advice if fix is None else fix.note_at(fault.site.line, advice),
    )


def digest_of(text: str) -> str:
    """The same as long as a text is."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
