from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from peak_memory import peak_mebibytes
from safetensors_files import save

from bufscan.errors import UnreadableError
from bufscan.formats.reading import read_file
from bufscan.formats.sharded import read_index, read_sharded
from bufscan.formats.signatures import is_shard_index

if TYPE_CHECKING:
    from collections.abc import Callable

    from bufscan.inventory import Inventory

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"


def weights() -> dict[str, dict[str, torch.Tensor]]:
    """Two shards: 40 bytes and 16 bytes."""
    return {
        FIRST: {"a": torch.arange(6.0).reshape(2, 3), "b": torch.arange(2)},
        SECOND: {"c": torch.arange(4.0)},
    }


def write(
    folder: Path,
    shards: dict[str, dict[str, torch.Tensor]],
    *,
    total_size: float | None = None,
    weight_map: dict[str, str] | None = None,
) -> Path:
    """The shards and their index; `weight_map` is what the index says instead of the truth."""
    folder.mkdir(exist_ok=True)
    for file, tensors in shards.items():
        if file.endswith(".safetensors"):
            (folder / file).write_bytes(save(tensors))
        else:
            torch.save(tensors, folder / file)
    truth = {name: file for file, tensors in shards.items() for name in tensors}
    index = {"metadata": {"total_size": total_size}, "weight_map": truth if weight_map is None else weight_map}
    (folder / INDEX).write_text(json.dumps(index))
    return folder


def read(folder: Path) -> Inventory:
    return read_sharded(folder, "folder", read_file)


def where(inventory: Inventory) -> dict[str, str | None]:
    return {tensor.name: tensor.file for tensor in inventory.tensors}


def skipped(inventory: Inventory) -> dict[str, str]:
    return {entry.what: entry.reason for entry in inventory.skipped}


def anomalies(inventory: Inventory) -> dict[str, str]:
    return {anomaly.kind: anomaly.message for anomaly in inventory.anomalies}


def stored_bytes_of(folder: Path, inventory: Inventory, name: str) -> bytes:
    (tensor,) = (tensor for tensor in inventory.tensors if tensor.name == name)
    storage = inventory.storages[tensor.storage]
    assert tensor.file == storage.file
    return (folder / storage.file).read_bytes()[storage.offset :][: storage.nbytes]


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
    assert read(tmp_path) == read_index(tmp_path / INDEX, "folder", read_file)


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


@pytest.mark.parametrize("total_size", [12, 16], ids=["once", "every time"])
def test_writers_may_count_tied_tensors_once_or_every_time(tmp_path: Path, total_size: int) -> None:
    tied = torch.ones(1)
    shards = {"m-00001-of-00001.bin": {"a": torch.ones(2), "b": tied, "c": tied}}
    assert {} == anomalies(read(write(tmp_path, shards, total_size=total_size)))


@pytest.mark.parametrize("total_size", [None, "56", True, [], 1.5], ids=repr)
def test_a_total_size_that_is_no_number_of_bytes_is_not_held_against_the_shards(
    tmp_path: Path, total_size: object
) -> None:
    inventory = read(write(tmp_path, weights(), total_size=total_size))
    assert {} == anomalies(inventory)
    assert not any("total_size" in note for note in inventory.notes)


# Indexes that nobody vouches for.

NAMES_OUTSIDE = [
    "../secret.safetensors",
    "/etc/passwd",
    "sub/model.safetensors",
    "..\\secret.safetensors",
    "https://example.org/model.safetensors",
    "file:secret.safetensors",
    "C:secret.safetensors",
    "secret.safetensors\0",
    "..",
    ".",
    "",
]


@pytest.mark.parametrize("name", NAMES_OUTSIDE, ids=ascii)
def test_only_a_bare_file_name_is_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.safetensors").write_bytes(save({"secret": torch.ones(1)}))
    folder = write(tmp_path / "model", {FIRST: {"a": torch.ones(1)}}, weight_map={"a": FIRST, "secret": name})
    (folder / "sub").mkdir()
    (folder / "sub" / "model.safetensors").write_bytes(save({"secret": torch.ones(1)}))
    inventory = read(folder)
    assert {"a": FIRST} == where(inventory)
    assert "not a bare file name" in skipped(inventory)[name]


