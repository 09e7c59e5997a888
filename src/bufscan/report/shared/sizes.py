"""Numbers as people read them."""

from __future__ import annotations

_STEP = 1000

_UNITS = ("kB", "MB", "GB", "TB", "PB", "EB")

# Shapes in broken files multiply to numbers that no file holds and that Python refuses to print in decimal.
_BELIEVABLE = 1 << 80


def count(number: int) -> str:
    """A whole number with thousands set apart (`1,234,567`)."""
    return f"{number:,}" if number < _BELIEVABLE else f"over 2^{number.bit_length() - 1}"


def plural(number: int, noun: str) -> str:
    """`1 tensor`, `2 tensors`, `2 anomalies`, `2 classes`, `3 things skipped`."""
    word, _, rest = noun.partition(" ")
    if number != 1:
        word = f"{word[:-1]}ies" if word.endswith("y") else f"{word}es" if word.endswith("s") else f"{word}s"
    return f"{count(number)} {word} {rest}".rstrip()


def size(nbytes: int, *, exact: bool = False) -> str:
    """Bytes in decimal units with one digit after the point (`10.2 MB`), or to the byte (`10,240,004 B`)."""
    if exact or nbytes < _STEP:
        return f"{count(nbytes)} B"
    scale = 1
    for unit in _UNITS:
        scale *= _STEP
        # Whole numbers throughout: a float overflows on what a hostile shape multiplies to.
        tenths = (nbytes * 10 + scale // 2) // scale
        if tenths < 10 * _STEP:
            return f"{tenths // 10}.{tenths % 10} {unit}"
    return f"{count(nbytes // scale)} {_UNITS[-1]}"
