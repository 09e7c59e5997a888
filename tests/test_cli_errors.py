from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bufscan import cli
from command_line import bufscan, environment

if TYPE_CHECKING:
    from collections.abc import Callable


def complaint(*arguments: str, cwd: Path | None = None) -> tuple[str, str | None]:
    """The line that says what is wrong, and the hint."""
    done = bufscan(*arguments, cwd=cwd)
    assert (2, b"") == (done.returncode, done.stdout)
    first, *rest = done.stderr.decode().splitlines()
    assert len(rest) <= 1
    return first, (rest[0] if rest else None)


def missing(path: Path) -> None:
    """Make nothing."""


def empty(path: Path) -> None:
    path.touch()


def a_text(path: Path) -> None:
    path.write_text("not a checkpoint, but words, and enough of them to be sure\n" * 10)


def a_folder_of_other_things(path: Path) -> None:
    path.mkdir()
    (path / "notes.txt").write_text("nothing")


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


TARGETS: dict[str, Callable[[Path], None]] = {
    "missing": missing,
    "empty": empty,
    "text": a_text,
    "folder": a_folder_of_other_things,
    "fifo": a_pipe,
}


@pytest.mark.parametrize("make", TARGETS.values(), ids=TARGETS)
def test_a_target_that_cannot_be_read_is_one_line_that_names_it(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    make(tmp_path / "target")
    line, _ = complaint("inspect", "target", cwd=tmp_path)
    assert line.startswith("bufscan: target: ")


def test_each_of_them_has_a_sentence_of_its_own(tmp_path: Path) -> None:
    sentences = set()
    for name, make in TARGETS.items():
        make(tmp_path / name)
        sentences.add(complaint("inspect", name, cwd=tmp_path)[0].removeprefix(f"bufscan: {name}: "))
    assert len(TARGETS) == len(sentences)


def test_what_may_not_be_read_says_so(tmp_path: Path) -> None:
    path = tmp_path / "secret.pt"
    path.touch(mode=0o000)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    assert ("bufscan: secret.pt: permission denied", "hint: check who may read it") == complaint(
        "inspect", "secret.pt", cwd=tmp_path
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["inspect", "x" * 300], "the name is too long for a file"),
        (["x" * 300], "no such command"),
        (["demo", "--write", "x" * 300], "cannot be made: file name too long"),
        (["inspect", f"json:loads('{'x' * 300}')"], "raised JSONDecodeError"),
    ],
    ids=["target", "command", "folder", "argument of a model"],
)
def test_what_is_longer_than_a_file_s_name_is_one_line(tmp_path: Path, arguments: list[str], words: str) -> None:
    assert words in complaint(*arguments, cwd=tmp_path)[0]


def test_a_target_in_a_folder_that_may_not_be_entered_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o000)
    if os.access(folder, os.X_OK):
        pytest.skip("this user may enter everything")
    assert (
        "bufscan: closed/model.pt: permission denied" == complaint("inspect", "closed/model.pt", cwd=tmp_path)[0]
    )


def test_an_empty_standard_input_is_no_empty_file() -> None:
    done = bufscan("inspect", "-", stdin=b"")
    assert (2, b"bufscan: -: nothing came from standard input\n") == (done.returncode, done.stderr)


def test_a_cut_off_file_is_one_line(tmp_path: Path) -> None:
    assert 0 == bufscan("demo", "--write", str(tmp_path)).returncode
    for name in ("model.pt", "weights.safetensors"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-100])
        assert complaint("inspect", name, cwd=tmp_path)[0].startswith(f"bufscan: {name}: ")


@pytest.mark.parametrize(
    ("line", "hint", "arguments"),
    [
        pytest.param("missing argument 'TARGET'", "`bufscan inspect --help`", ["inspect"], id="no target"),
        pytest.param(
            "no such option: --nope", "`bufscan inspect --help`", ["inspect", "x", "--nope"], id="option"
        ),
        pytest.param("no such command 'inspct'", "did you mean `inspect`?", ["inspct", "x"], id="command"),
        pytest.param("no such role: `odd`", "parameter, persistent", ["inspect", "x", "--role", "odd"], id="role"),
        pytest.param("no such sort key: `odd`", "name, size", ["inspect", "x", "--sort", "odd"], id="sort key"),
        pytest.param("no such format: `odd`", "text, json", ["inspect", "x", "--format", "odd"], id="format"),
        pytest.param("no number of levels: `-1`", "--depth 2", ["inspect", "x", "--depth", "-1"], id="depth"),
        pytest.param("'': the target is empty", "name a file", ["inspect", ""], id="empty target"),
        pytest.param("xy://z: fsspec knows no scheme `xy://`", "", ["inspect", "xy://z"], id="scheme"),
    ],
)
def test_wrong_usage_is_one_line_with_a_hint(line: str, hint: str, arguments: list[str]) -> None:
    said, hinted = complaint(*arguments)
    assert said.startswith(f"bufscan: {line}")
    assert hint in (hinted or "")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("inpsect", "model.pt"), "did you mean `inspect`?"),
        (("inspect", "modle.pt"), "did you mean `model.pt`?"),
        (("inspect", "model.pt", "--sort", "nane"), "did you mean `name`? choose from name, size, dtype, role"),
        (
            ("check", "model.pt", "--select", "stale-bufer-alias"),
            "did you mean `stale-buffer-alias`? `bufscan explain` lists the rules",
        ),
        (
            ("explain", "unregistred-tensor"),
            "did you mean `unregistered-tensor`? `bufscan explain` lists the rules",
        ),
    ],
)
def test_a_word_that_is_nearly_known_is_asked_about(tmp_path: Path, arguments: tuple[str, ...], hint: str) -> None:
    assert 0 == bufscan("demo", "--write", str(tmp_path)).returncode
    assert f"hint: {hint}" == complaint(*arguments, cwd=tmp_path)[1]


