"""Runs commands as whole processes and says what each took."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

# Compiled once, as when installed: where no bytecode may be written, bufscan alone would be compiled every time.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


class Cost(NamedTuple):
    """What one process took.

    Attributes:
        seconds: from start to end or, where it prints one number, that.
        cpu: seconds that all its threads together kept processors busy, which others at work disturb less.
        mebibytes: of memory at the peak.
    """

    seconds: float
    cpu: float
    mebibytes: float


Sides: TypeAlias = tuple[list[str], list[str]]
"""Our command and theirs; one that ends by printing a number says itself how many seconds counted."""


class Row(NamedTuple):
    """A piece of work and what to compare it with.

    Attributes:
        work: in words.
        make: makes the inputs, where they are not there yet, and says the commands.
        yardstick: what theirs is, in words.
        reach: the ratio of their times that we mean to stay under.
        most: mebibytes that we mean to stay under; None where memory is just told.
    """

    work: str
    make: Callable[[], Sides]
    yardstick: str
    reach: float
    most: float | None = None


class Result(NamedTuple):
    """A measured row: both costs as medians, the ratios of the best times, and the spread of ours."""

    row: Row
    ours: Cost
    theirs: Cost
    ratio: float
    cpu_ratio: float
    spread: float


def measure(row: Row, sides: Sides, runs: int) -> Result:
    """Both sides in turn, after one run of each that does not count: it reads the files and compiles."""
    for command in sides:
        cost_of(command)
    ours, theirs = [], []
    for _ in range(runs):
        ours.append(cost_of(sides[0]))
        theirs.append(cost_of(sides[1]))
    # Noise only ever adds, so the best times are compared.
    best = min(cost.seconds for cost in ours)
    return Result(
        row,
        _median(ours),
        _median(theirs),
        best / min(cost.seconds for cost in theirs),
        min(cost.cpu for cost in ours) / min(cost.cpu for cost in theirs),
        max(cost.seconds for cost in ours) / best - 1,
    )


def cost_of(command: list[str]) -> Cost:
    """Run one command; how it exits is its own affair, for a `diff` that finds something exits with 1."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ENVIRONMENT)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(command)} exited with {process.returncode}")
    return Cost(_printed_number(output) or seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def _printed_number(output: bytes) -> float | None:
    try:
        return float(output.rpartition(b"\n")[0] or output)
    except ValueError:
        return None


def _median(costs: list[Cost]) -> Cost:
    return sorted(costs)[len(costs) // 2]


def python(code: str, *arguments: object) -> list[str]:
    """A command that runs `code`."""
    return [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]


def bufscan(*arguments: object) -> list[str]:
    """A command of bufscan."""
    return [sys.executable, "-m", "bufscan", *map(str, arguments)]
