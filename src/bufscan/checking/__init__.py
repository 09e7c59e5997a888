"""Check targets against the rules: the one place that selects, ignores, sorts and decides the exit code."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import msgspec

from bufscan.bytesource import OpenFiles
from bufscan.checking.arguments import unused_entries
from bufscan.checking.examining import Means, examine
from bufscan.checking.fixing import Editable
from bufscan.checking.policy import Policy
from bufscan.checking.results import CheckResult, Ignored, TargetResult
from bufscan.checking.selecting import selected_rules
from bufscan.config import Config
from bufscan.errors import UsageError
from bufscan.findings import Finding
from bufscan.inventory import Skipped
from bufscan.joining.counterpart import require_one_model
from bufscan.judging import judge, said_on_all
from bufscan.opening.artefact import BuildOptions, files_first, is_code
from bufscan.ranks import ALONE
from bufscan.source.suggesting import Suggestions
from bufscan.target import matching, named_from_here, require_target

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from bufscan.checking.examining import Examined
    from bufscan.checking.results import Known
    from bufscan.findings import Rule
    from bufscan.judging import Judgement
    from bufscan.ranks import Ranks
    from bufscan.rehearsal import Plan
    from bufscan.target import Given, Taken
    from bufscan.values.workers import Progress

# Ends the name of a target, or goes on to those of the modules and models in it, and to a model's arguments.
_AFTER_CODE = "\0.:("


def check(  # noqa: PLR0913 - all but the targets have names and defaults
    *targets: Given,
    config: Config | None = None,
    model: str | None = None,
    from_config: bool = False,
    device: str | None = None,
    dtype: str | None = None,
    baseline: Collection[Known] | None = None,
    values: bool = False,
    rehearse: Plan | None = None,
    files: OpenFiles | None = None,
    progress: Progress | None = None,
    ranks: Ranks = ALONE,
) -> CheckResult:
    """Run the rules over the targets.

    What cannot be read or built is a failure in the result, and everything else is still checked.

    Args:
        targets: files, folders, names of models (`pkg.models:Model`) or of modules that define some
            (`pkg.models`), models themselves, or state_dicts; those of the configuration when there are none.
        config: what to run and what to let pass; the defaults when None. No file is looked for.
        model: the model that the checkpoints among the targets belong to.
        from_config: build that model from the `config.json` of the Hugging Face folder that each of them is.
        device: where models are built, as in `bufscan.inspect`.
        dtype: their default dtype, the same.
        baseline: findings that are known and pass.
        values: whether to read the values of the tensors too.
        rehearse: how to rehearse the move of every model to another device; None to do as the configuration says.
        files: keeps open what is read; None to close it at the end.
        progress: told now and then how many bytes of how many values have been read.
        ranks: the processes that share the values of files, all of which make this call.

    Raises:
        TargetError: a file was written to while it was read.
        UsageError: there is no target, no checkpoint for the model, or the configuration names a rule that does
            not exist.
    """
    config = config or Config()
    rules = selected_rules(config)
    given = [require_target(target) for target in targets or matching(config.targets)]
    # One that is named twice, by a pattern and by itself, is one.
    named = [each for at, each in enumerate(given) if not (isinstance(each, str) and each in given[:at])]
    if not named:
        raise UsageError("no target", hint="name one, or list `targets` under `[tool.bufscan]` in pyproject.toml")
    with OpenFiles() if files is None else nullcontext(files) as opened:
        means = Means(
            files=opened,
            entries=config.build,
            model=model,
            from_config=from_config,
            build=BuildOptions(device=device, dtype=dtype, configs=config.build_with is not None),
            values=values,
            plan=rehearse,
            ranks=ranks,
            progress=progress,
        )
        _require_checkpoint(named, means)
        return _check(named, config, means, rules, baseline)


def _check(
    named: Sequence[Taken],
    config: Config,
    means: Means,
    rules: tuple[Rule, ...],
    baseline: Collection[Known] | None,
) -> CheckResult:
    rehearses = means.plan is not None or any(entry.rehearse is not None for entry in means.entries)
    given = {"model": means.joins, "values": means.values, "rehearsal": rehearses}
    at_hand = [rule for rule in rules if rule.needs is None or given.get(rule.needs)]
    policy = Policy(config, at_hand, baseline)
    examined = _never_nothing(_examine_files_first(named, means))
    said = said_on_all([judge(each.subjects, rules) for each in examined], means.ranks)
    suggestions = Suggestions(finding.slot for each in said for finding in each.findings)
    editable = Editable(target for target in named if isinstance(target, str))
    for each in examined:
        suggestions.digests.update(each.digests)
    results = []
    for each, judged in zip(examined, said, strict=True):
        found = [suggestions.on(finding) for finding in judged.findings] + _selected(each.said, rules)
        results.append(_judged(each, judged, map(editable.without_others, found), policy))
    results = _without_measured(results)
    # When all findings are known, ignores can be: the comment on a class may be needed by another target.
    results = [
        _with(result, policy.unused_comments(each.classes), policy)
        for result, each in zip(results, examined, strict=True)
    ]
    if config.file is not None and _is_all(named, config) and all(result.is_complete for result in results):
        unused = _unused_in_file(config, config.file, policy, [each.target for each in examined])
        results += [unused] if unused.findings or unused.ignored or unused.skipped else []
    return CheckResult(
        targets=tuple(results),
        rules=rules,
        fixed=_fixed(named, results, policy),
        fail_on=config.fail_on,
        digests=suggestions.digests,
    )


def _require_checkpoint(targets: Sequence[Taken], means: Means) -> None:
    require_one_model(means.model, from_config=means.from_config)
    if means.joins and all(map(is_code, targets)):
        raise UsageError("a model is joined to a checkpoint, and every target is a model itself")


def _examine_files_first(targets: Sequence[Taken], means: Means) -> list[Examined]:
    """In the order of the targets, but all files are read before any code of the user's runs."""
    found = {position: list(examine(targets[position], means)) for position in files_first(targets)}
    return [each for position in range(len(targets)) for each in found[position]]


