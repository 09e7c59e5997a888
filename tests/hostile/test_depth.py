"""Objects nested a hundred thousand and a million deep: run, walked and freed without recursion."""

from __future__ import annotations

import pytest
from child_process import run
from crafted_zip import checkpoint
from hostile_reading import failures, read

DEEP = 1_000_000

# Each is a pickle of an object that holds an object that holds ..., as deep as its opcodes are repeated.
NESTED = {
    "lists": (b"]", b"N", b"a"),
    "tuples": (b"", b"N", b"\x85"),
    "dicts by value": (b"}N", b"N", b"s"),
    "dicts by key": (b"}", b"N", b"Ns"),
    "arguments": (b"N", b"N", b"\x85R"),
    "functions": (b"", b"N", b")R"),
    "states": (b"N)R", b"N", b"b"),
    "elements": (b"N)R", b"N", b"a"),
    "items": (b"N)RN", b"N", b"s"),
    "persistent ids": (b"", b"N", b"Q"),
    "sets": (b"\x8f(", b"N", b"\x90"),
    "frozensets": (b"(", b"N", b"\x91"),
    "marks": (b"(", b"N", b"t"),
}

_RUN_AND_FREE = """
from bufscan.errors import UnreadableError
from bufscan.formats.pickle.allowance import Allowance
from bufscan.formats.pickle.pickle_machine import run_pickle
opening, inner, closing = {parts}
depth = {depth}
try:
    pickled = run_pickle(opening * depth + inner + closing * depth + b".", file_bytes={file_bytes})
    del pickled
    print("ran")
except UnreadableError as error:
    print(error.message)
"""


@pytest.mark.parametrize("parts", NESTED.values(), ids=NESTED)
def test_a_million_deep_is_run_and_freed(parts: tuple[bytes, bytes, bytes]) -> None:
    """With the allowance of a file of 200 MB, so that nothing but the depth is in the way."""
    done = run(_RUN_AND_FREE.format(parts=parts, depth=DEEP, file_bytes=200_000_000))
    assert (0, "") == (done.returncode, done.stderr)
    assert "ran\n" == done.stdout or "its marks are nested too deep" in done.stdout


@pytest.mark.parametrize("parts", [NESTED[kind] for kind in NESTED if kind != "persistent ids"])
def test_fifty_thousand_deep_is_read_and_said_to_be_too_deep(parts: tuple[bytes, bytes, bytes]) -> None:
    opening, inner, closing = parts
    value = b"\x80\x02" + opening * 50_000 + inner + closing * 50_000 + b"."
    inventory = read(checkpoint(value, {}))
    assert "nested more than 100 deep" in failures(inventory)
