"""Python's hash of a tuple of integers can be foreseen: a file may hold very many shapes that share one."""

from __future__ import annotations

from functools import cache
from struct import pack
from typing import TYPE_CHECKING

import pytest
from child_process import run
from crafted_pickles import ORDERED_DICT, get, integer, mapping, name, pickled, put, text
from crafted_zip import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MANY = 45_000  # compared with each other, they take more than half a minute

# Of CPython's `tuplehash`.
_MULTIPLIER, _SHIFTED, _START = 11400714785074694791, 14029467366897019727, 2870177450012600261
_WIDTH = 64
_INVERSE = pow(_SHIFTED, -1, 1 << _WIDTH)
_LARGEST_OWN_HASH = (1 << 61) - 2  # integers up to here are their own hash


@cache
def shapes_of_one_hash(count: int) -> list[tuple[int, int, int]]:
    """(0, a, b): torch can make tensors of such shapes, they have no elements."""
    accumulated = _step(_START, 0)
    found: list[tuple[int, int, int]] = []
    first = 1
    while len(found) < count:
        # The last number that makes the state zero.
        last = -_step(accumulated, first) * _INVERSE % (1 << _WIDTH)
        if last <= _LARGEST_OWN_HASH:
            found.append((0, first, last))
        first += 1
    return found


def _step(accumulated: int, lane: int) -> int:
    state = (accumulated + lane * _SHIFTED) % (1 << _WIDTH)
    return ((state << 31 | state >> 33) * _MULTIPLIER) % (1 << _WIDTH)


def test_the_shapes_have_one_hash() -> None:
    shapes = shapes_of_one_hash(100)
    assert (100, 1) == (len(set(shapes)), len({hash(shape) for shape in shapes}))


# What every tensor here is made of: each part fills one entry of the memo.
_MEMO = (name("torch._utils", "_rebuild_tensor_v2"), text("storage"), name("torch", "FloatStorage"), text("0"))
_MEMO += (text("cpu"), ORDERED_DICT + b")R", ORDERED_DICT)
HEAD = b"".join(part + put(index) + b"0" for index, part in enumerate(_MEMO))
REBUILD, STORAGE, CLASS, KEY, CPU, HOOKS, DICT = map(get, range(len(_MEMO)))


def tensors() -> Iterator[bytes]:
    reference = b"(" + STORAGE + CLASS + KEY + CPU + b"K\4tQ"
    for _, first, last in shapes_of_one_hash(MANY):
        size = b"K\0" + integer(first) + integer(last) + b"\x87"
        yield REBUILD + b"(" + reference + b"K\0" + size + b"K\1K\1K\1\x87\x89" + HOOKS + b"tR"


def entries() -> bytes:
    named = (text(f"layers.{index}.weight") + tensor for index, tensor in enumerate(tensors()))
    return DICT + b")R(" + b"".join(named) + b"u"


def state_dict() -> bytes:
    return HEAD + entries()


def optimizer() -> bytes:
    states = (pack("<cH", b"M", index) + mapping(text("exp_avg"), each) for index, each in enumerate(tensors()))
    indices = b"".join(pack("<cH", b"M", index) for index in range(MANY))
    groups = b"](" + mapping(text("params"), b"](" + indices + b"e") + b"e"
    saved = mapping(text("state"), mapping(*states), text("param_groups"), groups)
    return HEAD + mapping(text("model"), entries(), text("optimizer"), saved)


_RUN = """
import sys
from bufscan.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("make", [state_dict, optimizer])
@pytest.mark.parametrize("options", [[], ["--by-module"]], ids=["listed", "by module"])
def test_shapes_of_one_hash_take_no_longer_than_others(
    make: Callable[[], bytes], options: list[str], tmp_path: Path
) -> None:
    """The guard of `child_process` bounds the time."""
    path = tmp_path / "model.pt"
    path.write_bytes(checkpoint(pickled(make())))
    done = run(_RUN, "inspect", str(path), *options)
    assert (0, "") == (done.returncode, done.stderr)
    assert f"{MANY:,}" in done.stdout


def test_checking_them_takes_no_longer(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(checkpoint(pickled(state_dict())))
    assert 0 == run(_RUN, "check", str(path), "--fail-on", "error").returncode


@pytest.mark.parametrize(
    ("other", "code"),
    [((b"", b""), 0), ((b"layers.", b"blocks."), 1), ((b"FloatStorage", b"IntStorage"), 1)],
    ids=["the same", "other names", "another type"],
)
@pytest.mark.parametrize("options", [[], ["--no-values", "--quiet"]], ids=["values", "structure"])
def test_comparing_them_takes_no_longer(
    other: tuple[bytes, bytes], code: int, options: list[str], tmp_path: Path
) -> None:
    old, new = tmp_path / "old.pt", tmp_path / "new.pt"
    old.write_bytes(checkpoint(pickled(state_dict())))
    new.write_bytes(checkpoint(pickled(state_dict().replace(*other))))
    done = run(_RUN, "diff", *options, str(old), str(new))
    assert (code, "") == (done.returncode, done.stderr)
