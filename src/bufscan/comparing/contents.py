"""The values of many pairs of tensors: first whether their bytes differ, then by how much those that do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.comparing.byte_pass import BytePass
from bufscan.comparing.sparse import is_in_coordinates, verdict_in_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bufscan.comparing.difference import Tolerance
    from bufscan.comparing.pieces import Content
    from bufscan.comparing.verdict import Verdict
    from bufscan.opening.artefact import Sides
    from bufscan.values.workers import Workers


def compare_contents(
    contents: Sequence[Content],
    sides: Sides,
    tolerance: Tolerance | None,
    workers: Workers,
) -> list[Verdict]:
    """Compare all pairs; the verdicts are in their order. Imports NumPy only when numbers are wanted."""
    by_bytes = BytePass(contents).run(workers)
    settled = [_in_order(content, sides, verdict) for content, verdict in zip(contents, by_bytes, strict=True)]
    unsettled = [content for content, verdict in zip(contents, settled, strict=True) if verdict is None]
    if not unsettled:
        return [verdict for verdict in settled if verdict is not None]
    from bufscan.comparing.number_pass import NumberPass

    numbers = iter(NumberPass(unsettled, sides, tolerance).run(workers))
    return [next(numbers) if verdict is None else verdict for verdict in settled]


def _in_order(content: Content, sides: Sides, verdict: Verdict | None) -> Verdict | None:
    """Where values belong elsewhere by their bytes, the order they are stored in may be all that differs."""
    if verdict is None or verdict.remark is None or not is_in_coordinates(content):
        return verdict
    return verdict_in_order(content, sides, verdict)
