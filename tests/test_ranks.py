"""Several processes do one command together: the same results, said once, and one end for all."""

from __future__ import annotations

import re
import shutil
import signal
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bufscan import check, diff
from bufscan.comparing import byte_pass, number_pass, scaled
from bufscan.errors import BufscanError, UnreadableError
from bufscan.ranks import ALONE, RanksError, share_of
from bufscan.ranks.gloo import joined
from bufscan.report import DIFF_REPORTS
from bufscan.report.check.json import render as check_json
from bufscan.report.diff.view import DiffView
from bufscan.values import finiteness
from command_line import bufscan
from launching import as_ranks, launched, torchrun

if TYPE_CHECKING:
    from pathlib import Path

    from bufscan.ranks import Ranks

NAMES = ["a.weight", "a.weight_scale", "a.bias", "b.weight", "b.bias", "b.running_mean", "c.0.weight"]
DTYPES = [torch.float32, torch.bfloat16, torch.float8_e4m3fn, torch.int64, torch.complex64, torch.bool]

some = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],  # ranks that part wait for each other: to shrink takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # every example writes the same files anew
)

# Sharing out


@given(st.lists(st.integers(0, 1000)), st.integers(1, 9))
def test_every_job_belongs_to_one_rank_and_neighbours_go_together(sizes: list[int], size: int) -> None:
    shares = [share_of(sizes, rank, size) for rank in range(size)]
    assert list(range(len(sizes))) == [job for share in shares for job in share]


@given(st.lists(st.integers(1, 1000), min_size=1), st.integers(1, 9))
def test_no_rank_has_more_than_its_part_and_two_halves_of_jobs(sizes: list[int], size: int) -> None:
    shares = [sum(sizes[at] for at in share_of(sizes, rank, size)) for rank in range(size)]
    assert max(shares) <= sum(sizes) / size + max(sizes)


# What all ranks find together is what one finds


