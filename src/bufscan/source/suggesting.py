"""What to do about the faults of live models: the edits that source offers for them, or a sentence.

Nothing is imported. What is installed is not the user's to edit, and is not read.
"""

from __future__ import annotations

import linecache
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from bufscan.errors import UnreadableError
from bufscan.source.abstract_pass import TooLongError
from bufscan.source.classes import Classes
from bufscan.source.edits import changed_line
from bufscan.source.faults import Reader
from bufscan.source.files import is_installed, shown
from bufscan.source.mending import key_of, verified_fixes
from bufscan.source.project import Project
from bufscan.source.proposals import advice_on
from bufscan.source.reading import digest_of
from bufscan.source.values import Module, Parameter, Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bufscan.findings import Finding
    from bufscan.inventory import Inventory, Location, Slot
    from bufscan.source.edits import Fix
    from bufscan.source.faults import Fault
    from bufscan.source.project import SourceFile
    from bufscan.source.values import Value

_SHOWN = "what a model shows"
_SHOWS = {"BUF001": Tensor, "BUF002": Parameter, "BUF003": Module}
_OF_ATTRIBUTES = frozenset(("plain", "cache", "renewed", "state", "carried", "complex"))


class _Suggestion(NamedTuple):
    """What to do about a slot.

    Attributes:
        fix: an edit that mends it, verified; None where none is known.
        line: the statement that the fix makes, where it stands on one line.
        advice: what to do, in a sentence.
    """

    fix: Fix | None
    line: str | None
    advice: str | None

    def note_at(self, place: Location | None) -> str | None:
        """What to know of the fix of what is shown at a place; without one, what the user can do."""
        if self.fix is None:
            return None if _is_others(place) else self.advice
        return self.fix.note_at(None if place is None else place.line, self.advice)


class Suggestions:
    """Of a number of slots, each file read once.

    Attributes:
        digests: of the texts that edits are for, by file.
    """

    def __init__(self, slots: Iterable[Slot | None]) -> None:
        self._found: dict[Slot, _Suggestion] = {}
        self.digests: dict[str, str] = {}
        by_file: defaultdict[str, list[Slot]] = defaultdict(list)
        for slot in dict.fromkeys(slots):
            if slot is not None:
                by_file[slot.file].append(slot)
        project = Project(Path.cwd())
        for file, of_file in by_file.items():
            fixes: Mapping[Slot, Fix] = {}
            source = None if not file or is_installed(file) else _read(project, file)
            if source is not None:
                fixes = _fixes_of(project, source, of_file)
                self.digests[shown(source.path)] = digest_of(source.text)
            for slot in of_file:
                fix = fixes.get(slot)
                line = None if fix is None or source is None else changed_line(source.text, fix)
                self._found[slot] = _Suggestion(fix, line, advice_on(slot.kind, slot.attribute))

    def on(self, finding: Finding) -> Finding:
        """The finding with what to do about it, where that is in code of the user's own."""
        slot, place = finding.slot, finding.location
        if _is_others(place):
            return msgspec.structs.replace(finding, suggestion=None, suggestion_note=None)
        if slot is None or slot.code != finding.code:
            return finding
        found = self._found[slot]
        fix = found.fix if place is not None and place.file == shown(Path(slot.file)) else None
        return msgspec.structs.replace(
            finding,
            suggestion=found.line,
            suggestion_note=found.note_at(place),
            edits=None if fix is None else fix.edits,
            is_safe=fix is not None and fix.applicability == "safe",
        )

    def in_inventory(self, inventory: Inventory) -> Inventory:
        """The inventory, each tensor with what to do about it."""
        tensors = [
            tensor
            if tensor.slot is None
            else msgspec.structs.replace(
                tensor,
                suggestion=self._found[tensor.slot].line,
                suggestion_note=self._found[tensor.slot].note_at(tensor.origin),
            )
            for tensor in inventory.tensors
        ]
        return msgspec.structs.replace(inventory, tensors=tuple(tensors))


def _is_others(place: Location | None) -> bool:
    """Whether it lies in an installed package, which nobody edits."""
    return place is not None and is_installed(place.file)


def _read(project: Project, file: str) -> SourceFile | None:
    """The source of a file; of what stands in none (the cell of a notebook), as Python itself shows it."""
    path = Path(file)
    try:
        return project.file(path) if path.is_file() else project.read(path, "".join(linecache.getlines(file)))
    except UnreadableError:
        return None


def _fixes_of(project: Project, source: SourceFile, slots: Iterable[Slot]) -> dict[Slot, Fix]:
    """Edits that read again mend the slots of one file, and make no new fault."""
    classes = Classes(project)
    defined = {cls.name: cls for cls in classes.of(source) if classes.lineage(cls).is_module}
    measured: defaultdict[tuple[Path, str], dict[str, Value]] = defaultdict(dict)
    by_owner: defaultdict[str, list[Slot]] = defaultdict(list)
    for slot in slots:
        by_owner[slot.owner].append(slot)
        if slot.code in _SHOWS:
            measured[source.path, slot.owner][slot.attribute] = _SHOWS[slot.code](_SHOWN)
    reader = Reader(project, classes, measured)
    faults: dict[Slot, Fault] = {}
    for owner in by_owner.keys() & defined.keys():
        try:
            found = list(reader.faults(defined[owner]))
        except (TooLongError, RecursionError):
            continue
        for slot in by_owner[owner]:
            for fault in found:
                if fault.code == slot.code and fault.site.file is source and _is_about(fault, slot):
                    faults.setdefault(slot, _as_measured(fault, slot))
    fixes = verified_fixes(project, source, faults.values(), measured)
    return {slot: fixes[key] for slot, fault in faults.items() if (key := key_of(fault)) in fixes}


def _is_about(fault: Fault, slot: Slot) -> bool:
    """Whether they have the same name, which source may compute: `f"mask_{i}"`."""
    if "{" not in fault.attribute:
        return fault.attribute == slot.attribute
    parts = re.split(r"\{[^{}]*\}", fault.attribute)
    return re.fullmatch(".+".join(map(re.escape, parts)), slot.attribute) is not None


def _as_measured(fault: Fault, slot: Slot) -> Fault:
    """The fault, with what the model showed of the attribute that the tensor itself is."""
    return fault._replace(kind=slot.kind) if {fault.kind, slot.kind} <= _OF_ATTRIBUTES else fault
