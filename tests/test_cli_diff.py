"""`bufscan diff` as a user runs it: exit codes, options, messages, git."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bufscan.cli import main
from bufscan.commands import progress
from bufscan.comparing.diffing import diff
from bufscan.values import workers
from command_line import bufscan, environment

PAGE = Path(__file__).parent.parent / "src" / "bufscan" / "help" / "diff.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints that differ in one value, a copy of the first, and a training checkpoint."""
    folder = tmp_path_factory.mktemp("checkpoints")
    state = {"layer.weight": torch.arange(12.0).view(3, 4), "layer.bias": torch.zeros(3)}
    changed = state | {"layer.weight": state["layer.weight"].clone()}
    changed["layer.weight"][1, 2] += 0.5
    torch.save(state, folder / "old.pt")
    torch.save(state, folder / "same.pt")
    torch.save(changed, folder / "new.pt")
    torch.save({"model": changed, "ema": state, "optimizer": {}}, folder / "training.pt")
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, folder / "wrapped.pt")
    with torch.serialization.skip_data():
        torch.save(state, folder / "empty.pt")
    torch.save({"layer.weight": state["layer.weight"]}, folder / "half.pt")
    (folder / "model.py").write_text(
        "from torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.layer = nn.Linear(4, 3)\n"
    )
    return folder


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        pytest.param(0, ("old.pt", "same.pt"), id="no difference"),
        pytest.param(1, ("old.pt", "new.pt"), id="difference"),
        pytest.param(0, ("old.pt", "new.pt", "--exit-zero"), id="difference that is expected"),
        pytest.param(0, ("old.pt", "new.pt", "--no-values"), id="same structure"),
        pytest.param(0, ("old.pt", "new.pt", "--atol", "1"), id="within the tolerance"),
        pytest.param(1, ("old.pt", "new.pt", "--rtol", "1e-3"), id="beyond the tolerance"),
        pytest.param(0, ("old.pt", "new.pt", "--ignore", "*.weight"), id="left out"),
        pytest.param(1, ("old.pt", "new.pt", "--match", "*.weight"), id="chosen"),
        pytest.param(2, ("old.pt", "empty.pt"), id="not comparable"),
        pytest.param(2, ("old.pt", "empty.pt", "--exit-zero"), id="not comparable is no difference"),
        pytest.param(1, ("half.pt", "empty.pt"), id="difference beside what is not comparable"),
        pytest.param(2, ("half.pt", "empty.pt", "--exit-zero"), id="not comparable beside what is expected"),
        pytest.param(2, ("old.pt", "no-such.pt"), id="unreadable"),
        pytest.param(0, ("old.pt", "wrapped.pt"), id="wrapped"),
        pytest.param(0, ("old.pt", "training.pt", "--section", ":ema"), id="section"),
        pytest.param(1, ("old.pt", "training.pt"), id="first section that fits"),
        pytest.param(0, ("old.pt", "model.py:Net", "--no-values"), id="model"),
        pytest.param(1, ("old.pt", "new.pt", "--map", "^layer=head", "--no-values"), id="names that do not meet"),
    ],
)
def test_the_exit_code_tells(
    folder: Path, monkeypatch: pytest.MonkeyPatch, code: int, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(folder)
    assert code == main(["diff", *arguments])  # here and not in a process of its own, which would load torch anew


def test_the_exit_code_is_that_of_the_process(folder: Path) -> None:
    assert 1 == bufscan("diff", "old.pt", "new.pt", "--no-values", "--map", "^layer=x", cwd=folder).returncode


def test_the_text_begins_with_the_answer(folder: Path) -> None:
    lines = bufscan("diff", "old.pt", "new.pt", cwd=folder).stdout.decode().splitlines()
    assert ["old.pt -> new.pt", "different: 1 with other values, 1 unchanged"] == lines[:2]
    assert "  layer.weight        1  0.022     ████████      0.5  largest at [1,2]" in lines


def test_quiet_is_the_answer_alone(folder: Path) -> None:
    done = bufscan("diff", "old.pt", "same.pt", "--quiet", cwd=folder)
    assert b"identical: 2 tensors, every value compared\n" == done.stdout


def test_json_is_the_stable_schema(folder: Path) -> None:
    report = json.loads(bufscan("diff", "old.pt", "new.pt", "--format", "json", cwd=folder).stdout)
    assert ("bufscan.diff/1", False) == (report["schema"], report["identical"])
    (entry,) = report["entries"]
    assert ("changed", "layer.weight", 1, 0.5, [1, 2]) == (
        entry["status"],
        entry["name"],
        entry["values"]["changed"],
        entry["values"]["max_abs"],
        entry["values"]["max_index"],
    )
    assert {"added": 0, "removed": 0, "changed": 1, "renamed": 0, "unchanged": 1} == {
        key: report["summary"][key] for key in ("added", "removed", "changed", "renamed", "unchanged")
    }


def test_stat_is_one_line_a_tensor(folder: Path) -> None:
    lines = bufscan("diff", "old.pt", "new.pt", "--stat", cwd=folder).stdout.decode().splitlines()
    assert ["M layer.weight  1  0.022  ████████", "different: 1 with other values, 1 unchanged"] == lines


def test_the_report_goes_where_it_is_told(folder: Path, tmp_path: Path) -> None:
    arguments = ("diff", "old.pt", "new.pt", "--format", "markdown", "--output", str(tmp_path / "diff.md"))
    done = bufscan(*arguments, cwd=folder)
    assert (1, b"") == (done.returncode, done.stdout)
    assert (tmp_path / "diff.md").read_text().startswith("### bufscan: old.pt → new.pt\n")


@pytest.mark.parametrize("target", ["old.pt", "new.pt"])
def test_neither_target_is_overwritten_by_the_report(folder: Path, target: str) -> None:
    done = bufscan("diff", "old.pt", "new.pt", "--output", f"./{target}", cwd=folder)
    assert (2, f"bufscan: ./{target}: was read, so it is not written to") == (
        done.returncode,
        done.stderr.decode().splitlines()[0],
    )


@pytest.mark.parametrize(
    ("line", "arguments"),
    [
        pytest.param("no-such.pt: no such file", ("no-such.pt", "old.pt"), id="old side"),
        pytest.param("no-such.pt: no such file", ("old.pt", "no-such.pt"), id="new side"),
        pytest.param("there is nothing to compare it with", ("old.pt",), id="one target"),
        pytest.param("missing argument 'OLD'", (), id="no target"),
        pytest.param("no tolerance: `-1`", ("old.pt", "new.pt", "--rtol", "-1"), id="negative tolerance"),
        pytest.param("no tolerance: `nan`", ("old.pt", "new.pt", "--atol", "nan"), id="odd tolerance"),
        pytest.param("no `REGEX=NAME`: `x`", ("old.pt", "new.pt", "--map", "x"), id="map"),
        pytest.param("`(` is no regular expression", ("old.pt", "new.pt", "--map", "(=x"), id="pattern"),
        pytest.param("no `OLD:NEW`: `x`", ("old.pt", "new.pt", "--section", "x"), id="section"),
        pytest.param(
            "section `` is to be compared with both `ema` and `model`",
            ("old.pt", "training.pt", "--section", ":ema", "--section", ":model"),
            id="two sections for one",
        ),
        pytest.param("the old side has no section `x`", ("old.pt", "new.pt", "--section", "x:"), id="no section"),
        pytest.param("no number of rows: `-1`", ("old.pt", "new.pt", "--top", "-1"), id="top"),
        pytest.param("no such format: `odd`", ("old.pt", "new.pt", "--format", "odd"), id="format"),
        pytest.param("`--textconv` takes one target", ("old.pt", "new.pt", "--textconv"), id="textconv"),
        pytest.param("no-such.pt: no such file", ("no-such.pt", "--textconv"), id="textconv of nothing"),
        pytest.param("standard input can be only one", ("-", "-"), id="standard input twice"),
        pytest.param("a device and a dtype are for", ("old.pt", "new.pt", "--device", "meta"), id="device"),
        pytest.param(
            "a tolerance is for values", ("old.pt", "new.pt", "--no-values", "--rtol", "1"), id="no values"
        ),
        pytest.param(
            "the patterns of names leave no tensor", ("old.pt", "old.pt", "--match", "x"), id="nothing matches"
        ),
        pytest.param("'': the target is empty", ("old.pt", ""), id="empty target"),
    ],
)
def test_what_goes_wrong_is_one_line(folder: Path, line: str, arguments: tuple[str, ...]) -> None:
    done = bufscan("diff", *arguments, cwd=folder)
    said = done.stderr.decode().splitlines()
    assert (2, b"") == (done.returncode, done.stdout)
    assert said[0].startswith(f"bufscan: {line}")
    assert len(said) <= 2


def test_exit_code_2_is_explained_to_who_does_not_see_the_report(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert 2 == main(["diff", "old.pt", "empty.pt", "--output", "report.txt"])
    out, err = capfd.readouterr()
    assert ("", 1) == (out, err.count("\n"))
    assert err.startswith("bufscan: not compared: layer.")
    assert err.endswith("; and 1 more\n")


# Start-up


def loads_torch(*arguments: str, cwd: Path) -> bool:
    code = f"import sys\nfrom bufscan.cli import main\nmain({list(arguments)!r})\nprint('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=environment(), capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[-1] == "True"


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("diff", "--help"), id="help"),
        pytest.param(("diff", "old.pt", "new.pt", "--no-values"), id="structure"),
        pytest.param(("diff", "old.pt", "same.pt"), id="equal values"),
        pytest.param(("diff", "old.pt", "wrapped.pt", "--format", "json"), id="equal values in json"),
        pytest.param(("diff", "--textconv", "old.pt"), id="hashes"),
        pytest.param(("diff", "old.pt", "new.pt"), id="other values"),
    ],
)
def test_torch_is_not_loaded_without_need(folder: Path, arguments: tuple[str, ...]) -> None:
    assert not loads_torch(*arguments, cwd=folder)


