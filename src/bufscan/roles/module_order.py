"""Whether entries lie in the order in which a walk over the modules lists them."""

from __future__ import annotations

from itertools import groupby, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Characters of all prefixes of all modules: a model of 100,000 tensors needs a few millions.
_MOST_PREFIX_CHARACTERS = 30_000_000


def lies_in_module_order(owners: Sequence[str], leaves: Sequence[str], tree: dict[str, int | None] | None) -> bool:
    """Whether the entries lie as a walk over the modules would list them, and not merely as sorting would.

    Args:
        owners: module prefix of each entry.
        leaves: name of each entry within its module.
        tree: every module prefix in the order of the walk, where known.
    """
    runs = [owner for owner, _ in groupby(owners)]
    if tree is not None:
        return _follows(runs, tree)
    if not _is_walk(runs):
        return False
    # Sorted names can look like a walk. Only a module whose own entries are not sorted tells.
    return any(
        owner == following_owner and leaf > following_leaf
        for (owner, following_owner), (leaf, following_leaf) in zip(
            pairwise(owners), pairwise(leaves), strict=True
        )
    )


def _follows(runs: Sequence[str], tree: dict[str, int | None]) -> bool:
    """Whether the modules appear once each, in the order of the tree; those outside it do not count."""
    rank = {prefix: index for index, prefix in enumerate(tree)}
    ranks = [rank[owner] for owner in runs if owner in rank]
    return all(before < after for before, after in pairwise(ranks))


def _is_walk(runs: Sequence[str]) -> bool:
    """Whether every module's own entries come together, before those of its children, and children together."""
    entered = {""}
    path = [""]
    if sum(len(owner) * (owner.count(".") + 1) for owner in runs) > _MOST_PREFIX_CHARACTERS:
        return False
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
