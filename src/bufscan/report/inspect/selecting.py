"""Which tensors a report shows, and in which order. A selection of an inventory is an inventory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import msgspec

from bufscan.inventory import ROLES, Inventory, Role, Tensor
from bufscan.tensor_names import counting_key, matches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SortKey = Literal["name", "size", "dtype", "role"]

SORT_KEYS: tuple[SortKey, ...] = get_args(SortKey)


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What the user asked to see.

    Attributes:
        roles: only these; all when empty.
        patterns: only tensors whose name or path one of these shell patterns matches; all when empty.
        sort: by name (numbers in it by their value), by size (largest first), by dtype or by role; None keeps the
            artefact's order.
    """

    roles: tuple[Role, ...] = ()
    patterns: tuple[str, ...] = ()
    sort: SortKey | None = None

    @property
    def narrows(self) -> bool:
        """Whether it can leave tensors out."""
        return bool(self.roles or self.patterns)

    def admits(self, tensor: Tensor) -> bool:
        """Whether `tensor` is to be shown."""
        if self.roles and tensor.role not in self.roles:
            return False
        return not self.patterns or any(
            matches(pattern, tensor.name) or matches(pattern, tensor.path) for pattern in self.patterns
        )


_ORDERS: dict[SortKey, Callable[[Tensor], tuple[object, ...]]] = {
    "name": lambda tensor: counting_key(tensor.name),
    "size": lambda tensor: (-(tensor.nbytes or 0),),
    "dtype": lambda tensor: (tensor.dtype or "",),
    "role": lambda tensor: (ROLES.index(tensor.role),),
}


def select(inventory: Inventory, selection: Selection) -> Inventory:
    """The inventory of what `selection` admits: its tensors, and the storages that these look at.

    The order is stable, so that equal keys keep the artefact's order. What was skipped, anomalies and notes are
    about the artefact as a whole and stay.
    """
    tensors = inventory.tensors
    storages = inventory.storages
    if selection.narrows:
        tensors = tuple(filter(selection.admits, tensors))
        seen = {key for tensor in tensors for key in _storage_keys(tensor)}
        storages = {key: storage for key, storage in storages.items() if key in seen}
    if selection.sort is not None:
        tensors = tuple(sorted(tensors, key=_ORDERS[selection.sort]))
    return msgspec.structs.replace(inventory, tensors=tensors, storages=storages)


def count_ties_once(shown: Inventory) -> Inventory:
    """The same for adding up: where a tie's first name was left out, the first one left takes its place."""
    if all(tensor.alias_of is None for tensor in shown.tensors):
        return shown
    names = {(tensor.section, tensor.name) for tensor in shown.tensors if tensor.alias_of is None}
    heirs: dict[tuple[str, str], str] = {}
    tensors = []
    for tensor in shown.tensors:
        counted = tensor
        if tensor.alias_of is not None and (first := (tensor.section, tensor.alias_of)) not in names:
            heir = heirs.setdefault(first, tensor.name)
            counted = msgspec.structs.replace(tensor, alias_of=None if heir == tensor.name else heir)
        tensors.append(counted)
    return msgspec.structs.replace(shown, tensors=tuple(tensors))


def _storage_keys(tensor: Tensor) -> Iterator[str]:
    if tensor.storage is not None:
        yield tensor.storage
    yield from (part.storage for part in tensor.parts if part.storage is not None)