def test_torch_is_loaded_for_a_model(folder: Path) -> None:
    (folder / "one.py").write_text(
        "from torch import nn\nclass One(nn.Linear):\n    def __init__(self): super().__init__(1, 1)\n"
    )
    assert loads_torch("diff", "old.pt", "one.py:One", cwd=folder)


# Long work


class Terminal:
    """A standard error that someone looks at."""

    def __init__(self) -> None:
        self.text = ""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError  # it has no size

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass


def test_progress_is_shown_after_a_second_and_then_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, seconds = Terminal(), iter([0.0, 0.5, 2.0, 2.05, 4.0])
    monkeypatch.setattr(progress.sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    with progress.shown_progress() as show:
        assert show is not None
        for done in (1, 2, 3, 4):
            show(done * 10**9, 8 * 10**9)
        assert (
            "\r\x1b[K[######..................] 2.0 GB of 8.0 GB, 666.7 MB/s, 9 s left"
            "\r\x1b[K[############............] 4.0 GB of 8.0 GB, 857.1 MB/s, 5 s left"
        ) == terminal.text
    assert terminal.text.endswith("\r\x1b[K")


def shown(monkeypatch: pytest.MonkeyPatch, *reports: tuple[float, int, int], columns: int = 80) -> list[str]:
    """The lines that a terminal sees of work that began at 0: each a time in seconds, GB done and GB in all."""
    terminal, seconds = Terminal(), iter([0.0, *(second for second, _, _ in reports)])
    monkeypatch.setattr(progress.sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    monkeypatch.setattr(progress, "_columns", lambda: columns)
    with progress.shown_progress() as show:
        assert show is not None
        for _, done, total in reports:
            show(done * 10**9, total * 10**9)
        return terminal.text.split("\r\x1b[K")[1:]


def test_rate_and_time_left_are_those_of_the_present_part_of_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(monkeypatch, (0.0, 0, 9), (8.0, 1, 5), (9.0, 2, 5), (11.0, 4, 5), (13.0, 1, 3), (14.0, 2, 3))
    assert [
        "1.0 GB of 5.0 GB",
        "2.0 GB of 5.0 GB, 1.0 GB/s, 3 s left",
        "4.0 GB of 5.0 GB, 1.0 GB/s, 1 s left",
        "1.0 GB of 3.0 GB",
        "2.0 GB of 3.0 GB, 1.0 GB/s, 1 s left",
    ] == [line.partition("] ")[2] for line in lines]


def test_progress_stays_on_one_line_of_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = shown(monkeypatch, (0.0, 0, 8), (2.0, 4, 8), columns=40)
    assert "[############............] 4.0 GB of 8." == line


def test_a_terminal_that_cannot_erase_is_shown_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress.sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "dumb")
    with progress.shown_progress() as show:
        assert show is None


def test_nothing_is_shown_where_nobody_looks(folder: Path) -> None:
    with progress.shown_progress() as show:
        assert show is None
    assert b"" == bufscan("diff", "old.pt", "same.pt", cwd=folder).stderr


def test_ctrl_c_stops_all_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "processors", lambda: 2)
    paths = [str(tmp_path / name) for name in ("a.pt", "b.pt")]
    for path in paths:
        torch.save({"w": torch.zeros(1 << 23)}, path)

    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        diff(*paths, progress=interrupt)


