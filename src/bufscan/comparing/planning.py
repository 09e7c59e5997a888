"""What to read of all matched tensors: each pair of stored stretches once, and no more than was stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.comparing.pieces import content_of
from bufscan.comparing.verdict import Verdict
from bufscan.errors import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bufscan.comparing.matching import Match
    from bufscan.comparing.pieces import Content
    from bufscan.inventory import Tensor
    from bufscan.opening.artefact import Sides

# A crafted file can show its few bytes again and again, in tensors of any size. Real views overlap a few times.
_MOST_READINGS = 16
_FREE_BYTES = 64 << 20


class Plan:
    """The contents to compare, and for each match which of them is its own.

    Attributes:
        contents: one for all matches that show the same elements on both sides.
        failures: why a match cannot be compared, by its position.
    """

    def __init__(self, matches: Iterable[Match], sides: Sides) -> None:
        self.contents: list[Content] = []
        self.failures: dict[int, str] = {}
        self._sides = sides
        self._known: dict[tuple[str | None, str | None], int] = {}
        self._content_of_match: dict[int, int] = {}
        stored = max(side.inventory.stored_bytes for side in sides)
        self._left = _FREE_BYTES + _MOST_READINGS * stored
        for position, match in enumerate(matches):
            self._add(position, match.old, match.new)

    def _add(self, position: int, old: Tensor, new: Tensor) -> None:
        if old.shape != new.shape:
            return  # there is nothing to hold against each other
        key = _elements(old), _elements(new)
        known = self._known.get(key) if None not in key else None
        if known is None:
            try:
                content = self._planned(old, new)
            except UnreadableError as error:
                self.failures[position] = error.message
                return
            known = self._known[key] = len(self.contents)
            self.contents.append(content)
        self._content_of_match[position] = known

    def _planned(self, old: Tensor, new: Tensor) -> Content:
        content = content_of(old, new, self._sides)
        self._left -= content.nbytes
        if self._left < 0:
            raise UnreadableError("all tensors together show far more elements than are stored")
        return content

    def verdict(self, position: int, verdicts: Sequence[Verdict]) -> Verdict:
        """What came of the match at `position`, given the verdicts on the contents."""
        if position in self.failures:
            return Verdict(same=False, failure=self.failures[position])
        content = self._content_of_match.get(position)
        return Verdict(same=True) if content is None else verdicts[content]


def _elements(tensor: Tensor) -> str | None:
    """What elements it shows; None for a compound tensor."""
    if tensor.parts:
        return None
    stored = (tensor.storage, tensor.storage_offset, tensor.shape, tensor.stride)
    # As text: hashes of numbers can be foreseen, those of texts are salted.
    return repr((stored, tensor.dtype, tensor.layout, tensor.quantization, tensor.pending))
