"""How the names of tensors changed whose bytes are the same, as rules for the names of others."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_Parts: TypeAlias = tuple[str, ...]

_MOST_RULES = 8  # each is tried on each name
_ADAPTER_PARTS = ("base_layer", "original_module")
"""What PEFT calls the layer that it wraps (`LoraLayer.base_layer`, `ModulesToSaveWrapper.original_module`)."""


class _Wrapping(NamedTuple):
    """What wrapping adds to a name: parts in front of it, and parts before its last ones.

    Attributes:
        ending: how many parts come after what is added inside.
    """

    before: _Parts
    inside: _Parts
    ending: int

    def wrap(self, name: str) -> str | None:
        """The name with the parts; None where it is too short for them."""
        parts = tuple(name.split("."))
        if len(parts) < self.ending:
            return None
        cut = len(parts) - self.ending
        return ".".join((*self.before, *parts[:cut], *self.inside, *parts[cut:]))

    def unwrap(self, name: str) -> str | None:
        """The name without the parts; None where it does not have them."""
        parts = tuple(name.split("."))
        begin, end = len(self.before), len(parts) - self.ending
        cut = end - len(self.inside)
        if cut < begin or parts[:begin] != self.before or parts[cut:end] != self.inside:
            return None
        return ".".join((*parts[begin:cut], *parts[end:]))


class NameChanges:
    """Rules that are proven by pairs of names whose tensors hold the same bytes, as no others do.

    A layer that an adapter wraps has another part in the names of all its tensors, but a bias of zeros looks like
    any other: the names of its neighbours tell where it went.
    """

    def __init__(self, proven: Iterable[tuple[str, str]]) -> None:
        added: Counter[_Wrapping] = Counter()
        taken_off: Counter[_Wrapping] = Counter()
        self._modules: dict[str, set[str]] = {}
        for old, new in proven:
            for counter, short, long in ((added, old, new), (taken_off, new, old)):
                wrapping = _wrapping(tuple(short.split(".")), tuple(long.split(".")))
                if wrapping is not None:
                    counter[wrapping] += 1
            (old_module, old_last), (new_module, new_last) = _split(old), _split(new)
            if old_last == new_last:
                self._modules.setdefault(old_module, set()).add(new_module)
        self._added = [wrapping for wrapping, _ in added.most_common(_MOST_RULES)]
        self._taken_off = [wrapping for wrapping, _ in taken_off.most_common(_MOST_RULES)]

    def of(self, old: str) -> Iterator[tuple[str, bool]]:
        """New names that the old one may have, and whether only the same bytes make them its own.

        Where nothing but the parts of a wrapper come or go, the rest of the name tells enough. A module of another
        name may be another module, and the parts that adapters add are proven by nothing here.
        """
        for wrapping in self._added:
            if (name := wrapping.wrap(old)) is not None:
                yield name, False
        for wrapping in self._taken_off:
            if (name := wrapping.unwrap(old)) is not None:
                yield name, False
        module, last = _split(old)
        for other in self._modules.get(module, ()):
            yield f"{other}.{last}" if other else last, True
        for part in _ADAPTER_PARTS:
            wrapping = _Wrapping((), (part,), 1)
            for name in (wrapping.wrap(old), wrapping.unwrap(old)):
                if name is not None:
                    yield name, True


def _wrapping(short: _Parts, long: _Parts) -> _Wrapping | None:
    """What makes the long name of the short one; None where that is not all there is to it."""
    ending = 0
    while ending < len(short) and ending < len(long) and short[-1 - ending] == long[-1 - ending]:
        ending += 1
    if not ending or len(short) >= len(long):
        return None
    start, rest = short[: len(short) - ending], long[: len(long) - ending]
    places = [at for at in range(len(rest) - len(start) + 1) if rest[at : at + len(start)] == start]
    if not start:
        return _Wrapping(rest, (), 0)
    if len(places) != 1:
        return None
    return _Wrapping(rest[: places[0]], rest[places[0] + len(start) :], ending)


def _split(name: str) -> tuple[str, str]:
    module, _, last = name.rpartition(".")
    return module, last
