"""What is read stays what it was when it was opened, or the run says that it did not."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

from bufscan import check, diff, inspect
from bufscan.bytesource import OpenFiles
from bufscan.errors import TargetError
from bufscan.opening.artefact import BuildOptions, open_target
from sharded_files import weights, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "model.pt"
    torch.save({"w": torch.zeros(4)}, path)
    return path


def replace(path: Path) -> None:
    torch.save({"other": torch.ones(9)}, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def rewrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        file.write(b"more")


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def test_a_file_that_is_replaced_meanwhile_is_read_as_it_was(checkpoint: Path) -> None:
    with OpenFiles() as files:
        opened = open_target(str(checkpoint), files, BuildOptions())
        replace(checkpoint)
        again = open_target(str(checkpoint), files, BuildOptions())
        assert opened.inventory == again.inventory
        (storage,) = opened.inventory.storages.values()
        values = bytearray(storage.nbytes)
        opened.reader.read_into(storage, 0, memoryview(values))
        assert bytes(16) == values


def test_both_sides_of_a_comparison_with_itself_are_one_file(checkpoint: Path) -> None:
    def swap(_done: int, _total: int) -> None:
        replace(checkpoint)

    assert diff(checkpoint, checkpoint, progress=swap).identical


@pytest.mark.parametrize("spoil", [rewrite, touch])
def test_a_file_that_is_written_to_meanwhile_is_an_error(checkpoint: Path, spoil: Callable[[Path], None]) -> None:
    files = OpenFiles()
    inspect(checkpoint, files=files)
    check(checkpoint, files=files)
    spoil(checkpoint)
    with pytest.raises(TargetError, match="changed while it was read") as caught:
        files.__exit__(None, None, None)
    assert str(checkpoint) == caught.value.target


def test_a_failure_is_not_covered_up_by_a_file_that_changed(checkpoint: Path) -> None:
    def fail() -> None:
        with OpenFiles() as files:
            inspect(checkpoint, files=files)
            rewrite(checkpoint)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()


def test_every_file_of_a_sharded_checkpoint_is_kept(tmp_path: Path) -> None:
    write(tmp_path, weights())
    (tmp_path / "optimizer.pt").touch()
    with OpenFiles() as files:
        open_target(str(tmp_path), files, BuildOptions())
        read = {path.name for path in files.paths}
    assert {*weights(), "model.safetensors.index.json", "optimizer.pt"} <= read


def test_more_shards_than_files_may_be_open_at_first(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for number in range(1, 41):
        save_file({f"w{number}": torch.zeros(1)}, tmp_path / f"model-{number:05}-of-00040.safetensors")
    used = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 10, hard))
        assert 40 == len(inspect(tmp_path).tensors)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
