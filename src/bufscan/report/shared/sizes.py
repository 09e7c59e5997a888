"""Numbers as people read them."""

from __future__ import annotations

from typing import Final, Literal

Units = Literal["decimal", "binary", "exact"]

_SCALES: Final[dict[Units, tuple[int, tuple[str, ...]]]] = {
    "decimal": (1000, ("kB", "MB", "GB", "TB", "PB", "EB")),  # SI, as disks and networks are sold
    "binary": (1024, ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")),  # IEC 80000-13, as memory is
    "exact": (1000, ()),
}

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


def size(nbytes: int, *, units: Units = "decimal") -> str:
    """Bytes with one digit after the point: `10.2 MB`, `9.8 MiB`, or to the byte, `10,240,004 B`."""
    step, names = _SCALES[units]
    if nbytes < step or not names:
        return f"{count(nbytes)} B"
    scale = 1
    for name in names:
        scale *= step
        # Whole numbers throughout: a float overflows on what a hostile shape multiplies to.
        tenths = (nbytes * 10 + scale // 2) // scale
        if tenths < 10 * step:
            return f"{tenths // 10}.{tenths % 10} {name}"
    return f"{count(nbytes // scale)} {names[-1]}"
