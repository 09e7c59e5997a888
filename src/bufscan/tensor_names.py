"""How names of tensors are matched with what a user writes, and how they are put in order."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

_NUMBER = re.compile(r"([0-9]+)", re.ASCII)


def matches(pattern: str, name: str) -> bool:
    """Whether a shell pattern is one of the name. Brackets may be those of a path too: `layers[*].pe`."""
    return fnmatchcase(name, pattern) or ("[" in pattern and fnmatchcase(name, pattern.replace("[", "[[]")))


def counting_key(name: str) -> tuple[tuple[str, int, str], ...]:
    """Sorts `blocks.2` before `blocks.10`."""
    parts = _NUMBER.split(name)
    # By length and then by text, as `int` of a number with thousands of digits raises; one part more than numbers.
    numbers = [number.lstrip("0") for number in parts[1::2]] + [""]
    return tuple((text, len(number), number) for text, number in zip(parts[::2], numbers, strict=True))
