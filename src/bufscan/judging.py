"""What rules say of inventories: each fault once, in an order that does not depend on the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from bufscan.findings import Finding
from bufscan.inventory import Skipped
from bufscan.tensor_names import counting_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bufscan.findings import Rule, Subject
    from bufscan.ranks import Ranks


class Judgement(NamedTuple):
    """Findings by path and code, and what a rule should have looked at and could not."""

    findings: list[Finding]
    skipped: list[Skipped]


def judge(subjects: Iterable[Subject], rules: Iterable[Rule]) -> Judgement:
    """What the rules say of everything that belongs to one target."""
    rules = tuple(rules)
    found: list[Finding] = []
    skipped: list[Skipped] = []
    for subject in subjects:
        for rule in rules:
            for each in rule.check(rule, subject):
                if isinstance(each, Finding):
                    found.append(each)
                else:
                    skipped.append(each)
    return Judgement(sorted(_once(found), key=path_and_code), skipped)


def said_on_all(said: Sequence[Judgement], ranks: Ranks) -> Sequence[Judgement]:
    """What is said of each target on any rank: of a model that they hold together, each sees its own shards.

    Raises:
        RanksError: another rank failed, or is gone.
    """
    if ranks.size == 1:
        return said
    told = ranks.exchange(f"{len(said)} targets", msgspec.msgpack.encode(said))
    each_rank = [msgspec.msgpack.decode(each, type=list[tuple[list[Finding], list[Skipped]]]) for each in told]
    return [_of_ranks(target) for target in zip(*each_rank, strict=True)]


def _of_ranks(said: Iterable[tuple[list[Finding], list[Skipped]]]) -> Judgement:
    """The first rank's, then what another says of something else; that it is that one's is said with it."""
    findings: dict[tuple[str, str], Finding] = {}
    skipped: dict[str, Skipped] = {}
    own: list[Finding] = []
    for rank, (found, left) in enumerate(said):
        if not rank:
            own = found
        for finding in found:
            there = msgspec.structs.replace(finding, message=f"{finding.message} (on rank {rank})")
            findings.setdefault((finding.code, finding.identity), there)
        for each in left:
            reason = f"{each.reason} (on rank {rank})" if rank else each.reason
            skipped.setdefault(each.what, msgspec.structs.replace(each, reason=reason))
    known = {(finding.code, finding.identity) for finding in own}
    others = [finding for key, finding in findings.items() if key not in known]
    return Judgement(sorted([*own, *others], key=path_and_code), list(skipped.values()))


def path_and_code(finding: Finding) -> tuple[object, ...]:
    """For sorting by path, `layers[2]` before `layers[10]`, then by code."""
    return counting_key(finding.tensor), finding.code, finding.message


def _once(findings: Iterable[Finding]) -> Iterable[Finding]:
    """A fault that a pickled module shows and its model too is the same; the model knows the line."""
    known: dict[tuple[str, str, str], Finding] = {}
    for finding in findings:
        key = (finding.code, finding.tensor, finding.message)
        if key not in known or known[key].location is None:
            known[key] = finding
    return known.values()
