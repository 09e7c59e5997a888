"""Our own pickle machine: runs the opcodes of a pickle over inert values.

No name is imported, nothing is called, and nothing from the file is hashed or compared except short byte strings.
Every length is checked against the bytes that are left, and the work is bounded by the size of the pickle.

The many tensor records of a checkpoint are recognised whole, by `tensor_record`.
"""

from __future__ import annotations

import struct
from itertools import repeat
from typing import Any

import msgspec

from bufscan.errors import UnreadableError
from bufscan.formats.pickle.allowance import Allowance
from bufscan.formats.pickle.pickle_fault import Fault
from bufscan.formats.pickle.pickle_opcodes import HANDLERS, STOP
from bufscan.formats.pickle.pickle_values import MISSING, Global, PersistentId
from bufscan.formats.pickle.tensor_record import TensorRecords

# Bytes of memory: a persistent id that stands in two lists, and the values of one canonical tensor record.
_REFERENCE = 56
_RECORD = 550

_TOO_LARGE = "its values take more memory than those of a checkpoint of its size"

_MAX_LINE = 64 * 1024
# Marks nest as deep as the pickler recursed; names are a few hundred in the largest training checkpoints.
_MOST_MARKS = 100_000
_MOST_GLOBALS = 10_000
_LONGEST_GLOBAL = 1000
# A memo entry takes an opcode that makes a value and one of at least two bytes that stores it.
_BYTES_PER_MEMO_ENTRY = 2


class Pickled(msgspec.Struct, frozen=True):
    """A pickle that ran to its end.

    Attributes:
        value: the object it describes, made of inert values.
        end: offset just after its STOP opcode.
        globals: every name it refers to, in order of first mention.
        persistent_ids: every reference out of it, in order.
        allowance: what it left for those who look at its value.
    """

    value: Any
    end: int
    globals: tuple[Global, ...]
    persistent_ids: list[PersistentId]
    allowance: Allowance


class BrokenPickleError(UnreadableError):
    """A pickle that does not run to its end.

    Attributes:
        globals: the names it had referred to before it broke.
        truncated: whether more bytes after the end of the data might have mended it.
    """

    def __init__(self, message: str, *, globals_seen: tuple[Global, ...], truncated: bool) -> None:
        super().__init__(message)
        self.globals = globals_seen
        self.truncated = truncated


def run_pickle(
    data: bytes, start: int = 0, *, origin: int = 0, file_bytes: int = 0, allowance: Allowance | None = None
) -> Pickled:
    """Run the pickle that starts at `start`; bytes after its end are left alone.

    `origin` is where the data lies in the file, for messages. `file_bytes` is the size of that file.
    `allowance`: what is left of it, where several pickles share one.

    Raises:
        BrokenPickleError: the pickle is truncated, malformed, too large for its bytes, or uses an opcode that
            would bypass this machine.
    """
    machine = Machine(data, start, allowance or Allowance(max(file_bytes, len(data))), origin)
    try:
        value = machine.run()
    except Fault as fault:
        what, truncated = str(fault), fault.truncated
    except struct.error:
        what, truncated = "it ends in the middle", True
    except IndexError:
        # Reading past the last byte, or popping an empty stack.
        truncated = machine.position >= len(data)
        what = "it ends in the middle" if truncated else "an opcode takes more than there is on the stack"
    else:
        machine.allowance.memory = machine.memory
        names = tuple(machine.globals.values())
        return Pickled(value, machine.position, names, machine.persistent_ids, machine.allowance)
    raise BrokenPickleError(
        f"broken pickle at byte {origin + machine.position}: {what}",
        globals_seen=tuple(machine.globals.values()),
        truncated=truncated,
    )


