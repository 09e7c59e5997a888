"""Findings as reports show them: repeats told once, counts in words, where in the model they are."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from bufscan.findings import SEVERITIES
from bufscan.report.shared.sizes import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bufscan.checking.results import CheckResult, TargetResult, Watched
    from bufscan.findings import Finding


class Repeated(NamedTuple):
    """Findings that one change of the source mends: they differ in the tensor alone."""

    first: Finding
    others: tuple[Finding, ...]


def without_repeats(findings: Iterable[Finding]) -> list[Repeated]:
    """In the order of the first of each."""
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for finding in findings:
        groups.setdefault(change_for(finding), []).append(finding)
    return [Repeated(group[0], tuple(group[1:])) for group in groups.values()]


def change_for(finding: Finding) -> tuple[object, ...]:
    """What tells the change that mends a finding from other changes."""
    fix = (finding.location, finding.suggestion)
    same = fix if None not in fix else (*fix, finding.message.replace(f"`{finding.tensor}`", ""))
    return finding.code, finding.severity, *same


def with_note(finding: Finding) -> str:
    """The line that mends it, and what to know of that line; else what to do; "" where that is not known."""
    if finding.suggestion is None or finding.suggestion_note is None:
        return finding.suggestion or finding.suggestion_note or ""
    return f"{finding.suggestion} ({finding.suggestion_note})"


def fingerprint(code: str, target: str, identity: str) -> str:
    """The same as long as it is the same fault of the same target, wherever its line has moved to."""
    from hashlib import sha256

    return sha256(f"{code}\0{target}\0{identity}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


def from_root(result: CheckResult, folder: str) -> CheckResult:
    """The same with files named from the root of the repository, where the check ran in `folder`."""
    if folder == ".":
        return result
    root = PurePosixPath(folder)

    def moved(finding: Finding) -> Finding:
        place = finding.location
        at_root = place and msgspec.structs.replace(place, file=(root / place.file).as_posix())
        return msgspec.structs.replace(finding, location=at_root)

    targets = [
        msgspec.structs.replace(
            target,
            findings=tuple(map(moved, target.findings)),
            ignored=tuple(msgspec.structs.replace(each, finding=moved(each.finding)) for each in target.ignored),
            file=target.file and (root / target.file).as_posix(),
        )
        for target in result.targets
    ]
    return msgspec.structs.replace(result, targets=tuple(targets))


def counted(findings: Iterable[Finding]) -> str:
    """`2 errors, 1 note`; `no findings`."""
    counts = Counter(finding.severity for finding in findings)
    shown = [plural(counts[severity], severity) for severity in SEVERITIES if counts[severity]]
    return ", ".join(shown) or "no findings"


def target_state(target: TargetResult) -> str:
    """`2 errors, 1 skipped`: what was found in a target and how far it was examined."""
    if target.failure is not None:
        return "could not be checked"
    parts = [counted(target.findings)]
    if target.unbuilt:
        parts.append(f"{plural(len(target.unbuilt), 'class')} read from source")
    if target.ignored:
        parts.append(f"{len(target.ignored):,} ignored")
    if target.skipped:
        parts.append(f"{len(target.skipped):,} skipped" if target.is_complete else "not all could be examined")
    return ", ".join(parts)


def verdict(result: CheckResult) -> str:
    """The one sentence that says it all."""
    watched = result.watched
    parts = [f"{counted(result.findings)} in {_extent(result)}"]
    if result.findings and not result.failing:
        parts.append(f"none of them {_at_least(result)}")
    parts += [f"{result.mended:,} fixed"] * bool(result.mended)
    if watched is None:  # a program that was run has no `--fix`
        safe = sum(finding.is_safe for finding in result.findings)
        unsafe = sum(finding.edits is not None for finding in result.findings) - safe
        parts += [f"{safe:,} can be fixed with --fix"] * bool(safe)
        parts += [f"{unsafe:,} with --unsafe-fixes"] * bool(unsafe)
    read = sum(len(target.unbuilt) for target in result.targets)
    if read:
        parts.append(f"{plural(read, 'class')} read from source")
    ignored = sum(len(target.ignored) for target in result.targets)
    if ignored:
        parts.append(f"{ignored:,} ignored")
    skipped = sum(len(target.skipped) for target in result.targets)
    if skipped:
        parts.append(f"{skipped:,} skipped")
    incomplete = sum(not target.is_complete for target in result.targets)
    if incomplete:
        what = "could not be checked" if result.source is None else "could not be read"
        parts.append(f"{plural(incomplete, 'target' if result.source is None else 'file')} {what}")
    if watched is not None and watched.ended is not None:
        parts.append(f"{watched.program} {watched.ended}")
    return "; ".join(parts)


def sighting(finding: Finding) -> str | None:
    """Where a program that was watched showed it; None for what a target showed that was named."""
    seen = finding.seen
    if seen is None:
        return None
    within = f"as `{seen.path}` of {seen.model}" if seen.path != finding.tensor else ""
    test = f"in {seen.test}" if seen.test is not None else ""
    first = " ".join(filter(None, (within, test)))
    if seen.models == 1:
        return first or None
    return f"in {plural(seen.models, 'model')}" + (f", first {first}" if first else "")


def not_counted(watched: Watched) -> Iterator[str]:
    """A line on what was found in installed packages, and one on what nobody looked at, where there is any."""
    if watched.installed:
        packages = ", ".join(f"{name} {count:,}" for name, count in watched.installed.items())
        total = plural(sum(watched.installed.values()), "finding")
        yield f"not counted: {total} in installed packages ({packages}); `--source PACKAGE` counts its own"
    if watched.processes:
        processes = plural(watched.processes, "process of `multiprocessing`")
        yield f"not watched: {processes}, and the models built in them"


def _models_of(watched: Watched) -> str:
    classes = f"{watched.classes:,} classes" if watched.classes != 1 else "1 class"
    return f"{plural(watched.models, 'model')} of {classes}"


def _extent(result: CheckResult) -> str:
    """How much was looked at."""
    if result.watched is not None:
        return _models_of(result.watched)
    if result.source is None:
        return plural(len(result.targets), "target")
    classes = plural(result.source.classes, "class")
    return f"{plural(result.source.files, 'file')} with {classes} of modules"


def _at_least(result: CheckResult) -> str:
    worse = SEVERITIES[: SEVERITIES.index(result.fail_on) + 1]
    return f"an {worse[0]}" if len(worse) == 1 else f"{' or '.join(worse)}"
