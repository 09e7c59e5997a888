"""Which tensors a state_dict holds, by name and, where it renames them, by their elements."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from bufscan.live.reach.anatomy import items_of_mapping, items_of_sequence, kind_of
from bufscan.live.reach.describing import elements_of
from bufscan.live.reach.naming import key_step

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import torch

    from bufscan.live.reach.describing import Elements

_MOST_VALUES = 100_000


class SavedEntry(NamedTuple):
    """A tensor of a state_dict; `name` goes on inside a tuple, list or dict value: `fc._packed_params[0]`."""

    name: str
    key: str
    tensor: torch.Tensor


class SavedNames:
    """The entries of a state_dict and who owns them. Without a state_dict every answer is None."""

    def __init__(self, state: Mapping[str, Any] | None, registered: Iterable[str]) -> None:
        self._state = state
        self._unclaimed: dict[str, SavedEntry] = {}
        self._by_elements: dict[Elements, str] = {}
        if state is None:
            return
        owned = set(registered)
        for key, value in state.items():
            if key not in owned:
                for entry in _tensors_in(key, value):
                    self._unclaimed[entry.name] = entry
                    elements = elements_of(entry.tensor)
                    if elements is not None:
                        self._by_elements.setdefault(elements, entry.name)

    def claim(self, name: str, tensor: torch.Tensor) -> tuple[bool | None, str]:
        """Whether the tensor is saved under its own or another name, and which."""
        if self._state is None:
            return None, name
        if name in self._state or name in self._unclaimed:
            self._unclaimed.pop(name, None)
            return True, name
        elements = elements_of(tensor)
        other = self._by_elements.get(elements) if elements is not None else None
        if other is None:
            return False, name
        self._unclaimed.pop(other, None)
        return True, other

    def unclaimed(self) -> Iterator[SavedEntry]:
        """Entries that belong to no tensor the model was seen to hold."""
        yield from self._unclaimed.values()


def _tensors_in(key: str, value: Any) -> Iterator[SavedEntry]:
    """The tensors of one entry, whose value may be a tensor or, as extra state, anything."""
    queue: deque[tuple[str, Any]] = deque([(key, value)])
    seen: set[int] = set()
    while queue and len(seen) < _MOST_VALUES:
        name, found = queue.popleft()
        kind = kind_of(type(found))
        if kind == "tensor":
            yield SavedEntry(name, key, found)
        elif id(found) not in seen:
            seen.add(id(found))
            if kind == "sequence":
                queue.extend((f"{name}[{index}]", item) for index, item in enumerate(items_of_sequence(found)))
            elif kind == "mapping":
                for position, (inner, item) in enumerate(items_of_mapping(found)):
                    prefix, suffix = key_step(inner, position)
                    queue.append((f"{prefix}{name}{suffix}", item))
