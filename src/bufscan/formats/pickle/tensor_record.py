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

from bufscan.formats.pickle.pickle_values import MISSING, Global, Instance, PersistentId

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
_MOST_RUNS = 100  # one for each element type and device; the memory they take must not grow with the file
_BINGET = ord("h")
_BININT = ord("J")
_TRUE = b"\x88"

_U32 = Struct("<I")
_MOST_PUTS = 7
_COUNTING = [Struct(f"<{count}I") for count in range(_MOST_PUTS + 1)]


@cache
def _record_expression() -> re.Pattern[bytes]:
    return re.compile(_RECORD, re.DOTALL)


class TensorRecords:
    """Recognises the tensor records of one pickle, given its bytes and its memo."""

    def __init__(self, data: bytes, memo: list[Any]) -> None:
        self._data = data
        self._memo = memo
        self._integers: dict[bytes, int] = {}
        self._tuples: dict[bytes, tuple[int, ...]] = {b"": ()}
        self._fetched: dict[bytes, list[Any]] = {}

    def match(self, position: int, rebuild: Global) -> tuple[Instance, int] | None:
        """The record whose arguments start at `position`, and where it ends; its values are memoised.

        None when there is no canonical record, and then nothing has changed.
        """
        memo = self._memo
        if len(memo) < _SHORT_INDICES:
            return None  # and a small file is read without compiling the expression
        found = _record_expression().match(self._data, position)
        if found is None:
            return None
        (
            head, key_size, key, key_put, key_get, location, numel, view, id_put, offset,
            size, size_put, stride, stride_put, grad, hooks, hooks_put, args_put, put,
        ) = found.groups(b"")  # fmt: skip
        puts = key_put + id_put + size_put + stride_put + hooks_put + args_put + put
        if not self._counts_up(puts) or (key and key_size[0] != len(key)):
            return None
        fetched = self._fetch(head + location + hooks)
        key_text = key.decode("ascii") if key else self._fetch_one(key_get)
        if fetched is None or key_text is MISSING:
            return None
        tag, storage_class, location_text, hooks_class = fetched
        storage_id: tuple[Any, ...] = (tag, storage_class, key_text, location_text, self._integer(numel))
        if view:
            storage_id += (None,)
        sizes, strides = self._integer_tuple(size), self._integer_tuple(stride)
        no_hooks = Instance(hooks_class, ())
        args = (PersistentId(storage_id), self._integer(offset), sizes, strides, grad == _TRUE, no_hooks)
        record = Instance(rebuild, args)
        if key_put:
            memo.append(key_text)
        memo.append(storage_id)
        if size_put:
            memo.append(sizes)
        if stride_put:
            memo.append(strides)
        memo += (no_hooks, args, record)
        return record, found.end()

    def forget(self) -> None:
        """A memo entry has changed: what was fetched may no longer be what is there."""
        self._fetched.clear()

    def _counts_up(self, puts: bytes) -> bool:
        """Whether memo indices count up from the memo's end, as writers number them."""
        start, count = len(self._memo), len(puts) // 4
        return puts == _COUNTING[count].pack(*range(start, start + count))

    def _fetch(self, gets: bytes) -> list[Any] | None:
        """The memo entries that a run of BINGET and LONG_BINGET opcodes reads; None when one was never stored.

        The last runs are remembered: one record after the other fetches the same.
        """
        known = self._fetched.get(gets)
        if known is not None:
            return known
        values: list[Any] = []
        position = 0
        while position < len(gets):
            width = 2 if gets[position] == _BINGET else 5
            values.append(self._fetch_one(gets[position : position + width]))
            position += width
        if any(value is MISSING for value in values):
            return None
        if len(self._fetched) == _MOST_RUNS:
            self._fetched.clear()
        self._fetched[gets] = values
        return values

    def _fetch_one(self, get: bytes) -> Any:
        index = get[1] if get[0] == _BINGET else _U32.unpack_from(get, 1)[0]
        return self._memo[index] if index < len(self._memo) else MISSING

    def _integer(self, opcode: bytes) -> int:
        value = self._integers.get(opcode)
        if value is None:
            value = int.from_bytes(opcode[1:], "little", signed=opcode[0] == _BININT)
            self._integers[opcode] = value
        return value

    def _integer_tuple(self, opcodes: bytes) -> tuple[int, ...]:
        """The tuple of a run of integer opcodes, shared among the many tensors of equal shape."""
        value = self._tuples.get(opcodes)
        if value is None:
            value = tuple(map(self._integer, re.findall(_INT, opcodes, re.DOTALL)))
            self._tuples[opcodes] = value
        return value