# The manual


def test_every_option_is_explained() -> None:
    section = PAGE.read_text().partition("\n## ")[0]
    known = set(re.findall(r"^ +(?:-[^h], )?(--[a-z-]+)", bufscan("diff", "--help").stdout.decode(), re.MULTILINE))
    assert "--map" in known
    assert known - {"--textconv"} <= set(re.findall(r"--[a-z][a-z-]+", section))


# git


def git(folder: Path, *arguments: str) -> str:
    settings = ["-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main"]
    done = subprocess.run(
        ["git", *settings, *arguments],  # noqa: S607 - whichever git there is
        cwd=folder,
        env=environment(GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_SYSTEM="/dev/null"),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.fixture
def repository(folder: Path, tmp_path: Path) -> Path:
    """A repository whose checkpoint was changed after the last commit."""
    git(tmp_path, "init", "-q")
    (tmp_path / ".gitattributes").write_text("*.pt diff=bufscan\n")
    (tmp_path / "model.pt").write_bytes((folder / "old.pt").read_bytes())
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    (tmp_path / "model.pt").write_bytes((folder / "new.pt").read_bytes())
    return tmp_path


def test_git_diff_shows_tensors_as_lines(repository: Path) -> None:
    git(repository, "config", "diff.bufscan.textconv", f"{sys.executable} -m bufscan diff --textconv")
    lines = git(repository, "diff").splitlines()
    assert ["-layer.weight float32 3x4", "+layer.weight float32 3x4"] == [
        line.rpartition(" ")[0] for line in lines if line.startswith(("-layer", "+layer"))
    ]


def pointer(digit: str) -> str:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digit * 64}\nsize 12345\n"


