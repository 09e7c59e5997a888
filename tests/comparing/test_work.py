"""How long work is shared out, counted and stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from stored import zip_file

from bufscan.bytesource import FileSource, MemorySource
from bufscan.comparing.diffing import diff
from bufscan.errors import UnreadableError
from bufscan.values import workers
from bufscan.values.workers import Meter, Stopped, Workers, stretches

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.mark.parametrize("processors", [1, 4])
def test_every_job_is_done_once_and_its_result_stands_in_its_place(
    monkeypatch: pytest.MonkeyPatch, processors: int
) -> None:
    monkeypatch.setattr(workers, "processors", lambda: processors)

    def squares(jobs: Iterator[int], _meter: Meter) -> Iterator[int]:
        return (job * job for job in jobs)

    assert [job * job for job in range(1000)] == Workers().map(range(1000), squares, lambda _: 1 << 20, int)


def test_a_failure_in_a_thread_comes_out_and_stops_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "processors", lambda: 2)
    stopped: list[int] = []

    def work(jobs: Iterator[int], meter: Meter) -> Iterator[None]:
        for job in jobs:
            if job == 3:
                raise ZeroDivisionError
            try:
                while True:  # until told to stop
                    meter.advance(1)
            except Stopped:
                stopped.append(job)
                raise
            yield None

    with pytest.raises(ZeroDivisionError):
        Workers().map([0, 3], work, lambda _: 1 << 30, None)
    assert [0] == stopped


def test_stretches_cover_everything_once() -> None:
    assert [(0, 4), (4, 4), (8, 2)] == list(stretches(10, 4))
    assert [] == list(stretches(0, 4))


def test_progress_ends_where_it_was_to_end(tmp_path: Path) -> None:
    old = torch.zeros(3 << 20)
    new = old.clone()
    new[-1] = 1  # found by the last of the bytes, then everything is read once more for the numbers
    seen: list[tuple[int, int]] = []
    sides = (zip_file(tmp_path / "a.pt", {"w": old}), zip_file(tmp_path / "b.pt", {"w": new}))
    assert 1 == len(diff(*sides, progress=lambda done, total: seen.append((done, total))).entries)
    assert all(done <= total for done, total in seen)
    assert seen[-1][0] == seen[-1][1] >= 12 << 20


@pytest.fixture(params=["file", "memory", "file without preadv"])
def source(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FileSource | MemorySource]:
    data = bytes(range(100))
    if request.param == "memory":
        yield MemorySource("data", data)
        return
    if request.param == "file without preadv":
        monkeypatch.delattr("os.preadv")
    (tmp_path / "data").write_bytes(data)
    with FileSource(tmp_path / "data") as file:
        yield file


def test_a_range_is_read_into_memory_that_is_there(source: FileSource | MemorySource) -> None:
    buffer = bytearray(5)
    source.read_into(90, memoryview(buffer))
    assert bytes(range(90, 95)) == buffer


@pytest.mark.parametrize(("offset", "length"), [(96, 5), (-1, 2), (101, 0)])
def test_a_range_beyond_the_end_is_refused(source: FileSource | MemorySource, offset: int, length: int) -> None:
    with pytest.raises(UnreadableError, match="outside"):
        source.read_into(offset, memoryview(bytearray(length)))
