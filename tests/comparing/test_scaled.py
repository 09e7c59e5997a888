"""Codes of 8 bits against wide values: compared with their scale applied, or said not to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from stored import safetensors_file

from bufscan.comparing.diffing import diff
from bufscan.report.diff.wording import changes_of

if TYPE_CHECKING:
    from pathlib import Path

    from bufscan.comparing.difference import Difference, Entry

    State = dict[str, torch.Tensor]

APPLIED = "compared with the scale `q.weight_scale_inv` applied"


def compare(tmp_path: Path, old: State, new: State, **options: float) -> Difference:
    files = safetensors_file(tmp_path / "old", old), safetensors_file(tmp_path / "new", new)
    return diff(*files, **options)  # type: ignore[arg-type]


def entry_of(difference: Difference, name: str) -> Entry:
    return next(entry for entry in difference.entries if entry.name == name)


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def spread(scale: torch.Tensor, shape: torch.Size, block: int = 128) -> torch.Tensor:
    """The scale of each element of a matrix."""
    return scale.repeat_interleave(block, 0)[: shape[0]].repeat_interleave(block, 1)[:, : shape[1]]


def in_blocks(weight: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    rows, columns = (-(-size // 128) for size in weight.shape)
    scale = torch.rand(rows, columns, generator=torch.Generator().manual_seed(1)) + 0.01
    return (weight / spread(scale, weight.shape)).to(dtype), scale


@pytest.mark.parametrize("shape", [(256, 256), (300, 130), (576, 100), (5, 7), (128, 1000)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
@pytest.mark.parametrize("wide", [torch.bfloat16, torch.float32, torch.float16], ids=str)
def test_codes_are_compared_by_what_they_stand_for(
    tmp_path: Path, shape: tuple[int, int], dtype: torch.dtype, wide: torch.dtype
) -> None:
    weight = numbers(*shape)
    codes, scale = in_blocks(weight, dtype)
    old, new = {"q.weight": weight.to(wide)}, {"q.weight": codes, "q.weight_scale_inv": scale}
    difference = compare(tmp_path, old, new)
    entry = entry_of(difference, "q.weight")
    expected = codes.double() * spread(scale, weight.shape).double()
    change = expected - weight.to(wide).double()
    values = entry.values
    assert values is not None
    assert APPLIED == entry.remark
    assert values.l2 == pytest.approx(float(change.norm()), rel=1e-9)
    assert values.rel_l2 == pytest.approx(float(change.norm() / weight.to(wide).double().norm()), rel=1e-9)
    assert values.max_abs == pytest.approx(float(change.abs().max()), rel=1e-12)
    assert values.max_index == tuple(divmod(int(change.abs().argmax()), shape[1]))
    assert int((change != 0).sum()) == values.changed
    assert values.mean_abs == pytest.approx(float(change.abs().mean()), rel=1e-9)
    assert 0.9 < (values.cosine or 0) <= 1
    scale_entry = entry_of(difference, "q.weight_scale_inv")
    assert ("added", "the scale of `q.weight`") == (scale_entry.status, scale_entry.remark)


def test_the_sides_can_be_swapped(tmp_path: Path) -> None:
    weight = numbers(200, 300)
    codes, scale = in_blocks(weight, torch.float8_e4m3fn)
    wide, narrow = {"q.weight": weight}, {"q.weight": codes, "q.weight_scale_inv": scale}
    there, back = compare(tmp_path, wide, narrow), compare(tmp_path, narrow, wide)
    one, other = (entry_of(each, "q.weight") for each in (there, back))
    assert APPLIED == one.remark == other.remark
    assert one.values is not None
    assert other.values is not None
    assert (one.values.l2, one.values.changed) == (other.values.l2, other.values.changed)
    assert "the scale of `q.weight`" == entry_of(back, "q.weight_scale_inv").remark


@pytest.mark.parametrize(
    ("name", "scale", "spread_out"),
    [
        ("q.weight_scale", torch.tensor(0.5), torch.tensor(0.5)),
        ("q.weight_scale", torch.tensor([0.5]), torch.tensor(0.5)),
        ("q.weight_scale", torch.tensor([0.5, 2.0, 4.0]), torch.tensor([[0.5], [2.0], [4.0]])),
        ("q.weight_scale", torch.tensor([[0.5], [2.0], [4.0]]), torch.tensor([[0.5], [2.0], [4.0]])),
        ("q.weight_scale", torch.tensor([[0.5, 2.0]]), torch.tensor([[0.5, 0.5, 2.0, 2.0]])),
        ("q.SCB", torch.tensor([0.5, 2.0, 4.0]), torch.tensor([[0.5], [2.0], [4.0]]) / 127),
    ],
    ids=["one number", "one in a list", "rows", "rows in a column", "groups of columns", "bitsandbytes"],
)
def test_every_code_has_the_scale_of_its_block(
    tmp_path: Path, name: str, scale: torch.Tensor, spread_out: torch.Tensor
) -> None:
    codes = torch.arange(-6, 6, dtype=torch.int8).reshape(3, 4)
    wide = codes.double() * spread_out.double()
    entry = entry_of(
        compare(tmp_path, {"q.weight": wide}, {"q.weight": codes, name: scale}, rtol=1e-6, atol=0), "q.weight"
    )
    assert f"compared with the scale `{name}` applied" == entry.remark
    assert entry.values is not None
    assert 0 == entry.values.changed
    wide[2, 3] += 1
    entry = entry_of(
        compare(tmp_path, {"q.weight": wide}, {"q.weight": codes, name: scale}, rtol=1e-6, atol=0), "q.weight"
    )
    assert entry.values is not None
    assert (1, (2, 3)) == (entry.values.changed, entry.values.max_index)


def test_experts_in_one_tensor_have_blocks_of_their_own(tmp_path: Path) -> None:
    codes = torch.randint(-9, 9, (2, 200, 130), dtype=torch.int8)
    scale = torch.tensor([[[1.0, 2.0], [4.0, 8.0]], [[16.0, 32.0], [64.0, 128.0]]])
    wide = torch.stack([codes[each] * spread(scale[each], codes[each].shape) for each in range(2)])
    difference = compare(tmp_path, {"up": wide}, {"up": codes, "up_scale_inv": scale})
    entry = entry_of(difference, "up")
    assert "float32 to int8; the same values; compared with the scale `up_scale_inv` applied" == changes_of(entry)


def test_equal_values_of_any_code_are_found_equal(tmp_path: Path) -> None:
    for dtype in (torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz):
        codes = torch.arange(256, dtype=torch.uint8).view(dtype).reshape(16, 16)
        new = {"q.weight": codes, "q.weight_scale_inv": torch.tensor([[2.0]])}
        entry = entry_of(compare(tmp_path, {"q.weight": codes.float() * 2}, new), "q.weight")
        assert entry.values is not None
        assert (0, "exact") == (entry.values.changed, entry.values.rounding)
        special = int(codes.float().isnan().sum()), int(codes.float().isinf().sum())
        assert special == (entry.values.nan[0], entry.values.inf[0]) == (entry.values.nan[1], entry.values.inf[1])


@pytest.mark.parametrize(
    ("companions", "reason"),
    [
        ({"q.weight_scale": torch.ones(5, 4)}, "the size of its blocks is not known"),
        ({"q.weight_scale": torch.ones(2)}, "its shape is not that of blocks"),
        ({"q.weight_scale": torch.ones(3, dtype=torch.uint8)}, "its numbers are uint8"),
        (
            {"q.weight_scale": torch.ones(3), "q.weight_zero_point": torch.ones(3)},
            "there is a zero point besides",
        ),
    ],
    ids=["blocks of no known size", "another shape", "exponents alone", "zero points"],
)
def test_a_scale_that_cannot_be_applied_is_said_not_to_be(tmp_path: Path, companions: State, reason: str) -> None:
    codes = torch.ones(7, 4, dtype=torch.int8) if "blocks" in reason else torch.ones(3, 4, dtype=torch.int8)
    entry = entry_of(compare(tmp_path, {"q.weight": codes * 0.5}, {"q.weight": codes} | companions), "q.weight")
    assert f"its scale `q.weight_scale` was not applied: {reason}" == entry.remark
    assert entry.values is not None
    assert entry.values.changed == codes.numel()


def test_codes_of_both_sides_are_compared_as_codes(tmp_path: Path) -> None:
    old = {"q.weight": torch.ones(3, 4, dtype=torch.int8), "q.weight_scale": torch.ones(3)}
    new = old | {"q.weight": torch.zeros(3, 4, dtype=torch.int8)}
    assert (
        "its scale `q.weight_scale` was not applied: the other side is int8"
        == entry_of(compare(tmp_path, old, new), "q.weight").remark
    )
    assert () == compare(tmp_path, old, old).entries


def test_codes_without_a_scale_are_compared_as_they_are(tmp_path: Path) -> None:
    codes = torch.ones(3, 4, dtype=torch.int8)
    entry = entry_of(
        compare(tmp_path, {"q.weight": codes * 0.5}, {"q.weight": codes, "k.SCB": torch.ones(3)}), "q.weight"
    )
    assert entry.remark is None
    assert entry.relation is None


def test_the_scale_of_wide_values_means_nothing(tmp_path: Path) -> None:
    old, new = {"q.weight": numbers(3, 4)}, {"q.weight": numbers(3, 4) + 1, "q.weight_scale": torch.ones(3)}
    difference = compare(tmp_path, old, new)
    assert [None, None] == [entry.remark for entry in difference.entries]
