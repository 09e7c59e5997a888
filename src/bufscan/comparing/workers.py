"""Threads that share a list of jobs, and the progress of their work."""

from __future__ import annotations

import os
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Progress: TypeAlias = "Callable[[int, int], None]"
"""Told now and then how many bytes of how many are done, from the thread that started the work."""

Job = TypeVar("Job")

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

    def expect(self, count: int) -> None:
        """Count on so many bytes after those that are done, instead of what was left."""
        self.total = self._done + count

    def report(self) -> None:
        """Tell how far the work is."""
        if self._progress is not None:
            self._progress(min(self._done, self.total), self.total)


def stretches(count: int, longest: int) -> Iterator[tuple[int, int]]:
    """`count` cut into stretches of at most `longest`: where each begins and how long it is."""
    return ((start, min(longest, count - start)) for start in range(0, count, longest))


def processors() -> int:
    """Processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


def run_jobs(jobs: Iterable[Job], work: Callable[[Iterator[Job]], None], meter: Meter, nbytes: int) -> None:
    """Let threads take jobs until there are none left; `work` is called once a thread.

    Args:
        jobs: taken in order, each by one thread.
        work: takes jobs from the iterator and does them.
        meter: counts what is done.
        nbytes: bytes of all jobs: few are not worth threads.
    """
    threads = min(processors(), _MOST_THREADS, -(-nbytes // _WORTH_A_THREAD)) or 1
    if threads == 1:
        meter.report()
        work(iter(jobs))
        meter.report()
        return
    shared = _Shared(iter(jobs))
    with ThreadPoolExecutor(threads) as pool:
        pending = {pool.submit(work, shared) for _ in range(threads)}
        try:
            while pending:
                meter.report()
                done, pending = wait(pending, _SECONDS_BETWEEN_REPORTS, FIRST_EXCEPTION)
                for future in done:
                    future.result()
        except BaseException:
            meter.stopped = True
            raise
    meter.report()


class _Shared(Generic[Job]):
    """An iterator that several threads may take from."""

    def __init__(self, jobs: Iterator[Job]) -> None:
        self._jobs = jobs
        self._lock = Lock()

    def __iter__(self) -> Iterator[Job]:
        return self

    def __next__(self) -> Job:
        with self._lock:
            return next(self._jobs)
