"""What `lint` says of classes that can be built, held against what `check` measures on them.

    python tests/bench/lint_accuracy.py PACKAGE...

Each package must be importable, with what it needs. A class counts where `check` builds it without arguments. A
finding is the same where code and line are; it is listed where only one of the two has it, to be read by hand.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bufscan.checking import check
from bufscan.checking.linting import lint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.checking.results import CheckResult
    from bufscan.findings import Finding

Place = tuple[str, int, str]


class Comparison(NamedTuple):
    """The findings of one package: what both say, and what only one of them does."""

    package: str
    built: int
    agreed: list[Place]
    only_lint: dict[Place, Finding]
    only_check: dict[Place, Finding]


def place_of(finding: Finding) -> Place | None:
    """File, line and code; None for what no source assigns."""
    if finding.location is None:
        return None
    return str(Path(finding.location.file).resolve()), finding.location.line, finding.code


def classes_built(result: CheckResult) -> Iterator[type]:
    """The classes of the models that were built, with all their bases."""
    for target in result.targets:
        module, _, name = target.target.partition(":")
        if not name or target.failure is not None or target.read:
            continue
        cls = getattr(importlib.import_module(module), name.partition("(")[0], None)
        if isinstance(cls, type):
            yield from cls.__mro__[:-1]


def compare(package: str) -> Comparison:
    """Check and lint one package, and hold the findings on what was built against each other."""
    module = importlib.import_module(package)
    folder = Path(str(module.__file__)).parent
    result = check(package)
    measured = {
        place: finding
        for finding in result.findings
        if finding.certainty == "exact" and (place := place_of(finding)) and place[0].startswith(str(folder))
    }
    owners = set()
    for cls in classes_built(result):
        try:
            owners.add((str(Path(str(inspect.getsourcefile(cls))).resolve()), cls.__qualname__))
        except TypeError:
            continue
    read = {}
    for finding in lint(str(folder)).findings:
        place = place_of(finding)
        names = finding.tensor.split(".")
        own = {".".join(names[:count]) for count in range(1, len(names) + 1)}
        was_built = place in measured or any(place and (place[0], name) in owners for name in own)
        if place is not None and was_built:  # as a part of another model too
            read[place] = finding
    return Comparison(
        package,
        len(result.targets),
        sorted(measured.keys() & read.keys()),
        {place: read[place] for place in sorted(read.keys() - measured.keys())},
        {place: measured[place] for place in sorted(measured.keys() - read.keys())},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", nargs="+", metavar="PACKAGE")
    totals: Counter[str] = Counter()
    rows = []
    for package in parser.parse_args().packages:
        found = compare(package)
        rows.append(found)
        for label, several in (("only lint", found.only_lint), ("only check", found.only_check)):
            for (file, line, code), finding in several.items():
                print(f"{label}: {code} {file}:{line}: {finding.message}")
    print(f"{'package':30}{'models':>8}{'agreed':>8}{'only lint':>11}{'only check':>12}")
    for row in rows:
        counts = (row.built, len(row.agreed), len(row.only_lint), len(row.only_check))
        totals.update(dict(zip(("built", "agreed", "lint", "check"), counts, strict=True)))
        print(f"{row.package:30}{counts[0]:8}{counts[1]:8}{counts[2]:11}{counts[3]:12}")
    print(f"{'all':30}{totals['built']:8}{totals['agreed']:8}{totals['lint']:11}{totals['check']:12}")


if __name__ == "__main__":
    main()
