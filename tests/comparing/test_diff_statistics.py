"""Every statistic equals what torch gives in float64, whatever the bits are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stored import zip_file

from bufscan.comparing import number_pass
from bufscan.comparing.diffing import diff
from bufscan.comparing.number_pass import CHUNK
from bufscan.values import workers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bufscan.comparing.difference import Difference, ValueStatistics

# What torch says of every complex32 tensor and of every quantised one; old files have them all the same.
pytestmark = [
    pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental"),
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor"),
]

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
    return (numbers * 50).to(torch.float32 if dtype.itemsize == 1 else torch.float64).to(dtype)


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
        difference = torch.tensor([float(abs(b - a)) for a, b in whole_numbers(pair)], dtype=torch.float64).view(
            pair.old.shape
        )
    left, right = (torch.where(both, each, 0.0).flatten() for each in (old, new))
    assert pair.old.numel() == found.numel
    assert int((~same).sum()) == found.changed
    if not both.any():
        assert (None, None, None, None) == (found.max_abs, found.mean_abs, found.l2, found.rel_l2)
        return
    assert close(difference.max()) == found.max_abs
    assert close(difference.sum() / both.sum()) == found.mean_abs
    if difference.max() > 0 and norm(difference) < 1e-145:  # its square has lost digits
        assert (None, None) == (found.l2, found.rel_l2)
    else:
        assert close(norm(difference)) == found.l2
        assert (close(norm(difference) / norm(left)) if norm(difference) else 0.0) == found.rel_l2
    product = (left.conj() * right).sum().real
    cosine = float(product / norm(left) / norm(right))
    assert (pytest.approx(cosine, abs=1e-9) if math.isfinite(cosine) else None) == found.cosine
    assert (int(old.isnan().sum()), int(new.isnan().sum())) == found.nan
    infinite = [int((each.isinf() & ~each.isnan()).sum()) for each in (old, new)]
    assert tuple(infinite) == found.inf
    if found.max_index is not None and found.max_abs is not None:
        assert close(difference[found.max_index]) == found.max_abs
    assert bits_alone(pair, same) == (found.zero_signs, found.nan_payloads)


def bits_alone(pair: Pair, same: torch.Tensor) -> tuple[int, int]:
    """Equal values whose bits differ: zeros, and NaN."""
    old, new = pair
    word = WORDS[1 if old.element_size() == 16 else old.element_size()]
    width = old.element_size() // word.itemsize
    odd = (old.contiguous().view(word) != new.contiguous().view(word)).view(*old.shape, width).any(-1)
    nan = as_float64(old).isnan()
    return int((odd & same & ~nan).sum()), int((odd & same & nan).sum())


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


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("size", [CHUNK - 1, CHUNK + 1, 3 * CHUNK + 5], ids=lambda size: f"{size} elements")
def test_statistics_hold_over_several_chunks(tmp_path: Path, name: str, size: int) -> None:
    dtype = getattr(torch, name)
    old = ordinary(dtype, (size,), 1)
    changes = torch.rand(size, generator=torch.Generator().manual_seed(2)) < 0.3
    pair = Pair(old, torch.where(changes, ordinary(dtype, (size,), 3), old))
    found = compare(tmp_path, pair)
    assert found is not None
    check(found, pair)


def test_statistics_hold_over_the_jobs_of_several_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "processors", lambda: 4)
    monkeypatch.setattr(workers, "_WORTH_A_THREAD", 1)
    monkeypatch.setattr(number_pass, "_JOB_CHUNKS", 1)
    pair = Pair(ordinary(torch.float32, (7, CHUNK), 1), ordinary(torch.float32, (7, CHUNK), 2))
    found = compare(tmp_path, pair)
    assert found is not None
    check(found, pair)
    assert found == compare(tmp_path, pair)  # to the last digit, whichever thread was faster


def test_one_changed_element_is_found_where_it_is(tmp_path: Path) -> None:
    old = torch.zeros(300, 400)
    new = old.clone()
    new[123, 45] = 0.25
    found = compare(tmp_path, Pair(old, new))
    assert found is not None
    assert (1, 0.25, (123, 45), 0.25) == (found.changed, found.max_abs, found.max_index, found.l2)
    assert found.rel_l2 is None  # there is no norm to hold it against
    assert found.cosine is None


def test_the_sign_of_zeros_is_told_apart_from_changes(tmp_path: Path) -> None:
    old = torch.tensor([0.0, -0.0, 1.0, 2.0])
    new = torch.tensor([-0.0, 0.0, 1.0, 3.0])
    found = compare(tmp_path, Pair(old, new))
    assert found is not None
    assert (1, 2) == (found.changed, found.zero_signs)


@pytest.mark.parametrize("name", FLOATS)
def test_signs_of_zeros_are_counted_among_changes(tmp_path: Path, name: str) -> None:
    """Zeros of either sign that stay as they are, or become or cease to be a number, count as what they are."""
    old = torch.tensor([0.0, -0.0, -0.0, 0.0, -0.0, 1.0, 2.0, 3.0, float("nan")] * 8, dtype=getattr(torch, name))
    new = torch.tensor([-0.0, 0.0, -0.0, 0.0, 1.0, -0.0, 2.0, 4.0, -0.0] * 8, dtype=getattr(torch, name))
    for size in (9, len(old)):
        found = compare(tmp_path, Pair(old[:size], new[:size]))
        assert found is not None
        assert (4 * size // 9, 2 * size // 9) == (found.changed, found.zero_signs)


@pytest.mark.parametrize("name", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("factor", [-1e-9, 1e-3, 1e9])
def test_the_cosine_of_values_of_another_magnitude_is_exact(tmp_path: Path, name: str, factor: float) -> None:
    old = ordinary(getattr(torch, name), (1000,), 1)
    pair = Pair(old, (old * factor).flip(0))
    found = compare(tmp_path, pair)
    assert found is not None
    assert found.cosine is not None
    check(found, pair)


def test_values_that_all_became_zero_have_no_cosine(tmp_path: Path) -> None:
    old = ordinary(torch.float32, (1000,), 1)
    found = compare(tmp_path, Pair(old, torch.zeros_like(old)))
    assert found is not None
    assert (1.0, None) == (found.rel_l2, found.cosine)


@pytest.mark.parametrize("name", [*FLOATS, "complex64", "float4_e2m1fn_x2"])
def test_signs_of_zeros_alone_are_a_difference_without_a_change(tmp_path: Path, name: str) -> None:
    if name == "float4_e2m1fn_x2":
        old = torch.tensor([0x00, 0x13], dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
        new = torch.tensor([0x80, 0x13], dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    else:
        old = torch.zeros(3, dtype=getattr(torch, name))
        new = old.clone()
        (torch.view_as_real(new) if new.is_complex() else new).view(-1)[0] = -0.0
    difference = one_difference(tmp_path, Pair(old, new))
    assert difference.differs
    found = difference.entries[0].values
    assert found is not None
    assert (0, 0.0, 1) == (found.changed, found.max_abs, found.zero_signs)


@pytest.mark.parametrize("name", COMPLEX)
def test_a_complex_value_that_changed_in_both_parts_is_one_change_and_no_sign(tmp_path: Path, name: str) -> None:
    dtype = getattr(torch, name)
    pair = Pair(torch.tensor([1 + 2j, 3 + 4j]).to(dtype), torch.tensor([1 + 2j, 5 + 6j]).to(dtype))
    found = compare(tmp_path, pair)
    assert found is not None
    assert (1, 0, 0) == (found.changed, found.zero_signs, found.nan_payloads)


@pytest.mark.parametrize("name", FLOATS)
def test_other_bits_of_a_nan_are_told_apart_from_changes(tmp_path: Path, name: str) -> None:
    dtype = getattr(torch, name)
    old = torch.tensor([float("nan"), 1.0, float("nan")], dtype=dtype)
    new = old.clone()
    new.view(WORDS[dtype.itemsize])[0] ^= 1
    found = compare(tmp_path, Pair(old, new))
    assert found is not None
    assert (0, 1, (2, 2)) == (found.changed, found.nan_payloads, found.nan)


def test_what_is_not_finite_is_counted_and_left_out_of_the_sums(tmp_path: Path) -> None:
    inf, nan = float("inf"), float("nan")
    old = torch.tensor([1.0, inf, inf, nan, 2.0, 5.0])
    new = torch.tensor([1.5, inf, -inf, 1.0, nan, 5.0])
    found = compare(tmp_path, Pair(old, new))
    assert found is not None
    assert (4, (1, 1), (2, 2), (3, 3)) == (found.changed, found.nan, found.inf, found.nonfinite)
    assert (0.5, 0.25) == (found.max_abs, found.mean_abs)


@pytest.mark.parametrize("value", [float("nan"), float("inf")], ids=str)
def test_a_tensor_that_is_nowhere_finite_on_both_sides_has_no_size_of_change(tmp_path: Path, value: float) -> None:
    found = compare(tmp_path, Pair(torch.tensor([value]), torch.tensor([1.0])))
    assert found is not None
    assert (1, None, None) == (found.changed, found.max_abs, found.mean_abs)
    assert (None, None, None) == (found.l2, found.rel_l2, found.cosine)


def test_a_change_whose_square_float64_cannot_hold_has_no_norm(tmp_path: Path) -> None:
    pair = Pair(torch.tensor([1e-200, 1.0], dtype=torch.float64), torch.tensor([2e-200, 1.0], dtype=torch.float64))
    found = compare(tmp_path, pair)
    assert found is not None
    assert (1, 1e-200, None, None) == (found.changed, found.max_abs, found.l2, found.rel_l2)


def test_bytes_that_mean_the_same_value_are_no_change_of_it_but_a_difference(tmp_path: Path) -> None:
    old, new = torch.tensor([True, False]), torch.tensor([True, False])
    new.view(torch.uint8)[0] = 3
    difference = one_difference(tmp_path, Pair(old, new))
    assert ["bytes differ that stand for the same values"] == [entry.remark for entry in difference.entries]
    assert [0] == [entry.values.changed for entry in difference.entries if entry.values]
    assert one_difference(tmp_path, Pair(old, new), atol=0.0).differs is False


def test_neighbouring_whole_numbers_beyond_2_to_the_53_differ_by_one(tmp_path: Path) -> None:
    found = compare(tmp_path, Pair(torch.tensor([1 << 60, 7]), torch.tensor([(1 << 60) + 1, 7])))
    assert found is not None
    assert (1, 1.0) == (found.changed, found.max_abs)


def test_neighbouring_whole_numbers_of_two_types_differ_by_one(tmp_path: Path) -> None:
    pair = Pair(torch.tensor([1 << 60, 7]), torch.tensor([(1 << 60) + 1, 7]).to(torch.uint64))
    found = compare(tmp_path, pair)
    assert found is not None
    assert (1, 1.0, None) == (found.changed, found.max_abs, found.rounding)


@pytest.mark.parametrize(
    ("whole", "rounding"), [((1 << 60) + 1, "rounded"), (1 << 52, "exact"), (7, "exact")], ids=str
)
def test_a_whole_number_that_float64_rounds_is_not_called_the_same(
    tmp_path: Path, whole: int, rounding: str
) -> None:
    old = torch.tensor([whole])
    for pair in (Pair(old, old.double()), Pair(old.double(), old)):
        found = compare(tmp_path, pair)
        assert found is not None
        assert rounding == found.rounding


def test_whole_numbers_at_both_ends_do_not_wrap(tmp_path: Path) -> None:
    smallest, largest = -(1 << 63), (1 << 63) - 1
    found = compare(tmp_path, Pair(torch.tensor([smallest]), torch.tensor([largest])))
    assert found is not None
    assert float(1 << 64) == found.max_abs


@few
@given(
    seed=st.integers(0, 1000),
    rtol=st.sampled_from([0.0, 1e-3, 0.1]),
    atol=st.sampled_from([0.0, 1e-4, 0.05]),
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128, torch.int32], ids=str)
def test_a_tolerance_means_what_assert_close_means(
    tmp_path: Path, dtype: torch.dtype, seed: int, rtol: float, atol: float
) -> None:
    old = ordinary(dtype, (40,), seed)
    pair = Pair(old, (old + ordinary(dtype, (40,), seed + 1) * 1e-3).to(dtype))
    outside = [not is_close(a, b, rtol, atol) for a, b in zip(pair.old, pair.new, strict=True)]
    difference = one_difference(tmp_path, pair, rtol=rtol, atol=atol)
    found = difference.entries[0].values if difference.entries else None
    assert any(outside) == (found is not None)
    if found is not None:
        assert sum(outside) == found.changed


def is_close(old: torch.Tensor, new: torch.Tensor, rtol: float, atol: float) -> bool:
    try:
        torch.testing.assert_close(new, old, rtol=rtol, atol=atol)
    except AssertionError:
        return False
    return True


def test_what_lies_within_the_tolerance_is_equal_but_not_identical(tmp_path: Path) -> None:
    difference = one_difference(tmp_path, Pair(torch.ones(3), torch.ones(3) + 1e-6), atol=1e-5)
    assert (False, False, 1, 1) == (
        difference.differs,
        difference.identical,
        difference.unchanged,
        difference.close,
    )


def test_equal_bytes_need_no_tolerance(tmp_path: Path) -> None:
    pair = Pair(torch.tensor([float("nan"), 1.0]), torch.tensor([float("nan"), 1.0]))
    assert one_difference(tmp_path, pair, atol=0.0).identical


ROUNDED = [
    ("float64", "float32"),
    ("float32", "bfloat16"),
    ("float32", "float16"),
    *(("float32", name) for name in EIGHT_BIT_FLOATS[:4]),
    ("bfloat16", "float8_e4m3fn"),
    ("complex128", "complex64"),
]


@pytest.mark.parametrize(("wide", "narrow"), ROUNDED, ids=lambda name: name)
def test_rounding_is_said_to_be_only_that_in_both_directions(tmp_path: Path, wide: str, narrow: str) -> None:
    old = ordinary(getattr(torch, wide), (50,), 1)
    new = old.to(getattr(torch, narrow))
    for pair in (Pair(old, new), Pair(new, old)):
        difference = one_difference(tmp_path, pair)
        assert {"dtype"} == difference.entries[0].aspects
        found = difference.entries[0].values
        assert found is not None
        assert "rounded" == found.rounding
        assert close((as_float64(old) - as_float64(new)).abs().max()) == found.max_abs


@pytest.mark.parametrize(
    ("whole", "first", "narrow"),
    [
        ("int32", (1 << 24) + 1, "float32"),
        ("int64", (1 << 54) + 2, "float32"),
        ("int16", 257, "bfloat16"),
        ("uint8", 17, "float8_e4m3fn"),
    ],
)
def test_whole_numbers_that_a_float_cannot_hold_are_rounded(
    tmp_path: Path, whole: str, first: int, narrow: str
) -> None:
    old = torch.tensor([first, 16, 1], dtype=getattr(torch, whole))
    new = old.to(getattr(torch, narrow))
    for pair in (Pair(old, new), Pair(new, old)):
        found = compare(tmp_path, pair)
        assert found is not None
        assert "rounded" == found.rounding


def test_widening_keeps_the_same_values(tmp_path: Path) -> None:
    old = ordinary(torch.bfloat16, (50,), 1)
    found = compare(tmp_path, Pair(old, old.to(torch.float32)))
    assert found is not None
    assert (0, "exact") == (found.changed, found.rounding)


@pytest.mark.parametrize("narrow", ["bfloat16", "float16", "float8_e5m2"])
def test_one_value_that_is_not_the_rounded_one_is_more_than_rounding(tmp_path: Path, narrow: str) -> None:
    old = ordinary(torch.float32, (CHUNK + 50,), 1)
    new = old.to(getattr(torch, narrow))
    new.view(WORDS[new.element_size()])[CHUNK + 7] ^= 3
    found = compare(tmp_path, Pair(old, new))
    assert found is not None
    assert found.rounding is None


def test_clamping_to_the_range_of_a_narrow_type_is_rounding(tmp_path: Path) -> None:
    old = torch.tensor([1.0, 1e6, -1e6, float("nan")])
    new = old.clamp(-448, 448).to(torch.float8_e4m3fn)
    found = compare(tmp_path, Pair(old, new))
    assert found is not None
    assert ("rounded", 2) == (found.rounding, found.changed)


def quantized(values: torch.Tensor, *, by_channel: bool) -> torch.Tensor:
    if by_channel:
        scales = values.abs().amax(1).double() / 100
        return torch.quantize_per_channel(
            values, scales, torch.zeros(len(values), dtype=torch.int64), 0, torch.qint8
        )
    return torch.quantize_per_tensor(values, 0.5, 3, torch.quint8)


@pytest.mark.parametrize("by_channel", [False, True], ids=["one scale", "a scale for each channel"])
def test_quantised_tensors_are_compared_by_the_values_they_stand_for(tmp_path: Path, by_channel: bool) -> None:
    values = ordinary(torch.float32, (6, 7), 1)
    old = quantized(values, by_channel=by_channel)
    assert one_difference(tmp_path, Pair(old, old.clone())).identical
    other = values.clone()
    other[2, 3] += 10
    for new in (quantized(other, by_channel=by_channel), other):
        found = compare(tmp_path, Pair(old, new))
        assert found is not None
        truth = (new.dequantize().double() - old.dequantize().double()).abs()
        assert pytest.approx(float(truth.max()), rel=1e-5) == found.max_abs
        assert pytest.approx(float(truth.square().sum().sqrt()), rel=1e-5) == found.l2
        assert found.rounding is None


@pytest.mark.parametrize("by_channel", [False, True], ids=["one scale", "a scale for each channel"])
def test_quantising_is_only_rounding(tmp_path: Path, by_channel: bool) -> None:
    values = ordinary(torch.float32, (6, 7), 1)
    found = compare(tmp_path, Pair(values, quantized(values, by_channel=by_channel)))
    assert found is not None
    assert "rounded" == found.rounding


def test_another_scale_is_another_value_for_the_same_codes(tmp_path: Path) -> None:
    old = torch._make_per_tensor_quantized_tensor(torch.tensor([1, 2, 3], dtype=torch.int8), 0.5, 0)
    new = torch._make_per_tensor_quantized_tensor(torch.tensor([1, 2, 3], dtype=torch.int8), 1.0, 0)
    difference = one_difference(tmp_path, Pair(old, new))
    assert {"quantization"} == difference.entries[0].aspects
    found = difference.entries[0].values
    assert found is not None
    assert (3, 1.5) == (found.changed, found.max_abs)


def test_packed_elements_are_compared_one_by_one(tmp_path: Path) -> None:
    """4 bits each, the low ones first: 1.0 is 2, 6.0 is 7, -0.5 is 9."""
    old = torch.tensor([0x72, 0x11], dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    new = torch.tensor([0x92, 0x11], dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    found = compare(tmp_path, Pair(old, new))
    assert found is not None
    assert (4, 1, 6.5, (1,)) == (found.numel, found.changed, found.max_abs, found.max_index)


def test_bits_without_values_differ_without_numbers(tmp_path: Path) -> None:
    old, new = (torch.tensor([byte], dtype=torch.uint8).view(torch.bits8) for byte in (1, 2))
    entry = one_difference(tmp_path, Pair(old, new)).entries[0]
    assert "values of bits8 are compared bit by bit alone" == entry.remark
    assert entry.values is not None
    assert (None, None) == (entry.values.changed, entry.values.max_abs)
