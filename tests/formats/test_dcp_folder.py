"""Folders of torch.distributed.checkpoint, written by torch itself on one rank and on two."""

from __future__ import annotations

import pickle
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from canary import Canary
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
from two_ranks import Model

from bufscan.checking import check
from bufscan.comparing.diffing import diff
from bufscan.errors import BufscanError, UnreadableError
from bufscan.inspecting import inspect

pytestmark = pytest.mark.filterwarnings("ignore")  # torch warns that nothing is distributed


PARAMETERS = {name for name, _ in Model().named_parameters()}


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model under FSDP2 with its optimizer, saved by two ranks."""
    folder = tmp_path_factory.mktemp("sharded") / "step_10"
    program = Path(__file__).with_name("two_ranks.py")
    subprocess.run([sys.executable, "-W", "ignore", str(program), str(folder)], check=True, timeout=300)
    return folder


@pytest.fixture
def copy(sharded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sharded, tmp_path / "copy"))


@pytest.fixture(scope="module")
def consolidated(sharded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("consolidated") / "whole.pt"
    dcp_to_torch_save(str(sharded), str(path))
    return path


def test_names_shapes_and_types_are_those_of_torchs_own_reader(sharded: Path, consolidated: Path) -> None:
    loaded = torch.load(consolidated, weights_only=False)
    expected = {name: (tuple(each.shape), str(each.dtype)) for name, each in loaded["model"].items()}
    found = [each for each in inspect(sharded).tensors if each.section == "model"]
    assert expected == {each.name: (each.shape, f"torch.{each.dtype}") for each in found}
    assert {"cpu"} == {each.device for each in found}


def test_the_names_that_the_optimizer_was_given_are_parameters_for_sure(sharded: Path) -> None:
    model = [each for each in inspect(sharded).tensors if each.section == "model"]
    exact = {each.name for each in model if (each.role, each.certainty) == ("parameter", "exact")}
    assert exact == PARAMETERS
    assert {"table"} == {each.name for each in model if each.certainty == "assumed"}


def test_the_state_of_the_optimizer_is_training_state(sharded: Path) -> None:
    found = {each.name: each for each in inspect(sharded).tensors if each.section == "optim"}
    assert {"training_state"} == {each.role for each in found.values()}
    assert (7, 4) == found["state['first.weight']['exp_avg']"].shape


def test_the_inventory_is_that_of_the_consolidated_file(sharded: Path, consolidated: Path) -> None:
    def facts(path: Path) -> dict[str, tuple[Any, ...]]:
        found = inspect(path).tensors
        return {each.path: (each.role, each.certainty, each.shape, each.dtype, each.evidence) for each in found}

    assert facts(sharded) == facts(consolidated)


def test_values_are_compared_across_shardings(sharded: Path, consolidated: Path) -> None:
    difference = diff(str(sharded), str(consolidated))
    assert difference.identical
    assert 25 == difference.unchanged


def test_one_value_that_differs_is_found(sharded: Path, consolidated: Path, tmp_path: Path) -> None:
    state = torch.load(consolidated, weights_only=False)
    state["model"]["first.weight"][6, 3] += 1
    torch.save(state, tmp_path / "other.pt")
    (entry,) = diff(str(sharded), str(tmp_path / "other.pt")).entries
    assert "first.weight" in entry.name


def test_a_plain_value_that_differs_is_found(sharded: Path, consolidated: Path, tmp_path: Path) -> None:
    state = torch.load(consolidated, weights_only=False)
    state["epoch"] = 4
    torch.save(state, tmp_path / "other.pt")
    assert not diff(str(sharded), str(tmp_path / "other.pt")).identical


def test_a_checkpoint_of_one_rank_is_clean(tmp_path: Path) -> None:
    dcp.save({"model": Model().state_dict()}, checkpoint_id=tmp_path / "one")
    found = inspect(tmp_path / "one")
    assert set(Model().state_dict()) == {each.name for each in found.tensors}
    assert 0 == check(tmp_path / "one").exit_code
    assert {each.file for each in found.tensors} == {"__0_0.distcp"}


# Broken folders


def test_a_missing_file_is_named_and_what_it_held_is_still_listed(copy: Path) -> None:
    def listed() -> list[tuple[Any, ...]]:
        return [(each.path, each.shape, each.role) for each in inspect(copy).tensors]

    before = listed()
    (copy / "__1_0.distcp").unlink()
    assert before == listed()
    found = inspect(copy)
    (lost,) = [each for each in found.skipped if each.failed]
    assert ("__1_0.distcp", True) == (
        lost.what,
        lost.reason.startswith("no such file; in it lie parts of `model."),
    )
    assert 2 == check(copy).exit_code


def test_a_file_that_is_cut_off_is_named(copy: Path) -> None:
    path = copy / "__0_0.distcp"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-100])
    (lost,) = [each for each in inspect(copy).skipped if each.failed]
    assert lost.what == path.name
    assert f"it has {size - 100:,} bytes and should have {size:,}" in lost.reason


def test_bytes_that_belong_to_no_entry_are_an_error(copy: Path) -> None:
    with (copy / "__0_0.distcp").open("ab") as file:
        file.write(b"stowaway")
    (finding,) = check(copy).findings
    assert ("BUF402", "error") == (finding.code, finding.severity)


def test_without_its_metadata_the_folder_says_what_is_missing(copy: Path) -> None:
    (copy / ".metadata").unlink()
    with pytest.raises(UnreadableError, match=r"without its `\.metadata`"):
        inspect(copy)


def test_a_canary_in_the_metadata_is_told_and_never_runs(copy: Path) -> None:
    path = copy / ".metadata"
    metadata = pickle.loads(path.read_bytes())
    metadata.storage_meta = Canary()
    path.write_bytes(pickle.dumps(metadata))
    found = check(copy).findings
    assert [("BUF401", "error")] == [(each.code, each.severity) for each in found]
    assert "_run('pwned')" in found[0].message
    assert not Canary.ran
    assert 25 == len(inspect(copy).tensors)


def test_an_item_elsewhere_is_not_opened(copy: Path, tmp_path: Path) -> None:
    shutil.copy(copy / "__0_0.distcp", tmp_path / "outside.distcp")
    path = copy / ".metadata"
    metadata = pickle.loads(path.read_bytes())
    for place in metadata.storage_data.values():
        place.relative_path = place.relative_path.replace("__0_0", "../outside")
    path.write_bytes(pickle.dumps(metadata))
    found = inspect(copy)
    assert "not a bare file name" in "".join(each.reason for each in found.skipped if each.failed)
    assert "__1_0.distcp" in found.notes[-1]


def test_one_item_of_very_many_entries_is_not_read_for_each(tmp_path: Path) -> None:
    """Of what torch writes no two items share bytes."""
    folder = tmp_path / "one"
    dcp.save(
        {"model": {"w": torch.ones(3000)}, **{f"n{number}": number for number in range(50)}}, checkpoint_id=folder
    )
    metadata = pickle.loads((folder / ".metadata").read_bytes())
    largest = max(metadata.storage_data.values(), key=lambda place: place.length)
    for place in metadata.storage_data.values():
        place.relative_path, place.offset, place.length = largest.relative_path, largest.offset, largest.length
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    (lost,) = [each for each in inspect(folder).skipped if each.failed]
    assert "its entries overlap" in lost.reason
    assert 2 == check(folder).exit_code


@pytest.mark.parametrize("seed", range(60))
def test_flipped_bits_and_cuts_never_end_in_a_traceback(copy: Path, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - nothing secret
    path = copy / chance.choice([".metadata", "__0_0.distcp", "__1_0.distcp"])
    data = bytearray(path.read_bytes())
    if seed % 3 == 0:
        del data[chance.randrange(len(data)) :]
    for _ in range(chance.randrange(1, 9) if data else 0):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    message = ""
    try:
        inspect(copy)
    except BufscanError as error:
        message = error.message
    assert len(message) < 300
