"""Processes that do one command together, as torchrun starts them: what one found all know, and all end as one.

Every rank runs the same program on the same targets. Torch is imported only where there are several of them.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn, cast

import msgspec

from bufscan.errors import BufscanError, TargetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

# What a launcher tells its workers. A shell on a machine of a cluster may have some of them, and is no worker.
_TELLING = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

_SECONDS_TO_MEET = 120.0
_SECONDS_OF_PATIENCE = 300.0
_SLOWEST = 16 << 20  # bytes a second; a rank that reads less is taken for one that hangs

_SAME_FILES = "give all ranks the same files, as a shared file system does"

_MISSED = re.compile(r"Ranks? (\d+(?:, ?\d+)*) failed to pass monitoredBarrier")  # how gloo says who did not come


class Elsewhere(Exception):  # noqa: N818 - no error: the first rank goes on, and tells how it went
    """This is not the first rank, so there is nothing more to do or to say here."""


class RanksError(Exception):
    """The ranks cannot go on: one of them failed or is gone. Nothing that a single target is to blame for.

    Attributes:
        error: what to say of it.
    """

    def __init__(self, error: BufscanError) -> None:
        super().__init__(error.message)
        self.error = error


class _Failure(msgspec.Struct, frozen=True, array_like=True):
    """Why a rank failed, and where it runs. Those that are equal in `message` are one to people."""

    message: str
    hint: str | None = None
    target: str | None = None
    host: str = ""

    def met_by(self, ranks: Sequence[int]) -> BufscanError:
        """The failure as an error that says who met it."""
        who = f"rank {ranks[0]} on {self.host}" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks))}"
        error = BufscanError(f"{self.message} ({who})", hint=self.hint)
        return error if self.target is None else TargetError(self.target, error)


class _Word(msgspec.Struct, frozen=True, array_like=True):
    """What a rank tells the others in a step: its results, or why it has none, and whether it is its last word."""

    step: str = ""
    data: bytes = b""
    failure: _Failure | None = None
    is_last: bool = False


class Ranks:
    """One process of several, which take every step together.

    Attributes:
        rank: its number; the first, 0, speaks for all.
        size: how many there are.
        beside: how many of them share the processors of this machine.
    """

    def __init__(
        self, rank: int, size: int, gather: Callable[[bytes, float], list[bytes]], *, beside: int = 1
    ) -> None:
        """`gather` gives what all have for what this one has, or raises `RanksError` after so many seconds."""
        self.rank = rank
        self.size = size
        self.beside = beside
        self._gather: Callable[[bytes, float], list[bytes]] | None = gather
        self._has_parted = size == 1

    def exchange(self, step: str, data: bytes = b"", nbytes: int = 0) -> list[bytes]:
        """What all ranks have after a step of that name, in which each reads `nbytes` at most.

        Raises:
            RanksError: one of them failed meanwhile, or is gone.
        """
        return [data] if self.size == 1 else [word.data for word in self._told(_Word(step, data), nbytes)]

    @contextmanager
    def agreed(self) -> Iterator[None]:
        """What fails inside on one rank fails on all, which may then go on together.

        Raises:
            BufscanError: the failure, with the rank that met it unless all did.
            RanksError: as `exchange`.
        """
        if self.size == 1:
            yield
            return
        own = None
        try:
            yield
        except BufscanError as error:
            own = error
        words = self._told(_Word("agreed", failure=None if own is None else _failure_of(own)))
        self._raise_first([word.failure for word in words], own)

    def require_same(self, what: str, data: bytes) -> None:
        """Make sure that all ranks see the same.

        Raises:
            RanksError: some do not.
        """
        if self.size == 1:
            return
        from hashlib import sha256

        seen = self.exchange("same", sha256(data).digest())
        if odd := [rank for rank, each in enumerate(seen) if each != seen[0]]:
            message = f"{what} is another one for rank {odd[0]} than for rank 0"
            raise RanksError(BufscanError(message, hint=_SAME_FILES))

    @contextmanager
    def together(self) -> Iterator[None]:
        """A whole command: who fails inside ends it for all. After it the first rank goes on alone.

        Raises:
            Elsewhere: on all other ranks.
            RanksError: one of them failed, or is gone.
        """
        try:
            yield
            self.part()
        except (RanksError, Elsewhere):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the others wait to be told
            self._end(error)
        except BaseException:  # Ctrl-C, which all get
            self.leave()
            raise

    def part(self) -> None:
        """From here on the first rank works alone, and may write.

        Raises:
            Elsewhere: on all other ranks.
            RanksError: as `exchange`.
        """
        if not self._has_parted:
            self.exchange("part")
            self._has_parted = True
        if self.rank:
            raise Elsewhere

    def settle(self, code: int) -> int:
        """The first rank's exit code for all, once it has said everything: the end of one may end them all."""
        if self.size == 1 or self._gather is None:
            return code
        try:
            words = self._told(_Word("settle", msgspec.msgpack.encode(code)))
            return msgspec.msgpack.decode(words[0].data, type=int)
        except (RanksError, msgspec.DecodeError):
            return code
        finally:
            self.leave()

    def leave(self) -> None:
        """Tell nobody anything any more. What holds the group has to go before the interpreter does."""
        self._gather = None

    def _end(self, error: Exception) -> NoReturn:
        """Fail for good, and tell the others, unless they know or do not wait."""
        if self._has_parted or self._gather is None:
            raise error
        own = _failure_of(error)
        try:
            words = self._told(_Word("end", failure=own, is_last=True), is_heard=False)
        except RanksError:
            raise error from None
        self._has_parted = True
        if self.rank:
            raise Elsewhere from error
        if isinstance(error, BufscanError):
            alike = [
                word.failure if word.failure and word.failure.message == own.message else None for word in words
            ]
            self._raise_first(alike, error)
        raise error

    def _raise_first(self, failures: Sequence[_Failure | None], own: BufscanError | None) -> None:
        """Raise what the first of them says, if any; as it is where it is this rank's own, and everybody's."""
        first = next((each for each in failures if each is not None), None)
        if first is None:
            return
        alike = [at for at, each in enumerate(failures) if each is not None and each.message == first.message]
        if own is not None and len(alike) == self.size:
            raise own
        raise first.met_by(alike) from own

    def _told(self, word: _Word, nbytes: int = 0, *, is_heard: bool = True) -> list[_Word]:
        """What everybody says in this step. A last word ends it for who hears it."""
        if self._gather is None:
            raise RanksError(BufscanError("the other ranks are gone"))
        try:
            told = self._gather(msgspec.msgpack.encode(word), _SECONDS_OF_PATIENCE + nbytes / _SLOWEST)
        except RanksError:
            self.leave()
            raise
        words = [msgspec.msgpack.decode(each, type=_Word) for each in told]
        last = {rank: each.failure for rank, each in enumerate(words) if each.is_last and each.failure is not None}
        if is_heard and last:
            self._has_parted = True
            rank, failure = next(iter(last.items()))
            raise RanksError(failure.met_by([rank]))
        if is_heard and len({each.step for each in words}) > 1:
            self.leave()
            raise RanksError(BufscanError("the ranks do not find the same things to do", hint=_SAME_FILES))
        return words


