"""What Python callers get: reports that show themselves, of everything that they may hold in their hands."""

from __future__ import annotations

import copy
import io
import json
import subprocess
import sys
import warnings
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

import bufscan
from bufscan.errors import BufscanError
from command_line import bufscan as command

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def norm() -> nn.Module:
    """A model with parameters and buffers."""
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def saved(contents: object) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(contents, file)
    file.seek(0)
    return file


def trained() -> dict[str, Any]:
    """A training checkpoint, with an optimizer that has state."""
    model = norm()
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}


CHECKPOINTS: dict[str, Callable[[], dict[str, Any]]] = {
    "state_dict": lambda: norm().state_dict(),
    "plain dict": lambda: dict(norm().state_dict()),
    "Parameters kept": lambda: norm().state_dict(keep_vars=True),
    "training": trained,
    "views and ties": lambda: dict(zip(("w", "tied", "view"), [w := torch.arange(6.0), w, w[1:3]], strict=True)),
    "kinds": lambda: {
        "meta": torch.empty(2, device="meta"),
        "sparse": torch.eye(2).to_sparse(),
        "b": torch.ones(1).bfloat16(),
    },
}


@pytest.mark.parametrize("made", CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_a_dict_is_read_as_its_file_would_be(made: Callable[[], dict[str, Any]]) -> None:
    contents = made()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        here = bufscan.inspect(contents)
    there = bufscan.inspect(saved(contents))
    assert "memory" == here.format
    assert there.tensors == here.tensors
    assert {key: each.nbytes for key, each in there.storages.items()} == {
        key: each.nbytes for key, each in here.storages.items()
    }


def test_a_dict_is_joined_checked_and_compared() -> None:
    model = norm()
    contents = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert {"exact"} == {tensor.certainty for tensor in bufscan.inspect(contents, model=model)}
    assert 0 == bufscan.check(contents).exit_code
    assert bufscan.diff(contents, saved(contents)).identical is True
    contents["0.weight"][1, 2] += 1
    difference = bufscan.diff(model.state_dict(), contents)
    values = difference["0.weight"].values
    assert values is not None
    assert (1, (1, 2)) == (values.changed, values.max_index)
    broken = bufscan.check({"w": torch.tensor([float("nan")])}, values=True)
    assert ["BUF307"] == [finding.code for finding in broken]


def test_arrays_beside_tensors_are_compared_and_checked() -> None:
    old = {"array": np.ones(5), "tensor": torch.ones(3)}
    assert bufscan.diff(old, dict(old)).identical
    (changed,) = bufscan.diff(old, old | {"array": np.array([1.0, 1, 1, 1, 2])}).entries
    assert changed.values is not None
    assert ("array", 1) == (changed.name, changed.values.changed)
    report = bufscan.check({"array": np.array([1.0, np.nan])}, values=True)
    assert ["BUF307"] == [finding.code for finding in report.findings]


def test_nothing_of_a_dict_is_copied_or_changed() -> None:
    contents = {"w": torch.zeros(1 << 20)}
    before = contents["w"].data_ptr()
    bufscan.inspect(contents)
    assert before == contents["w"].data_ptr()


def test_what_cannot_be_pickled_is_one_line() -> None:
    with pytest.raises(bufscan.UnreadableError, match=r"^dict: torch\.save could not write it: .*lambda"):
        bufscan.inspect({"w": torch.zeros(1), "f": lambda: 0})


def test_a_file_object_is_read_from_its_start_and_stays_where_it_was() -> None:
    file = saved(norm().state_dict())
    file.seek(5)
    assert 7 == len(bufscan.inspect(file))
    assert 5 == file.tell()
    assert bufscan.diff(file, file).identical is True


def test_a_file_object_is_called_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(saved(norm().state_dict()).getvalue())
    with path.open("rb") as file:
        assert str(path) == bufscan.inspect(file).target
    assert "BytesIO" == bufscan.inspect(saved({"w": torch.ones(1)})).target


class Pipe(io.RawIOBase):
    def seek(self, *_: int) -> int:
        raise io.UnsupportedOperation("underlying stream is not seekable")

    def tell(self) -> int:
        return self.seek()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (io.StringIO("text"), "a file that was opened as text"),
        (io.BytesIO(), "BytesIO: the file is empty"),
        (Pipe(), "Pipe: it cannot be searched: underlying stream is not seekable"),
    ],
    ids=["text", "empty", "pipe"],
)
def test_a_file_object_that_cannot_be_read_is_one_line(given: Any, message: str) -> None:
    with pytest.raises(BufscanError) as caught:
        bufscan.inspect(given)
    assert message == str(caught.value)
    if not isinstance(given, io.TextIOBase):
        assert bufscan.check(given).targets[0].failure is not None


def test_an_error_names_its_target_and_is_caught_as_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "nothing.pt"
    for kind in (bufscan.BufscanError, bufscan.TargetError, bufscan.UnreadableError):
        with pytest.raises(kind) as caught:
            bufscan.inspect(path)
        assert f"{path}: no such file" == str(caught.value)
    (tmp_path / "m.py").touch()
    with pytest.raises(bufscan.UsageError, match=f"^{tmp_path}/m.py: a Python file"):
        bufscan.inspect(tmp_path / "m.py")


