"""Keeps what the user's code prints out of bufscan's own standard output."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from functools import cache
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Reserved:
    """What standard output was when it was reserved; None where it was not. The process has but one."""

    stream: TextIO | None = None


def reserve_for_results() -> None:
    """From now on, let the user's code have standard error alone once it has been imported.

    It may print whenever it likes: in a method that is measured, when an object is freed, at exit, from a thread
    or a child. For a process that is bufscan's own; as a library it gives standard output back.
    """
    if sys.stdout is None or sys.stderr is None:  # one of them was closed, and its number may be another file's
        return
    descriptor = os.dup(sys.stdout.fileno())
    # Open as long as the process; whose descriptor is left alone is not complained of at its end.
    stream = open(descriptor, "w", encoding=sys.stdout.encoding, closefd=False)  # noqa: SIM115
    _Reserved.stream = stream


def results() -> TextIO | None:
    """Where results go, wherever the user's code prints: standard output, or None where it is closed."""
    return _Reserved.stream or sys.stdout


@contextlib.contextmanager
def diverted_to_stderr() -> Iterator[None]:
    """Send `print` and writes to file descriptor 1 (C extensions, child processes) to standard error."""
    if _Reserved.stream is not None:
        _divert_for_good()
        yield
        return
    with contextlib.redirect_stdout(sys.stderr), _descriptor_diverted():
        yield


@cache
def _divert_for_good() -> None:
    """Once, for the user's code may then close or replace `sys.stdout`."""
    sys.stdout.flush()
    os.dup2(2, 1)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # beside bufscan's own messages, in their order


@contextlib.contextmanager
def _descriptor_diverted() -> Iterator[None]:
    out = sys.__stdout__
    try:
        out.flush()  # type: ignore[union-attr]
        sys.__stderr__.flush()  # type: ignore[union-attr]
        saved = os.dup(1)
        os.dup2(2, 1)
    except (OSError, ValueError, AttributeError):  # no descriptor 1 or 2: a daemon, a notebook
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the user's code has closed it
            out.flush()  # type: ignore[union-attr]
        os.dup2(saved, 1)
        os.close(saved)
