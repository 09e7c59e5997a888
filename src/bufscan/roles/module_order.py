"""Whether entries lie in the order in which a walk over the modules lists them."""

from __future__ import annotations

from itertools import groupby, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# Characters of all prefixes of all modules: a model of 100,000 tensors needs a few millions.
_MOST_PREFIX_CHARACTERS = 30_000_000

# torch's own modules register their tensors in this order. Neither sorting nor reversing keeps it.
_REGISTERED_IN_ORDER = (
    ("weight", "bias"),
    ("running_mean", "running_var"),
    ("running_var", "num_batches_tracked"),
)


def lies_in_module_order(
    modules: Mapping[str, Mapping[str, int]], owners: Iterable[str], tree: Mapping[str, int | None] | None
) -> bool:
    """Whether the entries lie as `state_dict()` lists them.

    Args:
        modules: module prefix -> name within the module -> position.
        owners: module prefix of each entry, by position.
        tree: every module prefix in the order of the walk, where known.
    """
    in_order = {
        entries[first] < entries[second]
        for entries in modules.values()
        for first, second in _REGISTERED_IN_ORDER
        if first in entries and second in entries
    }
    runs = [owner for owner, _ in groupby(owners)]
    if tree is not None:
        return False not in in_order and _follows(runs, tree)
    # Any dict of tensors can look like a walk: at least one module must be known to lie as it was registered.
    return in_order == {True} and _is_walk(runs)


def _follows(runs: Sequence[str], tree: Mapping[str, int | None]) -> bool:
    """Whether the modules appear once each, in the order of the tree; those outside it do not count."""
    rank = {prefix: index for index, prefix in enumerate(tree)}
    ranks = [rank[owner] for owner in runs if owner in rank]
    return all(before < after for before, after in pairwise(ranks))


def _is_walk(runs: Sequence[str]) -> bool:
    """Whether every module's own entries come together, before those of its children, and children together."""
    if sum(len(owner) * (owner.count(".") + 1) for owner in runs) > _MOST_PREFIX_CHARACTERS:
        return False
    entered = {""}
    path = [""]
    for owner in runs:
        while path[-1] and not f"{owner}.".startswith(f"{path[-1]}."):
            path.pop()
        if path[-1] == owner and (owner or len(entered) > 1):
            return False
        prefix = path[-1]
        for part in owner.removeprefix(prefix).lstrip(".").split(".") if owner else ():
            prefix = f"{prefix}.{part}" if prefix else part
            if prefix in entered:
                return False
            entered.add(prefix)
            path.append(prefix)
    return True
