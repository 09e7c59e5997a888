"""How a dict's key from a file is spelled in names: bounded, and as Python would write it."""

from __future__ import annotations

from math import isnan
from typing import Any

_SCALARS = frozenset({str, int, float, bool, type(None)})
_LARGEST = 1 << 64
_MOST_IN_TUPLE = 8
_LONGEST = 200


def spell_key(key: Any) -> str | None:
    """`0`, `1.5`, `None`, `'a'`, `('a', 1)`; None for what is no scalar, no tuple of scalars, or too long to show.

    NaN has no spelling either: there may be several.
    """
    if type(key) is tuple:
        parts = [spell_key(part) if type(part) in _SCALARS else None for part in key[:_MOST_IN_TUPLE]]
        spelled = [part for part in parts if part is not None]
        if len(spelled) != len(key):
            return None
        text = f"({', '.join(spelled)}{',' * (len(spelled) == 1)})"
        return text if len(text) <= _LONGEST else None
    is_bounded = (
        type(key) in _SCALARS
        and not (type(key) is float and isnan(key))
        and not (type(key) is int and abs(key) >= _LARGEST)
        and not (type(key) is str and len(key) > _LONGEST)
    )
    return repr(key) if is_bounded else None
