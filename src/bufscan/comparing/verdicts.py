"""What came of each pair of tensors, and what is known of those that only one side has."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bufscan.comparing.contents import compare_contents
from bufscan.comparing.fusing import find_fused
from bufscan.comparing.planning import Plan
from bufscan.comparing.proof import Proof
from bufscan.comparing.relations import related, told
from bufscan.comparing.scaled import compare_scaled
from bufscan.comparing.scales import find_scaled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bufscan.comparing.difference import Relation, Tolerance
    from bufscan.comparing.matching import Group, Match
    from bufscan.comparing.verdict import Verdict
    from bufscan.opening.artefact import Sides
    from bufscan.values.workers import Workers


class Verdicts(NamedTuple):
    """What came of comparing the values of all tensors.

    Attributes:
        pairs: a verdict for each match, in their order.
        alone: what is known of tensors of one side, by the id of their records.
    """

    pairs: Sequence[Verdict]
    alone: Mapping[int, Relation]


def compare_values(
    matches: Sequence[Match],
    groups: Sequence[Group],
    sides: Sides,
    tolerance: Tolerance | None,
    workers: Workers,
) -> Verdicts:
    """Compare the values of the matches, and look for what is left of the groups in other tensors."""
    proof = Proof(sides)
    scaled = find_scaled(matches, sides)
    applied = {at: (matches[at], each) for at, each in scaled.items() if each.scale is not None}
    verdicts = compare_scaled(applied, proof, tolerance, workers)
    rest = [at for at in range(len(matches)) if at not in applied]
    plan = Plan([matches[at] for at in rest], sides)
    contents = compare_contents(plan.contents, sides, tolerance, workers)
    for number, at in enumerate(rest):
        verdict = plan.verdict(number, contents)
        if at not in scaled:
            verdict = related(matches[at], verdict, proof)
        elif not verdict.same and verdict.failure is None:
            verdict = told(verdict, scaled[at].relation)
        verdicts[at] = verdict
    alone = {id(each.found): each.relation_of_scale for each in scaled.values()}
    for group in groups:
        alone |= find_fused(group, proof)
    return Verdicts([verdicts[at] for at in range(len(matches))], alone)
