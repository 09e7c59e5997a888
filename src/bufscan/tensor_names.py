"""How names of tensors are spelled beyond registration, matched with what a user writes, and put in order."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from functools import lru_cache
from math import isnan
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_SCALARS = frozenset({str, bytes, int, float, bool, type(None)})
_LARGEST = 1 << 64
_MOST_IN_TUPLE = 8
_LONGEST_KEY = 200

_NUMBER = re.compile(r"([0-9]+)", re.ASCII)

# Patterns that few names need are compiled when one does.

# What may be written in two ways: a step as Python reaches it or as a state_dict names it, a key or its position.
_BRACKETS = r"(?:(?<![^.(])_modules)?\[('[^']*'|\"[^\"]*\"|[\w*?]+)\]"
_NEEDLESS_DOT = r"(?<![^.(])\."
_POSITION = r"\.values\(\)\)\[[\w*?]{1,20}\]"
_KEY_OR_POSITION = rf"\[(?:\(.{{,{_LONGEST_KEY}}}?\)|[^\[\]]{{61,}})\]|{_POSITION}"


_EXTRA_STATE = r"(?s)((?:.*?\.)?_extra_state)(?:\[.*)?"


def extra_state_key(name: str) -> str | None:
    """The key of the extra state that an entry is, or that a tensor lies in: `fc._extra_state['amax']`."""
    if "_extra_state" not in name:
        return None
    found = re.fullmatch(_EXTRA_STATE, name)
    return None if found is None else found[1]


def names_entry(name: str) -> bool:
    """Whether it may be the name of a state_dict's entry: not a tensor's on its own or in a list."""
    return name[:1] not in ("", "[")


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
        return text if len(text) <= _LONGEST_KEY else None
    is_bounded = (
        type(key) in _SCALARS
        and not (type(key) is float and isnan(key))
        and not (type(key) is int and abs(key) >= _LARGEST)
        and not (type(key) in (str, bytes) and len(key) > _LONGEST_KEY)
    )
    return repr(key) if is_bounded else None


def matches(pattern: str, name: str) -> bool:
    """Whether a shell pattern is one of the name, however each is spelled: `layers[*].pe` is one of `layers.0.pe`.

    Brackets in a pattern are a set of characters, as shells have it, or those of the name.
    """
    if fnmatchcase(name, pattern):
        return True
    if "[" not in pattern and "[" not in name:
        return False
    spellings: list[Callable[[str], str]] = [str, in_one_spelling]
    spellings += [without_keys] * names_a_position(pattern)
    return any(fnmatchcase(spelled(name), spelled(pattern).replace("[", "[[]")) for spelled in spellings)


def is_pattern(text: str) -> bool:
    """Whether it may match names that are spelled otherwise; if not, it is a name `in_one_spelling`."""
    return any(mark in text for mark in "*?[")


@lru_cache(maxsize=4096)
def in_one_spelling(name: str) -> str:
    """The same text however the steps are written: `blocks[0].pe`, as it once was, and `blocks.0.pe`."""
    if "[" not in name:
        return name
    return re.sub(_NEEDLESS_DOT, "", re.sub(_BRACKETS, lambda found: "." + found[1].strip("'\""), name))


def names_a_position(name: str) -> bool:
    """Whether it says of a dict's element which one by number: `list(table.values())[0]`.

    Tuples and long strings once were spelled so; other keys that Python cannot simply write still are.
    """
    return re.search(_POSITION, name) is not None


@lru_cache(maxsize=4096)
def without_keys(name: str) -> str:
    """The same text for every element of a dict that is named by its position or once was."""
    wraps = len(re.findall(_POSITION, name))
    return in_one_spelling(re.sub(_KEY_OR_POSITION, "[\N{HORIZONTAL ELLIPSIS}]", name.replace("list(", "", wraps)))


def counting_key(name: str) -> tuple[tuple[str, int, str], ...]:
    """Sorts `blocks.2` before `blocks.10`."""
    parts = _NUMBER.split(name)
    # By length and then by text, as `int` of a number with thousands of digits raises; one part more than numbers.
    numbers = [number.lstrip("0") for number in parts[1::2]] + [""]
    return tuple((text, len(number), number) for text, number in zip(parts[::2], numbers, strict=True))
