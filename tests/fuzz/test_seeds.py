"""Every fuzz target takes its own seeds, and what is not refused in words is a failure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fuzz_targets import READERS, Seed, corpus, seeds_of, show

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.filterwarnings("ignore")  # TorchScript is deprecated
def test_seeds_are_read_as_they_are(reader: str, tmp_path: Path) -> None:
    """And whole, but for a part that is read as a file of its own elsewhere."""
    seeds = seeds_of(reader, tmp_path)
    assert len(seeds) > 1
    for seed in seeds:
        seed.show(seed.data)
    for data in corpus(seeds):
        show(seeds, data[: len(data) // 2])


def test_a_crash_is_not_taken_for_a_refusal() -> None:
    def crash(data: bytes) -> None:
        raise KeyError(data)

    with pytest.raises(KeyError, match="abc"):
        show([Seed(b"", crash)], b"\0abc")
