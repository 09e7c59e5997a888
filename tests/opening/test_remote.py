"""Targets elsewhere: read by ranges from a web server on this machine, and through fsspec from its memory."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save, save_file

from bufscan import remote
from bufscan.checking import check
from bufscan.comparing.diffing import diff
from bufscan.errors import UnreadableError, UsageError, without_secrets
from bufscan.inspecting import inspect
from command_line import bufscan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LARGE = torch.zeros(1 << 20)  # 4 MiB, never to be downloaded
SECRET = "hunter2"  # noqa: S105 - nobody's


class Server(ThreadingHTTPServer):
    """Serves files of a folder.

    `ranges`: whether it knows them. `fails`: how many requests it answers with 503 first. `cuts`: how many bytes
    it leaves out of every answer. `status`: what it answers always.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.ranges, self.fails, self.cuts, self.status, self.login = True, 0, 0, 0, ""
        self.asked: list[tuple[str, str]] = []
        self.sent = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.server.asked.append((self.path, wanted))
        path = self.server.folder / self.path.partition("?")[0].lstrip("/")
        given = self.headers.get("Authorization", "")
        if self.server.fails:
            self.server.fails -= 1
            self.answer(503, b"")
        elif self.server.status:
            self.answer(self.server.status, b"no")
        elif self.server.login and given != "Basic " + base64.b64encode(self.server.login.encode()).decode():
            self.answer(401, b"no")
        elif not path.is_file():
            self.answer(404, b"no")
        else:
            self.give(path.read_bytes(), wanted)

    def give(self, data: bytes, wanted: str) -> None:
        if not (self.server.ranges and wanted):
            self.answer(200, data)
            return
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last), len(data) - 1)
        if start >= len(data):
            self.answer(416, b"")
        else:
            self.answer(206, data[start : end + 1], f"bytes {start}-{end}/{len(data)}")

    def answer(self, status: int, body: bytes, content_range: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        kept = body[: len(body) - self.server.cuts]
        self.server.sent += len(kept)
        self.wfile.write(kept)
        if self.server.cuts:
            self.close_connection = True


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(remote, "_PAUSE", 0.001)
    folder = tmp_path / "served"
    folder.mkdir()
    found = Server(folder)
    thread = Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


def test_a_large_file_is_read_by_its_header_alone(server: Server) -> None:
    save_file({"layer.weight": LARGE, "layer.bias": torch.ones(3)}, server.folder / "model.safetensors")
    found = inspect(f"{server.url}/model.safetensors")
    assert {"layer.weight": (1 << 20,), "layer.bias": (3,)} == {each.name: each.shape for each in found.tensors}
    assert 2 >= len(server.asked)
    assert LARGE.nbytes / 10 > server.sent
    assert all(wanted.startswith("bytes=") for _, wanted in server.asked)


def test_a_checkpoint_of_torch_is_read_by_ranges(server: Server) -> None:
    state = {"weight": LARGE, "bias": torch.arange(3.0)}
    torch.save(state, server.folder / "model.pt")
    found = inspect(f"{server.url}/model.pt")
    assert ["weight", "bias"] == [each.name for each in found.tensors]
    assert LARGE.nbytes / 2 > server.sent
    assert 0 == check(f"{server.url}/model.pt").exit_code


def write_shards(server: Server) -> str:
    shards = {f"model-0000{n}-of-00003.safetensors": {f"layer.{n}.weight": LARGE + n} for n in (1, 2, 3)}
    for name, tensors in shards.items():
        save_file(tensors, server.folder / name)
    weight_map = {tensor: name for name, tensors in shards.items() for tensor in tensors}
    index = {"metadata": {"total_size": 3 * LARGE.nbytes}, "weight_map": weight_map}
    (server.folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return f"{server.url}/model.safetensors.index.json"


def test_the_shards_of_an_index_are_read_by_their_headers(server: Server) -> None:
    found = inspect(write_shards(server))
    assert {f"layer.{n}.weight" for n in (1, 2, 3)} == {each.name for each in found.tensors}
    assert 1 + 2 * 3 >= len(server.asked)
    assert 3 * LARGE.nbytes / 8 > server.sent
    assert () == found.skipped


def test_values_are_compared_across_the_wire(server: Server) -> None:
    url = write_shards(server)
    save_file({f"layer.{n}.weight": LARGE + n for n in (1, 2, 3)}, server.folder / "whole.safetensors")
    assert diff(url, str(server.folder / "whole.safetensors")).identical
    save_file({f"layer.{n}.weight": LARGE + n % 3 for n in (1, 2, 3)}, server.folder / "other.safetensors")
    (entry,) = diff(f"{server.url}/other.safetensors", url).entries
    assert "layer.3.weight" == entry.name


def test_a_shard_that_is_missing_is_named(server: Server) -> None:
    url = write_shards(server)
    (server.folder / "model-00002-of-00003.safetensors").unlink()
    (lost,) = [each for each in inspect(url).skipped if each.failed]
    assert ("model-00002-of-00003.safetensors", True) == (lost.what, lost.reason.startswith("no such file (404)"))


@pytest.mark.parametrize(
    "name", ["../secret.bin", "/etc/passwd", "http://elsewhere/x", "a?b", "a#b", "..", "a\\b"]
)
def test_an_index_does_not_lead_out_of_its_folder(server: Server, name: str) -> None:
    (server.folder / "x.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
    with pytest.raises(UnreadableError, match="not a bare file name"):
        inspect(f"{server.url}/x.index.json")
    assert 1 == len(server.asked)


def test_a_server_without_ranges_says_what_a_download_would_take(server: Server) -> None:
    server.ranges = False
    save_file({"w": LARGE}, server.folder / "model.safetensors")
    with pytest.raises(UnreadableError, match=r"gives no ranges, so all 4,194,\d\d\d bytes") as caught:
        inspect(f"{server.url}/model.safetensors")
    assert "download it" in (caught.value.hint or "")


def test_a_small_file_needs_no_ranges(server: Server) -> None:
    server.ranges = False
    save_file({"w": torch.zeros(3)}, server.folder / "model.safetensors")
    assert ["w"] == [each.name for each in inspect(f"{server.url}/model.safetensors").tensors]


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (401, "access denied (401)"),
        (403, "access denied (403)"),
        (404, "no such file (404)"),
        (418, "error 418"),
        (503, "error 503"),
    ],
)
def test_each_refusal_gives_one_clear_line(server: Server, status: int, says: str) -> None:
    server.status = status
    result = bufscan("inspect", f"{server.url}/model.pt?token={SECRET}")
    assert 2 == result.returncode
    assert says in result.stderr.decode().splitlines()[0]
    assert 2 >= len(result.stderr.splitlines())
    assert SECRET.encode() not in result.stdout + result.stderr


def test_an_empty_file_is_said_to_be_empty(server: Server) -> None:
    (server.folder / "empty.pt").touch()
    with pytest.raises(UnreadableError, match="the file is empty"):
        inspect(f"{server.url}/empty.pt")


def test_a_server_that_comes_back_is_asked_again(server: Server) -> None:
    (server.folder / "m.safetensors").write_bytes(save({"w": torch.zeros(3)}))
    server.fails = 2
    assert 1 == len(inspect(f"{server.url}/m.safetensors").tensors)


def test_an_answer_that_is_cut_off_is_no_file(server: Server) -> None:
    (server.folder / "m.safetensors").write_bytes(save({"w": torch.zeros(300)}))
    server.cuts = 5
    with pytest.raises(UnreadableError, match="5 bytes less than it promised"):
        inspect(f"{server.url}/m.safetensors")
    assert 3 == len(server.asked)


def test_nobody_there_is_one_clear_line(server: Server) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(UnreadableError, match="cannot be reached: connection refused"):
        inspect(f"{server.url}/model.pt")


def test_a_login_in_the_address_is_used_and_never_shown(server: Server) -> None:
    server.login = f"me:{SECRET}"
    (server.folder / "m.safetensors").write_bytes(save({"w": torch.zeros(3)}))
    url = f"{server.url.replace('://', f'://me:{SECRET}@')}/m.safetensors?signature={SECRET}"
    for command in (("inspect",), ("inspect", "--format", "json"), ("check",), ("check", "--format", "json")):
        result = bufscan(*command, url)
        assert 0 == result.returncode, result.stderr
        assert SECRET.encode() not in result.stdout + result.stderr
        assert b"m.safetensors" in result.stdout


def test_an_address_without_its_secrets() -> None:
    assert "https://…@host/a/b?…" == without_secrets("https://me:pw@host/a/b?X-Amz-Signature=abc")
    assert "hf://org/model@main/x" == without_secrets("hf://org/model@main/x")
    assert "models.py:make(url='x')" == without_secrets("models.py:make(url='x')")


@pytest.fixture
def bucket() -> Iterator[str]:
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    for n in (1, 2):
        system.pipe(f"/bucket/model-0000{n}-of-00002.safetensors", save({f"layer.{n}.w": torch.zeros(n)}))
    system.pipe("/single/model.safetensors", save({"w": torch.arange(4.0)}))
    yield "memory://"
    system.store.clear()


def test_a_folder_of_a_store_is_read_through_fsspec(bucket: str) -> None:
    found = inspect(f"{bucket}bucket")
    assert ["layer.1.w", "layer.2.w"] == [each.name for each in found.tensors]


def test_a_file_of_a_store_is_read_and_compared(bucket: str, tmp_path: Path) -> None:
    save_file({"w": torch.arange(4.0)}, tmp_path / "same.safetensors")
    assert diff(f"{bucket}single/model.safetensors", str(tmp_path / "same.safetensors")).identical


def test_what_a_store_does_not_have_is_said(bucket: str) -> None:
    with pytest.raises(UnreadableError, match="no such file"):
        inspect(f"{bucket}single/other.safetensors")


def test_a_scheme_that_nobody_knows_is_refused() -> None:
    pytest.importorskip("fsspec")
    with pytest.raises(UsageError, match="knows no scheme `nonsense://`"):
        inspect("nonsense://x/y.pt")


def test_local_files_do_not_wait_for_what_reads_remote_ones(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(3)}, tmp_path / "m.safetensors")
    code = f"import sys, bufscan; bufscan.inspect({str(tmp_path / 'm.safetensors')!r}); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"urllib.request", "fsspec", "bufscan.remote", "torch", "numpy"} & set(loaded)
