from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from bufscan.errors import UnreadableError
from safetensors_files import save
from sharded_files import (
    FIRST,
    INDEX,
    SECOND,
    anomalies,
    read,
    read_index,
    skipped,
    stored_bytes_of,
    weights,
    where,
    write,
)

if TYPE_CHECKING:
    from pathlib import Path


# Well-formed folders.


@pytest.mark.parametrize(
    ("suffix", "format_"), [(".safetensors", "safetensors-sharded"), (".bin", "torch-sharded")], ids=["st", "bin"]
)
def test_shards_are_one_inventory_that_says_where_each_tensor_is(
    tmp_path: Path, suffix: str, format_: str
) -> None:
    shards = {file.replace(".safetensors", suffix): tensors for file, tensors in weights().items()}
    inventory = read(write(tmp_path, shards, total_size=56))
    assert format_ == inventory.format
    assert {name: file for file, tensors in shards.items() for name in tensors} == where(inventory)
    for tensors in shards.values():
        for name, tensor in tensors.items():
            values = bytes(tensor.untyped_storage())
            assert values == stored_bytes_of(tmp_path, inventory, name)
    assert 3 == len(inventory.storages)
    assert 56 == inventory.stored_bytes
    assert ((), ()) == (inventory.anomalies, inventory.skipped)
    assert "`total_size` of 56 bytes holds" in inventory.notes


def test_the_index_itself_can_be_the_target(tmp_path: Path) -> None:
    write(tmp_path, weights(), total_size=56)
    assert read(tmp_path) == read_index(tmp_path / INDEX)


def test_shards_without_an_index_are_found_by_their_names(tmp_path: Path) -> None:
    write(tmp_path, weights())
    (tmp_path / INDEX).unlink()
    (tmp_path / SECOND).rename(tmp_path / SECOND.replace("00002-of", "00003-of").replace("of-00002", "of-00003"))
    (tmp_path / FIRST).rename(tmp_path / FIRST.replace("of-00002", "of-00003"))
    inventory = read(tmp_path)
    assert {"a", "b", "c"} == where(inventory).keys()
    assert {"model-00002-of-00003.safetensors": "no such file"} == skipped(inventory)
    assert any("no index" in note for note in inventory.notes)


