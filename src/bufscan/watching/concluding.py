"""From what was seen in a program to the result of a check: what counts, and what is only counted."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from bufscan.checking.policy import Policy
from bufscan.checking.results import CheckResult, Failure, Ignored, TargetResult, Watched
from bufscan.findings import Finding, Seen
from bufscan.judging import path_and_code
from bufscan.source.suggesting import Suggestions
from bufscan.watching.faults import skips_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from bufscan.checking.results import Known
    from bufscan.config import Config
    from bufscan.findings import Rule
    from bufscan.watching.faults import Fault, Sightings

PROGRAM = "the program"


def concluded(  # noqa: PLR0913 - all but what was seen have names
    seen: Sightings,
    *,
    config: Config,
    rules: tuple[Rule, ...],
    baseline: Collection[Known] | None = None,
    program: str = PROGRAM,
    ended: str | None = None,
    needs_models: bool = True,
) -> CheckResult:
    """What counts of it: each fault once, under the model that names it best.

    An ignore or the baseline lets a fault pass under any of the names that models give it.

    Args:
        seen: in all processes.
        config: ignores and the threshold.
        rules: those that ran.
        baseline: findings that are known and pass.
        program: what was run.
        ended: how it failed, in words; None where it did not.
        needs_models: whether it is a failure that there was no model.
    """
    policy = Policy(config, rules, baseline)
    skips = skips_of(seen)
    found: dict[str, list[Finding | Ignored]] = {target: [] for target in skips}
    counting = [fault for fault in seen.faults.values() if fault.package is None]
    suggestions = Suggestions(fault.best.finding.slot for fault in counting)
    for fault in counting:
        found.setdefault(fault.best.target, []).append(_verdict(fault, policy, suggestions))
    targets = [
        TargetResult(
            target=target,
            findings=tuple(sorted((each for each in verdicts if isinstance(each, Finding)), key=path_and_code)),
            ignored=tuple(each for each in verdicts if isinstance(each, Ignored)),
            skipped=tuple(skips.get(target, ())),
        )
        for target, verdicts in sorted(found.items())
    ]
    failure = _failure(seen, needs_models=needs_models)
    if failure is not None:
        targets.append(TargetResult(target=program, failure=failure))
    installed = Counter(fault.package for fault in seen.faults.values() if fault.package is not None)
    return CheckResult(
        targets=tuple(targets),
        rules=rules,
        fail_on=config.fail_on,
        watched=Watched(
            program=program,
            ended=ended,
            models=seen.models,
            classes=len(seen.kinds),
            installed=dict(sorted(installed.items())),
            processes=seen.processes,
        ),
    )


def _verdict(fault: Fault, policy: Policy, suggestions: Suggestions) -> Finding | Ignored:
    best = suggestions.on(fault.best.finding)
    first = fault.first
    seen = Seen(model=first.model, path=first.path, test=fault.test, models=fault.models)
    verdict: Finding | Ignored = best
    for target, tensor in _best_first(fault):
        verdict = policy.verdict(target, msgspec.structs.replace(best, tensor=tensor))
        if isinstance(verdict, Ignored):
            return msgspec.structs.replace(verdict, finding=msgspec.structs.replace(best, seen=seen))
    return msgspec.structs.replace(best, seen=seen)


def _best_first(fault: Fault) -> Iterable[tuple[str, str]]:
    best = (fault.best.target, fault.best.finding.tensor)
    return best, *sorted(fault.names - {best})


def _failure(seen: Sightings, *, needs_models: bool) -> Failure | None:
    if seen.bugs:
        last = seen.bugs[0].strip().splitlines()[-1]
        return Failure(message=f"a model could not be measured, which is a bug in bufscan: {last}")
    if needs_models and not seen.models:
        return Failure(message="it made no model, so there was nothing to look at")
    if needs_models and not seen.tensors:
        return Failure(message="its models hold no tensor, so there was nothing to look at")
    return None
