"""How many elements of a tensor are NaN or infinite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.dtypes import DTYPES
from bufscan.findings import NonFinite
from bufscan.values.decoding import Decoder, has_values
from bufscan.values.reading import ElementReader
from bufscan.values.strided import strided_of, walk_alone

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from bufscan.inventory import Part, Storage, Tensor
    from bufscan.values.storages import StorageReader
    from bufscan.values.strided import Strided

# Elements: fits the cache, and is too few for torch to wake its threads, which wait for each other under load.
_CHUNK = 1 << 15
_EXACT_TYPES = ("float8", "float4")  # few enough codes for a table; torch cannot ask all of them


def count_nonfinite(tensor: Tensor, storages: Mapping[str, Storage], reader: StorageReader) -> NonFinite | None:
    """The counts over all parts of the tensor; None where its type has only finite values.

    Raises:
        UnreadableError: the values cannot be read.
    """
    views = [view for view in tensor.parts or (tensor,) if _may_be_nonfinite(view)]
    if not views:
        return None
    counts = [_counts(strided_of(view, storages, reader)) for view in views]
    return NonFinite(nan=sum(count.nan for count in counts), infinite=sum(count.infinite for count in counts))


def _may_be_nonfinite(view: Tensor | Part) -> bool:
    dtype = DTYPES[view.dtype] if view.dtype is not None else None
    return dtype is not None and dtype.kind in ("float", "complex") and has_values(dtype)


def _counts(elements: Strided) -> NonFinite:
    walk = walk_alone(elements)
    reader = ElementReader(elements, walk, 0)
    decoder = Decoder(dtype=elements.dtype)
    nan = infinite = 0
    for start in range(0, walk.numel, _CHUNK):
        raw = bytearray(min(_CHUNK, walk.numel - start) * reader.itemsize)
        reader.read_into(start, memoryview(raw))
        numbers = _numbers(decoder, raw)
        if numbers.isfinite().all():
            continue
        if decoder.numbers_per_value > 1:
            pairs = numbers.view(-1, decoder.numbers_per_value)
            is_nan, is_infinite = pairs.isnan().any(1), pairs.isinf().any(1)
        else:
            is_nan, is_infinite = numbers.isnan(), numbers.isinf()
        nan += int(is_nan.sum())
        infinite += int((is_infinite & ~is_nan).sum())
    return NonFinite(nan, infinite)


def _numbers(decoder: Decoder, raw: bytearray) -> torch.Tensor:
    import torch

    typed = decoder.typed(torch.frombuffer(raw, dtype=torch.uint8))
    if not decoder.dtype.name.startswith(_EXACT_TYPES):
        return typed
    numbers = torch.empty(typed.numel() * decoder.values_per_element, dtype=torch.float64)
    decoder.decode(typed, 0, numbers)
    return numbers
