"""The configuration's arguments for models: which entry speaks of which model, and which of none any more."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from bufscan.config import BuildEntry


def entries_for(name: str, entries: Sequence[BuildEntry]) -> list[BuildEntry]:
    """Those for the model that `name` (`package.module:Model`) defines, whatever module they name it from."""
    return [entry for entry in entries if name in (entry.target, _defined_as(entry.target))]


def unused_entries(entries: Sequence[BuildEntry], examined: Collection[str]) -> Iterator[BuildEntry]:
    """Entries that speak of none of the models that were examined, by what these were called."""
    models = {name.partition("(")[0] for name in examined}
    for entry in entries:
        if models.isdisjoint((entry.target, _defined_as(entry.target))):
            yield entry


def call_of(expression: str, entry: BuildEntry) -> str:
    """The expression that makes the model with the entry's arguments."""
    if not entry.kwargs:
        return expression
    return f"{expression}({', '.join(f'{name}={value!r}' for name, value in entry.kwargs.items())})"


def _defined_as(target: str) -> str:
    """`package.models:Encoder`, which a package may only pass on, by the module that defines it.

    Nothing is imported for it: a package is loaded before its modules are.
    """
    source, _, name = target.partition(":")
    module = sys.modules.get(source)
    found = None if module is None else vars(module).get(name)
    return f"{getattr(found, '__module__', source)}:{getattr(found, '__qualname__', name)}"
