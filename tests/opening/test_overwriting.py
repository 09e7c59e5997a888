"""No report takes the place of anything that was read."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

import bufscan as package
from command_line import bufscan
from sharded_files import FIRST, INDEX, weights, write

MODEL = """
from torch import nn
from parts import Part


class Model(nn.Linear):
    def __init__(self):
        super().__init__(2, 2)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "sharded", weights())
    torch.save({"w": torch.zeros(2)}, tmp_path / "sharded" / "optimizer.pt")
    torch.save({"w": torch.zeros(2)}, tmp_path / "model.pt")
    torch.save({"w": torch.ones(2)}, tmp_path / "other.pt")
    (tmp_path / "models.py").write_text(MODEL)
    (tmp_path / "parts.py").write_text("class Part: ...\n")
    (tmp_path / "bufscan.toml").write_text('targets = ["model.pt"]\n')
    (tmp_path / "known.json").write_text('{"schema": "bufscan.baseline/1", "findings": []}')
    return tmp_path


CASES = {
    "a target": (("inspect", "model.pt"), "model.pt"),
    "a shard": (("inspect", "sharded"), f"sharded/{FIRST}"),
    "an index": (("check", "sharded"), f"sharded/{INDEX}"),
    "a file beside the shards": (("inspect", "sharded"), "sharded/optimizer.pt"),
    "the new side": (("diff", "model.pt", "other.pt"), "other.pt"),
    "one side alone": (("diff", "model.pt", "--textconv"), "model.pt"),
    "a model's source": (("inspect", "models.py:Model"), "models.py"),
    "what the source imports": (("check", "models.py"), "parts.py"),
    "the source of a model that is joined": (("inspect", "model.pt", "--model", "models.py:Model"), "models.py"),
    "the configuration": (("check",), "bufscan.toml"),
    "the baseline": (("check", "model.pt", "--baseline", "known.json"), "known.json"),
    "bufscan itself": (("check", "model.pt"), os.fspath(Path(package.__file__))),
}


@pytest.mark.parametrize("link", ["itself", "symlink", "hard link"])
@pytest.mark.parametrize(("arguments", "read"), CASES.values(), ids=CASES)
def test_what_was_read_is_not_written_to(folder: Path, arguments: tuple[str, ...], read: str, link: str) -> None:
    before = (folder / read).read_bytes()
    output = read
    if link == "symlink":
        (folder / "out").symlink_to(folder / read)
        output = "out"
    elif link == "hard link":
        try:
            (folder / "out").hardlink_to(folder / read)
        except OSError:
            pytest.skip("on another file system")
        output = "out"
    done = bufscan(*arguments, "--output", output, cwd=folder)
    assert (2, b"") == (done.returncode, done.stdout)
    assert f"bufscan: {output}: was read, so it is not written to" == done.stderr.decode().splitlines()[0]
    assert before == (folder / read).read_bytes()


def test_a_report_of_an_earlier_run_is_written_anew(folder: Path) -> None:
    shutil.copy(folder / "model.pt", folder / "sharded" / "report.txt")
    done = bufscan("inspect", "sharded", "--output", "sharded/report.txt", cwd=folder)
    assert (0, b"") == (done.returncode, done.stderr)
    assert (folder / "sharded" / "report.txt").read_text().startswith("sharded")
