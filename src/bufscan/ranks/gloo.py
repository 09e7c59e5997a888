"""How ranks find each other, and talk: torch.distributed, over gloo."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from bufscan.errors import BufscanError
from bufscan.ranks import ALONE, Ranks, RanksError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# What a launcher tells its workers. A shell on a machine of a cluster may have some of them, and is no worker.
_TELLING = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

_SECONDS_TO_MEET = 120.0
_MISSED = re.compile(r"Ranks? (\d+(?:, ?\d+)*) failed to pass monitoredBarrier")  # how gloo says who did not come


def joined(environment: Mapping[str, str], on_stuck: Callable[[BufscanError], object] | None = None) -> Ranks:
    """The ranks that a launcher started, when all of them are there; this process alone where none did.

    `on_stuck` as `Ranks` has it.

    Raises:
        BufscanError: they do not find each other.
    """
    told = {name: environment.get(name, "") for name in _TELLING}
    if not all(told.values()) or told["WORLD_SIZE"] == "1":
        return ALONE
    rank, size = told["RANK"], told["WORLD_SIZE"]
    if not (rank.isdecimal() and size.isdecimal() and int(rank) < int(size)):
        raise BufscanError(f"RANK is `{rank}` and WORLD_SIZE is `{size}`", hint="start it with `torchrun`")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # what gloo says of a rank that is gone, we say
    local = environment.get("LOCAL_WORLD_SIZE", "")
    beside = int(local) if local.isdecimal() and int(local) else 1
    try:
        group = _Gloo(int(rank), int(size))
    except ImportError as error:
        hint = "`pip install 'bufscan[torch]'`, or unset WORLD_SIZE to work in one process"
        raise BufscanError("several ranks need torch", hint=hint) from error
    return Ranks(int(rank), int(size), group, beside=beside, on_stuck=on_stuck)


class _Gloo:
    """A group of our own: the user's code may make and end the default one as it likes."""

    def __init__(self, rank: int, size: int) -> None:
        import torch

        distributed = cast("Any", torch.distributed)  # which exports less than it documents
        self._torch = torch
        self._size = size
        patience = timedelta(seconds=_SECONDS_TO_MEET)
        try:
            store, _, _ = next(iter(distributed.rendezvous("env://", timeout=patience)))
            self._store = distributed.PrefixStore("bufscan", store)
            self._group = distributed.ProcessGroupGloo(self._store, rank, size, patience)
        except (RuntimeError, ValueError, OSError) as error:
            hint = "unset WORLD_SIZE to work in one process; GLOO_SOCKET_IFNAME names the network between machines"
            raise BufscanError(f"the {size} ranks do not find each other: {_brief(error)}", hint=hint) from error

    def sound(self, step: int, word: bytes) -> None:
        """Leave word in the store, which every rank can look into at any time."""
        with suppress(RuntimeError):  # it is gone, and so is who kept it
            self._store.set(f"failed/{step}", word)

    def heard(self, step: int) -> bytes | None:
        """The last word that was left."""
        key = f"failed/{step}"
        with suppress(RuntimeError):
            return bytes(self._store.get(key)) if self._store.check([key]) else None
        return None

    def gather(self, data: bytes, patience: float) -> list[bytes]:
        """What all ranks have."""
        began = time.monotonic()
        try:
            # The one step that may take long, and that says who is missing.
            self._group.monitored_barrier(timedelta(seconds=patience), wait_all_ranks=True)
            sizes = [int(each.view(self._torch.int64)) for each in self._all(len(data).to_bytes(8, "little"), 8)]
            return [
                bytes(each[:size].numpy()) for each, size in zip(self._all(data, max(sizes)), sizes, strict=True)
            ]
        except RuntimeError as error:
            missed = _MISSED.search(str(error))
            who = f"rank {missed[1]}" if missed else "another rank"
            waited = time.monotonic() - began
            what = (
                f"did not answer for {waited:,.0f} s" if waited >= patience else "ended before its work was done"
            )
            raise RanksError(BufscanError(f"{who} {what}")) from error

    def _all(self, data: bytes, size: int) -> list[Any]:
        own = self._torch.zeros(size, dtype=self._torch.uint8)
        if data:
            own[: len(data)] = self._torch.frombuffer(bytearray(data), dtype=self._torch.uint8)
        found = [self._torch.empty_like(own) for _ in range(self._size)]
        self._group.allgather([found], [own]).wait()
        return found


def _brief(error: Exception) -> str:
    return str(error).partition("\n")[0].partition(". This may indicate")[0].strip() or type(error).__name__
