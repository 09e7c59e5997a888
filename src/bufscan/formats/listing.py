"""Names from a file inside one sentence: quoted, cut and counted. Escaping is left to whoever prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.inventory import Skipped

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONGEST = 80
_SHOWN = 3
_MOST_LISTED = 20
_MOST_SKIPPED = 1000


def quoted(name: str) -> str:
    """The name in backticks; a very long one is cut."""
    return f"`{name}`" if len(name) <= _LONGEST else f"`{name[:_LONGEST]}…`"


def listed(names: Sequence[str]) -> str:
    """The first few names and how many more there are: "`a`, `b`, `c` and 4 more"."""
    shown = ", ".join(quoted(name) for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN:,} more"


def counted(number: int, noun: str, several: str | None = None) -> str:
    """The number with its noun: "1 tensor", "2,000 tensors"; `several` where an s does not make the plural."""
    return f"{number:,} {noun if number == 1 else several or f'{noun}s'}"


def skip_each(names: Sequence[str], reason: str) -> list[Skipped]:
    """A note for each of the names, up to a number; the rest are counted."""
    skipped = [Skipped(what=name, reason=reason) for name in names[:_MOST_LISTED]]
    if rest := names[_MOST_LISTED:]:
        skipped.append(Skipped(what=counted(len(rest), "more file"), reason=reason))
    return skipped


def capped(skipped: Sequence[Skipped]) -> tuple[Skipped, ...]:
    """All of them, up to a number; the rest are counted, and have failed where one of them has."""
    rest = skipped[_MOST_SKIPPED:]
    if not rest:
        return tuple(skipped)
    what, failed = counted(len(rest), "more entry", "more entries"), any(each.failed for each in rest)
    return (*skipped[:_MOST_SKIPPED], Skipped(what=what, reason="they are like those above", failed=failed))
