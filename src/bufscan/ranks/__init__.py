"""Processes that do one command together, as torchrun starts them: what one found all know, and all end as one.

Every rank runs the same program on the same targets. Torch is imported only where there are several of them.
"""

from __future__ import annotations

from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING, NoReturn, Protocol

import msgspec

from bufscan.errors import BufscanError, TargetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_SECONDS_OF_PATIENCE = 300.0
_SLOWEST = 16 << 20  # bytes a second; a rank that reads less is taken for one that hangs

_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_TO_NOTICE = 10.0

_SAME_FILES = "give all ranks the same files, as a shared file system does"


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


class Group(Protocol):
    """How the ranks hear of each other."""

    def gather(self, data: bytes, patience: float) -> list[bytes]:
        """What all have, for what this one has.

        Raises:
            RanksError: not all have answered after so many seconds, or one is gone.
        """

    def sound(self, step: int, word: bytes) -> None:
        """Leave word for those who cannot listen."""

    def heard(self, step: int) -> bytes | None:
        """What somebody left; None where nobody did."""


class Ranks:
    """One process of several, which take every step together.

    Attributes:
        rank: its number; the first, 0, speaks for all.
        size: how many there are.
        beside: how many of them share the processors of this machine.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        group: Group | None,
        *,
        beside: int = 1,
        on_stuck: Callable[[BufscanError], object] | None = None,
    ) -> None:
        """`on_stuck` ends the process: the user's code waits for a rank that failed, and will not come back."""
        self.rank = rank
        self.size = size
        self.beside = beside
        self._group = group
        self._on_stuck = on_stuck
        self._step = 0
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
        self._step += 1
        is_over = Event()
        Thread(target=self._listen, args=(self._step, is_over), daemon=True).start()
        try:
            yield
        except BufscanError as error:
            own = error
            if self._group is not None:
                self._group.sound(self._step, msgspec.msgpack.encode((self.rank, _failure_of(error))))
        finally:
            is_over.set()
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
        if self.size == 1 or self._group is None:
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
        self._group = None

    def _listen(self, step: int, is_over: Event) -> None:
        """End this process when it is stuck because another rank failed in the step."""
        while self._group is not None and not is_over.wait(_SECONDS_BETWEEN_LOOKS):
            word = self._group.heard(step)
            if word is not None and not is_over.wait(_SECONDS_TO_NOTICE) and self._on_stuck is not None:
                rank, failure = msgspec.msgpack.decode(word, type=tuple[int, _Failure])
                self._on_stuck(failure.met_by([rank]))

    def _end(self, error: Exception) -> NoReturn:
        """Fail for good, and tell the others, unless they know or do not wait."""
        if self._has_parted or self._group is None:
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
        if self._group is None:
            raise RanksError(BufscanError("the other ranks are gone"))
        try:
            told = self._group.gather(msgspec.msgpack.encode(word), _SECONDS_OF_PATIENCE + nbytes / _SLOWEST)
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


ALONE = Ranks(0, 1, None)
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


def _failure_of(error: Exception) -> _Failure:
    from socket import gethostname

    host = gethostname()
    if isinstance(error, BufscanError):
        return _Failure(error.message, error.hint, getattr(error, "target", None), host)
    if isinstance(error, MemoryError):
        return _Failure("out of memory", host=host)
    return _Failure(f"this is a bug in bufscan: {type(error).__name__}: {error}", host=host)
