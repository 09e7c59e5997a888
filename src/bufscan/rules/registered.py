"""What rules ask about registered tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bufscan.inventory import Inventory, Tensor

_BUFFERS = frozenset(("persistent_buffer", "non_persistent_buffer"))
_MOST_NAMED = 3


def is_buffer(tensor: Tensor) -> bool:
    """Whether it is a buffer of either kind."""
    return tensor.role in _BUFFERS


def is_registered(tensor: Tensor) -> bool:
    """Whether it is a parameter or a buffer."""
    return tensor.role == "parameter" or is_buffer(tensor)


def buffers(inventory: Inventory) -> Iterator[Tensor]:
    """Every buffer, tied ones once."""
    return (tensor for tensor in inventory.tensors if is_buffer(tensor) and tensor.alias_of is None)


def _plural(noun: str) -> str:
    return f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"


def named(paths: Sequence[str], noun: str) -> str:
    """The first few of `paths` with their number: ``5 parameters (`a`, `b`, `c`, …)``."""
    shown = ", ".join(f"`{path}`" for path in paths[:_MOST_NAMED]) + ", …" * (len(paths) > _MOST_NAMED)
    return f"{len(paths):,} {noun if len(paths) == 1 else _plural(noun)} ({shown})"
