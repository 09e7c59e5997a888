"""Safetensors files of torch.distributed.checkpoint, each with a process's pieces of the tensors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch

from bufscan import diff
from safetensors_files import save
from sharded_files import anomalies, read

if TYPE_CHECKING:
    from pathlib import Path


def write_pieces(folder: Path, *pieces: dict[str, tuple[list[int], torch.Tensor]]) -> Path:
    """One file a process, as HuggingFaceStorageWriter writes them: each piece with where it begins."""
    for rank, tensors in enumerate(pieces, start=1):
        info = {name: {"saved_offsets": begin} for name, (begin, _) in tensors.items()}
        content = save(
            {name: piece for name, (_, piece) in tensors.items()}, metadata={"DCP_SHARDING_INFO": json.dumps(info)}
        )
        (folder / f"shard-{rank:05}-model-00001-of-00001.safetensors").write_bytes(content)
    return folder


def test_pieces_of_a_distributed_checkpoint_are_put_together(tmp_path: Path) -> None:
    upper, lower = (
        {"w": ([0, 0], torch.ones(2, 4))},
        {"w": ([2, 0], torch.ones(1, 4)), "b": ([], torch.tensor(1.0))},
    )
    inventory = read(write_pieces(tmp_path, upper, lower))
    whole, scalar = inventory.tensors
    assert ("w", (3, 4), 48, None, None) == (
        whole.name,
        whole.shape,
        whole.stored_bytes,
        whole.storage,
        whole.file,
    )
    assert ["[0:2, 0:4]", "[2:3, 0:4]"] == [part.name for part in whole.parts]
    assert [32, 16] == [inventory.storages[part.storage].nbytes for part in whole.parts]
    assert ("b", ()) == (scalar.name, scalar.shape)
    assert {} == anomalies(inventory)


def test_a_piece_that_is_missing_is_said_to_be_unread(tmp_path: Path) -> None:
    inventory = read(write_pieces(tmp_path, {"w": ([2, 0], torch.ones(1, 4))}))
    assert (3, 4) == inventory.tensors[0].shape
    assert [("pieces of 1 tensor", True)] == [(skipped.what, skipped.failed) for skipped in inventory.skipped]
    assert "`w`" in inventory.skipped[0].reason


def test_pieces_whose_sizes_add_up_are_not_whole_where_one_is_there_twice(tmp_path: Path) -> None:
    piece = torch.ones(1, 4)
    inventory = read(
        write_pieces(tmp_path, {"w": ([0, 0], piece)}, {"w": ([0, 0], piece)}, {"w": ([2, 0], piece)})
    )
    assert [True] == [skipped.failed for skipped in inventory.skipped]
    assert "its piece [0:1, 0:4] is there twice" in inventory.skipped[0].reason


def test_pieces_whose_sizes_add_up_are_not_compared_where_they_overlap(tmp_path: Path) -> None:
    folders = tmp_path / "pieces", tmp_path / "whole"
    for folder in folders:
        folder.mkdir()
    write_pieces(folders[0], {"w": ([0], torch.ones(2))}, {"w": ([1], torch.ones(1))}, {"w": ([3], torch.ones(1))})
    write_pieces(folders[1], {"w": ([0], torch.ones(4))})
    difference = diff(*map(str, folders))

    assert difference.incomplete
    assert difference.identical is None
    assert ("w", "its pieces [0:2] and [1:2] overlap") in [
        (each.path, each.reason) for each in difference.not_compared
    ]


MISFITS = {
    "other types": (torch.ones(2), [2], torch.ones(2, dtype=torch.float16)),
    "other dimensions": (torch.ones(2), [2, 0], torch.ones(1, 2)),
    "a wrong number of indices": (torch.ones(2), [2, 0], torch.ones(2)),
    "a negative index": (torch.ones(2), [-2], torch.ones(2)),
    "no indices": (torch.ones(2), None, torch.ones(2)),
}


@pytest.mark.parametrize(("first", "begin", "second"), MISFITS.values(), ids=MISFITS.keys())
def test_what_are_no_pieces_of_one_tensor_stays_apart(
    tmp_path: Path, first: torch.Tensor, begin: list[int], second: torch.Tensor
) -> None:
    inventory = read(write_pieces(tmp_path, {"w": ([0], first)}, {"w": (begin, second)}))
    assert [first.shape, second.shape] == [tensor.shape for tensor in inventory.tensors]
    assert {"repeated_tensor"} == anomalies(inventory).keys()


def test_more_dimensions_than_a_tensor_has_are_not_multiplied_out(tmp_path: Path) -> None:
    piece = torch.ones([1] * 65)
    inventory = read(write_pieces(tmp_path, {"w": ([1 << 62] * 65, piece)}))
    assert piece.shape == inventory.tensors[0].shape


def test_sharding_info_that_cannot_be_read_is_said_to_be_unread(tmp_path: Path) -> None:
    content = save({"w": torch.ones(2)}, metadata={"DCP_SHARDING_INFO": "{"})
    (tmp_path / "m-00001-of-00001.safetensors").write_bytes(content)
    inventory = read(tmp_path)
    assert (2,) == inventory.tensors[0].shape
    (skipped,) = inventory.skipped
    assert ("m-00001-of-00001.safetensors", True) == (skipped.what, skipped.failed)
    assert "not valid JSON" in skipped.reason
