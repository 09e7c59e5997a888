"""Values read for BUF307: the counts are torch's own, wherever the tensor lies."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from bufscan.checking import check
from bufscan.config import Config

if TYPE_CHECKING:
    from pathlib import Path

    from bufscan.checking.results import CheckResult

ONLY = Config(select=("BUF307",))
NAN, INF = float("nan"), float("inf")


def save_file(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """What safetensors writes of float32 tensors; its own function needs numpy."""
    header, data = {}, b""
    for name, tensor in tensors.items():
        start = len(data)
        data += bytes(tensor.untyped_storage())
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [start, len(data)]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def messages(*targets: object) -> list[str]:
    result: CheckResult = check(*targets, config=ONLY, values=True)  # type: ignore[arg-type]
    assert [None] == [target.failure for target in result.targets]
    return [finding.message for finding in result.findings]


DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.float8_e5m2]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_counts_are_torchs_in_every_type(tmp_path: Path, dtype: torch.dtype) -> None:
    values = torch.tensor([0.0, NAN, INF, -INF, NAN, 1.0]).to(dtype)
    torch.save({"w": values}, tmp_path / "model.pt")
    assert ["`w` has 2 NaN and 2 infinite of 6 elements"] == messages(str(tmp_path / "model.pt"))


def test_a_complex_value_is_counted_once(tmp_path: Path) -> None:
    torch.save({"w": torch.tensor([complex(NAN, NAN), complex(0, INF), 1j])}, tmp_path / "model.pt")
    assert ["`w` has 1 NaN and 1 infinite of 3 elements"] == messages(str(tmp_path / "model.pt"))


def test_only_the_elements_that_a_view_shows_are_counted(tmp_path: Path) -> None:
    table = torch.zeros(4, 5)
    table[1, 2] = NAN
    torch.save({"column": table[:, 2], "clean": table[:, 3], "transposed": table.t()}, tmp_path / "model.pt")
    expected = ["`column` has 1 NaN of 4 elements", "`transposed` has 1 NaN of 20 elements"]
    assert expected == messages(str(tmp_path / "model.pt"))


def test_many_chunks_are_counted_to_the_end(tmp_path: Path) -> None:
    values = torch.zeros(600_000)
    values[[0, 300_000, -1]] = NAN
    save_file({"w": values}, tmp_path / "model.safetensors")
    assert ["`w` has 3 NaN of 600,000 elements"] == messages(str(tmp_path / "model.safetensors"))


def test_sparse_values_count_and_integers_do_not(tmp_path: Path) -> None:
    sparse = torch.tensor([[0.0, NAN], [0.0, 0.0]]).to_sparse()
    torch.save({"ids": torch.arange(4), "mask": torch.ones(2, dtype=torch.bool), "s": sparse}, tmp_path / "m.pt")
    assert ["`s` has 1 NaN of 4 elements"] == messages(str(tmp_path / "m.pt"))


def test_shards_are_read_where_they_lie(tmp_path: Path) -> None:
    save_file({"a": torch.tensor([NAN])}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"b": torch.tensor([1.0, NAN])}, tmp_path / "model-00002-of-00002.safetensors")
    index = '{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}'
    (tmp_path / "model.safetensors.index.json").write_text(index)
    expected = ["`a` has 1 NaN of 1 elements", "`b` has 1 NaN of 2 elements"]
    assert expected == messages(str(tmp_path))


def test_a_live_models_values_are_read_from_memory() -> None:
    model = nn.Linear(2, 2)
    model.weight.data[0, 0] = NAN
    model.register_buffer("mask", torch.full((2, 2), -INF))
    assert ["`weight` has 1 NaN of 4 elements"] == messages(model)


def test_values_that_cannot_be_read_are_exit_two_and_said() -> None:
    (target,) = check(nn.Linear(2, 2, device="meta"), config=ONLY, values=True).targets
    assert not target.is_complete
    assert {"a meta tensor has no values"} == {skipped.reason for skipped in target.skipped}


def test_a_clean_file_is_clean_and_without_the_option_nothing_is_read(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "clean.pt")
    assert [] == messages(str(tmp_path / "clean.pt"))
    torch.save({"w": torch.tensor([NAN])}, tmp_path / "nan.pt")
    assert 0 == check(str(tmp_path / "nan.pt"), config=ONLY).exit_code
    assert 1 == check(str(tmp_path / "nan.pt"), config=ONLY, values=True).exit_code
