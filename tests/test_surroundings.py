"""What the machine lacks is no bug of bufscan: one line, exit code 2, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bufscan import atomicfile
from bufscan.atomicfile import read_whole, write_whole
from bufscan.config import load_config
from bufscan.errors import BufscanError, UsageError
from command_line import bufscan, environment

if TYPE_CHECKING:
    from collections.abc import Callable

SAFETENSORS = (
    b"\x5a\0\0\0\0\0\0\0" + b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(0x5A) + bytes(4)
)


def in_shell(line: str, cwd: Path, **settings: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of shell in which `$bufscan` is the program."""
    return subprocess.run(
        ["/bin/sh", "-c", line.replace("$bufscan", f"{sys.executable} -m bufscan")],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment(**settings),
        timeout=60,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "w.safetensors").write_bytes(SAFETENSORS)
    (tmp_path / "model.py").write_text("from torch import nn\n\n\nclass Model(nn.Linear):\n    pass\n")
    return tmp_path


@pytest.mark.parametrize(
    "command", ["inspect w.safetensors", "check w.safetensors", "explain", "--help", "--version"]
)
def test_a_closed_standard_output_is_one_line(folder: Path, command: str) -> None:
    done = in_shell(f"$bufscan {command} >&-", folder)
    assert (2, b"bufscan: standard output is closed\n") == (done.returncode, done.stderr)


@pytest.mark.parametrize(
    "command", ["inspect w.safetensors", "check w.safetensors", "explain", "--help", "--version"]
)
def test_a_full_disk_behind_standard_output_is_one_line(folder: Path, command: str) -> None:
    done = in_shell(f"$bufscan {command} >/dev/full", folder)
    assert (2, 1) == (done.returncode, done.stderr.count(b"\n"))
    assert done.stderr.endswith(b"no space left on device\n")


@pytest.mark.parametrize("where", ["2>&-", "2>/dev/full"])
@pytest.mark.parametrize(("target", "code"), [("w.safetensors", 0), ("none.pt", 2)])
def test_where_nobody_can_be_told_the_exit_code_still_tells(
    folder: Path, target: str, code: int, where: str
) -> None:
    done = in_shell(f"$bufscan inspect {target} {where}", folder)
    assert (code, code == 0) == (done.returncode, bool(done.stdout))


def test_no_file_gets_the_number_of_a_closed_standard_stream(folder: Path) -> None:
    """What a library writes to descriptor 2 would go there."""
    lines = ["import os", "with open('seen', 'w') as file: file.write(os.readlink('/proc/self/fd/2'))"]
    (folder / "model.py").write_text("\n".join(lines))
    in_shell("exec $bufscan check model.py:Model <&- >&- 2>&-", folder)
    assert "/dev/null" == (folder / "seen").read_text()


@pytest.mark.parametrize("command", ["inspect -", "check -", "diff - w.safetensors"])
@pytest.mark.parametrize(
    ("stream", "reason"), [("<&-", "is closed"), ("0>out.txt", "cannot be read: bad file descriptor")]
)
def test_a_standard_input_that_nothing_comes_from_is_one_line(
    folder: Path, command: str, stream: str, reason: str
) -> None:
    done = in_shell(f"$bufscan {command} {stream}", folder)
    assert (2, f"bufscan: -: standard input {reason}\n") == (done.returncode, done.stderr.decode())


@pytest.mark.parametrize(
    "command", ["inspect w.safetensors", "check w.safetensors", "check model.py:Model", "diff a b"]
)
def test_a_current_folder_that_was_removed_is_one_line_and_a_hint(folder: Path, command: str) -> None:
    done = in_shell(f"mkdir gone && cd gone && rmdir ../gone && exec $bufscan {command}", folder)
    said = b"bufscan: the current folder is gone\nhint: `cd` to one that is there\n"
    assert (2, b"", said) == (done.returncode, done.stdout, done.stderr.split(b"directory\n")[-1])


def test_a_current_folder_that_the_model_s_own_code_removes_is_one_line_and_a_hint(folder: Path) -> None:
    (folder / "model.py").write_text("import os, shutil\nfrom torch import nn\nshutil.rmtree(os.getcwd())\n")
    (folder / "here").mkdir()
    done = in_shell("cd here && exec $bufscan check ../model.py:Model", folder)
    assert (2, b"", b"bufscan: the current folder is gone") == (
        done.returncode,
        done.stdout,
        done.stderr.splitlines()[0],
    )


