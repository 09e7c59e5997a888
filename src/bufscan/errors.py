"""The failures bufscan can explain. Inner code raises them, only `cli` prints them."""

from __future__ import annotations


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
