"""The record that torch writes for every tensor, recognised as a whole instead of opcode by opcode.

A checkpoint is mostly this one record repeated: a storage reference, sizes, strides. Matching it at once is
what makes a file of 100,000 tensors a matter of a second. It makes exactly the values that the single opcodes
would have made; whatever deviates from the canonical form is left to them.
"""

from __future__ import annotations

import re
from functools import cache
from struct import Struct
from typing import Any

from bufscan.formats.pickle_values import MISSING, Global, Instance, PersistentId

_INT = rb"(?:K.|M..|J.{4})"
_GET = rb"(?:h.|j.{4})"
_TUPLE = _INT + rb"\x85|" + _INT + rb"{2}\x86|" + _INT + rb"{3}\x87|\(" + _INT + rb"{4,12}t"
# What follows the opcode that fetches _rebuild_tensor_v2: its six arguments, the call, and where each is memoised.
# Memo indices of one byte (the first few tensors of a file) are left to the single opcodes.
_RECORD = (
    rb"\(\((" + _GET + _GET + rb")"  # "storage" and the storage class
    rb"(?:X(.)\0\0\0([0-9]{1,20})r(.{4})|(" + _GET + rb"))"  # the storage's key, new or seen before
    rb"(" + _GET + rb")(" + _INT + rb")(N?)tr(.{4})Q"  # location, numel, the view of old files
    rb"(" + _INT + rb")"  # offset
    rb"(?:\)|(" + _TUPLE + rb")r(.{4}))"  # size
    rb"(?:\)|(" + _TUPLE + rb")r(.{4}))"  # stride
    rb"([\x88\x89])(" + _GET + rb")\)Rr(.{4})"  # requires_grad and an empty OrderedDict of hooks
    rb"tr(.{4})Rr(.{4})"
)
_SHORT_INDICES = 256
_BINGET = ord("h")
_BININT = ord("J")
_TRUE = b"\x88"

_U32 = Struct("<I")


@cache
def _record_expression() -> re.Pattern[bytes]:
    return re.compile(_RECORD, re.DOTALL)


class TensorRecords:
    """Recognises the tensor records of one pickle, given its bytes and its memo."""

    def __init__(self, data: bytes, memo: list[Any]) -> None:
        self._data = data
        self._memo = memo
        self._integers: dict[bytes, int] = {}
        self._tuples: dict[bytes, tuple[int, ...]] = {}

    def match(self, position: int, rebuild: Global) -> tuple[Instance, int] | None:
        """The record whose arguments start at `position`, and where it ends; its values are memoised.

        None when there is no canonical record, and then nothing has changed.
        """
        if len(self._memo) < _SHORT_INDICES:
            return None  # and a small file is read without compiling the expression
        found = _record_expression().match(self._data, position)
        if found is None:
            return None
        (
            head, key_size, key, key_put, key_get, location, numel, view, id_put, offset,
            size, size_put, stride, stride_put, grad, hooks, hooks_put, args_put, put,
        ) = found.groups()  # fmt: skip
        fetched = self._fetch(head + (key_get or b"") + location + hooks)
        if fetched is None:
            return None
        if key is None:
            tag, storage_class, key_text, location_text, hooks_class = fetched
        elif key_size[0] == len(key):
            tag, storage_class, location_text, hooks_class = fetched
            key_text = key.decode("ascii")
        else:
            return None
        storage_id: tuple[Any, ...] = (tag, storage_class, key_text, location_text, self._integer(numel))
        if view:
            storage_id += (None,)
        size_ints, stride_ints = self._integer_tuple(size), self._integer_tuple(stride)
        no_hooks = Instance(hooks_class, ())
        args = (PersistentId(storage_id), self._integer(offset), size_ints, stride_ints, grad == _TRUE, no_hooks)
        record = Instance(rebuild, args)
        memoised = (
            (key_put, key_text),
            (id_put, storage_id),
            (size_put, size_ints),
            (stride_put, stride_ints),
            (hooks_put, no_hooks),
            (args_put, args),
            (put, record),
        )
        return (record, found.end()) if self._memoise(memoised) else None

    def _memoise(self, memoised: tuple[tuple[bytes | None, Any], ...]) -> bool:
        """Append the values whose indices count up from the memo's end, as writers do; else change nothing."""
        memo = self._memo
        count = len(memo)
        values = []
        for put, value in memoised:
            if put is not None:
                if _U32.unpack(put)[0] != count:
                    return False
                count += 1
                values.append(value)
        memo += values
        return True

    def _fetch(self, gets: bytes) -> list[Any] | None:
        """The memo entries that a run of BINGET and LONG_BINGET opcodes reads; None when one was never stored."""
        memo = self._memo
        values = []
        position = 0
        while position < len(gets):
            if gets[position] == _BINGET:
                index = gets[position + 1]
                position += 2
            else:
                index = _U32.unpack_from(gets, position + 1)[0]
                position += 5
            if index >= len(memo) or memo[index] is MISSING:
                return None
            values.append(memo[index])
        return values

    def _integer(self, opcode: bytes) -> int:
        value = self._integers.get(opcode)
        if value is None:
            value = int.from_bytes(opcode[1:], "little", signed=opcode[0] == _BININT)
            self._integers[opcode] = value
        return value

    def _integer_tuple(self, opcodes: bytes | None) -> tuple[int, ...]:
        """The tuple of a run of integer opcodes, shared among the many tensors of equal shape; () for None."""
        if opcodes is None:
            return ()
        value = self._tuples.get(opcodes)
        if value is None:
            value = tuple(map(self._integer, re.findall(_INT, opcodes, re.DOTALL)))
            self._tuples[opcodes] = value
        return value