def _never_nothing(examined: list[Examined]) -> list[Examined]:
    """A check that looked at nothing at all is no success, unless the configuration skips what there is."""
    if any(each.subjects or each.read for each in examined):
        return examined
    return [msgspec.structs.replace(each, failure=each.failure or each.nothing) for each in examined]


def _judged(examined: Examined, said: Judgement, findings: Iterable[Finding], policy: Policy) -> TargetResult:
    unread = [skipped for subject in examined.subjects for skipped in subject.inventory.skipped]
    result = TargetResult(
        target=examined.target,
        skipped=(*examined.skipped, *unread, *said.skipped),
        failure=examined.failure,
        file=examined.file,
        unbuilt=examined.read,
    )
    return _with(result, findings, policy)


def _selected(findings: Iterable[Finding], rules: Iterable[Rule]) -> list[Finding]:
    codes = {rule.code for rule in rules}
    return [finding for finding in findings if finding.code in codes]


def _without_measured(results: Sequence[TargetResult]) -> list[TargetResult]:
    """What the source says of a line is left out where a model that was built shows the same."""
    measured = {
        (finding.location, finding.code)
        for result in results
        for finding in (*result.findings, *(each.finding for each in result.ignored))
        if finding.certainty == "exact" and finding.location is not None
    }
    return [
        msgspec.structs.replace(
            result,
            findings=tuple(
                each
                for each in result.findings
                if each.certainty == "exact" or (each.location, each.code) not in measured
            ),
        )
        for result in results
    ]


def _with(result: TargetResult, findings: Iterable[Finding], policy: Policy) -> TargetResult:
    """The result with these findings too, as far as they count."""
    found = [policy.verdict(result.target, each) for each in findings]
    return msgspec.structs.replace(
        result,
        findings=(*result.findings, *(each for each in found if isinstance(each, Finding))),
        ignored=(*result.ignored, *(each for each in found if isinstance(each, Ignored))),
    )


def _is_all(named: Iterable[Taken], config: Config) -> bool:
    """Whether these are all targets that the configuration speaks of: it lists no more, or none at all."""
    listed = map(named_from_here, matching(config.targets))
    return {named_from_here(target) for target in named if isinstance(target, str)}.issuperset(listed)


def _unused_in_file(config: Config, file: str, policy: Policy, examined: Collection[str]) -> TargetResult:
    """What the configuration says of nothing any more. A model that it means to build was not checked.

    Where it lists no targets, its models to build may be those of another check; its ignores are for all of them.
    """
    entries = list(unused_entries(config.build, examined)) if config.targets else []
    builds = tuple(
        Skipped(what=f"`{entry.target}`", reason="no target defines the model of this `build` entry", failed=True)
        for entry in entries
        if entry.skip is None
    )
    skips = [entry.target for entry in entries if entry.skip is not None]
    result = TargetResult(target=file, skipped=builds, file=file)
    return _with(result, policy.unused_entries(skips), policy)


def _fixed(named: Iterable[Taken], results: Iterable[TargetResult], policy: Policy) -> tuple[Known, ...]:
    """What the baseline knows of these targets, and of the models in them, and nobody finds any more."""
    texts = [target for target in named if isinstance(target, str)]
    marks = {named_from_here(text): _AFTER_CODE if is_code(text) else "\0" for text in texts}
    within = tuple(f"{name}{mark}" for name in marks for mark in marks[name])
    unknown = [result.target for result in results if not result.is_complete]
    unknown += [skipped.what for result in results for skipped in result.skipped]
    outside = tuple(f"{named_from_here(name)}{mark}" for name in unknown for mark in _AFTER_CODE)
    return policy.fixed(within=within, outside=outside)
