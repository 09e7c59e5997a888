"""The failures bufscan can explain. Inner code raises them, only `cli` prints them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


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


class UnknownNameError(BufscanError, KeyError):
    """A report was asked for something by a name that it does not have."""

    def __str__(self) -> str:
        return self.message


def without_secrets(text: str) -> str:
    """An address without what could be a password, a key or a signature in it; any other text as it is."""
    if "://" not in text:
        return text
    scheme, _, rest = text.partition("://")
    place, query, _ = rest.partition("?")
    host, slash, path = place.partition("/")
    login, at, host = host.rpartition("@")
    return f"{scheme}://{'…@' if at and login else ''}{host}{slash}{path}{'?…' if query else ''}"


class TargetError(BufscanError):
    """A failure that concerns one target.

    Attributes:
        target: as the user named it.
    """

    def __init__(self, target: str, error: BufscanError) -> None:
        super().__init__(error.message, hint=error.hint)
        self.target = without_secrets(target)

    def __str__(self) -> str:
        return f"{self.target}: {self.message}"


class UnreadableTargetError(TargetError, UnreadableError):
    """A target that cannot be read."""


class UnfitTargetError(TargetError, UsageError):
    """A target of which something was asked that makes no sense."""


@contextmanager
def about(target: str) -> Iterator[None]:
    """Whatever fails inside fails because of this target."""
    try:
        yield
    except TargetError:
        raise
    except BufscanError as error:
        raise _kind_of(error)(target, error) from error


def _kind_of(error: BufscanError) -> type[TargetError]:
    """What is caught as the kind of failure that it is, and as one of a target."""
    match error:
        case UnreadableError():
            return UnreadableTargetError
        case UsageError():
            return UnfitTargetError
        case _:
            return TargetError


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A question about the known word that is most like `word`; None where none is."""
    from difflib import get_close_matches  # only what went wrong needs it

    found = get_close_matches(word, list(known), n=1, cutoff=0.7)
    return f"did you mean `{found[0]}`?" if found else None
