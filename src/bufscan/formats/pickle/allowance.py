"""What a pickle may ask of bufscan: bounds that no checkpoint reaches, but files that are made to take long.

Up to `_SMALL` bytes every file has the same allowance; all of it used up takes about two seconds and 200 MB. A
larger one has more for each further byte, at least what torch's densest writing needs: protocol 5 with short names
and one storage for all takes 3 bytes an opcode and 50 bytes a tensor, whose values and record fill 1,000 bytes of
memory.
"""

from __future__ import annotations

from bufscan.errors import UnreadableError

_SMALL = 10_000_000


class Allowance:
    """What is left of the allowance of one file.

    Attributes:
        opcodes: how many it may run.
        memory: bytes that its values, and the records made of them, may still take.
        entries: tensors that it may still name; a crafted file can give one tensor a million names.
        calls: reconstruction functions that may still be followed; tensors in tensors could multiply without end.
        text: characters of names and paths that may still stand in the inventory; each tensor brings its share.
        steps: how much looking around is left; a crafted file can show one large object in many places.
    """

    __slots__ = ("calls", "entries", "memory", "opcodes", "steps", "text")

    def __init__(self, file_bytes: int) -> None:
        beyond = max(0, file_bytes - _SMALL)
        self.opcodes = 5_000_000 + beyond // 2
        self.memory = 112_000_000 + beyond * 20
        self.entries = 120_000 + beyond // 50
        self.calls = 250_000 + beyond // 25
        self.text = 1_000_000
        self.steps = 6_000_000 + beyond * 2

    def look_at(self, values: int) -> None:
        """Count values that are about to be looked at: each is a step.

        Raises:
            UnreadableError: they are more than the file can hold.
        """
        self.steps -= values
        if self.steps < 0:
            raise UnreadableError("its pickle shows more objects in more places than a file of its size can hold")