def test_a_name_too_long_for_a_file_is_skipped(tmp_path: Path) -> None:
    name = "x" * 5000
    inventory = read(write(tmp_path, {FIRST: {"a": torch.ones(1)}}, weight_map={"a": FIRST, "b": name}))
    assert "too long" in skipped(inventory)[name]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_among_the_shards_does_not_hang(tmp_path: Path) -> None:
    write(tmp_path, weights())
    (tmp_path / FIRST).unlink()
    os.mkfifo(tmp_path / FIRST)
    assert "a named pipe" in skipped(read(tmp_path))[FIRST]


@pytest.mark.parametrize("name", [INDEX, "other.json"], ids=["itself", "another"])
def test_an_index_that_names_an_index_ends_there(tmp_path: Path, name: str) -> None:
    write(tmp_path, {FIRST: {"a": torch.ones(1)}}, weight_map={"a": FIRST, "b": name})
    (tmp_path / "other.json").write_text(json.dumps({"weight_map": {"b": INDEX}}))
    assert "an index, not a file of tensors" in skipped(read(tmp_path))[name]


BAD_INDEXES = {
    "no JSON": ("weights: 3", "not valid JSON"),
    "an array": ("[]", "no `weight_map`"),
    "no weight_map": ('{"metadata": {}}', "no `weight_map`"),
    "an array for a weight_map": ('{"weight_map": []}', "no `weight_map`"),
    "an empty weight_map": ('{"weight_map": {}}', "names no file"),
    "a number for a file": ('{"weight_map": {"a": 3}}', "`a` no file name"),
    "a tensor twice": (f'{{"weight_map": {{"a": "{FIRST}", "a": "{SECOND}"}}}}', "`a` twice"),
    "ten thousand files": (
        json.dumps({"weight_map": {f"t{n}": f"f{n}" for n in range(10_001)}}),
        "more than 10,000 files",
    ),
}


@pytest.mark.parametrize(("text", "message"), BAD_INDEXES.values(), ids=BAD_INDEXES.keys())
def test_what_is_no_index_is_refused_in_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, weights())
    (tmp_path / INDEX).write_text(text)
    with pytest.raises(UnreadableError, match=message) as failure:
        read(tmp_path)
    assert failure.value.message.startswith(f"{INDEX}: the index ")


def test_an_index_too_large_to_be_one_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, weights())
    os.truncate(tmp_path / INDEX, 1 << 40)  # sparse
    with pytest.raises(UnreadableError, match="more than the 100,000,000 allowed"):
        read(tmp_path)


