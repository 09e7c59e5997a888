"""What each pickle opcode does to the machine's stack and memo. Nothing is imported or called."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any

from bufscan.formats.pickle import pickle_scalars as scalars
from bufscan.formats.pickle.pickle_fault import Fault
from bufscan.formats.pickle.pickle_values import Global, Instance, Pairs, is_dict_class, named_class

if TYPE_CHECKING:
    from collections.abc import Callable

    from bufscan.formats.pickle.pickle_machine import Machine
    from bufscan.formats.pickle.pickle_scalars import Handler

_HIGHEST_PROTOCOL = 5

# Bytes of memory that values take (CPython 3.11, with the garbage collector's part and a place on the stack).
_CONTAINER = 64
_POINTER = 8
_INSTANCE = 80
_SPARE = 6  # pointers that a list keeps free when it grows

_U32 = Struct("<I")


# Opcode handlers: one for each opcode, or each family that differs in the width of its argument.


def _mark(machine: Machine) -> None:
    machine.push_mark()


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


def _empty(make: Callable[[], Any]) -> Handler:
    def push(machine: Machine) -> None:
        machine.memory -= _CONTAINER
        machine.stack.append(make())

    return push


def _list(machine: Machine) -> None:
    machine.memory -= _CONTAINER
    values = machine.pop_mark()  # before the stack is looked at: it brings back another one
    machine.stack.append(values)


def _dict(machine: Machine) -> None:
    values = machine.pop_mark()
    machine.memory -= _CONTAINER
    machine.stack.append(Pairs())
    _set(machine, values)


def _tuple(machine: Machine) -> None:
    values = machine.pop_mark()
    machine.reserve(_CONTAINER + _POINTER * len(values))
    machine.stack.append(tuple(values))


def _short_tuple(length: int) -> Handler:
    def push(machine: Machine) -> None:
        machine.memory -= _CONTAINER + _POINTER * length
        stack = machine.stack
        if length > len(stack):
            raise Fault("a tuple takes more than there is on the stack")
        stack[-length:] = [tuple(stack[-length:])]

    return push


def _frozenset(machine: Machine) -> None:
    machine.memory -= _INSTANCE + 2 * _CONTAINER
    values = machine.pop_mark()
    machine.push_global("builtins", "frozenset")
    machine.stack[-1] = Instance(machine.stack[-1], (values,))


def _extend(machine: Machine, values: list[Any]) -> None:
    machine.reserve(_POINTER * (len(values) + _SPARE))
    target = machine.stack[-1]
    if type(target) is list:
        target += values
    elif type(target) is Instance:
        if target.elements is None:
            machine.memory -= _CONTAINER
            target.elements = []
        target.elements += values
    else:
        raise Fault("it appends to something that is no list")


def _append(machine: Machine) -> None:
    _extend(machine, [machine.stack.pop()])


def _extend_from_mark(machine: Machine) -> None:
    _extend(machine, machine.pop_mark())


def _set(machine: Machine, values: list[Any]) -> None:
    machine.reserve(_POINTER * (len(values) + _SPARE))
    target = machine.stack[-1]
    if len(values) % 2:
        raise Fault("a dict's last key has no value")
    if type(target) is Pairs:
        target += values
    elif type(target) is Instance:
        if target.items is None:
            machine.memory -= _CONTAINER
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


def _short_put(machine: Machine) -> None:
    machine.position += 1
    machine.put(machine.data[machine.position - 1])


def _put(machine: Machine) -> None:
    machine.position += 4
    machine.put(_U32.unpack_from(machine.data, machine.position - 4)[0])


def _short_get(machine: Machine) -> None:
    machine.position += 1
    machine.get(machine.data[machine.position - 1])


def _get(machine: Machine) -> None:
    machine.position += 4
    machine.get(_U32.unpack_from(machine.data, machine.position - 4)[0])


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
    """REDUCE: a function is called, or a class."""
    made = _make(machine)
    if type(made.func) is Global and made.func.called is None:
        made.func.called = made


def _new_object(machine: Machine) -> None:
    """NEWOBJ: the class makes an object. The stand-in is the same, but no function could do that."""
    func = named_class(_make(machine).func)
    if func is not None and func.made is None:
        func.made = machine.stack[-1]


def _make(machine: Machine) -> Instance:
    machine.memory -= _INSTANCE
    args = machine.stack.pop()
    func = machine.stack[-1]
    made = _filled_dict(machine, func, args) if args and is_dict_class(func) else Instance(func, args)
    machine.stack[-1] = made
    return made


def _filled_dict(machine: Machine, func: Any, args: Any) -> Instance:
    """A dict made from its contents, as Python 2 pickled an OrderedDict: `OrderedDict([[k, v], ...])`.

    They are copied as the call would have: later changes to the argument do not show in the dict.
    """
    contents: Any = args[-1] if type(args) is tuple else None
    if type(contents) not in (list, Pairs):
        return Instance(func, args)
    machine.reserve(_CONTAINER + 2 * _POINTER * len(contents))
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
    _new_object(machine)


def _inst(machine: Machine) -> None:
    machine.memory -= _CONTAINER
    args = tuple(machine.pop_mark())
    _global(machine)
    machine.stack.append(args)
    _call(machine)


def _obj(machine: Machine) -> None:
    machine.memory -= _CONTAINER
    values = machine.pop_mark()
    if not values:
        raise Fault("an object without a class")
    machine.stack += (values[0], tuple(values[1:]))
    _call(machine)


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


_HANDLERS: dict[bytes, Handler] = {
    b"(": _mark,
    b"0": _pop,
    b"1": _pop_mark,
    b"2": _dup,
    b"\x80": _proto,
    b"\x95": _frame,
    b"N": scalars.constant(None),
    b"\x88": scalars.constant(True),
    b"\x89": scalars.constant(False),
    b"I": scalars.text_integer,
    b"L": scalars.text_integer,
    b"J": scalars.number("<i"),
    b"K": scalars.byte,
    b"M": scalars.number("<H"),
    b"\x8a": scalars.long(1),
    b"\x8b": scalars.long(4),
    b"F": scalars.text_float,
    b"G": scalars.number(">d"),
    b"S": scalars.text_string,
    b"T": scalars.byte_string(4),
    b"U": scalars.byte_string(1),
    b"V": scalars.text_unicode,
    b"X": scalars.string(4),
    b"\x8c": scalars.string(1),
    b"\x8d": scalars.string(8),
    b"B": scalars.raw_bytes(4),
    b"C": scalars.raw_bytes(1),
    b"\x8e": scalars.raw_bytes(8),
    b"\x96": scalars.raw_bytes(8),
    b"]": _empty(list),
    b"}": _empty(Pairs),
    b")": scalars.constant(()),
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
    b"q": _short_put,
    b"r": _put,
    b"\x94": _memoize,
    b"g": _text_get,
    b"h": _short_get,
    b"j": _get,
    b"c": _global,
    b"\x93": _stack_global,
    b"R": _call,
    b"\x81": _new_object,
    b"\x92": _call_with_keywords,
    b"i": _inst,
    b"o": _obj,
    b"b": _build,
    b"P": _text_persistent_id,
    b"Q": _persistent_id,
}

_REFUSED = {
    # copyreg's extension registry hands out live objects of this process.
    0x82: "opcode EXT1 reaches into the running interpreter",
    0x83: "opcode EXT2 reaches into the running interpreter",
    0x84: "opcode EXT4 reaches into the running interpreter",
    0x97: "opcode NEXT_BUFFER needs data from outside the file",
    0x98: "opcode READONLY_BUFFER needs data from outside the file",
}


def _refusing(opcode: int) -> Handler:
    what = _REFUSED.get(opcode, f"no pickle opcode has the code {opcode:#04x}")

    def refuse(_machine: Machine) -> None:
        raise Fault(what)

    return refuse


STOP = ord(".")

# By opcode. The machine itself sees to STOP.
HANDLERS: list[Handler] = [_HANDLERS.get(bytes([opcode])) or _refusing(opcode) for opcode in range(256)]