ALONE = Ranks(0, 1, lambda data, _: [data])
"""One process, as there mostly is."""


def share_of(sizes: Sequence[int], rank: int, size: int) -> range:
    """Which of the jobs are a rank's: neighbours, and about as many bytes as each other rank has."""
    total, before, begin, end = sum(sizes), 0, 0, 0
    for nbytes in sizes:
        # Whose share its middle lies in.
        owner = min((2 * before + nbytes) * size // (2 * total), size - 1) if total else 0
        begin += owner < rank
        end += owner <= rank
        before += nbytes
    return range(begin, end)


def joined(environment: Mapping[str, str]) -> Ranks:
    """The ranks that a launcher started, when all of them are there; this process alone where none did.

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
        return Ranks(int(rank), int(size), _Gloo(int(rank), int(size)).gather, beside=beside)
    except ImportError as error:
        hint = "`pip install 'bufscan[torch]'`, or unset WORLD_SIZE to work in one process"
        raise BufscanError("several ranks need torch", hint=hint) from error


def _failure_of(error: Exception) -> _Failure:
    from socket import gethostname

    host = gethostname()
    if isinstance(error, BufscanError):
        return _Failure(error.message, error.hint, getattr(error, "target", None), host)
    if isinstance(error, MemoryError):
        return _Failure("out of memory", host=host)
    return _Failure(f"this is a bug in bufscan: {type(error).__name__}: {error}", host=host)


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
            own = distributed.PrefixStore("bufscan", store)
            self._group = distributed.ProcessGroupGloo(own, rank, size, patience)
        except (RuntimeError, ValueError, OSError) as error:
            hint = "unset WORLD_SIZE to work in one process; GLOO_SOCKET_IFNAME names the network between machines"
            raise BufscanError(f"the {size} ranks do not find each other: {_brief(error)}", hint=hint) from error

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
