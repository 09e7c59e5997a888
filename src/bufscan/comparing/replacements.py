"""Old names turned into new ones, as the user says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bufscan.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Replacements:
    """Regular expressions and what to put in place of their matches, applied in order.

    Raises:
        UsageError: an expression is none.
    """

    def __init__(self, renames: Sequence[tuple[str, str]]) -> None:
        self._steps = [(_compile(pattern), replacement) for pattern, replacement in renames]
        self._matched = [False] * len(self._steps)

    def apply(self, names: Iterable[str]) -> dict[str, str]:
        """The names after all replacements, each with the one it was before.

        Raises:
            UsageError: a replacement names a group that its expression lacks, or two names become one.
        """
        replaced: dict[str, str] = {}
        for name in names:
            after = self._replaced(name)
            if replaced.setdefault(after, name) != name:
                raise UsageError(f"`{replaced[after]}` and `{name}` would both become `{after}`")
        return replaced

    def unmatched(self) -> list[str]:
        """The expressions that no name has matched yet."""
        return [
            pattern.pattern
            for (pattern, _), matched in zip(self._steps, self._matched, strict=True)
            if not matched
        ]

    def _replaced(self, name: str) -> str:
        for step, (pattern, replacement) in enumerate(self._steps):
            try:
                name, times = pattern.subn(replacement, name)
            except (re.error, IndexError) as error:
                raise UsageError(f"`{replacement}` is no replacement for `{pattern.pattern}`: {error}") from error
            self._matched[step] |= times > 0
        return name


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(f"`{pattern}` is no regular expression: {error}") from error
