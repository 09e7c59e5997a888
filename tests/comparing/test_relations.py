"""Tensors that were transposed, grown, fused or moved: said where the bytes prove it, and nowhere else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stored import WAYS, legacy_file, safetensors_file, zip_file

from bufscan.comparing.diffing import diff
from bufscan.report.diff.json import render as as_json
from bufscan.report.diff.wording import verdict

if TYPE_CHECKING:
    from pathlib import Path

    from bufscan.comparing.difference import Difference, Entry

    State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("relations")


def compare(folder: Path, old: State, new: State) -> Difference:
    return diff(safetensors_file(folder / "old", old), safetensors_file(folder / "new", new))


def only(difference: Difference) -> Entry:
    (entry,) = difference.entries
    return entry


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# Transposed


@pytest.mark.parametrize("shape", [(3, 5), (4, 4), (1, 6), (300, 700)], ids=str)
@pytest.mark.parametrize("way", ["zip", "legacy", "safetensors", "live"])
def test_a_transposed_matrix_is_named(tmp_path: Path, way: str, shape: tuple[int, int]) -> None:
    weight, write = numbers(*shape), WAYS[way]
    old, new = write(tmp_path / "old", {"w": weight}), write(tmp_path / "new", {"w": weight.t().contiguous()})
    entry = only(diff(old, new))
    assert "transposed, with the same values" == entry.remark
    assert entry.relation is not None
    assert "transposed" == entry.relation.kind


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.bfloat16, torch.float32, torch.float64, torch.complex128], ids=str
)
@pytest.mark.parametrize("shape", [(17, 4097), (2050, 3)], ids=str)
def test_a_transpose_is_proven_to_its_last_element(
    tmp_path: Path, dtype: torch.dtype, shape: tuple[int, int]
) -> None:
    weight = (100 * numbers(*shape)).to(dtype)
    new = weight.t().contiguous()
    old = zip_file(tmp_path / "old", {"w": weight})
    assert "transposed, with the same values" == only(diff(old, zip_file(tmp_path / "new", {"w": new}))).remark
    for row, column in ((-1, -1), (0, -1), (-1, 0), (new.shape[0] // 2, new.shape[1] // 2)):
        odd = new.clone()
        odd[row, column] += 1
        assert only(diff(old, zip_file(tmp_path / "new", {"w": odd}))).remark is None


def test_a_view_with_other_strides_is_transposed_too(tmp_path: Path) -> None:
    weight = numbers(6, 5)
    torch.save({"w": weight[:, ::2]}, tmp_path / "old.pt")
    torch.save({"w": weight[:, ::2].t()}, tmp_path / "new.pt")
    assert (
        "transposed, with the same values" == only(diff(str(tmp_path / "old.pt"), str(tmp_path / "new.pt"))).remark
    )


def test_a_reversed_shape_alone_is_no_transpose(folder: Path) -> None:
    weight = numbers(30, 50)
    new = weight.t().contiguous()
    new[-1, -1] += 1
    assert only(compare(folder, {"w": weight}, {"w": new})).remark is None
    assert only(compare(folder, {"w": weight}, {"w": weight.reshape(50, 30)})).remark is None
    assert only(compare(folder, {"w": weight}, {"w": weight.t().contiguous().half()})).remark is None


def test_a_square_matrix_that_was_not_transposed_is_none(folder: Path) -> None:
    entry = only(compare(folder, {"w": numbers(4, 4)}, {"w": numbers(4, 4, seed=1)}))
    assert entry.relation is None
    assert entry.remark is None


def test_a_transpose_of_three_dimensions_is_not_claimed(folder: Path) -> None:
    weight = numbers(2, 3, 4)
    assert only(compare(folder, {"w": weight}, {"w": weight.permute(2, 1, 0).contiguous()})).remark is None


def test_a_transpose_is_a_new_shape_and_no_new_value(folder: Path) -> None:
    weight = numbers(3, 5)
    assert "different: 1 reshaped" == verdict(compare(folder, {"w": weight}, {"w": weight.t().contiguous()}))


@pytest.mark.parametrize("shape", [(1 << 20, 1 << 21), ((1 << 21) + 1, 1 << 20)], ids=["reversed", "grown"])
def test_a_tensor_of_one_stored_element_is_not_read_again_and_again(
    tmp_path: Path, shape: tuple[int, int]
) -> None:
    one = torch.zeros(1)
    torch.save({"w": one.expand(1 << 21, 1 << 20)}, tmp_path / "old.pt")
    torch.save({"w": one.expand(*shape)}, tmp_path / "new.pt")
    assert only(diff(str(tmp_path / "old.pt"), str(tmp_path / "new.pt"))).relation is None


# Grown and shrunk


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ((10, 4), (12, 4), "the first 10 rows are unchanged"),
        ((1, 4), (2, 4), "the first row is unchanged"),
        ((5,), (7,), "the first 5 values are unchanged"),
        ((1, 5, 2), (1, 9, 2), "the first 5 rows are unchanged"),
        ((70_000, 3), (70_001, 3), "the first 70,000 rows are unchanged"),
    ],
    ids=str,
)
@pytest.mark.parametrize("swapped", [False, True], ids=["grown", "shrunk"])
def test_rows_that_were_added_leave_the_first_unchanged(
    folder: Path, old: tuple[int, ...], new: tuple[int, ...], said: str, swapped: bool
) -> None:
    large = numbers(*new)
    small = large[:, : old[1]] if old[0] == new[0] else large[: old[0]]
    sides = ({"e": large}, {"e": small}) if swapped else ({"e": small}, {"e": large})
    difference = compare(folder, *sides)
    entry = only(difference)
    assert entry.relation is not None
    assert (said, "shrunk" if swapped else "grown") == (entry.remark, entry.relation.kind)
    assert "different: 1 reshaped" == verdict(difference)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3), st.integers(0, 26))
def test_the_rows_said_to_be_unchanged_are_those_before_the_first_that_differs(
    folder: Path, before: int, after: int, columns: int, changed: int
) -> None:
    large = numbers(max(before, after, 1), columns)
    old, new = large[:before].clone(), large[:after].clone()
    if before == after:
        return
    if changed < old.numel():
        old.view(-1)[changed] += 1
    there, back = only(compare(folder, {"e": old}, {"e": new})), only(compare(folder, {"e": new}, {"e": old}))
    assert there.relation is not None
    assert back.relation is not None
    common = min(before, after)
    same = next((row for row in range(common) if not torch.equal(old[row], new[row])), common)
    assert (
        (same, common)
        == (there.relation.unchanged, there.relation.common)
        == (
            back.relation.unchanged,
            back.relation.common,
        )
    )
    assert {"grown", "shrunk"} == {there.relation.kind, back.relation.kind}


def test_a_row_that_changed_beside_the_new_ones_counts_as_other_values(folder: Path) -> None:
    new = numbers(12, 4)
    old = new[:10].clone()
    new[7, 3] += 1
    difference = compare(folder, {"e": old}, {"e": new})
    assert "the first 7 rows are unchanged, of the 10 that both sides have" == only(difference).remark
    assert "different: 1 reshaped, 1 with other values" == verdict(difference)
    new[0, 0] += 1
    assert "the first row differs already" == only(compare(folder, {"e": old}, {"e": new})).remark


@pytest.mark.parametrize("shape", [(10, 5), (11, 5), (2, 10, 4), (40,)], ids=str)
def test_another_change_of_shape_is_no_growth(folder: Path, shape: tuple[int, ...]) -> None:
    assert only(compare(folder, {"e": torch.ones(10, 4)}, {"e": torch.ones(shape)})).relation is None


def test_rows_without_elements_prove_nothing(folder: Path) -> None:
    assert only(compare(folder, {"e": torch.ones(0, 4)}, {"e": torch.ones(2, 4)})).relation is None


# Fused

QKV = ("attn.q_proj", "attn.k_proj", "attn.v_proj")


def split(rows: tuple[int, ...] = (4, 2, 2), *, bias: float | None = None) -> State:
    sizes = dict(zip(QKV, rows, strict=True))
    state = {f"{name}.weight": numbers(size, 6, seed=at) for at, (name, size) in enumerate(sizes.items())}
    if bias is not None:
        state |= {f"{name}.bias": torch.full((size,), bias) for name, size in sizes.items()}
    return state | {"attn.o_proj.weight": numbers(4, 6, seed=9)}


def fused(state: State, name: str, kinds: tuple[str, ...] = ("weight",), dim: int = 0) -> State:
    return {f"{name}{kind}": torch.cat([state[f"{each}.{kind}"] for each in QKV], dim) for kind in kinds} | {
        "attn.o_proj.weight": state["attn.o_proj.weight"]
    }


@pytest.mark.parametrize("name", ["attn.qkv_proj.", "attn.in_proj_", "attn.c_attn."])
@pytest.mark.parametrize("swapped", [False, True], ids=["fused", "split"])
@pytest.mark.parametrize("write", [zip_file, legacy_file, safetensors_file], ids=["zip", "legacy", "safetensors"])
def test_q_k_and_v_that_became_one_tensor_are_named(
    tmp_path: Path, name: str, swapped: bool, write: object
) -> None:
    assert callable(write)
    old, new = split(), fused(split(), name)
    files = write(tmp_path / "old", old), write(tmp_path / "new", new)
    difference = diff(*(reversed(files) if swapped else files))
    remarks = {entry.name: entry.remark for entry in difference.entries}
    whole = f"{name}weight"
    assert {
        whole: "`q_proj.weight`, `k_proj.weight`, `v_proj.weight` one after another, along dimension 0",
        "attn.q_proj.weight": f"0:4 of `{whole[5:]}`, along dimension 0",
        "attn.k_proj.weight": f"4:6 of `{whole[5:]}`, along dimension 0",
        "attn.v_proj.weight": f"6:8 of `{whole[5:]}`, along dimension 0",
    } == remarks
    assert {"fused", "part"} == {entry.relation.kind for entry in difference.entries if entry.relation}


def test_fused_columns_are_named(folder: Path) -> None:
    old = {name: tensor.t().contiguous() for name, tensor in split().items()}
    difference = compare(folder, old, fused(old, "attn.c_attn.", dim=1))
    assert {1} == {entry.relation.dim for entry in difference.entries if entry.relation}
    assert 4 == len(difference.entries)


def test_biases_of_zeros_follow_their_weights(folder: Path) -> None:
    old = split(bias=0.0)
    difference = compare(folder, old, fused(old, "attn.in_proj_", ("weight", "bias")))
    assert all(entry.relation for entry in difference.entries)
    assert 8 == len(difference.entries)


def test_biases_of_zeros_alone_prove_nothing(folder: Path) -> None:
    old = split(bias=0.0)
    new = fused(old, "attn.in_proj_", ("weight", "bias"))
    new["attn.in_proj_weight"][5, 5] += 1
    assert not any(entry.relation for entry in compare(folder, old, new).entries)


@pytest.mark.parametrize("row", [0, 3, 4, 7])
def test_a_fused_tensor_with_one_other_value_is_not_claimed(folder: Path, row: int) -> None:
    new = fused(split(), "attn.qkv_proj.")
    new["attn.qkv_proj.weight"][row, 1] += 1
    assert [None] * 4 == [entry.remark for entry in compare(folder, split(), new).entries]


def test_pieces_that_do_not_fill_the_whole_are_not_claimed(folder: Path) -> None:
    new = fused(split(), "attn.qkv_proj.")
    new["attn.qkv_proj.weight"] = torch.cat([new["attn.qkv_proj.weight"], torch.ones(1, 6)])
    assert [None] * 4 == [entry.remark for entry in compare(folder, split(), new).entries]


# Moved


def test_a_tensor_that_only_lies_elsewhere_has_the_same_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same, other = numbers(3), numbers(4)
    torch.save({"same": same, "other": other}, tmp_path / "cpu.pt")
    monkeypatch.setattr(torch.serialization, "location_tag", lambda _: "cuda:0")
    torch.save({"same": same, "other": other + 1}, tmp_path / "cuda.pt")
    difference = diff(str(tmp_path / "cpu.pt"), str(tmp_path / "cuda.pt"))
    assert {"same": "the values are equal", "other": None} == {
        entry.name: entry.remark for entry in difference.entries
    }
    assert "different: 2 on another device, 1 with other values" == verdict(difference)


# For machines


def test_the_relation_has_fields_of_its_own_where_there_is_one(folder: Path) -> None:
    old = split() | {"e": numbers(2, 3), "w": numbers(3, 5), "x": numbers(2)}
    new = fused(split(), "attn.qkv_proj.") | {
        "e": numbers(3, 3),
        "w": old["w"].t().contiguous(),
        "x": numbers(2) + 1,
    }
    report = json.loads(as_json(compare(folder, old, new)))
    relations = {entry["name"]: entry.get("relation") for entry in report["entries"]}
    assert relations == {
        "attn.q_proj.weight": {"kind": "part", "names": ["attn.qkv_proj.weight"], "dim": 0},
        "attn.k_proj.weight": {"kind": "part", "names": ["attn.qkv_proj.weight"], "dim": 0},
        "attn.v_proj.weight": {"kind": "part", "names": ["attn.qkv_proj.weight"], "dim": 0},
        "attn.qkv_proj.weight": {
            "kind": "fused",
            "names": ["attn.q_proj.weight", "attn.k_proj.weight", "attn.v_proj.weight"],
            "dim": 0,
        },
        "e": {"kind": "grown", "dim": 0, "unchanged": 2, "common": 2},
        "w": {"kind": "transposed"},
        "x": None,
    }
