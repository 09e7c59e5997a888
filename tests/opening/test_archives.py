"""Checkpoints in archives, unpacked ones, and the repositories of a cache, wherever they lie."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

from bufscan import check, diff, inspect
from bufscan.errors import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LONG = "a/" * 80 + "model.ckpt"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "model.pth"
    torch.manual_seed(0)
    torch.save({"w": torch.randn(300), "b": torch.randn(3)}, path)
    return path


def stored(checkpoint: Path, archive: Path) -> str:
    with zipfile.ZipFile(archive, "w") as file:
        file.write(checkpoint, "weights/model.pth")
    return "weights/model.pth"


def deflated(checkpoint: Path, archive: Path) -> str:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(checkpoint, "model.pth")
    return "model.pth"


def as_tar(checkpoint: Path, archive: Path) -> str:
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as file:
        file.add(checkpoint, LONG)
    return LONG


def as_pax(checkpoint: Path, archive: Path) -> str:
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as file:
        file.addfile(tarfile.TarInfo("./"))
        file.add(checkpoint, "./" + LONG)
    return LONG


ARCHIVES: list[Callable[[Path, Path], str]] = [stored, deflated, as_tar, as_pax]


@pytest.mark.parametrize("pack", ARCHIVES)
def test_an_archive_names_what_it_holds_and_it_is_read_in_place(
    pack: Callable[[Path, Path], str], checkpoint: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "packed"
    member = pack(checkpoint, archive)
    with pytest.raises(UnreadableError, match="holds 1 checkpoint: ") as caught:
        inspect(archive)
    assert f"name it: `{archive}!{member}`" == caught.value.hint
    found = diff(checkpoint, f"{archive}!{member}")
    assert (True, 2) == (found.identical, found.unchanged)
    changed = torch.load(checkpoint)
    changed["w"][7] += 1
    torch.save(changed, checkpoint)
    (entry,) = diff(checkpoint, f"{archive}!{member}").entries
    assert ("w", 1) == (entry.name, entry.values and entry.values.changed)


@pytest.mark.parametrize("pack", ARCHIVES)
def test_a_member_that_is_not_there_is_told_with_those_that_are(
    pack: Callable[[Path, Path], str], checkpoint: Path, tmp_path: Path
) -> None:
    member = pack(checkpoint, tmp_path / "packed")
    with pytest.raises(UnreadableError, match=r"without a member `other\.pt`") as caught:
        inspect(f"{tmp_path / 'packed'}!other.pt")
    assert member[:40] in (caught.value.hint or "")


def test_other_members_are_said_to_be_left_out(checkpoint: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as file:
        file.write(checkpoint, "a.pth")
        file.write(checkpoint, "b.pth")
        file.writestr("notes.txt", "hello")
    found = inspect(f"{tmp_path / 'two.zip'}!b.pth")
    assert ["a.pth"] == [skipped.what for skipped in found.skipped]


def test_a_file_of_such_a_name_comes_before_a_member(checkpoint: Path, tmp_path: Path) -> None:
    stored(checkpoint, tmp_path / "x.zip")
    save_file({"only": torch.ones(1)}, tmp_path / "x.zip!weights")
    assert ["only"] == [tensor.name for tensor in inspect(tmp_path / "x.zip!weights").tensors]


def test_a_compressed_member_costs_no_more_than_its_archive_allows(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("model.pth", bytes(100_000_000))
    with pytest.raises(UnreadableError, match="too large to be read in place"):
        inspect(f"{tmp_path / 'bomb.zip'}!model.pth")


def test_a_broken_tar_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    as_pax(checkpoint, tmp_path / "x.tar")
    whole = (tmp_path / "x.tar").read_bytes()
    for cut in range(512, len(whole) - 10_240, 512):
        (tmp_path / "cut.tar").write_bytes(whole[:cut])
        with pytest.raises(UnreadableError):
            inspect(f"{tmp_path / 'cut.tar'}!{LONG}")


def unpacked(checkpoint: Path, folder: Path) -> Path:
    shutil.unpack_archive(checkpoint, folder, "zip")
    (inside,) = folder.iterdir()
    return inside


def test_an_unpacked_checkpoint_is_what_it_was(checkpoint: Path, tmp_path: Path) -> None:
    folder = unpacked(checkpoint, tmp_path / "here")
    packed, here = inspect(checkpoint), inspect(folder)
    assert [tensor.name for tensor in packed.tensors] == [tensor.name for tensor in here.tensors]
    assert () == here.anomalies
    found = diff(checkpoint, folder)
    assert (True, 2) == (found.identical, found.unchanged)
    assert 0 == check(folder).exit_code
    (folder / "data" / "0").write_bytes(b"\1" * 1200)
    (entry,) = diff(checkpoint, folder).entries
    assert ("w", 300) == (entry.name, entry.values and entry.values.changed)


def test_a_storage_that_leads_out_of_an_unpacked_checkpoint_is_not_followed(
    checkpoint: Path, tmp_path: Path
) -> None:
    folder = unpacked(checkpoint, tmp_path / "here")
    (tmp_path / "secret").write_bytes(bytes(1200))
    (folder / "data" / "0").unlink()
    (folder / "data" / "0").symlink_to(tmp_path / "secret")
    found = diff(checkpoint, folder)
    assert "a link that leaves the folder" in str(found)


def test_the_folder_above_an_unpacked_checkpoint_points_to_it(checkpoint: Path, tmp_path: Path) -> None:
    unpacked(checkpoint, tmp_path / "here")
    with pytest.raises(UnreadableError, match="without a checkpoint") as caught:
        inspect(tmp_path / "here")
    assert f"`{tmp_path / 'here' / 'model'}`" in (caught.value.hint or "")


def test_a_zip_that_windows_packed_is_named(checkpoint: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(checkpoint) as whole, zipfile.ZipFile(tmp_path / "back.pth", "w") as packed:
        for info in whole.infolist():
            renamed = zipfile.ZipInfo("x")
            renamed.filename = info.filename.replace("/", "\\")
            packed.writestr(renamed, whole.read(info))
    with pytest.raises(UnreadableError, match="with backslashes in its names"):
        inspect(tmp_path / "back.pth")


@pytest.fixture
def cached(tmp_path: Path) -> Path:
    root = tmp_path / "models--org--tiny"
    for revision, values in (("a" * 40, 1.0), ("b" * 40, 2.0)):
        blob = root / "blobs" / revision[0]
        blob.parent.mkdir(parents=True, exist_ok=True)
        save_file({revision[0]: torch.full((2,), values)}, blob)
        snapshot = root / "snapshots" / revision
        snapshot.mkdir(parents=True)
        (snapshot / "model.safetensors").symlink_to(os.path.join("..", "..", "blobs", revision[0]))  # noqa: PTH118
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("b" * 40)
    return root


def test_a_cached_repository_is_its_main_branch(cached: Path) -> None:
    found = inspect(cached)
    assert ["b"] == [tensor.name for tensor in found.tensors]
    assert str(cached) == found.target


@pytest.mark.parametrize("main", ["c" * 40, "../../elsewhere", "\0", "é", ""])
def test_a_main_branch_that_is_not_there_is_not_followed(main: str, cached: Path) -> None:
    (cached / "refs" / "main").write_text(main)
    with pytest.raises(UnreadableError, match="without a checkpoint") as caught:
        inspect(cached)
    assert f"`{cached / 'snapshots' / ('a' * 40)}`" in (caught.value.hint or "")


def test_a_whole_cache_points_into_one_of_its_repositories(cached: Path) -> None:
    with pytest.raises(UnreadableError) as caught:
        inspect(cached.parent)
    assert "models--org--tiny/snapshots/" in (caught.value.hint or "")


class Unregistered(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pe = torch.ones(4)


def codes(folder: Path) -> dict[str, list[str]]:
    return {
        os.path.relpath(result.target, folder): [finding.code for finding in result.findings]
        for result in check(folder).targets
    }


def test_a_check_of_a_folder_looks_at_every_checkpoint_in_it(tmp_path: Path) -> None:
    save_file({"w": torch.ones(2)}, tmp_path / "model.safetensors")
    torch.save(Unregistered(), tmp_path / "faulty.pt")
    torch.save({"state": {}}, tmp_path / "optimizer.pt")
    assert {".": [], "faulty.pt": ["BUF401", "BUF001"]} == codes(tmp_path)
    (first, _) = check(tmp_path).targets
    assert ["optimizer.pt"] == [skipped.what for skipped in first.skipped]


def test_where_nothing_says_which_is_meant_all_are_looked_at(tmp_path: Path) -> None:
    for name in ("a.pt", "b.ckpt", "c.pth"):
        torch.save({"w": torch.ones(2)}, tmp_path / name)
    assert {"a.pt": [], "b.ckpt": [], "c.pth": []} == codes(tmp_path)


def test_shards_of_an_index_are_not_looked_at_twice(tmp_path: Path) -> None:
    save_file({"w": torch.ones(2)}, tmp_path / "part-of-one")
    shutil.copy(tmp_path / "part-of-one", tmp_path / "one.safetensors")
    index = '{"metadata": {}, "weight_map": {"w": "one.safetensors"}}'
    (tmp_path / "model.safetensors.index.json").write_text(index)
    torch.save({"w": torch.ones(2)}, tmp_path / "pytorch_model.bin")
    assert {".": [], "one.safetensors": []} != codes(tmp_path)
    assert [] == [name for name in codes(tmp_path) if name.endswith("one.safetensors")]


def test_what_lies_beside_the_weights_is_said_to_be_left_out(tmp_path: Path) -> None:
    save_file({"w": torch.ones(2)}, tmp_path / "model.safetensors")
    beside = [
        "optimizer.bin", "random_states_0.pkl", "rng_state.pth", "sampler.bin", "scaler.pt", "scheduler.pt",
        "tf_model.h5", "training_args.bin",
    ]  # fmt: skip
    for name in beside:
        (tmp_path / name).write_bytes(io.BytesIO(b"x").getvalue())
    assert beside == [skipped.what for skipped in inspect(tmp_path).skipped]
