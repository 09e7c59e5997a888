"""How far long work is, on a terminal's standard error; the one thing that is shown while a command runs."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from bufscan.ranks import ALONE
from bufscan.report.shared.sizes import size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bufscan.ranks import Ranks

# What takes less is over before anyone wonders.
_SECONDS_OF_SILENCE = 1.0
_SECONDS_BETWEEN = 0.1
_MINUTE = 60
_BAR = 24
_USUAL_COLUMNS = 80
_ERASE = "\r\x1b[K"


@contextmanager
def shown_progress(ranks: Ranks = ALONE) -> Iterator[Callable[[int, int], None] | None]:
    """What to tell of the bytes done and to do; None where nobody looks. The line is gone at the end."""
    if ranks.rank or sys.stderr is None or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield None
        return
    bar = _Bar()
    try:
        yield bar.show
    finally:
        bar.erase()


class _Bar:
    """One line that is written over again and again.

    Rate and time left are those of the work since its extent was last known anew: comparing bytes, importing torch
    and adding up differences are not equally fast.
    """

    def __init__(self) -> None:
        self._start = self._last = time.monotonic()
        self._phase = _Phase(self._start, 0, 0)
        self._done = 0
        self._is_shown = False

    def show(self, done: int, total: int) -> None:
        now = time.monotonic()
        if total != self._phase.total or done < self._done:
            self._phase = _Phase(now, done, total)
        self._done = done
        if now - self._start < _SECONDS_OF_SILENCE or now - self._last < _SECONDS_BETWEEN or not total:
            return
        self._last = now
        self._is_shown = True
        # The last column stays free: a terminal would break the line behind it.
        self._write(_ERASE + self._line(now, done)[: _columns() - 1])

    def _line(self, now: float, done: int) -> str:
        began, before, total = self._phase
        filled = _BAR * done // total
        line = f"[{'#' * filled}{'.' * (_BAR - filled)}] {size(done)} of {size(total)}"
        if done == before or now == began:
            return line
        rate = (done - before) / (now - began)
        return f"{line}, {size(int(rate))}/s, {_duration((total - done) / rate)} left"

    def erase(self) -> None:
        if self._is_shown:
            self._write(_ERASE)

    @staticmethod
    def _write(text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


class _Phase(NamedTuple):
    """When a part of the work began, how many bytes were done then, and how many there are to do."""

    began: float
    before: int
    total: int


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or _USUAL_COLUMNS
    except OSError:
        return _USUAL_COLUMNS


def _duration(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole} s" if whole < _MINUTE else f"{whole // _MINUTE} min {whole % _MINUTE} s"
