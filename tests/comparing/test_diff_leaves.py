"""Whatever a checkpoint holds: with one leaf changed it is never identical, and saved again it is."""

from __future__ import annotations

import collections
import io
import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bufscan import diff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bufscan.comparing.difference import Difference


class Settings:
    """An object of the user's, which bufscan never makes."""

    def __init__(self, value: object) -> None:
        self.value = value


class Leaf(NamedTuple):
    """A value of a checkpoint and another of its kind; made anew each time, as by another run."""

    make: Callable[[bool], Any]


def one_of(old: Any, new: Any) -> Leaf:
    return Leaf(lambda changed: new if changed else old)


def bumped(values: torch.Tensor, changed: bool) -> torch.Tensor:
    if changed:
        values.view(torch.uint8).reshape(-1)[0] ^= 1
    return values


DTYPES = (
    *(torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn),
    *(torch.int64, torch.int32, torch.uint8, torch.bool, torch.complex64),
)
ARRAYS = ("<f4", ">f8", "<f2", "<i8", ">u2", "|b1", "<c8", "<U3", "|S4", "<M8[s]", "O")


def tensor(dtype: torch.dtype) -> Leaf:
    return Leaf(lambda changed: bumped(torch.ones(2, 3).to(dtype), changed))


def array(code: str, order: str) -> Leaf:
    def make(changed: bool) -> np.ndarray[Any, Any]:
        values = np.zeros((2, 3), np.dtype(code), order="F" if order == "F" else "C")
        values[0, 1] = np.ones((), np.dtype(code)) if changed else values[0, 0]
        return values

    return Leaf(make)


def stream(changed: bool) -> io.BytesIO:
    return io.BytesIO(b"state" * 100 + b"!" * changed)


LEAVES = (
    *map(tensor, DTYPES),
    *(array(code, order) for code in ARRAYS for order in "CF"),
    Leaf(lambda changed: nn.Parameter(torch.full((2,), 1.0 + changed))),
    Leaf(lambda changed: torch.ones(3).expand(4, 3) if changed else torch.zeros(3).expand(4, 3)),
    Leaf(lambda changed: torch.sparse_coo_tensor([[0, 2]], [1.0, 2.0 + changed], (3,), check_invariants=True)),
    Leaf(lambda changed: Settings({"rate": 0.5 + changed})),
    Leaf(stream),
    *(one_of(1, 2), one_of(1, True), one_of(0, None), one_of(10**30, 10**30 + 1), one_of(-1, 1)),
    *(one_of(0.1, 0.2), one_of(1.0, 1), one_of(float("inf"), float("nan")), one_of(1e-3, 3e-4), one_of(0.0, -0.0)),
    *(
        one_of("adam", "sgd"),
        one_of("a" * 5000, "a" * 4999 + "b"),
        one_of("", "x"),
        one_of("1", 1),
        one_of("ä", "a"),
    ),
    *(one_of(b"raw", b"row"), one_of(b"", b"\0"), one_of(b"x" * 999, b"x" * 998 + b"y"), one_of(1 + 2j, 1 - 2j)),
    *(one_of(True, False), one_of(None, False), one_of([], ()), one_of({}, [])),
    *(
        one_of({1, 2}, {1, 3}),
        one_of({"a", "b"}, {"a"}),
        one_of(frozenset({1}), frozenset({2})),
        one_of(set(), {0}),
    ),
    *(one_of(torch.Size([2, 3]), torch.Size([3, 2])), one_of(torch.float32, torch.bfloat16)),
    *(one_of(torch.device("cpu"), torch.device("meta")), one_of(nn.Linear, nn.Conv2d)),
    *(one_of(np.float32(1), np.float32(2)), one_of(np.int64(1), np.int64(2)), one_of(np.bool_(0), np.bool_(1))),
    *(one_of(slice(1, 2), slice(1, 3)), one_of(range(3), range(4)), one_of(bytearray(b"ab"), bytearray(b"ac"))),
    # Of two kinds, but written alike.
    *(one_of(torch.float32, "torch.float32"), one_of(nn.Linear, "torch.nn.modules.linear.Linear")),
    *(one_of(np.float32(1), np.float64(1)), one_of(np.float64(1), 1.0), one_of(np.int8(1), np.int16(1))),
    *(one_of(io.BytesIO(b"ab"), b"ab"), one_of({1}, "{1}")),
)

KEYS = st.one_of(
    st.sampled_from(["model", "epoch", "lr", "state", "weight", "a.b", "", "_extra_state", "_metadata", "params"]),
    st.integers(0, 3),
    st.sampled_from([("a", 1), None, 1.5, True]),
)


def branches(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    dicts = st.dictionaries(KEYS, children, min_size=1, max_size=4)
    lists = st.lists(children, min_size=1, max_size=3)
    return st.one_of(dicts, dicts.map(collections.OrderedDict), lists, lists.map(tuple), dicts.map(Settings))


CHECKPOINTS = branches(st.recursive(st.sampled_from(LEAVES), branches, max_leaves=8))


def leaves_of(tree: Any) -> int:
    match tree:
        case Leaf():
            return 1
        case Settings():
            return leaves_of(tree.value)
        case dict():
            return sum(map(leaves_of, tree.values()))
        case _:
            return sum(map(leaves_of, tree))


def grown(tree: Any, changed: int | None, counter: Iterator[int]) -> Any:
    """The checkpoint; of its leaves the one of that number is another."""
    match tree:
        case Leaf():
            return tree.make(next(counter) == changed)
        case Settings():
            return Settings(grown(tree.value, changed, counter))
        case dict():
            return type(tree)((key, grown(held, changed, counter)) for key, held in tree.items())
        case _:
            return type(tree)(grown(held, changed, counter) for held in tree)


def compared(folder: Path, tree: Any, changed: int | None) -> Difference:
    paths = folder / "old.pt", folder / "new.pt"
    for path, number in zip(paths, (None, changed), strict=True):
        torch.save(grown(tree, number, itertools.count()), path)
    return diff(*paths)


@pytest.mark.parametrize("leaf", LEAVES)
def test_a_leaf_alone_is_told_from_another(leaf: Leaf, tmp_path: Path) -> None:
    tree = {"epoch": one_of(1, 1), "it": leaf}
    assert compared(tmp_path, tree, None).differs in (False, None)
    assert compared(tmp_path, tree, 1).identical is not True


@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")
@settings(max_examples=400, deadline=None)
@given(tree=CHECKPOINTS, data=st.data())
def test_one_changed_leaf_is_never_identical(
    tree: Any, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("leaves")
    again = compared(folder, tree, None)
    assert again.differs is not True
    assert again.identical or again.not_compared or again.is_empty
    changed = data.draw(st.integers(0, leaves_of(tree) - 1))
    assert compared(folder, tree, changed).identical is not True
