"""Files that are none, files that cannot be read, and files far larger than memory."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from struct import pack
from typing import TYPE_CHECKING

import pytest
import torch
from child_process import inspected
from crafted_pickles import mapping, pickled, tensor, text
from crafted_zip import checkpoint
from hostile_reading import failures, is_clean, names

from bufscan.bytesource import FileSource
from bufscan.errors import UnreadableError
from bufscan.formats.reading import read_file
from bufscan.inspecting import inspect

if TYPE_CHECKING:
    from pathlib import Path

GIBIBYTE = 1 << 30


def refusal(path: Path | str) -> str:
    with pytest.raises(UnreadableError) as caught:
        inspect(str(path))
    return caught.value.message


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_that_nobody_writes_to_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.pt")
    assert "a named pipe, not a regular file" == refusal(tmp_path / "model.pt")


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs sockets in the file system")
def test_a_socket_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("model.pt")
        assert refusal("model.pt")


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/tty"])
def test_a_device_is_named_and_not_read(device: str) -> None:
    if not os.path.exists(device):  # noqa: PTH110 - it may be one that cannot be asked for more
        pytest.skip("there is no such device")
    assert refusal(device)


@pytest.mark.parametrize(
    "path",
    ["/proc/self/mem", "/proc/self/maps", "/proc/self/environ", "/sys/class/net/lo/speed", "/sys/kernel/notes"],
)
def test_a_file_of_the_kernel_is_refused(path: str) -> None:
    if not os.path.exists(path):  # noqa: PTH110 - as above
        pytest.skip("there is no such file")
    assert refusal(path)


def test_links_that_lead_in_a_circle_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.pt").symlink_to("b.pt")
    (tmp_path / "b.pt").symlink_to("a.pt")
    assert refusal(tmp_path / "a.pt") in {"too many levels of symbolic links", "no such file"}


def test_a_link_that_leads_nowhere_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.pt").symlink_to("b.pt")
    assert "no such file" == refusal(tmp_path / "a.pt")


@pytest.mark.parametrize("name", ["a\0b.pt", "\ud800.pt", "n" * 300 + ".pt", "", "x/" * 3000])
def test_a_name_that_no_file_can_have_is_no_traceback(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableError):
        FileSource(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.touch(mode=0o000)
    assert "permission denied" == refusal(path)


def test_a_file_that_shrinks_while_it_is_read_is_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(checkpoint(pickled(mapping(text("w"), tensor()))))
    with FileSource(path) as source:
        os.truncate(path, 100)
        with pytest.raises(UnreadableError, match="shrank"):
            read_file(source, "model.pt")


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.pt").touch()
    assert "the file is empty" == refusal(tmp_path / "model.pt")


@pytest.mark.parametrize("content", [b"\0", b"P", b"PK", b"PK\3\4", b"\x80", b"\x80\2", b"\x80\2\x8a", b"{"])
def test_a_file_of_a_few_bytes_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    assert refusal(tmp_path / "model.pt")


# Sparse files: gibibytes that take no room on the disk, and must take none in memory.


def sparse(path: Path, size: int, pieces: dict[int, bytes]) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
        for offset, data in pieces.items():
            file.seek(offset)
            file.write(data)
    return path


@pytest.mark.parametrize(
    "head",
    [b"", b"PK\3\4", bytes.fromhex("80028a0a6cfc9c46f9206aa850192e"), pack("<Q", 1 << 20) + b"{"],
    ids=["zeros", "zip", "legacy", "safetensors"],
)
def test_three_gibibytes_of_zeros_are_refused_at_once(head: bytes, tmp_path: Path) -> None:
    taken = inspected(sparse(tmp_path / "model.pt", 3 * GIBIBYTE, {0: head}))
    assert taken.message
    assert taken.mebibytes < 100


def test_a_directory_of_gibibytes_is_not_read(tmp_path: Path) -> None:
    size = 3 * GIBIBYTE
    end = pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, size - 100, 0, 0)
    taken = inspected(sparse(tmp_path / "model.pt", size, {0: b"PK\3\4", size - 22: end}))
    assert taken.message == "the zip archive's central directory has more than 268435456 bytes"
    assert taken.mebibytes < 100


def zip64_entry(name: bytes, size: int, header: int) -> bytes:
    """An entry of the directory with all its numbers in 64 bits."""
    extra = pack("<2H3Q", 1, 24, size, size, header)
    numbers = (45, 45, 0, 0, 0, 0, 0, 0xFFFFFFFF, 0xFFFFFFFF, len(name), len(extra), 0, 0, 0, 0, 0xFFFFFFFF)
    return pack("<4s6H3L5H2L", b"PK\1\2", *numbers) + name + extra


def large_archive(path: Path, storage_bytes: int, value: bytes) -> Path:
    """A checkpoint whose one storage comes first and reaches beyond 4 GiB; sound in every field."""
    pieces: dict[int, bytes] = {}
    directory = b""
    position = 0
    contents = {b"a/data/0": storage_bytes, b"a/data.pkl": value, b"a/version": b"3\n", b"a/byteorder": b"little"}
    for name, content in contents.items():
        size = content if isinstance(content, int) else len(content)
        header = pack("<4s5H3L2H", b"PK\3\4", 45, 0, 0, 0, 0, 0, 0xFFFFFFFF, 0xFFFFFFFF, len(name), 20)
        header += name + pack("<2H2Q", 1, 16, size, size)
        directory += zip64_entry(name, size, position)
        pieces[position] = header + (b"" if isinstance(content, int) else content)
        position += len(header) + size
    end = pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 4, 4, len(directory), position)
    end += pack("<4sLQL", b"PK\6\7", 0, position + len(directory), 1)
    end += pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    pieces[position] = directory + end
    return sparse(path, position + len(directory) + len(end), pieces)


FIVE = 5 * GIBIBYTE


def test_an_archive_of_more_than_four_gibibytes_is_read_by_its_headers(tmp_path: Path) -> None:
    value = pickled(mapping(text("w"), tensor(size=(FIVE // 4,), numel=FIVE // 4)))
    path = large_archive(tmp_path / "model.pt", FIVE, value)
    inventory = inspect(str(path))
    assert is_clean(inventory)
    assert (["w"], FIVE) == (names(inventory), inventory.stored_bytes)
    assert inspected(path).mebibytes < 100
    assert (FIVE // 4,) == torch.load(path, mmap=True)["w"].shape


@pytest.mark.parametrize("numel", [FIVE // 4 - 1, FIVE // 4 + 1])
def test_a_large_storage_that_lies_is_told(numel: int, tmp_path: Path) -> None:
    value = pickled(mapping(text("w"), tensor(size=(4,), numel=numel)))
    inventory = inspect(str(large_archive(tmp_path / "model.pt", FIVE, value)))
    assert f"where {numel * 4:,} are announced" in failures(inventory)


# The command line: one line and exit code 2, or a report and 0.


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (checkpoint(pickled(mapping(text("w"), tensor()))), 0),
        (checkpoint(pickled(b"cos\nsystem\n" + text("true") + b"\x85R")), 0),
        (checkpoint(pickled(b"\x82\1")), 2),
        (checkpoint(b""), 2),
        (b"PK\3\4" + bytes(100), 2),
        (b"\x1b[31m\n" * 100, 2),
    ],
    ids=["sound", "a call", "an extension", "no pickle", "no directory", "controls"],
)
def test_the_command_line_ends_in_good_order(content: bytes, code: int, tmp_path: Path) -> None:
    path = tmp_path / "model\x1b[31m.pt"
    path.write_bytes(content)
    command = [sys.executable, "-m", "bufscan", "inspect", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert code == done.returncode
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert len(done.stderr.splitlines()) <= 2