def test_a_full_disk_behind_an_output_is_one_line(folder: Path) -> None:
    for option in ("--output", "--write-baseline"):
        line = f"$bufscan check w.safetensors {option} /dev/full"
        said = b"bufscan: /dev/full: cannot be written: no space left on device\n"
        assert said == in_shell(line, folder).stderr


def test_an_odd_locale_and_a_missing_home_change_nothing_but_the_alphabet(folder: Path) -> None:
    line = "unset HOME; exec $bufscan inspect w.safetensors"
    for settings in ({"LC_ALL": "C"}, {"LC_ALL": "xx_YY.nope"}, {"PYTHONIOENCODING": "ascii"}):
        done = in_shell(line, folder, **settings)
        assert (0, b"w.safetensors: 1 tensor") == (done.returncode, done.stdout[:23])


def a_folder(path: Path) -> None:
    path.mkdir()


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_loop(path: Path) -> None:
    path.symlink_to(path.name)


def a_dead_link(path: Path) -> None:
    path.symlink_to("nothing")


def no_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe")


UNREADABLE: dict[str, tuple[Callable[[Path], None], str]] = {
    "folder": (a_folder, "cannot be read: is a directory"),
    "pipe": (a_pipe, "cannot be read: it is no file"),
    "loop": (a_loop, "cannot be read: too many levels of symbolic links"),
    "dead link": (a_dead_link, "cannot be read: no such file or directory"),
    "no text": (no_text, "is no valid TOML: "),
}


@pytest.mark.parametrize("name", ["bufscan.toml", "pyproject.toml"])
@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_configuration_that_cannot_be_read_is_not_passed_over(tmp_path: Path, kind: str, name: str) -> None:
    make, words = UNREADABLE[kind]
    make(tmp_path / name)
    with pytest.raises(UsageError, match=f"^{name} {words}"):
        load_config(tmp_path)


def test_what_has_no_end_is_not_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomicfile, "MOST_BYTES", 1 << 20)
    with pytest.raises(UsageError, match=r"^zero cannot be read: larger than 1 MiB"):
        load_config(Path("/dev"), "zero")
    with pytest.raises(BufscanError, match=r"^cannot be read: larger than 1 MiB"):
        read_whole(Path("/dev/zero"))


def test_the_writer_leaves_every_file_alone_that_it_did_not_make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name that it would take is taken, by a file and by a link that leads elsewhere."""
    given = iter([b"\0", b"\1", b"\2"])
    monkeypatch.setattr(os, "urandom", lambda _size: next(given))
    file, link, victim = tmp_path / ".bufscan-00.tmp", tmp_path / ".bufscan-01.tmp", tmp_path / "victim"
    file.write_text("another's")
    link.symlink_to(victim)
    write_whole(tmp_path / "report", b"said")
    assert ("another's", b"said", False) == (
        file.read_text(),
        (tmp_path / "report").read_bytes(),
        victim.exists(),
    )
    assert {file, link, tmp_path / "report"} == set(tmp_path.iterdir())


def test_a_failing_write_leaves_the_old_report_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "report").write_text("old")
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(BufscanError, match=r"^cannot be written: no space left on device$"):
        write_whole(tmp_path / "report", b"new")
    assert ["old"] == [path.read_text() for path in tmp_path.iterdir()]


def test_a_new_report_may_be_read_by_those_whom_the_umask_lets(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "report", b"said")
    finally:
        os.umask(before)
    assert 0o640 == (tmp_path / "report").stat().st_mode & 0o777


def test_a_folder_that_nothing_can_be_written_to_is_one_line(folder: Path) -> None:
    folder.chmod(0o555)
    try:
        if os.access(folder, os.W_OK):
            pytest.skip("this user may write everywhere")
        done = bufscan("inspect", "w.safetensors", "--output", "report.txt", cwd=folder)
    finally:
        folder.chmod(0o755)
    assert (2, b"bufscan: report.txt: cannot be written: permission denied\n") == (done.returncode, done.stderr)
