"""Tensors that look alike, counted once: what a report says of thousands, it asks of a few kinds."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import compress, count
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from bufscan.report.shared.wording import sizes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bufscan.inventory import Tensor

# All that reports show of a tensor but its name, its sizes, and the line of source that makes it.
_LOOKS = attrgetter(
    *("section", "role", "certainty", "evidence", "holding", "saved", "moves", "trains", "alias_of"),
    *("dtype", "device", "layout", "type_name", "file", "stored_bytes"),
)


class Kind(NamedTuple):
    """So many tensors that look like the first of them."""

    first: Tensor
    times: int

    @property
    def nbytes(self) -> int | None:
        """Bytes of their elements, without those that another entry counts; None where there is no shape yet."""
        if self.first.alias_of is not None:
            return 0
        nbytes = self.first.nbytes
        return None if nbytes is None else self.times * nbytes


class Census(NamedTuple):
    """Tensors and their kinds.

    Attributes:
        tensors: in their order.
        numbers: of each tensor's kind.
        kinds: by their numbers, in the order of their first tensors.
    """

    tensors: Sequence[Tensor]
    numbers: Sequence[int]
    kinds: dict[int, Kind]

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> Census:
        """Count the tensors."""
        known: defaultdict[tuple[object, ...], int] = defaultdict(count().__next__)
        numbers = list(map(known.__getitem__, zip(map(_LOOKS, tensors), map(sizes_of, tensors), strict=True)))
        firsts = dict(zip(reversed(numbers), reversed(tensors), strict=True))
        kinds = {number: Kind(firsts[number], times) for number, times in Counter(numbers).items()}
        return cls(tensors, numbers, kinds)

    def among(self, positions: Iterable[int]) -> list[Kind]:
        """The kinds of the tensors at these positions."""
        found = Counter(map(self.numbers.__getitem__, positions))
        return [self.kinds[number]._replace(times=times) for number, times in found.items()]

    def where(self, holds: Callable[[Tensor], bool]) -> Census:
        """The tensors of the kinds that a condition holds for."""
        kinds = {number: kind for number, kind in self.kinds.items() if holds(kind.first)}
        if len(kinds) == len(self.kinds):
            return self
        kept = [number in kinds for number in self.numbers]
        return Census(list(compress(self.tensors, kept)), list(compress(self.numbers, kept)), kinds)
