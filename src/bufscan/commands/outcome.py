"""What a command answers with, and how it fails."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from bufscan.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

DONE = 0
DIFFERENT = 1  # findings, or differences
FAILED = 2


class OutputFile(NamedTuple):
    """A file to write, or to add to."""

    path: str
    text: str
    adds: bool = False


class Complaint(NamedTuple):
    """Why not everything could be done, as one line and a hint; the target as the user named it."""

    message: str
    hint: str | None = None
    target: str | None = None


def first_of(reasons: Sequence[str]) -> str:
    """The first of them, and how many more there are: a complaint is one line."""
    return reasons[0] + (f"; and {len(reasons) - 1} more" if len(reasons) > 1 else "")


class Outcome(NamedTuple):
    """What a command has to say, and the file it goes to; None for standard output.

    `files` are further files, written when the text is out: one that cannot be written keeps nobody from reading.
    `reads` are the files that the command read: none of them is written to.
    `complaints` repeat what the text says, for those who do not see it on their terminal.
    `beside` a program that has standard output to itself, the text goes to standard error.
    """

    text: str
    output: str | None = None
    exit_code: int = DONE
    files: tuple[OutputFile, ...] = ()
    reads: tuple[Path, ...] = ()
    complaints: tuple[Complaint, ...] = ()
    beside: bool = False


def refuse_to_overwrite(file: str, reads: Iterable[Path]) -> None:
    """Make sure that nothing is lost where `file` is written: what was read, and the code that was imported.

    Raises:
        UsageError: `file` is one of these, under whatever name.
    """
    try:
        there = os.stat(file)  # noqa: PTH116 - Path.stat raises for more than this
    except (OSError, ValueError):
        return  # nothing is there
    sources = (getattr(module, "__file__", None) for module in tuple(sys.modules.values()))
    for path in (*reads, *filter(None, sources)) if stat.S_ISREG(there.st_mode) else ():
        with suppress(OSError, ValueError):
            if os.path.samestat(os.stat(path), there):  # noqa: PTH116 - the same
                raise UsageError("was read, so it is not written to", hint="give `--output` another name")
