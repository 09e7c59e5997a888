"""Bytes by offset, from wherever a target lives. Never reads more than it is asked for, never writes."""

from __future__ import annotations

import errno
import os
import stat
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO, Protocol, Self

from bufscan.errors import UnreadableError, about

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


_BLOCK = 1 << 14  # a read ahead: no dearer than a short one, and enough for the local headers of fifty tensors


def exists(path: Path) -> bool:
    """Whether there is something at `path`.

    This and the next two answer no where the system will not say: a name that is too long, a folder that may not
    be entered. The methods of Path raise there.
    """
    return os.path.exists(path)  # noqa: PTH110 - see above


def is_folder(path: Path) -> bool:
    """Whether there is a folder at `path`."""
    return os.path.isdir(path)  # noqa: PTH112 - see `exists`


def is_file(path: Path) -> bool:
    """Whether there is a regular file at `path`."""
    return os.path.isfile(path)  # noqa: PTH113 - see `exists`


class ByteSource(Protocol):
    """Random access to the bytes of one artefact.

    Attributes:
        name: how messages call it (a file name, `standard input`).
        size: bytes in all.
    """

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`.

        Raises:
            UnreadableError: when the range does not lie within the source.
        """

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes from `offset`. Several threads may do so at once.

        Raises:
            UnreadableError: when the range does not lie within the source.
        """


class MemorySource:
    """Bytes already in memory: standard input, a record inside another file."""

    def __init__(self, name: str, data: bytes) -> None:
        self.name = name
        self.size = len(data)
        self._data = data

    def read(self, offset: int, length: int) -> bytes:
        _require_within(offset, length, self.size)
        return self._data[offset : offset + length]

    def read_into(self, offset: int, buffer: memoryview) -> None:
        _require_within(offset, len(buffer), self.size)
        buffer[:] = self._data[offset : offset + len(buffer)]


class FileObjectSource:
    """A file object that a caller has opened. Where it stands in its file stays as it was.

    Raises:
        UnreadableError: it cannot be searched.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.name = name
        self._file = file
        self._position = Lock()
        try:
            before = file.tell()
            self.size = file.seek(0, os.SEEK_END)
            file.seek(before)
        except (OSError, ValueError) as error:  # no file that can be searched; one that is closed
            hint = "read it into an `io.BytesIO` first"
            raise UnreadableError(f"it cannot be searched: {error}", hint=hint) from error

    def read(self, offset: int, length: int) -> bytes:
        data = bytearray(length)
        self.read_into(offset, memoryview(data))
        return bytes(data)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        _require_within(offset, len(buffer), self.size)
        with self._position:
            before = self._file.tell()
            self._file.seek(offset)
            filled = 0
            while filled < len(buffer):
                part = self._file.read(len(buffer) - filled)
                if not part:
                    raise UnreadableError("it is shorter than it was")
                buffer[filled : filled + len(part)] = part
                filled += len(part)
            self._file.seek(before)


class SliceSource:
    """A run of another source's bytes: a member of an archive that lies there as it is."""

    def __init__(self, source: ByteSource, start: int, size: int, name: str) -> None:
        _require_within(start, size, source.size)
        self.name = name
        self.size = size
        self._source = source
        self._start = start

    def read(self, offset: int, length: int) -> bytes:
        _require_within(offset, length, self.size)
        return self._source.read(self._start + offset, length)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        _require_within(offset, len(buffer), self.size)
        self._source.read_into(self._start + offset, buffer)


class FileSource:
    """A regular file on this machine, opened without following it into a FIFO or a device.

    `O_NONBLOCK` and `fstat` come before the first read, so that opening a pipe cannot hang.
    """

    def __init__(self, path: Path, *, name: str | None = None) -> None:
        self.name = path.name if name is None else name
        self.path = path
        self._file = os.fdopen(_open_regular(path), "rb", buffering=0)
        self._state = self._state_now()
        self.size = self._state[0]
        self._position = Lock()

    @property
    def identity(self) -> tuple[int, int]:
        """What tells the file from every other on this machine, whatever it is called: device and inode."""
        state = os.fstat(self._file.fileno())
        return state.st_dev, state.st_ino

    def require_unchanged(self) -> None:
        """Make sure that nobody wrote to the file since it was opened.

        One that was put in its place meanwhile is another file: this one was read as it was.

        Raises:
            UnreadableError: somebody did, so what was read may be of neither state.
        """
        if self._state_now() != self._state:
            raise UnreadableError(
                "the file changed while it was read", hint="run it again when nobody writes to it"
            )

    def _state_now(self) -> tuple[int, int]:
        state = os.fstat(self._file.fileno())
        return state.st_size, state.st_mtime_ns

    def read(self, offset: int, length: int) -> bytes:
        _require_within(offset, length, self.size)
        chunks: list[bytes] = []
        while length:
            # One system call reads at most 2 GiB on Linux.
            try:
                chunk = self._read_at(offset, min(length, 1 << 30))
            except OSError as error:
                raise _unreadable(error) from error
            if not chunk:
                raise UnreadableError("the file shrank while it was read")
            chunks.append(chunk)
            offset, length = offset + len(chunk), length - len(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _read_at(self, offset: int, length: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), length, offset)
        with self._position:  # Windows: seek and read must not be torn apart
            self._file.seek(offset)
            return self._file.read(length)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        _require_within(offset, len(buffer), self.size)
        while buffer:
            try:
                count = self._read_some(offset, buffer)
            except OSError as error:
                raise _unreadable(error) from error
            if not count:
                raise UnreadableError("the file shrank while it was read")
            offset, buffer = offset + count, buffer[count:]

    def _read_some(self, offset: int, buffer: memoryview) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._file.fileno(), [buffer], offset)
        with self._position:
            self._file.seek(offset)
            return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class OpenFiles:
    """The files that a run reads: each is opened once and stays open, so that all is said of one file.

    Several threads may open files at once.
    """

    def __init__(self) -> None:
        self._files: dict[Path, FileSource] = {}
        self._beside: list[Path] = []
        self._read: set[tuple[int, int]] = set()
        self._lock = Lock()

    @property
    def paths(self) -> tuple[Path, ...]:
        """Of every file that is not to be written to: those that were opened, and those noted beside them."""
        return (*self._files, *self._beside)

    def has_read(self, path: Path) -> bool:
        """Whether the file there was opened, under whatever name."""
        try:
            state = path.stat()
        except OSError:
            return False
        return (state.st_dev, state.st_ino) in self._read

    def note(self, *paths: Path) -> None:
        """Files that others read (source code, a configuration), or that belong to what was read."""
        self._beside += paths

    def open(self, path: Path, *, name: str | None = None) -> FileSource:
        """The file at `path`, which the first to open it may give a name for messages.

        Raises:
            UnreadableError: it is no regular file, or may not be read.
        """
        with self._lock:
            if path not in self._files:
                self._files[path] = FileSource(path, name=name)
                self._read.add(self._files[path].identity)
            return self._files[path]

    def require_unchanged(self) -> None:
        """Make sure that every file still is what was read.

        Raises:
            TargetError: one is not.
        """
        for path, file in self._files.items():
            with about(str(path)):
                file.require_unchanged()

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.require_unchanged()
        finally:
            self.close()


class ReadAhead:
    """Short reads that lie close behind each other, served from one longer read."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._block = b""
        self._start = 0

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`.

        Raises:
            UnreadableError: when the range does not lie within the source.
        """
        start = offset - self._start
        if not 0 <= start <= len(self._block) - length:
            self._block = self._source.read(offset, max(length, min(_BLOCK, self._source.size - offset)))
            self._start, start = offset, 0
        return self._block[start : start + length]


def _unreadable(error: OSError) -> UnreadableError:
    """A regular file may open and still not be read: in /sys, on a failing disk or network."""
    return UnreadableError(f"it cannot be read: {os.strerror(error.errno or 0).lower()}")


def _require_within(offset: int, length: int, size: int) -> None:
    if offset < 0 or length < 0 or offset + length > size:
        raise UnreadableError(f"bytes {offset} to {offset + length} lie outside the {size} bytes of the file")


# O_NONBLOCK: opening a pipe that nobody writes to would wait for ever. Windows knows only O_BINARY.
_OPEN_FLAGS = sum(getattr(os, flag, 0) for flag in ("O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY", "O_BINARY"))

_OPEN_FAILURES = {
    errno.ENOENT: ("no such file", None),
    errno.ENOTDIR: ("no such file", None),
    errno.EACCES: ("permission denied", "check who may read it"),
    errno.EPERM: ("permission denied", "check who may read it"),
    errno.ELOOP: ("too many levels of symbolic links", None),
    errno.ENAMETOOLONG: ("the name is too long for a file", None),
    errno.ENXIO: ("not a regular file", None),
}

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | _OPEN_FLAGS)
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
        import resource  # where there is such a limit there is this module

        # All shards of a checkpoint stay open, and 1,024 files are what many systems begin with.
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        return os.open(path, os.O_RDONLY | _OPEN_FLAGS)


def _open_regular(path: Path) -> int:
    try:
        fd = _open(path)
    except ValueError as error:  # an embedded NUL
        raise UnreadableError("no such file") from error
    except OSError as error:
        what, hint = _OPEN_FAILURES.get(error.errno or 0, (os.strerror(error.errno or 0).lower(), None))
        raise UnreadableError(what, hint=hint) from error
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode):
        os.close(fd)
        kind = next((name for test, name in _KINDS if test(mode)), "a special file")
        raise UnreadableError(f"{kind}, not a regular file", hint="name a checkpoint file or its folder")
    return fd
