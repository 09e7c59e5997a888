"""Indexes and links that nobody vouches for."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from peak_memory import peak_mebibytes

from bufscan.errors import UnreadableError
from bufscan.formats.folders.shard_index import read_shard_index
from bufscan.formats.signatures import is_shard_index
from safetensors_files import save
from sharded_files import FIRST, INDEX, SECOND, read, read_index, skipped, weights, where, write

if TYPE_CHECKING:
    from collections.abc import Callable


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


def test_an_index_too_large_to_be_one_is_not_read() -> None:
    class Terabyte:
        name, size = INDEX, 1 << 40

        def read(self, offset: int, length: int) -> bytes:
            raise AssertionError((offset, length))

    with pytest.raises(UnreadableError, match="more than the 100,000,000 allowed"):
        read_shard_index(Terabyte())


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
    assert inventory == read_index(snapshot / INDEX)


def test_links_out_of_a_cached_repository_are_refused(tmp_path: Path) -> None:
    snapshot = cached(tmp_path / "models--org--name")
    (tmp_path / "outside").write_bytes((snapshot / FIRST).read_bytes())
    (snapshot / FIRST).unlink()
    (snapshot / FIRST).symlink_to(tmp_path / "outside")
    assert "a link that leaves" in skipped(read(snapshot))[FIRST]


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
        "from pathlib import Path; from bufscan.bytesource import OpenFiles; "
        "from bufscan.formats.reading import read_path; "
        f"read_path(Path({str(tmp_path)!r}), '', OpenFiles())"
    )
    assert peak_mebibytes(statement) < 200
