"""JSON out of files that nobody vouches for: one strict loader, bounded before anything is built.

msgspec parses. What it does not look at (depth, density, equal keys) is read off the text without its strings,
where every colon is a member and every bracket a level.
"""

from __future__ import annotations

import re
from itertools import accumulate
from typing import Any

import msgspec

from bufscan.errors import UnreadableError
from bufscan.formats.listing import quoted

MAX_BYTES = 100_000_000
MAX_DEPTH = 127
"""Levels of objects and arrays that the reference reader of safetensors headers takes, too."""

# An empty list is three bytes of text and eighty of memory. In a safetensors header, the densest text that writers
# of checkpoints make, there is one object or array for every 17 bytes.
_BYTES_PER_CONTAINER = 17
_DENSE_BYTES = 1_000_000

# The closing quote is optional: a string without one then costs a single pass, not one for each quote in it.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_WHOLE_STRINGS = re.compile(rb'(?:[^"]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+', re.DOTALL)
# `sub` keeps a list of every piece between two strings: beyond so many quotes it is better called on parts.
_MANY_QUOTES = 500_000
_WINDOW = 1 << 18
_NAMEABLE_MEMBERS = 500_000  # beyond, the second reading that finds the key's name takes too much memory

_DIGITS_TO_ZERO = bytes(ord("0") if byte in b"123456789" else byte for byte in range(256))
_MAX_DIGITS = 308  # more leave the range of a double
_NEGATIVE_ZERO = re.compile(rb"(?<![eE])-0(?![0-9.eE])")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_CONTAINERS = (dict, list)
_STEPS = [1 if byte in b"[{" else -1 for byte in range(256)]


def load_json(data: bytes, *, what: str = "the file", max_bytes: int = MAX_BYTES) -> Any:
    """The value that UTF-8 JSON text stands for; `what` names the text in messages.

    No number has more than 308 digits in a row, floats are finite, strings hold no lone surrogates.

    Raises:
        UnreadableError: the text is too large, too dense or too deep, is no JSON, or has two equal keys in one
            object. The message never repeats text that did not parse.
    """
    if len(data) > max_bytes:
        raise UnreadableError(f"{what} has {len(data):,} bytes, more than the {max_bytes:,} allowed")
    structure = _remove_strings(data)
    _require_bounded(structure, len(data), what)
    members = structure.count(b":")
    value = _parse(data, what)
    if _count_members(value) != members:
        del value  # only one copy of a large document at a time
        key = _find_repeated_key(data) if members <= _NAMEABLE_MEMBERS else "a key"
        raise UnreadableError(f"{what} has {key} twice in one object")
    return value


def _remove_strings(data: bytes) -> bytes:
    """The text between strings; what follows a quote that is never closed goes, too: it will not parse."""
    if data.count(b'"') < _MANY_QUOTES:
        return _STRING.sub(b"", data)
    pieces = []
    position, window = 0, _WINDOW
    while position < len(data):
        found = _WHOLE_STRINGS.match(data, position, position + window)
        if found and found[0]:
            pieces.append(_STRING.sub(b"", found[0]))
            position, window = found.end(), _WINDOW
        elif position + window < len(data):
            window *= 2  # one string is longer than the window
        else:
            break
    return b"".join(pieces)


def _require_bounded(structure: bytes, size: int, what: str) -> None:
    brackets = structure.translate(None, _NOT_BRACKETS)
    containers = brackets.count(b"[") + brackets.count(b"{")
    if size > _DENSE_BYTES and containers * _BYTES_PER_CONTAINER > size:
        raise UnreadableError(f"{what} packs {containers:,} objects and arrays into {size:,} bytes")
    if max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > MAX_DEPTH:
        raise UnreadableError(f"{what} is nested more than {MAX_DEPTH} levels deep")
    if b"0" * (_MAX_DIGITS + 1) in structure.translate(_DIGITS_TO_ZERO):
        raise UnreadableError(f"{what} holds a number of more than {_MAX_DIGITS} digits")
    if b"-0" in structure and _NEGATIVE_ZERO.search(structure):
        raise UnreadableError(f"{what} holds a negative zero, which readers take for different numbers")


def _parse(data: bytes, what: str) -> Any:
    try:
        return msgspec.json.decode(data)
    except UnicodeDecodeError as error:
        raise UnreadableError(f"{what} is not UTF-8 text") from error
    except msgspec.DecodeError as error:
        # msgspec's messages hold fixed words and a byte position, nothing of the text.
        if "utf-8" in str(error).lower():  # so since 0.23
            raise UnreadableError(f"{what} is not UTF-8 text") from error
        reason = str(error).removeprefix("JSON is malformed: ").lower()
        raise UnreadableError(f"{what} is not valid JSON: {reason}") from error


def _count_members(value: Any) -> int:
    count = 0
    pending = [value] if type(value) in _CONTAINERS else []
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            count += len(node)
            node = node.values()
        pending += [child for child in node if type(child) in _CONTAINERS]
    return count


class _RepeatedKeyError(Exception):
    """Carries the first key found twice in one object."""


def _find_repeated_key(data: bytes) -> str:
    import json  # a millisecond that only this failure is worth

    def compare(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _RepeatedKeyError(key)
            seen.add(key)

    try:
        json.loads(data, object_pairs_hook=compare)
    except _RepeatedKeyError as error:
        return quoted(str(error))
    return "a key"
