"""What a command answers with, and how it fails."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from bufscan.errors import BufscanError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DONE = 0
DIFFERENT = 1  # findings, or differences
FAILED = 2


class Paper(NamedTuple):
    """A file to write, or to add to."""

    file: str
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

    `papers` are further files, written when the text is out: one that cannot be written keeps nobody from reading.
    `complaints` repeat what the text says, for those who do not see it on their terminal.
    """

    text: str
    output: str | None = None
    exit_code: int = DONE
    papers: tuple[Paper, ...] = ()
    complaints: tuple[Complaint, ...] = ()


class TargetError(Exception):
    """A failure that concerns one target, named as the user named it."""

    def __init__(self, target: str, error: BufscanError) -> None:
        super().__init__(target, error)
        self.target = target
        self.error = error


@contextmanager
def about(target: str) -> Iterator[None]:
    """Whatever fails inside fails because of this target."""
    try:
        yield
    except BufscanError as error:
        raise TargetError(target, error) from error
