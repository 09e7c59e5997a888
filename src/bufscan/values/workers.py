"""Who does the work on values: threads that take jobs from one list, and other processes with their own share."""

from __future__ import annotations

import os
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import msgspec

from bufscan.ranks import ALONE, share_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bufscan.ranks import Ranks

Progress: TypeAlias = "Callable[[int, int], None]"
"""Told now and then how many bytes of how many are done, from the thread that started the work."""

Job = TypeVar("Job")
Result = TypeVar("Result")

_SECONDS_BETWEEN_REPORTS = 0.1

# Threads cost more than they bring for less.
_WORTH_A_THREAD = 8 << 20
# More wait for the interpreter and for memory, of which each needs its own.
_MOST_THREADS = 16


class Stopped(Exception):  # noqa: N818 - not an error: another thread failed, or the user pressed Ctrl-C
    """The work is to end before it is done."""


class Meter:
    """Counts bytes as they are done, and carries the word to stop."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.total = total
        self.stopped = False
        self._done = 0
        self._progress = progress
        self._lock = Lock()

    def advance(self, count: int) -> None:
        """Count bytes.

        Raises:
            Stopped: the work is to end.
        """
        if self.stopped:
            raise Stopped
        with self._lock:
            self._done += count

    def report(self) -> None:
        """Tell how far the work is."""
        if self._progress is not None:
            self._progress(min(self._done, self.total), self.total)


class Workers:
    """All that work for one command: the threads of this process, and those of the other ranks."""

    def __init__(self, progress: Progress | None = None, ranks: Ranks = ALONE) -> None:
        """`progress` is told of the share of this process."""
        self._progress = progress
        self._ranks = ranks

    def map(
        self,
        jobs: Sequence[Job],
        work: Callable[[Iterator[Job], Meter], Iterator[Result]],
        size_of: Callable[[Job], int],
        kind: Any,
    ) -> list[Result]:
        """The results of all jobs, in their order, on every rank.

        Args:
            jobs: the same on all ranks; each is done by one thread of one of them.
            work: called once a thread; does the jobs that it is given one after the other, and gives a result for
                each. What it keeps between them must not change a result.
            size_of: how many bytes a job reads.
            kind: the type of a result, which has to be one that msgspec can encode.

        Raises:
            RanksError: another rank failed, or is gone.
        """
        sizes = [size_of(job) for job in jobs]
        own = share_of(sizes, self._ranks.rank, self._ranks.size)
        mine = self._in_threads(jobs[own.start : own.stop], work, sum(sizes[own.start : own.stop]))
        if self._ranks.size == 1:
            return mine
        share = sum(sizes) // self._ranks.size + max(sizes, default=0)
        told = self._ranks.exchange(f"{len(jobs)} jobs", msgspec.msgpack.encode(mine), share)
        return [result for each in told for result in msgspec.msgpack.decode(each, type=list[kind])]

    def _in_threads(
        self, jobs: Sequence[Job], work: Callable[[Iterator[Job], Meter], Iterator[Result]], nbytes: int
    ) -> list[Result]:
        meter = Meter(nbytes, self._progress)
        threads = (
            min(-(-processors() // self._ranks.beside), _MOST_THREADS, -(-nbytes // _WORTH_A_THREAD), len(jobs))
            or 1
        )
        meter.report()
        if threads == 1:
            found = list(work(iter(jobs), meter))
            meter.report()
            return found
        shared: _Shared[Job, Result] = _Shared(jobs)
        with ThreadPoolExecutor(threads) as pool:
            pending = {pool.submit(shared.do, work, meter) for _ in range(threads)}
            try:
                while pending:
                    done, pending = wait(pending, _SECONDS_BETWEEN_REPORTS, FIRST_EXCEPTION)
                    meter.report()
                    for future in done:
                        future.result()
            except BaseException:
                meter.stopped = True
                raise
        meter.report()
        return shared.results()


class _Shared(Generic[Job, Result]):
    """Jobs that several threads take one by one, and what came of them."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = iter(enumerate(jobs))
        self._lock = Lock()
        self._found: dict[int, Result] = {}

    def do(self, work: Callable[[Iterator[Job], Meter], Iterator[Result]], meter: Meter) -> None:
        """Do jobs until there are none left; called by each thread."""
        number = -1

        def taken() -> Iterator[Job]:
            nonlocal number
            while True:
                with self._lock:
                    numbered = next(self._jobs, None)
                if numbered is None:
                    return
                number, job = numbered
                yield job

        for result in work(taken(), meter):
            self._found[number] = result

    def results(self) -> list[Result]:
        """In the order of the jobs."""
        return [self._found[at] for at in range(len(self._found))]


def stretches(count: int, longest: int) -> Iterator[tuple[int, int]]:
    """`count` cut into stretches of at most `longest`: where each begins and how long it is."""
    return ((start, min(longest, count - start)) for start in range(0, count, longest))


def processors() -> int:
    """Processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1
