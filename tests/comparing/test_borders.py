"""Counts and places hold across the borders of chunks and jobs, for types of every width."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from bufscan import diff
from bufscan.comparing.number_pass import _JOB_CHUNKS, CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable

JOB = _JOB_CHUNKS * CHUNK
SIZES = (1, 256, 65_536, CHUNK, CHUNK + 1, JOB + 1)

TYPES = (
    *(torch.bool, torch.uint8, torch.int8, torch.float8_e4m3fn, torch.float8_e5m2),
    *(torch.int16, torch.uint16, torch.float16, torch.bfloat16),
    *(torch.int32, torch.uint32, torch.float32, torch.complex32),
    *(torch.int64, torch.uint64, torch.float64, torch.complex64),
    torch.complex128,
)

PATTERNS: dict[str, Callable[[int], list[int] | slice]] = {
    "none": lambda _: [],
    "all": lambda _: slice(None),
    "the first": lambda _: [0],
    "the last": lambda size: [size - 1],
    "every other": lambda _: slice(0, None, 2),
    "at the borders": lambda size: [at for at in (CHUNK - 1, CHUNK, 2 * CHUNK, JOB - 1, JOB) if at < size],
}


def holding(values: torch.Tensor) -> nn.Module:
    model = nn.Module()
    model.register_buffer("w", values)
    return model


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental:UserWarning")
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_every_changed_element_is_counted_once(dtype: torch.dtype, pattern: str) -> None:
    for size in SIZES:
        marks = torch.zeros(size, dtype=torch.uint8)
        marks[PATTERNS[pattern](size)] = 1
        expected = int(marks.sum(dtype=torch.int64))
        difference = diff(holding(torch.zeros(size, dtype=dtype)), holding(marks.to(dtype)))
        if not expected:
            assert difference.identical
            continue
        (entry,) = difference.entries
        assert entry.values is not None
        assert (size, expected, 1.0) == (entry.values.numel, entry.values.changed, entry.values.max_abs)
        assert (int(marks.argmax()),) == entry.values.max_index
        assert pytest.approx(expected**0.5) == entry.values.l2