def test_a_failure_of_the_only_file_names_it(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(save({"a": torch.ones(2)})[:-1])
    with pytest.raises(UnreadableError, match=r"^model\.safetensors: "):
        read(tmp_path)


def test_an_index_is_recognised_by_its_first_bytes(tmp_path: Path) -> None:
    head = (write(tmp_path, weights()) / INDEX).read_bytes()[:512]
    assert is_shard_index(head)
    assert is_shard_index(b" \n" + head)
    assert not is_shard_index(b'{"architectures": ["BertModel"]}')
    assert not is_shard_index(b'["weight_map"]')
    assert not is_shard_index(save({"weight_map": torch.ones(1)}))


# Links.


def test_a_link_inside_the_folder_is_followed(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", weights())
    (folder / FIRST).rename(folder / "real")
    (folder / FIRST).symlink_to("real")
    assert FIRST == where(read(folder))["a"]


def test_a_link_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", weights())
    (folder / FIRST).rename(tmp_path / "outside.safetensors")
    (folder / FIRST).symlink_to("../outside.safetensors")
    inventory = read(folder)
    assert {"c": SECOND} == where(inventory)
    assert "a link that leaves the folder" in skipped(inventory)[FIRST]


def test_a_folder_reached_by_a_link_is_read(tmp_path: Path) -> None:
    write(tmp_path / "model", weights())
    (tmp_path / "link").symlink_to("model")
    assert {"a", "b", "c"} == where(read(tmp_path / "link")).keys()


def test_links_that_go_round_in_circles_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", weights())
    (folder / FIRST).unlink()
    (folder / FIRST).symlink_to(FIRST)
    assert "symbolic links" in skipped(read(folder))[FIRST]


def cached(repository: Path) -> Path:
    """A snapshot in a Hugging Face cache: every file is a link into `blobs`."""
    snapshot, blobs = repository / "snapshots" / "0123abc", repository / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    write(snapshot, weights())
    for number, file in enumerate(sorted(snapshot.iterdir())):
        file.rename(blobs / str(number))
        file.symlink_to(Path("..", "..", "blobs", str(number)))
    return snapshot


def test_links_of_a_hugging_face_cache_are_followed_and_mentioned(tmp_path: Path) -> None:
    snapshot = cached(tmp_path / "models--org--name")
    inventory = read(snapshot)
    assert {"a": FIRST, "b": FIRST, "c": SECOND} == where(inventory)
    assert any("cache" in note for note in inventory.notes)
    assert inventory == read_index(snapshot / INDEX, "folder", read_file)


def test_links_out_of_a_cached_repository_are_refused(tmp_path: Path) -> None:
    snapshot = cached(tmp_path / "models--org--name")
    (tmp_path / "outside").write_bytes((snapshot / FIRST).read_bytes())
    (snapshot / FIRST).unlink()
    (snapshot / FIRST).symlink_to(tmp_path / "outside")
    assert "a link that leaves" in skipped(read(snapshot))[FIRST]


# Pieces of torch.distributed.checkpoint.


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


def test_a_piece_that_is_missing_is_an_anomaly(tmp_path: Path) -> None:
    inventory = read(write_pieces(tmp_path, {"w": ([2, 0], torch.ones(1, 4))}))
    assert (3, 4) == inventory.tensors[0].shape
    assert "`w`" in anomalies(inventory)["incomplete_tensor"]


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


def test_sharding_info_that_cannot_be_read_is_an_anomaly(tmp_path: Path) -> None:
    content = save({"w": torch.ones(2)}, metadata={"DCP_SHARDING_INFO": "{"})
    (tmp_path / "m-00001-of-00001.safetensors").write_bytes(content)
    inventory = read(tmp_path)
    assert (2,) == inventory.tensors[0].shape
    assert "not valid JSON" in anomalies(inventory)["sharding_info"]


# Size.


def wide_index(names: int, file: Callable[[int], str]) -> str:
    return json.dumps({"weight_map": {f"{n:x}": file(n) for n in range(names)}}, separators=(",", ":"))


HOSTILE = {
    "many names in one file": lambda: wide_index(500_000, lambda _: "m"),
    "many files": lambda: wide_index(600_000, lambda n: f"{n:x}"),
    "opening brackets": lambda: '{"weight_map":' + "[" * 9_000_000,
}


@pytest.mark.parametrize("make_index", HOSTILE.values(), ids=HOSTILE.keys())
def test_an_index_of_ten_megabytes_stays_within_200_mebibytes(
    make_index: Callable[[], str], tmp_path: Path
) -> None:
    (tmp_path / "m").write_bytes(save({"a": torch.ones(1)}))
    (tmp_path / INDEX).write_text(make_index())
    statement = (
        "from pathlib import Path; from bufscan.formats.reading import read_file; "
        f"from bufscan.formats.sharded import read_sharded; read_sharded(Path({str(tmp_path)!r}), '', read_file)"
    )
    assert peak_mebibytes(statement) < 200
