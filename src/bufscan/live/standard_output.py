"""Keeps what the user's code prints out of bufscan's own standard output."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def diverted_to_stderr() -> Iterator[None]:
    """Send `print` and writes to file descriptor 1 (C extensions, child processes) to standard error."""
    with contextlib.redirect_stdout(sys.stderr), _descriptor_diverted():
        yield


@contextlib.contextmanager
def _descriptor_diverted() -> Iterator[None]:
    try:
        sys.__stdout__.flush()  # type: ignore[union-attr]
        saved = os.dup(1)
        os.dup2(2, 1)
    except (OSError, ValueError, AttributeError):  # no descriptor 1 or 2: a daemon, a notebook
        yield
        return
    try:
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)