@pytest.fixture
def small_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs of a few elements, so that a small tensor is shared out as a large one is."""
    monkeypatch.setattr(byte_pass, "_JOB_BYTES", 64)
    monkeypatch.setattr(number_pass, "CHUNK", 8)
    monkeypatch.setattr(number_pass, "_JOB_CHUNKS", 2)
    monkeypatch.setattr(scaled, "_CHUNK", 8)
    monkeypatch.setattr(scaled, "_JOB_CHUNKS", 1)
    monkeypatch.setattr(finiteness, "_CHUNK", 8)
    monkeypatch.setattr(finiteness, "_JOB_CHUNKS", 2)


def tensors() -> st.SearchStrategy[torch.Tensor]:
    def made(seed: int, dtype: torch.dtype, shape: tuple[int, ...], odd: float) -> torch.Tensor:
        numbers = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).mul(3)
        if numbers.numel():
            numbers.view(-1)[-1] = odd
        return numbers.to(dtype)

    shapes = st.sampled_from([(), (3,), (0, 2), (40,), (13, 11)])
    odd = st.sampled_from([0.5, 1.0, float("nan"), float("-inf")])
    return st.builds(made, st.integers(0, 2), st.sampled_from(DTYPES), shapes, odd)


def states() -> st.SearchStrategy[dict[str, torch.Tensor]]:
    return st.dictionaries(st.sampled_from(NAMES), tensors(), min_size=1)


@some
@given(old=states(), new=states(), size=st.integers(2, 5), tolerance=st.sampled_from([None, 0.1]))
@pytest.mark.usefixtures("small_jobs")
def test_a_difference_is_the_same_on_every_rank_and_in_one_process(
    tmp_path: Path, old: dict[str, torch.Tensor], new: dict[str, torch.Tensor], size: int, tolerance: float | None
) -> None:
    paths = [str(tmp_path / name) for name in ("old.pt", "new.pt")]
    for path, state in zip(paths, (old, new), strict=True):
        torch.save(state, path)
    whole = diff(paths[0], paths[1], rtol=tolerance)
    for found in as_ranks(size, lambda ranks: diff(paths[0], paths[1], rtol=tolerance, ranks=ranks)):
        assert whole == found
        assert DIFF_REPORTS["json"](whole, DiffView()) == DIFF_REPORTS["json"](found, DiffView())


@some
@given(state=states(), size=st.integers(2, 5))
@pytest.mark.usefixtures("small_jobs")
def test_values_are_checked_the_same_on_every_rank_and_in_one_process(
    tmp_path: Path, state: dict[str, torch.Tensor], size: int
) -> None:
    path = str(tmp_path / "model.pt")
    torch.save(state, path)
    whole = check(path, values=True)
    for found in as_ranks(size, lambda ranks: check(path, values=True, ranks=ranks)):
        assert whole == found
        assert check_json(whole) == check_json(found)


# How they fail together


def test_a_failure_of_one_rank_is_that_of_all_and_names_it() -> None:
    def work(ranks: Ranks) -> None:
        with ranks.agreed():
            if ranks.rank == 1:
                raise UnreadableError("no such file", hint="look again")

    for error in as_ranks(3, work):
        assert str(error).startswith("no such file (rank 1 on ")
        assert "look again" == error.hint


def test_a_failure_of_all_names_none() -> None:
    def work(ranks: Ranks) -> None:
        with ranks.agreed():
            raise UnreadableError("no such file")

    assert ["no such file"] * 3 == list(map(str, as_ranks(3, work)))


def test_ranks_that_do_different_things_are_told_so() -> None:
    found = as_ranks(2, lambda ranks: ranks.exchange(f"step {ranks.rank}"))
    assert [RanksError] * 2 == list(map(type, found))


def test_files_that_are_not_the_same_everywhere_are_refused(tmp_path: Path) -> None:
    for rank in range(2):
        torch.save({"w": torch.zeros(3 + rank)}, tmp_path / f"{rank}.pt")
    found = as_ranks(
        2, lambda ranks: diff(str(tmp_path / f"{ranks.rank}.pt"), str(tmp_path / "0.pt"), ranks=ranks)
    )
    assert all("is another one for rank 1 than for rank 0" in str(error) for error in found)


# Real processes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    generator = torch.Generator().manual_seed(1)
    old = {f"layers.{number}.weight": torch.randn(30, 40, generator=generator) for number in range(8)}
    old |= {
        "embedding": torch.randn(5000, 64, generator=generator),
        "gone": torch.ones(3),
        "was": torch.arange(99.0),
    }
    new = {name: tensor.clone() for name, tensor in old.items() if name != "gone"}
    new |= {"is": new.pop("was"), "new": torch.zeros(2)}
    new["embedding"][4999, 3] += 1
    new["layers.3.weight"][1, 1] = torch.nan
    new["layers.5.weight"] += 0.1
    torch.save(old, folder / "old.pt")
    torch.save(new, folder / "new.pt")
    return folder


@pytest.mark.parametrize("size", [2, 4])
def test_torchrun_prints_once_what_one_process_prints(folder: Path, size: int) -> None:
    arguments = ("diff", "old.pt", "new.pt", "--format", "json")
    done = torchrun(size, *arguments, cwd=folder)
    assert bufscan(*arguments, cwd=folder).stdout == done.out
    assert (1, 0) == (
        done.code,
        done.err.count("bufscan:"),
    )  # torchrun's own code for ranks that do not end with 0


def test_torchrun_succeeds_where_nothing_differs(folder: Path) -> None:
    done = torchrun(2, "diff", "old.pt", "old.pt", cwd=folder)
    assert bufscan("diff", "old.pt", "old.pt", cwd=folder).stdout == done.out
    assert 0 == done.code


def test_all_ranks_end_with_one_code_and_only_the_first_writes(folder: Path, tmp_path: Path) -> None:
    arguments = ("check", str(folder / "old.pt"), str(folder / "new.pt"), "--values", "--format", "json")
    found = launched(3, *arguments, "--output", "check.json", cwd=tmp_path)
    assert [1, 1, 1] == [done.code for done in found]
    assert [b"", b""] == [done.out for done in found[1:]]
    assert ["", "", ""] == [done.err for done in found]
    assert bufscan(*arguments).stdout == (tmp_path / "check.json").read_bytes()


def test_a_baseline_is_written_once(folder: Path, tmp_path: Path) -> None:
    found = launched(
        2, "check", str(folder / "new.pt"), "--values", "--write-baseline", "known.json", cwd=tmp_path
    )
    assert [(0, b"wrote known.json: 1 finding\n"), (0, b"")] == [(done.code, done.out) for done in found]


def test_a_file_that_one_rank_lacks_ends_all_with_one_line(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "old.pt", tmp_path)
    found = launched(3, "diff", "old.pt", "new.pt", cwd=folder, elsewhere={1: tmp_path})
    assert [2, 2, 2] == [done.code for done in found]
    assert found[0].err.startswith("bufscan: new.pt: no such file (rank 1 on ")
    assert ["", ""] == [done.err for done in found[1:]]
    assert 1 == found[0].err.count("bufscan:")


def test_a_rank_that_dies_ends_all_with_one_line(folder: Path) -> None:
    dies = "import os; from bufscan.ranks.gloo import joined; ranks = joined(os.environ); os.kill(os.getpid(), 9)"
    found = launched(3, "diff", "old.pt", "new.pt", cwd=folder, codes={1: dies})
    assert [2, -signal.SIGKILL, 2] == [done.code for done in found]
    # Who was gone before the first connection was made has no name.
    assert re.fullmatch(r"bufscan: (rank 1|another rank) ended before its work was done\n", found[0].err)
    assert "" == found[2].err


def test_a_rank_that_hangs_ends_all_with_one_line(folder: Path) -> None:
    impatient = "import bufscan.ranks as r; r._SECONDS_OF_PATIENCE = 1; from bufscan.cli import run; run()"
    hangs = "import os, time; from bufscan.ranks.gloo import joined; ranks = joined(os.environ); time.sleep(8)"
    found = launched(2, "diff", "old.pt", "new.pt", cwd=folder, codes={0: impatient, 1: hangs})
    assert 2 == found[0].code
    assert "bufscan: rank 1 did not answer for 1 s\n" == found[0].err


def test_a_launcher_that_ends_the_ranks_is_named(folder: Path) -> None:
    ended = (
        "import os, signal; from bufscan import cli, ranks\n"
        "ranks.Ranks.agreed = lambda self: os.kill(os.getpid(), signal.SIGTERM)\n"
        "cli.run()"
    )
    found = launched(2, "diff", "old.pt", "new.pt", cwd=folder, codes=dict.fromkeys(range(2), ended))
    assert [2, 2] == [done.code for done in found]
    assert ["bufscan: ended by its launcher: it says which rank failed\n", ""] == [done.err for done in found]


def test_a_mistake_on_the_command_line_is_told_once(folder: Path) -> None:
    found = launched(2, "diff", "old.pt", "--such", cwd=folder)
    assert [2, 2] == [done.code for done in found]
    assert (1, "") == (found[0].err.count("bufscan:"), found[1].err)


def test_a_command_that_is_no_work_for_several_is_done_by_the_first(folder: Path) -> None:
    found = launched(2, "explain", "BUF001", cwd=folder)
    assert [0, 0] == [done.code for done in found]
    assert [bufscan("explain", "BUF001").stdout, b""] == [done.out for done in found]


# Who is a rank


@pytest.mark.parametrize(
    "told",
    [
        pytest.param({}, id="no launcher"),
        pytest.param({"LOCAL_RANK": "0", "WORLD_SIZE": "1"}, id="a launcher of one"),
        pytest.param({"WORLD_SIZE": "4"}, id="the shell of a machine in a cluster"),
    ],
)
def test_a_process_without_others_is_alone(told: dict[str, str]) -> None:
    start = {"RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    assert ALONE is joined(start | told)


def test_numbers_that_make_no_sense_are_refused() -> None:
    told = {"RANK": "4", "LOCAL_RANK": "0", "WORLD_SIZE": "4", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    with pytest.raises(BufscanError, match="RANK is `4` and WORLD_SIZE is `4`"):
        joined(told)