def test_the_target_is_never_overwritten_by_its_own_report(tmp_path: Path) -> None:
    assert 0 == bufscan("demo", "--write", str(tmp_path)).returncode
    before = (tmp_path / "model.pt").read_bytes()
    line, _ = complaint("inspect", "model.pt", "--output", "./model.pt", cwd=tmp_path)
    assert "bufscan: ./model.pt: was read, so it is not written to" == line
    assert before == (tmp_path / "model.pt").read_bytes()


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    assert 0 == bufscan("demo", "--write", str(tmp_path)).returncode
    line, _ = complaint("inspect", "model.pt", "--output", "no/such/folder.txt", cwd=tmp_path)
    assert "bufscan: no/such/folder.txt: cannot be written: no such file or directory" == line
    line, _ = complaint("inspect", "model.pt", "--output", ".", cwd=tmp_path)
    assert "bufscan: .: cannot be written: is a directory" == line


def test_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "bufscan", "demo"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(),
            check=False,
        )
    assert (2, b"bufscan: standard output: no space left on device\n") == (done.returncode, done.stderr)


def test_a_name_on_the_command_line_is_escaped() -> None:
    line, _ = complaint("inspect", "no\x1b[31msuch\n::error::file.pt")
    assert "bufscan: no\\x1b[31msuch\\n::error::file.pt: no such file" == line


def test_a_bug_says_that_it_is_one(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def broken(_: str, **_options: object) -> None:
        raise KeyError("odd\x1b[31m")

    monkeypatch.setattr("bufscan.inspecting.inspect", broken)
    assert 2 == cli.main(["inspect", "model.pt"])
    out, err = capfd.readouterr()
    assert "" == out
    assert [
        r"bufscan: this is a bug in bufscan: KeyError: 'odd\x1b[31m'",
        "hint: run it again with `--debug` and report what it shows",
    ] == err.splitlines()


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def broken(_: str, **_options: object) -> None:
        raise ValueError("odd\x1b[31m")

    monkeypatch.setattr("bufscan.inspecting.inspect", broken)
    assert 2 == cli.main(["inspect", "model.pt", "--debug"])
    err = capfd.readouterr().err
    assert err.startswith("Traceback (most recent call last):\n  File ")
    assert "\n    raise ValueError(" in err
    assert "\x1b" not in err


def test_running_out_of_memory_is_no_bug(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def greedy(_: str, **_options: object) -> None:
        raise MemoryError

    monkeypatch.setattr("bufscan.inspecting.inspect", greedy)
    assert 2 == cli.main(["inspect", "model.pt"])
    assert "bufscan: out of memory\n" == capfd.readouterr().err


def test_an_interrupt_is_heard_while_torch_is_imported(tmp_path: Path) -> None:
    torch = """if True:
        import sys, time
        print("importing", file=sys.stderr, flush=True)
        try:
            time.sleep(50)
        except KeyboardInterrupt:
            pass
    """
    (tmp_path / "torch.py").write_text(torch)
    (tmp_path / "model.py").write_text("import torch")
    process = subprocess.Popen(
        [sys.executable, "-m", "bufscan", "inspect", "model.py:Model"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stderr is not None
    assert b"importing\n" == process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert (b"", b"bufscan: interrupted\n") == process.communicate(timeout=30)
    assert 130 == process.returncode


def test_an_interrupt_ends_with_130_and_one_line() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "bufscan", "inspect", "-"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment() | {"PYTHONUNBUFFERED": "1"},
    )
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)  # it waits for standard input
    process.send_signal(signal.SIGINT)
    assert b"bufscan: interrupted\n" == process.communicate()[1]
    assert 130 == process.returncode