def test_a_report_of_an_inspection_is_a_collection_of_tensors() -> None:
    report = bufscan.inspect(trained())
    assert len(report.tensors) == len(report)
    assert list(report.tensors) == list(report)
    assert "model.0.weight" in report
    assert "0.weight" in report
    assert "weight" not in report
    assert (4, 3) == report["model.0.weight"].shape == report["0.weight"].shape
    with pytest.raises(KeyError) as caught:
        report["0.wieght"]
    assert isinstance(caught.value, bufscan.UnknownNameError)
    assert ("nothing is called `0.wieght`", "did you mean `0.weight`?") == (str(caught.value), caught.value.hint)


def test_a_difference_is_false_only_where_all_is_known_to_be_the_same() -> None:
    model = norm()
    assert not bufscan.diff(model, model)
    assert bufscan.diff(model, model, values=False)
    report = bufscan.diff(model, nn.Linear(3, 4))
    assert report
    assert len(report.entries) == len(report) == len(list(report))
    assert report.entries[0].path in report


REPORTS: dict[str, Callable[[Path], Any]] = {
    "inspect": lambda files: bufscan.inspect(files / "model.pt"),
    "check": lambda files: bufscan.check(str(files / "model.pt")),
    "lint": lambda files: bufscan.lint(str(files / "model.py")),
    "diff": lambda files: bufscan.diff(files / "weights.safetensors", norm()),
}


@pytest.mark.parametrize("made", REPORTS.values(), ids=REPORTS)
def test_a_report_shows_itself_in_every_way(made: Callable[[Path], Any], demo_files: Path) -> None:
    report = made(demo_files)
    line = repr(report)
    assert "\n" not in line
    assert line == f"<bufscan.{type(report).__name__}: {report.summary}>"
    assert str(report) != line
    assert not str(report).endswith("\n")
    document = json.loads(report.to_json())
    assert document["schema"].startswith("bufscan.")
    assert report.to_html().startswith("<!doctype html>")
    records = report.to_records()
    assert len(report) == len(records) > 0
    assert 1 == len({tuple(record) for record in records})
    json.dumps(records)
    assert copy.replace(report) == report if hasattr(copy, "replace") else True


def test_what_is_printed_is_what_the_command_prints(demo_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo_files)
    for arguments, report in (
        (("inspect", "model.pt"), bufscan.inspect("model.pt")),
        (("check", "model.pt"), bufscan.check("model.pt")),
        (("lint", "model.py"), bufscan.lint("model.py")),
        (("diff", "model.pt", "weights.safetensors"), bufscan.diff("model.pt", "weights.safetensors")),
    ):
        assert command(*arguments, cwd=demo_files).stdout.decode() == f"{report}\n"
        assert command(*arguments, "--format", "json", cwd=demo_files).stdout.decode() == report.to_json()


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_notebook_gets_a_table_in_which_a_name_is_text() -> None:
    bad = "<script>alert(1)</script>\u202e"
    tags = Tags(bufscan.inspect({bad: torch.zeros(2), "b": torch.zeros(1)})._repr_html_())
    assert 2 + 1 == tags.tags.count("tr")
    assert "script" not in tags.tags
    assert "<script>alert(1)</script>\\u202e" in tags.text
    tags = Tags(bufscan.diff({bad: torch.zeros(2)}, {bad: torch.ones(2)})._repr_html_())
    assert ("script" not in tags.tags, 2) == (True, tags.tags.count("tr"))


def test_a_notebook_gets_no_more_rows_than_one_looks_through() -> None:
    tags = Tags(bufscan.inspect({str(number): torch.zeros(1) for number in range(500)})._repr_html_())
    assert 1 + 40 == tags.tags.count("tr")
    assert "and 460 more" in tags.text


def test_a_notebook_sees_first_what_is_not_registered_and_what_could_not_be_checked(demo_files: Path) -> None:
    table = Tags(bufscan.inspect(demo_files / "model.pt")._repr_html_()).text
    assert table.index("gates[0]") < table.index("embed.weight")
    assert "not checked" in Tags(bufscan.check("no-such-file")._repr_html_()).text


def test_the_package_lists_what_it_has_and_gives_the_same_thing_twice() -> None:
    assert sorted(bufscan.__all__) == dir(bufscan)
    assert bufscan.inspect is bufscan.inspect
    assert bufscan.inspect.__doc__ == __import__("bufscan.inspecting").inspecting.inspect.__doc__


USER = """
import bufscan
report = bufscan.inspect("model.pt", device=None)
reveal_type(report["usage"].role)
reveal_type([tensor for tensor in report])
reveal_type(bufscan.check("a", "b"))
reveal_type(bufscan.lint("src"))
reveal_type(bufscan.diff("a", "b", values=False)["w"])
bufscan.inspect({"w": 1})
bufscan.inspect("model.pt", nonsense=1)
"""


def test_callers_get_types(tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(USER)
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = true\n[mypy-torch.*,numpy.*]\nfollow_imports = skip\n")
    arguments = ("--no-incremental", "--follow-imports=silent", "user.py")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    for revealed in ("Literal['parameter'] | ", "bufscan.inventory.Tensor]", "CheckReport", "difference.Entry"):
        assert revealed in done.stdout, done.stdout
    errors = [line for line in done.stdout.splitlines() if "error:" in line]
    assert ["user.py:10"] == [line.partition(": ")[0] for line in errors], done.stdout
