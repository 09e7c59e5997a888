"""Classes that cannot be built without arguments: what source says of them, and how to have them built."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bufscan.checking.linting import finding_of
from bufscan.inventory import Skipped
from bufscan.judging import path_and_code
from bufscan.source.files import shown
from bufscan.source.reading import read_all

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bufscan.findings import Finding
    from bufscan.live.building.discovering import Candidate

_PLACEHOLDERS = {"int": "0", "float": "0.0", "bool": "false", "list": "[]", "tuple": "[]", "dict": "{}"}


class Read(NamedTuple):
    """What source says instead.

    Attributes:
        classes: those that were read, each with why it was not built.
        skipped: those of which it says nothing.
        said: what is wrong with them.
        digests: of the texts that edits are for, by file.
    """

    classes: tuple[Skipped, ...]
    skipped: tuple[Skipped, ...]
    said: tuple[Finding, ...]
    digests: dict[str, str]


def read_instead(unbuilt: Mapping[str, tuple[Candidate, str]]) -> Read:
    """Read classes, given by name with why they cannot be built."""
    files = {name: _file_of(candidate) for name, (candidate, _) in unbuilt.items()}
    only: dict[Path, set[str]] = {}
    for name, (candidate, _) in unbuilt.items():
        if (file := files[name]) is not None:
            only.setdefault(file, set()).add(candidate.name)
    reading = read_all(tuple(only), Path.cwd(), only=only)
    classes: list[Skipped] = []
    skipped: list[Skipped] = []
    for name, (candidate, why) in unbuilt.items():
        file = files[name]
        place = "" if file is None else shown(file)
        is_long = candidate.name in reading.too_long.get(place, ())
        reason = "its construction is too long to follow" if is_long else why
        is_read = candidate.name in reading.read.get(place, ()) and not is_long
        unit = Skipped(what=name, reason=reason, stanza=_stanza(name, candidate))
        (classes if is_read else skipped).append(unit)
    faults = (fault for several in reading.faults.values() for fault in several)
    said = sorted(map(finding_of, faults), key=path_and_code)
    return Read(tuple(classes), tuple(skipped), tuple(said), reading.digests)


def _stanza(name: str, candidate: Candidate) -> str | None:
    """What the configuration needs to build a class, values left to fill in; None where nobody knows what."""
    if not candidate.missing:
        return None
    if candidate.configs.issuperset(candidate.missing):
        return '[tool.bufscan]\nbuild-with = "config-defaults"'
    values = [(each, _PLACEHOLDERS.get(candidate.types.get(each, ""), '"..."')) for each in candidate.missing]
    given = ", ".join(f"{_key(argument)} = {value}" for argument, value in values)
    return f"[[tool.bufscan.build]]\ntarget = {json.dumps(name)}\nkwargs = {{ {given} }}"


def _key(argument: str) -> str:
    """A name of Python's as a key of TOML."""
    return argument if argument.isascii() else json.dumps(argument, ensure_ascii=False)


def _file_of(candidate: Candidate) -> Path | None:
    """Where the class's module is written; None for what has no source."""
    if candidate.source.endswith(".py"):
        return Path(candidate.source)
    file = getattr(sys.modules.get(candidate.source), "__file__", None)
    return Path(file) if isinstance(file, str) and file.endswith(".py") else None
