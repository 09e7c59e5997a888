"""What the files have in common that are made to take as much time and memory as their bytes can.

Each uses up one part of what `formats/pickle/allowance.py` allows, or would if nothing counted it.
"""

from __future__ import annotations

from struct import pack
from typing import TYPE_CHECKING

from crafted_pickles import ORDERED_DICT, name, pickled, put, tensor, text
from crafted_zip import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIZE = 10_000_000
OPCODES = 4_950_000  # a little less than the machine runs
MEMORY = 105_000_000  # and than its values may take

BOMBS: dict[str, Callable[[], bytes]] = {}


def bomb(make: Callable[[], bytes]) -> Callable[[], bytes]:
    BOMBS[make.__name__.replace("_", " ")] = make
    return make


def filled(*parts: bytes) -> bytes:
    """A checkpoint of the parts and, beside them, as many bytes as there is room for."""
    body = b"".join(parts)
    rest = SIZE - len(body) - 2000
    return checkpoint(pickled(body, b"\x8e" + pack("<Q", rest) + bytes(rest) + b"\x86" if rest > 0 else b""))


def many(unit: bytes, *, opcodes: int, memory: int, head: bytes = b"") -> bytes:
    """A list of as many equal things as the machine lets pass."""
    count = min(OPCODES // opcodes, MEMORY // (memory + 8), (SIZE - len(head) - 3000) // len(unit))
    return filled(head, b"](", unit * count, b"e")


def distinct(count: int) -> Iterator[bytes]:
    """Texts of four bytes, all different."""
    return (b"U\x04" + pack("<I", number) for number in range(count))


# What pickles begin with: each part fills one entry of the memo, and the letters after it fetch them.
TENSOR = tensor() + put(0) + b"0"
LONG_NAME = text("a" * 1_000_000) + put(1) + b"0"
SHORT_NAME = text("w") + put(2) + b"0"
CLASS = name("m", "C") + put(3) + b"0"
DICT = ORDERED_DICT + put(4) + b"0"
T, LONG, W, C, D, PARAMETERS, MODULES, STATE, GROUPS, BIG = (b"h%c" % index for index in range(10))
MODULE = CLASS + text("_parameters") + put(5) + b"0" + text("_modules") + put(6) + b"0"
OPTIMIZER = text("state") + put(7) + b"0" + text("param_groups") + put(8) + b"0"
EMPTY_MODULE = C + b")\x81}(" + PARAMETERS + b"}" + MODULES + b"}ub"
