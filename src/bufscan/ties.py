"""Which tensors of an inventory are the same one under several names."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bufscan.inventory import Tensor


def with_ties(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Mark the entries of a section that show exactly the elements an earlier entry shows.

    A state_dict loses object identity (every entry is detached), so a tie is an equal storage, offset, shape,
    stride and dtype. Views that overlap without being equal are no ties, and tensors without elements never are.
    Entries that already name what they are an alias of are kept.
    """
    sharers = Counter(tensor.storage for tensor in tensors)
    first: dict[tuple[str, str | None, str], str] = {}
    marked: list[Tensor] = []
    for tensor in tensors:
        kept = tensor
        if (
            sharers[tensor.storage] > 1
            and tensor.storage is not None
            and tensor.alias_of is None
            and tensor.stored_bytes
        ):
            # As text: its hash is salted. A file can hold very many integers or tuples of one hash.
            elements = repr((tensor.storage_offset, tensor.shape, tensor.stride, tensor.dtype))
            name = first.setdefault((tensor.section, tensor.storage, elements), tensor.name)
            if name != tensor.name:
                kept = msgspec.structs.replace(tensor, alias_of=name)
        marked.append(kept)
    return marked
