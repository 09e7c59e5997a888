"""What was seen in a program's models, as plain data: one record a fault, whichever models show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bufscan.findings import SEVERITIES, Finding
from bufscan.inventory import Skipped

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST_NAMES = 100
"""Of one fault: enough for any ignore that a person writes."""


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """One model that shows a fault.

    Attributes:
        target: the class that holds the tensor, as a target names it.
        finding: with the tensor's path in an object of that class.
        model: the class of the whole model.
        path: the tensor's path in that.
    """

    target: str
    finding: Finding
    model: str
    path: str

    @property
    def rank(self) -> tuple[int, int, str, str]:
        """By which one stands for all, in whatever order they came: the worst, then that of the shortest name."""
        tensor = self.finding.tensor
        return SEVERITIES.index(self.finding.severity), tensor.count("."), self.target, tensor


class Fault(msgspec.Struct, kw_only=True):
    """One thing to mend, in however many models it shows.

    Attributes:
        best: the sight that is told of.
        first: the sight that came first.
        names: target and tensor of all sights, in the class and in the model, as far as there is room.
        package: the installed package whose code it lies in; None for the user's own.
        test: the test that ran when it showed first; None where none did.
        at: when that was, in seconds since the epoch.
        models: how many models show it.
    """

    best: Sight
    first: Sight
    names: set[tuple[str, str]]
    package: str | None
    test: str | None
    at: float
    models: int = 0

    def add(self, sight: Sight) -> None:
        """Another model shows it too."""
        self.best = min(self.best, sight, key=lambda each: each.rank)
        if len(self.names) < _MOST_NAMES:
            self.names |= {(sight.target, sight.finding.tensor), (sight.model, sight.path)}


class Sightings(msgspec.Struct, kw_only=True):
    """Everything that was seen in one process.

    Attributes:
        faults: by what tells them apart.
        models: how many models there were.
        kinds: the classes of these.
        tensors: how many tensors were looked at.
        processes: how many others it made with `multiprocessing`, which were not looked at.
        skipped: what could not be examined.
        bugs: what went wrong in bufscan itself.
    """

    faults: dict[str, Fault] = {}
    models: int = 0
    kinds: set[str] = set()
    tensors: int = 0
    processes: int = 0
    skipped: set[tuple[str, str, str, bool]] = set()
    bugs: list[str] = []


def merged(parts: Iterable[Sightings]) -> Sightings:
    """What several processes saw, as one."""
    whole = Sightings()
    for part in parts:
        whole.models += part.models
        whole.kinds |= part.kinds
        whole.tensors += part.tensors
        whole.processes += part.processes
        whole.skipped |= part.skipped
        whole.bugs += part.bugs
        for key, fault in part.faults.items():
            known = whole.faults.get(key)
            if known is None:
                whole.faults[key] = msgspec.structs.replace(fault, names=set(fault.names))
                continue
            if fault.at < known.at:
                known.first, known.test, known.at = fault.first, fault.test, fault.at
            known.models += fault.models
            known.best = min(known.best, fault.best, key=lambda each: each.rank)
            known.names |= fault.names
    return whole


def encoded(seen: Sightings) -> bytes:
    """For another process."""
    return msgspec.msgpack.encode(seen)


def decoded(data: bytes) -> Sightings:
    """What `encoded` made."""
    return msgspec.msgpack.decode(data, type=Sightings)


def skips_of(seen: Sightings) -> dict[str, list[Skipped]]:
    """What could not be examined, by the class of the model."""
    found: dict[str, list[Skipped]] = {}
    for target, what, reason, failed in sorted(seen.skipped):
        found.setdefault(target, []).append(Skipped(what=what, reason=reason, failed=failed))
    return found
