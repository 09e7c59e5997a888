"""What the opcodes for numbers and texts push onto the machine's stack."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any, TypeAlias

from bufscan.formats.pickle.pickle_fault import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from bufscan.formats.pickle.pickle_machine import Machine

_MAX_TEXT_DIGITS = 2500  # decimal digits of an integer of _MAX_LONG_BYTES
_MAX_LONG_BYTES = 1024
_TEXT_MEMORY = 64  # bytes of memory beyond the characters, with a place on the stack

Handler: TypeAlias = "Callable[[Machine], None]"


def constant(value: Any) -> Handler:
    """Push the one value."""

    def push(machine: Machine) -> None:
        machine.stack.append(value)

    return push


def number(layout: str) -> Handler:
    """Push a number; `layout` is struct's word for how it is written."""
    unpack, width = Struct(layout).unpack_from, Struct(layout).size

    def push(machine: Machine) -> None:
        machine.stack.append(unpack(machine.data, machine.position)[0])
        machine.position += width

    return push


def byte(machine: Machine) -> None:
    """Push an integer of one byte: the most frequent of all."""
    machine.stack.append(machine.data[machine.position])
    machine.position += 1


def long(width: int) -> Handler:
    """Push an integer whose length stands in `width` bytes."""

    def push(machine: Machine) -> None:
        length = machine.take_unsigned(width)
        if length > _MAX_LONG_BYTES:
            raise Fault(f"an integer of {length} bytes")
        machine.stack.append(int.from_bytes(machine.take(length), "little", signed=True))

    return push


def text_integer(machine: Machine) -> None:
    """Push an integer written in decimal digits, or one of the two bools of old protocols."""
    line = machine.take_line()
    if line in (b"00", b"01"):
        machine.stack.append(line == b"01")
        return
    digits = line.removesuffix(b"L")
    if len(digits) > _MAX_TEXT_DIGITS or not digits.removeprefix(b"-").isdigit():
        raise Fault("an integer in text that is none")
    machine.stack.append(int(digits))


def text_float(machine: Machine) -> None:
    """Push a float written in decimal digits."""
    line = machine.take_line()
    try:
        machine.stack.append(float(line))
    except ValueError:
        raise Fault("a float in text that is none") from None


def string(width: int) -> Handler:
    """Push a text whose length stands in `width` bytes."""

    def push(machine: Machine) -> None:
        data = machine.take_sized(width)
        machine.memory -= _TEXT_MEMORY
        try:
            # surrogatepass: the pickle module writes lone surrogates this way.
            machine.stack.append(data.decode("utf-8", "surrogatepass"))
        except UnicodeDecodeError:
            raise Fault("a string that is not UTF-8") from None

    return push


def byte_string(width: int) -> Handler:
    """Push a string of Python 2 whose length stands in `width` bytes."""

    def push(machine: Machine) -> None:
        data = machine.take_sized(width)
        machine.memory -= _TEXT_MEMORY
        machine.stack.append(_text_of(data))

    return push


def _text_of(data: bytes) -> str:
    """A string of Python 2: UTF-8, as torch.load assumes, or else bytes that can at least be shown."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def raw_bytes(width: int) -> Handler:
    """Push bytes whose length stands in `width` bytes."""

    def push(machine: Machine) -> None:
        data = machine.take_sized(width)
        machine.memory -= _TEXT_MEMORY
        machine.stack.append(data)

    return push


def text_string(machine: Machine) -> None:
    """Push a string of Python 2 that is written as its repr."""
    line = machine.take_line()
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:  # noqa: PLR2004 - two quotes
        raise Fault("a string in text without its quotes")
    if b"\\" in line:
        # Only protocols 0 and 1 write this opcode, which torch never used; better not read than read otherwise.
        raise Fault("a string in text with escapes, which bufscan does not read")
    machine.memory -= _TEXT_MEMORY
    machine.stack.append(_text_of(line[1:-1]))


def text_unicode(machine: Machine) -> None:
    """Push a text up to the end of the line."""
    machine.memory -= _TEXT_MEMORY
    try:
        machine.stack.append(machine.take_line().decode("raw-unicode-escape"))
    except UnicodeDecodeError:
        raise Fault("a string in text with a broken escape") from None
