"""bufscan in several processes, as a launcher starts them, and as threads that stand for them."""

from __future__ import annotations

import socket
import subprocess
import sys
from threading import Barrier, Thread
from typing import TYPE_CHECKING, Any, NamedTuple

from bufscan.ranks import Ranks
from command_line import environment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_PATIENCE = 60


class Done(NamedTuple):
    """How a process ended."""

    code: int
    out: bytes
    err: str


def torchrun(size: int, *arguments: str, cwd: Path) -> Done:
    """`torchrun --nproc-per-node SIZE -m bufscan ...`."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(size), "--standalone"]
    done = subprocess.run(
        [*launcher, "-m", "bufscan", *arguments],
        cwd=cwd,
        capture_output=True,
        env=environment(),
        timeout=_PATIENCE,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr.decode())


def launched(
    size: int,
    *arguments: str,
    cwd: Path,
    elsewhere: Mapping[int, Path] | None = None,
    codes: Mapping[int, str] = {},
) -> list[Done]:
    """Each rank of a command, started by hand: some in another folder, or running other Python code."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, *(["-c", codes[rank]] if rank in codes else ["-m", "bufscan"]), *arguments],
            cwd=(elsewhere or {}).get(rank, cwd),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(
                RANK=str(rank),
                LOCAL_RANK=str(rank),
                WORLD_SIZE=str(size),
                MASTER_ADDR="127.0.0.1",
                MASTER_PORT=str(port),
            ),
        )
        for rank in range(size)
    ]
    ends = [process.communicate(timeout=_PATIENCE) for process in processes]
    return [
        Done(process.returncode, out, err.decode()) for process, (out, err) in zip(processes, ends, strict=True)
    ]


class _Meeting:
    """Threads that tell each other what processes would."""

    def __init__(self, size: int) -> None:
        self.barrier = Barrier(size, timeout=10)
        self.words = [b""] * size


class _Member:
    """A thread of a meeting."""

    def __init__(self, meeting: _Meeting, rank: int) -> None:
        self._meeting = meeting
        self._rank = rank

    def gather(self, data: bytes, _patience: float) -> list[bytes]:
        self._meeting.words[self._rank] = data
        self._meeting.barrier.wait()
        told = list(self._meeting.words)
        self._meeting.barrier.wait()
        return told

    def sound(self, step: int, word: bytes) -> None:
        pass

    def heard(self, _step: int) -> None:
        return None


def as_ranks(size: int, work: Callable[[Ranks], Any]) -> list[Any]:
    """What `work` gives on each of so many ranks, which are threads: an exception stands for itself."""
    meeting = _Meeting(size)
    found: list[Any] = [None] * size

    def run(rank: int) -> None:
        try:
            found[rank] = work(Ranks(rank, size, _Member(meeting, rank)))
        except Exception as error:  # noqa: BLE001 - the caller looks at it
            found[rank] = error

    threads = [Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_PATIENCE)
    return found