def test_a_folder_with_one_file_is_simply_that_file(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(save({"a": torch.ones(2)}))
    inventory = read(tmp_path)
    assert "safetensors" == inventory.format
    assert {"a": None} == where(inventory)
    assert any("model.safetensors" in note for note in inventory.notes)


def test_a_folder_of_folders_gets_one_with_a_checkpoint_as_a_hint(tmp_path: Path) -> None:
    for name, file in (("logs", "events.txt"), ("checkpoint-2", "model.safetensors")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()
    with pytest.raises(UnreadableError, match="without a checkpoint") as failure:
        read(tmp_path)
    assert "name a folder in it, such as `folder/checkpoint-2`" == failure.value.hint


def test_other_checkpoint_files_of_the_folder_are_listed_as_skipped(tmp_path: Path) -> None:
    write(tmp_path, weights())
    for name in ("optimizer.pt", "model-00001-of-00009.safetensors", "config.json"):
        (tmp_path / name).write_bytes(b"")
    assert {"optimizer.pt", "model-00001-of-00009.safetensors"} == skipped(read(tmp_path)).keys()


def test_a_long_list_of_other_files_is_cut_and_counted(tmp_path: Path) -> None:
    write(tmp_path, weights())
    for number in range(25):
        (tmp_path / f"step{number:02}.pt").write_bytes(b"")
    assert 21 == len(skipped(read(tmp_path)))
    assert "5 more files" in skipped(read(tmp_path))


def test_the_names_of_tied_tensors_are_not_missed_in_the_index(tmp_path: Path) -> None:
    write(tmp_path, {FIRST: {"a": torch.ones(2)}})
    (tmp_path / FIRST).write_bytes(save({"a": torch.ones(2)}, metadata={"tied": "a"}))
    inventory = read(tmp_path)
    assert () == inventory.anomalies
    assert {"a": None, "tied": "a"} == {tensor.name: tensor.alias_of for tensor in inventory.tensors}


# Where the index and the shards differ.


def test_a_missing_shard_is_skipped_with_the_names_that_the_index_expects_in_it(tmp_path: Path) -> None:
    write(tmp_path, weights(), total_size=56)
    (tmp_path / FIRST).unlink()
    inventory = read(tmp_path)
    assert {"c": SECOND} == where(inventory)
    assert {FIRST: "no such file; the index expects 2 tensors in it: `a`, `b`"} == skipped(inventory)
    assert any("could not be checked" in note for note in inventory.notes)


def test_a_broken_shard_is_skipped_and_the_others_are_shown(tmp_path: Path) -> None:
    write(tmp_path, weights())
    (tmp_path / FIRST).write_bytes((tmp_path / FIRST).read_bytes()[:-1])
    inventory = read(tmp_path)
    assert {"c": SECOND} == where(inventory)
    assert "the file holds only 39" in skipped(inventory)[FIRST]


def test_a_checkpoint_without_a_readable_shard_is_an_error_that_says_why(tmp_path: Path) -> None:
    write(tmp_path, weights())
    (tmp_path / FIRST).unlink()
    (tmp_path / SECOND).write_bytes(b"")
    with pytest.raises(UnreadableError, match=f"none of 2 shards can be read: {FIRST}: no such file"):
        read(tmp_path)


def test_a_tensor_that_no_shard_holds_is_skipped(tmp_path: Path) -> None:
    inventory = read(write(tmp_path, {FIRST: {"a": torch.ones(2)}}, weight_map={"a": FIRST, "z": FIRST}))
    assert {FIRST: "it lacks 1 tensor that the index expects in it: `z`"} == skipped(inventory)


def test_a_tensor_in_another_shard_than_the_index_says_is_an_anomaly(tmp_path: Path) -> None:
    inventory = read(write(tmp_path, weights(), weight_map={"a": SECOND, "b": FIRST, "c": SECOND}))
    assert {"misplaced_tensor", "unlisted_tensor"} == anomalies(inventory).keys()
    assert "`a`" in anomalies(inventory)["misplaced_tensor"]
    assert SECOND in anomalies(inventory)["misplaced_tensor"]


def test_a_tensor_that_the_index_does_not_mention_is_shown_and_an_anomaly(tmp_path: Path) -> None:
    inventory = read(write(tmp_path, weights(), weight_map={"a": FIRST, "c": SECOND}))
    assert {"a", "b", "c"} == where(inventory).keys()
    assert f"the index does not mention `b` in {FIRST}" == anomalies(inventory)["unlisted_tensor"]


def test_a_tensor_in_two_shards_is_shown_twice_and_an_anomaly(tmp_path: Path) -> None:
    shards = {FIRST: {"a": torch.ones(2), "b": torch.ones(1)}, SECOND: {"a": torch.ones(2)}}
    inventory = read(write(tmp_path, shards, weight_map={"a": FIRST, "b": FIRST}))
    # The index does not even name the second shard.
    assert {FIRST} == set(where(inventory).values())
    inventory = read(write(tmp_path, shards, weight_map={"b": FIRST, "a": SECOND}))
    assert [FIRST, SECOND] == sorted(tensor.file or "" for tensor in inventory.tensors if tensor.name == "a")
    assert f"{SECOND} holds `a`, as another shard does" == anomalies(inventory)["repeated_tensor"]
    assert 3 == len(inventory.storages)


def test_a_total_size_that_does_not_hold_is_an_anomaly(tmp_path: Path) -> None:
    message = anomalies(read(write(tmp_path, weights(), total_size=57)))["total_size"]
    assert "57 bytes, but they take 56" in message


@pytest.mark.parametrize("total_size", [52, 20, 24], ids=["stored bytes", "ties once", "ties every time"])
def test_writers_may_count_tied_tensors_and_views_in_any_way(tmp_path: Path, total_size: int) -> None:
    tied = torch.ones(1)
    shards = {"m-00001-of-00001.bin": {"view": torch.ones(12)[:4], "b": tied, "c": tied}}
    assert {} == anomalies(read(write(tmp_path, shards, total_size=total_size)))


@pytest.mark.parametrize("total_size", [None, "56", True, [], 1.5], ids=repr)
def test_a_total_size_that_is_no_number_of_bytes_is_not_held_against_the_shards(
    tmp_path: Path, total_size: object
) -> None:
    inventory = read(write(tmp_path, weights(), total_size=total_size))
    assert {} == anomalies(inventory)
    assert not any("total_size" in note for note in inventory.notes)
