"""The failures bufscan can explain. Inner code raises them, only `cli` prints them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class BufscanError(Exception):
    """Something about the user's input; shown as one line with an optional hint.

    Attributes:
        message: What is wrong, without the target's name in front and without a full stop.
        hint: What the user can do about it, or None.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(BufscanError):
    """The command line or the configuration asks for something that makes no sense."""


class UnreadableError(BufscanError):
    """A target, or a part of it, cannot be read. Never to be mistaken for "nothing found"."""


class TargetError(BufscanError):
    """A failure that concerns one target.

    Attributes:
        target: as the user named it.
    """

    def __init__(self, target: str, error: BufscanError) -> None:
        super().__init__(error.message, hint=error.hint)
        self.target = target


@contextmanager
def about(target: str) -> Iterator[None]:
    """Whatever fails inside fails because of this target."""
    try:
        yield
    except TargetError:
        raise
    except BufscanError as error:
        raise TargetError(target, error) from error
