"""What came of comparing the values of one pair of tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from bufscan.comparing.difference import Relation, ValueStatistics


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Same or not, and by how much.

    Attributes:
        same: whether nothing differs that counts.
        close: whether it is the same only thanks to the tolerance.
        values: how far the values are apart; None where they do not differ or stand for no numbers.
        remark: what the numbers do not say.
        relation: what the bytes prove beyond them, which is then the remark too.
        failure: why it could not be compared after all; then the rest means nothing.
    """

    same: bool
    close: bool = False
    values: ValueStatistics | None = None
    remark: str | None = None
    relation: Relation | None = None
    failure: str | None = None
