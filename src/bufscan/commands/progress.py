"""How far long work is, on a terminal's standard error; the one thing that is shown while a command runs."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bufscan.report.sizes import size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What takes less is over before anyone wonders.
_SECONDS_OF_SILENCE = 1.0
_SECONDS_BETWEEN = 0.1
_MINUTE = 60
_BAR = 24
_ERASE = "\r\x1b[K"


@contextmanager
def shown_progress() -> Iterator[Callable[[int, int], None] | None]:
    """What to tell of the bytes done and to do; None where nobody looks. The line is gone at the end."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    bar = _Bar()
    try:
        yield bar.show
    finally:
        bar.erase()


class _Bar:
    def __init__(self) -> None:
        self._start = self._last = time.monotonic()
        self._is_shown = False

    def show(self, done: int, total: int) -> None:
        now = time.monotonic()
        seconds = now - self._start
        if seconds < _SECONDS_OF_SILENCE or now - self._last < _SECONDS_BETWEEN or not total:
            return
        self._last = now
        self._is_shown = True
        filled = _BAR * done // total
        rate = done / seconds
        left = f", {_duration((total - done) / rate)} left" if rate else ""
        text = f"[{'#' * filled}{'.' * (_BAR - filled)}] {size(done)} of {size(total)}, {size(int(rate))}/s{left}"
        self._write(_ERASE + text)

    def erase(self) -> None:
        if self._is_shown:
            self._write(_ERASE)

    @staticmethod
    def _write(text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


def _duration(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole} s" if whole < _MINUTE else f"{whole // _MINUTE} min {whole % _MINUTE} s"
