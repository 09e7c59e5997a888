"""Which methods building an object runs, read from the source of its classes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bufscan.live.assignments import References, Sites

Method: TypeAlias = tuple[int, str]
"""Position of a class in the method resolution order, and a method that it defines itself."""

_ENTRIES = ("__new__", "__init__", "__post_init__", "__attrs_post_init__")


class SeenClass(NamedTuple):
    """A class of the method resolution order whose source could be read; others leave gaps in `position`."""

    position: int
    name: str
    sites: Sites


def constructing_methods(classes: Sequence[SeenClass]) -> dict[Method, int]:
    """The methods that construction runs, with the number of calls that lead from the constructor to each.

    A method that is only mentioned (`self.apply(self._init_weights)`) counts as called; branches are not followed.
    """
    depths: dict[Method, int] = {}
    pending = deque((method, 0) for entry in _ENTRIES for method in _resolved(entry, classes))
    while pending:
        method, depth = pending.popleft()
        if method not in depths:
            depths[method] = depth
            pending.extend((called, depth + 1) for called in _called_by(method, classes))
    return depths


def _called_by(method: Method, classes: Sequence[SeenClass]) -> Iterator[Method]:
    position, name = method
    references: References = next(seen.sites.methods[name] for seen in classes if seen.position == position)
    for called in references.own:
        yield from _resolved(called, classes)
    for called in references.parent:
        yield from _resolved(called, [seen for seen in classes if seen.position > position])
    for base, called in references.named:
        yield from _resolved(called, [seen for seen in classes if seen.name == base])


def _resolved(name: str, classes: Sequence[SeenClass]) -> list[Method]:
    """The first class that defines the method, as attribute lookup would find it."""
    return next(([(seen.position, name)] for seen in classes if name in seen.sites.methods), [])
