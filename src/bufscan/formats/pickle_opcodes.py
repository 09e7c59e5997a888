"""What each pickle opcode does to the machine's stack and memo. Nothing is imported or called."""

from __future__ import annotations

from struct import unpack
from typing import TYPE_CHECKING, Any, TypeAlias

from bufscan.formats.pickle_values import Instance, Pairs, is_dict_class

if TYPE_CHECKING:
    from collections.abc import Callable

    from bufscan.formats.pickle_machine import Machine

_HIGHEST_PROTOCOL = 5
_MAX_TEXT_DIGITS = 400  # decimal digits in a text opcode: more than any real number has
_MAX_LONG_BYTES = 1024
_POINTERS_PER_CONTAINER = 8  # a copied list counts for as many containers as would take its memory

Handler: TypeAlias = "Callable[[Machine], None]"


class Fault(Exception):  # noqa: N818 - not an error of ours, and `run_pickle` turns it into one
    """The pickle does something that no sound pickle does."""

    def __init__(self, what: str, *, truncated: bool = False) -> None:
        super().__init__(what)
        self.truncated = truncated


# Opcode handlers: one for each opcode, or each family that differs in the width of its argument.


def _mark(machine: Machine) -> None:
    machine.push_mark()


def _stop(machine: Machine) -> None:
    machine.stopped = True


def _pop(machine: Machine) -> None:
    if machine.stack or not machine.below_marks:
        machine.stack.pop()
    else:
        machine.pop_mark()


def _pop_mark(machine: Machine) -> None:
    machine.pop_mark()


def _dup(machine: Machine) -> None:
    machine.stack.append(machine.stack[-1])


def _proto(machine: Machine) -> None:
    protocol = machine.take(1)[0]
    if protocol > _HIGHEST_PROTOCOL:
        raise Fault(f"pickle protocol {protocol} does not exist")


def _frame(machine: Machine) -> None:
    length = machine.take_unsigned(8)
    if length > len(machine.data) - machine.position:
        raise Fault(f"a frame of {length} bytes is longer than the pickle", truncated=True)


def _constant(value: Any) -> Handler:
    def push(machine: Machine) -> None:
        machine.stack.append(value)

    return push


def _integer(width: int, *, signed: bool = False) -> Handler:
    def push(machine: Machine) -> None:
        machine.stack.append(int.from_bytes(machine.take(width), "little", signed=signed))

    return push


def _long(width: int) -> Handler:
    def push(machine: Machine) -> None:
        length = machine.take_unsigned(width)
        if length > _MAX_LONG_BYTES:
            raise Fault(f"an integer of {length} bytes")
        machine.stack.append(int.from_bytes(machine.take(length), "little", signed=True))

    return push


def _text_integer(machine: Machine) -> None:
    line = machine.take_line()
    if line in (b"00", b"01"):
        machine.stack.append(line == b"01")
        return
    digits = line.removesuffix(b"L")
    if len(digits) > _MAX_TEXT_DIGITS or not digits.removeprefix(b"-").isdigit():
        raise Fault("an integer in text that is none")
    machine.stack.append(int(digits))


def _text_float(machine: Machine) -> None:
    line = machine.take_line()
    try:
        machine.stack.append(float(line))
    except ValueError:
        raise Fault("a float in text that is none") from None


def _float(machine: Machine) -> None:
    machine.stack.append(unpack(">d", machine.take(8))[0])


def _string(width: int) -> Handler:
    """Text with its length in front."""

    def push(machine: Machine) -> None:
        data = machine.take(machine.take_unsigned(width))
        try:
            # surrogatepass: the pickle module writes lone surrogates this way.
            machine.stack.append(data.decode("utf-8", "surrogatepass"))
        except UnicodeDecodeError:
            raise Fault("a string that is not UTF-8") from None

    return push


def _byte_string(width: int) -> Handler:
    """A string of Python 2, with its length in front."""

    def push(machine: Machine) -> None:
        machine.stack.append(_text_of(machine.take(machine.take_unsigned(width))))

    return push


