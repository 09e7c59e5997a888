"""Reading ahead gives the same bytes with fewer reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bufscan.bytesource import MemorySource, ReadAhead
from bufscan.errors import UnreadableError

DATA = bytes(index * 37 % 251 for index in range(50_000))


class CountingSource(MemorySource):
    def __init__(self) -> None:
        super().__init__("data", DATA)
        self.reads = 0

    def read(self, offset: int, length: int) -> bytes:
        self.reads += 1
        return super().read(offset, length)


@given(st.lists(st.tuples(st.integers(0, 30_000), st.integers(0, 20_000))))
def test_every_read_gives_the_bytes_that_are_there(ranges: list[tuple[int, int]]) -> None:
    ahead = ReadAhead(MemorySource("data", DATA))
    expected = [DATA[offset : offset + length] for offset, length in ranges]
    assert expected == [ahead.read(offset, length) for offset, length in ranges]


def test_reads_close_behind_each_other_take_few_reads_of_the_source() -> None:
    source = CountingSource()
    ahead = ReadAhead(source)
    for offset in range(0, len(DATA), 100):
        ahead.read(offset, 30)
    assert source.reads < 10


@pytest.mark.parametrize("offset", [len(DATA) - 10, len(DATA), len(DATA) + 10, -5])
def test_a_read_beyond_the_source_is_refused(offset: int) -> None:
    with pytest.raises(UnreadableError, match="outside the 50000 bytes"):
        ReadAhead(MemorySource("data", DATA)).read(offset, 20)
