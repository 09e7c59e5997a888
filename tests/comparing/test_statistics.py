"""Every statistic equals what torch gives in float64, whatever the bits are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bufscan.comparing.diffing import diff
from bufscan.comparing.frame import CHUNK
from stored import zip_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bufscan.comparing.difference import Difference, ValueStatistics

FLOATS = ["float64", "float32", "float16", "bfloat16"]
EIGHT_BIT_FLOATS = [f"float8_{kind}" for kind in ("e4m3fn", "e5m2", "e4m3fnuz", "e5m2fnuz", "e8m0fnu")]
COMPLEX = ["complex128", "complex64", "complex32"]
INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

few = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # every example writes the same two files anew
)


class Pair(NamedTuple):
    old: torch.Tensor
    new: torch.Tensor


def random_bits(dtype: torch.dtype, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Any bits: ordinary numbers, the smallest and the largest, both zeros, infinities and all sorts of NaN."""
    generator = torch.Generator().manual_seed(seed)
    width = torch.empty(0, dtype=dtype).element_size()
    raw = torch.randint(0, 256, (*shape[:-1], shape[-1] * width), generator=generator, dtype=torch.uint8)
    return raw.view(dtype)


def ordinary(dtype: torch.dtype, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    numbers = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (numbers * 50).to(torch.float32).to(dtype)


@st.composite
def pairs(draw: st.DrawFn, dtype: torch.dtype) -> Pair:
    """Two tensors of equal shape that agree in most elements, or in few."""
    shape = tuple(draw(st.lists(st.integers(1, 7), min_size=1, max_size=3)))
    seed = draw(st.integers(0, 1 << 30))
    make = draw(st.sampled_from([random_bits, ordinary]))
    old, other = make(dtype, shape, seed), make(dtype, shape, seed + 1)
    share = draw(st.sampled_from([0.1, 0.5, 1.0]))
    changes = torch.rand(shape, generator=torch.Generator().manual_seed(seed + 2)) < share
    word = WORDS.get(old.element_size())
    if word is None:  # complex128
        return Pair(old, torch.where(changes, other, old))
    mixed = torch.where(changes, other.view(word), old.view(word)).view(dtype)
    if draw(st.booleans()) and dtype.is_floating_point and dtype.itemsize > 1:
        old.view(-1)[0], mixed.view(-1)[0] = 0.0, -0.0
    return Pair(old, mixed)


def as_float64(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.is_complex():
        return tensor.to(torch.complex128)
    return tensor.to(torch.float32).to(torch.float64) if tensor.dtype.itemsize == 1 else tensor.to(torch.float64)


def one_difference(tmp_path: Path, pair: Pair, **options: float) -> Difference:
    old = zip_file(tmp_path / "old.pt", {"w": pair.old})
    new = zip_file(tmp_path / "new.pt", {"w": pair.new})
    return diff(old, new, **options)


def compare(tmp_path: Path, pair: Pair, **options: float) -> ValueStatistics | None:
    difference = one_difference(tmp_path, pair, **options)
    assert () == difference.not_compared
    return difference.entries[0].values if difference.entries else None


def close(expected: torch.Tensor | float) -> object:
    """Equal up to the order of the sums; None where the number does not exist."""
    number = float(expected)
    return pytest.approx(number, rel=1e-9, abs=1e-300) if math.isfinite(number) else None


def whole_numbers(pair: Pair) -> Iterator[tuple[int, int]]:
    return zip(pair.old.flatten().tolist(), pair.new.flatten().tolist(), strict=True)


def norm(numbers: torch.Tensor) -> torch.Tensor:
    return numbers.abs().square().sum().sqrt()


def check(found: ValueStatistics, pair: Pair) -> None:
    old, new = as_float64(pair.old), as_float64(pair.new)
    both = old.isfinite() & new.isfinite()
    same = (old == new) | (old.isnan() & new.isnan())
    if old.is_complex():
        parts_old, parts_new = torch.view_as_real(old), torch.view_as_real(new)
        same = ((parts_old == parts_new) | (parts_old.isnan() & parts_new.isnan())).all(-1)
    difference = torch.where(both, new - old, 0.0).abs()
    if pair.old.dtype in (torch.int64, torch.uint64):  # float64 does not tell neighbours apart beyond 2^53
        same = torch.tensor([a == b for a, b in whole_numbers(pair)]).view(pair.old.shape)
        difference = torch.tensor([float(abs(b - a)) for a, b in whole_numbers(pair)], dtype=torch.float64).view(pair.old.shape)
    left, right = (torch.where(both, each, 0.0).flatten() for each in (old, new))
    assert pair.old.numel() == found.numel
    assert int((~same).sum()) == found.changed
    assert close(difference.max()) == found.max_abs
    if both.any():
        assert close(difference.sum() / both.sum()) == found.mean_abs
    assert close(norm(difference)) == found.l2
    if norm(left):
        assert close(norm(difference) / norm(left)) == found.rel_l2
    if found.cosine is not None:
        product = (left.conj() * right).sum().real
        assert pytest.approx(float(product / norm(left) / norm(right)), abs=1e-9) == found.cosine
    assert (int(old.isnan().sum()), int(new.isnan().sum())) == found.nan
    infinite = [int((each.isinf() & ~each.isnan()).sum()) for each in (old, new)]
    assert tuple(infinite) == found.inf
    if found.max_index is not None and found.max_abs is not None:
        assert close(difference[found.max_index]) == found.max_abs


@pytest.mark.parametrize("name", [*FLOATS, *EIGHT_BIT_FLOATS, *COMPLEX, *INTEGERS])
def test_statistics_are_those_of_torch_in_float64(tmp_path: Path, name: str) -> None:
    dtype = getattr(torch, name)

    @few
    @given(pair=pairs(dtype))
    def law(pair: Pair) -> None:
        found = compare(tmp_path, pair)
        width = 1 if pair.old.element_size() == 16 else pair.old.element_size()
        same_bits = torch.equal(pair.old.contiguous().view(WORDS[width]), pair.new.contiguous().view(WORDS[width]))
        assert same_bits == (found is None)
        if found is not None:
            check(found, pair)

    law()
