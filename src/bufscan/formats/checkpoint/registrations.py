"""What the modules of a pickle register: Parameters by identity, and which elements of which storage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bufscan.dtypes import DTYPES
from bufscan.formats.tensors.sizes import reach_of

if TYPE_CHECKING:
    from bufscan.formats.pickle.allowance import Allowance
    from bufscan.inventory import Tensor


class Registrations:
    """The registered tensors, to compare others with."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._parameters: set[int] = set()
        self._by_storage: dict[str, list[Tensor]] = {}

    def note_parameter(self, value: Any) -> None:
        """Note the object of a Parameter: wherever else it is held, it is the same."""
        self._parameters.add(id(value))

    def note(self, tensor: Tensor) -> None:
        """Note the record of a registered tensor."""
        if tensor.storage is not None:
            self._by_storage.setdefault(tensor.storage, []).append(tensor)

    def is_parameter(self, value: Any) -> bool:
        """Whether it is the object of a registered Parameter."""
        return id(value) in self._parameters

    def overlapping(self, tensor: Tensor) -> str | None:
        """Name of the first registered tensor with which this one has bytes in common."""
        others = self._by_storage.get(tensor.storage or "", ())
        own = _bytes_of(tensor) if others else range(0)
        for looked_at, other in enumerate(others, 1):
            theirs = _bytes_of(other)
            if own.start < theirs.stop and theirs.start < own.stop:
                self._allowance.look_at(looked_at)
                return other.name
        self._allowance.look_at(len(others))
        return None


def _bytes_of(tensor: Tensor) -> range:
    """From the first to the last byte that the tensor shows of its storage."""
    if not tensor.numel or tensor.stride is None or tensor.dtype is None or tensor.shape is None:
        return range(0)
    end = tensor.storage_offset + reach_of(tensor.shape, tensor.stride) + 1
    width = DTYPES[tensor.dtype]
    return range(width.nbytes(tensor.storage_offset), width.nbytes(end))