def test_git_goes_on_where_a_version_cannot_be_read(repository: Path) -> None:
    """A pointer whose file was never fetched, say: git stops at a converter that fails, and shows no more."""
    git(repository, "config", "diff.bufscan.textconv", f"{sys.executable} -m bufscan diff --textconv")
    git(repository, "add", ".")
    (repository / "model.pt").write_text(pointer("1"))
    lines = git(repository, "diff").splitlines()
    assert 2 == sum(line.startswith("-layer") for line in lines)
    assert lines[-1].startswith("+not read: a Git LFS pointer, not the file itself (")
    git(repository, "add", ".")
    (repository / "model.pt").write_text(pointer("2"))
    changed = git(repository, "diff").splitlines()[-2:]
    assert ["-not read", "+not read"] == [line.partition(":")[0] for line in changed]


def driver(repository: Path) -> None:
    command = f'f() {{ {sys.executable} -m bufscan diff "$2" "$5" || :; }}; f'
    git(repository, "config", "diff.bufscan.command", command)


def test_git_diff_shows_the_report(repository: Path) -> None:
    driver(repository)
    text = git(repository, "diff")
    assert "different: 1 with other values, 1 unchanged" in text
    (repository / "model.pt").unlink()
    assert "different: 2 removed" in git(repository, "diff")


def test_git_diff_shows_the_other_files_where_one_cannot_be_read(repository: Path) -> None:
    driver(repository)
    (repository / "a.pt").write_text("")
    git(repository, "add", "-N", ".")
    assert "different: 1 with other values, 1 unchanged" in git(repository, "diff")