def _text_of(data: bytes) -> str:
    """A string of Python 2: UTF-8, as torch.load assumes, or else bytes that can at least be shown."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _bytes(width: int) -> Handler:
    def push(machine: Machine) -> None:
        machine.stack.append(machine.take(machine.take_unsigned(width)))

    return push


def _text_string(machine: Machine) -> None:
    line = machine.take_line()
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:  # noqa: PLR2004 - two quotes
        raise Fault("a string in text without its quotes")
    if b"\\" in line:
        # Only protocols 0 and 1 write this opcode, which torch never used; better not read than read otherwise.
        raise Fault("a string in text with escapes, which bufscan does not read")
    machine.stack.append(_text_of(line[1:-1]))


def _text_unicode(machine: Machine) -> None:
    try:
        machine.stack.append(machine.take_line().decode("raw-unicode-escape"))
    except UnicodeDecodeError:
        raise Fault("a string in text with a broken escape") from None


def _empty(make: Callable[[], Any]) -> Handler:
    def push(machine: Machine) -> None:
        machine.count_container()
        machine.stack.append(make())

    return push


def _list(machine: Machine) -> None:
    machine.count_container()
    values = machine.pop_mark()  # before the stack is looked at: it brings back another one
    machine.stack.append(values)


def _dict(machine: Machine) -> None:
    values = machine.pop_mark()
    machine.count_container()
    machine.stack.append(Pairs())
    _set(machine, values)


def _tuple(machine: Machine) -> None:
    machine.count_container()
    values = machine.pop_mark()
    machine.stack.append(tuple(values))


def _short_tuple(length: int) -> Handler:
    def push(machine: Machine) -> None:
        machine.count_container()
        stack = machine.stack
        if length > len(stack):
            raise Fault("a tuple takes more than there is on the stack")
        stack[-length:] = [tuple(stack[-length:])]

    return push


def _frozenset(machine: Machine) -> None:
    machine.count_container(3)  # the call, its arguments and the elements
    values = machine.pop_mark()
    machine.push_global("builtins", "frozenset")
    machine.stack[-1] = Instance(machine.stack[-1], (values,))


def _extend(machine: Machine, values: list[Any]) -> None:
    target = machine.stack[-1]
    if type(target) is list:
        target += values
    elif type(target) is Instance:
        if target.elements is None:
            machine.count_container()
            target.elements = []
        target.elements += values
    else:
        raise Fault("it appends to something that is no list")


def _append(machine: Machine) -> None:
    _extend(machine, [machine.stack.pop()])


def _extend_from_mark(machine: Machine) -> None:
    _extend(machine, machine.pop_mark())


def _set(machine: Machine, values: list[Any]) -> None:
    target = machine.stack[-1]
    if len(values) % 2:
        raise Fault("a dict's last key has no value")
    if type(target) is Pairs:
        target += values
    elif type(target) is Instance:
        if target.items is None:
            machine.count_container()
            target.items = Pairs()
        target.items += values
    else:
        raise Fault("it sets items of something that is no dict")


def _setitem(machine: Machine) -> None:
    value = machine.stack.pop()
    key = machine.stack.pop()
    _set(machine, [key, value])


def _setitems(machine: Machine) -> None:
    _set(machine, machine.pop_mark())


def _put(width: int) -> Handler:
    def put(machine: Machine) -> None:
        machine.put(machine.take_unsigned(width))

    return put


def _get(width: int) -> Handler:
    def get(machine: Machine) -> None:
        machine.get(machine.take_unsigned(width))

    return get


def _text_index(machine: Machine) -> int:
    line = machine.take_line()
    if not line.isdigit() or len(line) > 10:  # noqa: PLR2004 - digits of 2^32
        raise Fault("a memo index that is no number")
    return int(line)


def _text_put(machine: Machine) -> None:
    machine.put(_text_index(machine))


def _text_get(machine: Machine) -> None:
    machine.get(_text_index(machine))


def _memoize(machine: Machine) -> None:
    machine.put(len(machine.memo))


def _global(machine: Machine) -> None:
    module, name = machine.take_line(), machine.take_line()
    machine.push_global(module.decode("utf-8", "replace"), name.decode("utf-8", "replace"))


def _stack_global(machine: Machine) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    if type(name) is str and type(module) is str:
        machine.push_global(module, name)
    else:
        machine.push_global(None, "a name computed at run time")


def _call(machine: Machine) -> None:
    """REDUCE and NEWOBJ: the difference, calling or making, does not matter to a stand-in."""
    machine.count_container()
    args = machine.stack.pop()
    func = machine.stack[-1]
    if args and is_dict_class(func):
        machine.stack[-1] = _filled_dict(machine, func, args)
    else:
        machine.stack[-1] = Instance(func, args)


def _filled_dict(machine: Machine, func: Any, args: Any) -> Instance:
    """A dict made from its contents, as Python 2 pickled an OrderedDict: `OrderedDict([[k, v], ...])`.

    They are copied as the call would have: later changes to the argument do not show in the dict.
    """
    contents: Any = args[-1] if type(args) is tuple else None
    if type(contents) not in (list, Pairs):
        return Instance(func, args)
    machine.count_container(1 + len(contents) // _POINTERS_PER_CONTAINER)
    if type(contents) is Pairs:
        return Instance(func, (), items=Pairs(contents))
    pairs = Pairs()
    for item in contents:
        if type(item) not in (list, tuple) or len(item) != 2:  # noqa: PLR2004 - a key and its value
            raise Fault("a dict is made of something that is no pair")
        pairs += item
    return Instance(func, (), items=pairs)


def _call_with_keywords(machine: Machine) -> None:
    """NEWOBJ_EX. Keyword arguments are kept as one more argument, for the tensors that may be among them."""
    keywords, args = machine.stack.pop(), machine.stack.pop()
    if keywords:
        args = (args, keywords)
    machine.stack.append(args)
    _call(machine)


def _inst(machine: Machine) -> None:
    machine.count_container()
    args = tuple(machine.pop_mark())
    _global(machine)
    machine.stack[-1] = Instance(machine.stack[-1], args)


def _obj(machine: Machine) -> None:
    machine.count_container()
    values = machine.pop_mark()
    if not values:
        raise Fault("an object without a class")
    machine.stack.append(Instance(values[0], tuple(values[1:])))


def _build(machine: Machine) -> None:
    state = machine.stack.pop()
    target = machine.stack[-1]
    if type(target) is not Instance:
        raise Fault("it sets the state of something that is no object")
    if target.state is not None:
        raise Fault("it sets the state of one object twice")
    target.state = state


def _persistent_id(machine: Machine) -> None:
    machine.push_persistent_id(machine.stack.pop())


def _text_persistent_id(machine: Machine) -> None:
    machine.push_persistent_id(machine.take_line().decode("latin-1"))


HANDLERS: dict[int, Handler] = {
    opcode[0]: handler
    for opcode, handler in {
        b"(": _mark,
        b".": _stop,
        b"0": _pop,
        b"1": _pop_mark,
        b"2": _dup,
        b"\x80": _proto,
        b"\x95": _frame,
        b"N": _constant(None),
        b"\x88": _constant(True),
        b"\x89": _constant(False),
        b"I": _text_integer,
        b"L": _text_integer,
        b"J": _integer(4, signed=True),
        b"K": _integer(1),
        b"M": _integer(2),
        b"\x8a": _long(1),
        b"\x8b": _long(4),
        b"F": _text_float,
        b"G": _float,
        b"S": _text_string,
        b"T": _byte_string(4),
        b"U": _byte_string(1),
        b"V": _text_unicode,
        b"X": _string(4),
        b"\x8c": _string(1),
        b"\x8d": _string(8),
        b"B": _bytes(4),
        b"C": _bytes(1),
        b"\x8e": _bytes(8),
        b"\x96": _bytes(8),
        b"]": _empty(list),
        b"}": _empty(Pairs),
        b")": _constant(()),
        b"\x8f": _empty(list),
        b"l": _list,
        b"d": _dict,
        b"t": _tuple,
        b"\x85": _short_tuple(1),
        b"\x86": _short_tuple(2),
        b"\x87": _short_tuple(3),
        b"\x91": _frozenset,
        b"a": _append,
        b"e": _extend_from_mark,
        b"\x90": _extend_from_mark,
        b"s": _setitem,
        b"u": _setitems,
        b"p": _text_put,
        b"q": _put(1),
        b"r": _put(4),
        b"\x94": _memoize,
        b"g": _text_get,
        b"h": _get(1),
        b"j": _get(4),
        b"c": _global,
        b"\x93": _stack_global,
        b"R": _call,
        b"\x81": _call,
        b"\x92": _call_with_keywords,
        b"i": _inst,
        b"o": _obj,
        b"b": _build,
        b"P": _text_persistent_id,
        b"Q": _persistent_id,
    }.items()
}

REFUSED = {
    # copyreg's extension registry hands out live objects of this process.
    0x82: "opcode EXT1 reaches into the running interpreter",
    0x83: "opcode EXT2 reaches into the running interpreter",
    0x84: "opcode EXT4 reaches into the running interpreter",
    0x97: "opcode NEXT_BUFFER needs data from outside the file",
    0x98: "opcode READONLY_BUFFER needs data from outside the file",
}
