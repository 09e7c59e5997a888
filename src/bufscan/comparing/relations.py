"""What became of a tensor whose shape or place changed: said only where the bytes prove it."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import msgspec

from bufscan.comparing.difference import Relation
from bufscan.errors import UnreadableError

if TYPE_CHECKING:
    from bufscan.comparing.matching import Match
    from bufscan.comparing.proof import Proof
    from bufscan.comparing.verdict import Verdict
    from bufscan.inventory import Tensor

_MATRIX = 2


def related(match: Match, verdict: Verdict, proof: Proof) -> Verdict:
    """The verdict on a pair, with what the bytes tell beyond it."""
    if verdict.failure is not None or verdict.remark is not None or match.old.dtype != match.new.dtype:
        return verdict
    try:
        relation = _relation(match.old, match.new, verdict, proof)
    except UnreadableError:
        return verdict  # what cannot be read proves nothing
    return verdict if relation is None else told(verdict, relation)


def told(verdict: Verdict, relation: Relation) -> Verdict:
    """The verdict with the relation."""
    return msgspec.structs.replace(verdict, remark=relation.words, relation=relation)


def _relation(old: Tensor, new: Tensor, verdict: Verdict, proof: Proof) -> Relation | None:
    if old.shape is None or new.shape is None or not (old.numel and new.numel):
        return None
    if old.shape == new.shape and verdict.same:
        moved = None not in (old.device, new.device) and old.device != new.device
        return Relation(kind="equal", words="the values are equal") if moved and not verdict.close else None
    if _is_transposed(old, new, proof):
        return Relation(kind="transposed", words="transposed, with the same values")
    return None if old.shape == new.shape else _rows(old, new, proof)


def _is_transposed(old: Tensor, new: Tensor, proof: Proof) -> bool:
    if old.shape is None or len(old.shape) != _MATRIX or old.shape[::-1] != new.shape:
        return False
    return proof.are_transposed(proof.elements(old, 0), proof.elements(new, 1))


def _rows(old: Tensor, new: Tensor, proof: Proof) -> Relation | None:
    """How many rows at the start are the same, where their number is all that changed of the shape."""
    before, after = old.shape or (), new.shape or ()
    odd = [axis for axis, sizes in enumerate(zip(before, after, strict=False)) if sizes[0] != sizes[1]]
    if len(before) != len(after) or len(odd) != 1 or prod(before[: odd[0]]) != 1:
        return None
    axis = odd[0]
    same = proof.same_at_start(proof.elements(old, 0), proof.elements(new, 1)) // prod(before[axis + 1 :])
    common = min(before[axis], after[axis])
    return Relation(
        kind="grown" if after[axis] > before[axis] else "shrunk",
        words=_words_for_rows(same, common, "row" if prod(before[axis + 1 :]) > 1 else "value"),
        dim=axis,
        unchanged=same,
        common=common,
    )


def _words_for_rows(same: int, common: int, unit: str) -> str:
    if not same:
        return f"the first {unit} differs already"
    first = f"the first {unit} is" if same == 1 else f"the first {same:,} {unit}s are"
    return f"{first} unchanged" + (f", of the {common:,} that both sides have" if same < common else "")