class Machine:
    """Stack, memo and position of one run; `pickle_opcodes` says what each opcode does to them.

    A mark sets the stack aside and starts a new one, so that no opcode can reach below it.
    `memory` is what its values may still take of the allowance.
    """

    __slots__ = (
        "allowance",
        "below_marks",
        "data",
        "globals",
        "memo",
        "memory",
        "origin",
        "persistent_ids",
        "position",
        "rebuild_tensor",
        "records",
        "stack",
        "start",
    )

    def __init__(self, data: bytes, start: int, allowance: Allowance, origin: int = 0) -> None:
        self.data = data
        self.origin = origin
        self.start = start
        self.position = start
        self.stack: list[Any] = []
        self.below_marks: list[list[Any]] = []
        self.memo: list[Any] = []
        self.persistent_ids: list[PersistentId] = []
        self.globals: dict[tuple[str | None, str], Global] = {}
        self.rebuild_tensor = MISSING
        self.allowance = allowance
        self.memory = allowance.memory
        self.records = TensorRecords(data, self.memo)

    def run(self) -> Any:
        data, handlers = self.data, HANDLERS
        for _ in repeat(None, self.allowance.opcodes):
            opcode = data[self.position]
            self.position += 1
            if opcode == STOP:
                if not self.stack:
                    raise Fault("it ends with nothing on the stack")
                return self.stack[-1]
            handlers[opcode](self)
            if self.memory < 0:
                raise Fault(_TOO_LARGE)
        raise Fault("it runs more opcodes than a checkpoint of its size needs")

    # Bytes

    def take(self, length: int) -> bytes:
        """The next `length` bytes."""
        end = self.position + length
        if end > len(self.data):
            raise Fault(
                f"it announces {length} bytes where {len(self.data) - self.position} are left", truncated=True
            )
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def take_sized(self, width: int) -> bytes:
        """The bytes whose number stands in the next `width` bytes, as an unsigned little-endian integer."""
        start = self.position + width
        end = start + int.from_bytes(self.data[self.position : start], "little")
        if end > len(self.data):
            left = max(0, len(self.data) - start)
            raise Fault(f"it announces {end - start} bytes where {left} are left", truncated=True)
        self.position = end
        return self.data[start:end]

    def take_unsigned(self, width: int) -> int:
        """The next `width` bytes as an unsigned little-endian integer."""
        return int.from_bytes(self.take(width), "little")

    def take_line(self) -> bytes:
        """The bytes up to the next newline, which is consumed."""
        limit = self.position + _MAX_LINE
        end = self.data.find(b"\n", self.position, limit)
        if end < 0:
            raise Fault("a text argument has no end", truncated=limit > len(self.data))
        line = self.data[self.position : end]
        self.position = end + 1
        return line

    # Stack and memo

    def push_mark(self) -> None:
        if len(self.below_marks) >= _MOST_MARKS:
            raise Fault("its marks are nested too deep")
        self.below_marks.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[Any]:
        """The values above the last mark."""
        if not self.below_marks:
            raise Fault("a mark is missing")
        values = self.stack
        self.stack = self.below_marks.pop()
        return values

    def reserve(self, memory: int) -> None:
        """Take memory from the allowance before it is taken from the computer."""
        self.memory -= memory
        if self.memory < 0:
            raise Fault(_TOO_LARGE)

    def put(self, index: int) -> None:
        memo = self.memo
        if index == len(memo):
            memo.append(self.stack[-1])
            return
        # Real writers count up; a gap may not be larger than the opcodes that could have filled it.
        passed = self.position - self.start
        if index > passed // _BYTES_PER_MEMO_ENTRY:
            raise Fault(f"it stores memo entry {index} within its first {passed} bytes")
        if index > len(memo):
            memo.extend(repeat(MISSING, index - len(memo) + 1))
        memo[index] = self.stack[-1]
        self.records.forget()

    def get(self, index: int) -> None:
        value = self.memo[index] if index < len(self.memo) else MISSING
        if value is MISSING:
            raise Fault(f"it reads memo entry {index}, which was never stored")
        if value is self.rebuild_tensor and (found := self.records.match(self.position, value)):
            value, self.position = found
            self.persistent_ids.append(value.args[0])
            self.memory -= _RECORD
        self.stack.append(value)

    def push_persistent_id(self, value: Any) -> None:
        self.memory -= _REFERENCE
        reference = PersistentId(value)
        self.persistent_ids.append(reference)
        self.stack.append(reference)

    def push_global(self, module: str | None, name: str) -> None:
        known = self.globals.get((module, name))
        if known is None:
            self._check_global(module or "", name)
            known = self.globals[module, name] = Global(module, name, self.origin + self.position)
            if module == "torch._utils" and name == "_rebuild_tensor_v2":
                self.rebuild_tensor = known
        self.stack.append(known)

    def _check_global(self, module: str, name: str) -> None:
        """Names are kept and shown, so neither they nor their number may be as large as the file."""
        if len(module) + len(name) > _LONGEST_GLOBAL:
            raise Fault(f"a name of {len(module) + len(name)} characters")
        if len(self.globals) >= _MOST_GLOBALS:
            raise Fault(f"it refers to more than {_MOST_GLOBALS} names")
