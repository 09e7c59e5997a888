"""Bytes by range from web servers and object stores. Nothing is downloaded but the ranges that are asked for.

http(s) is spoken here, with the standard library: fsspec's file system for it takes a whole file for a range, and
says "not found" of whatever fails. Every other scheme (`hf://`, `s3://`, `gs://`, ...) is fsspec's, with the
credentials that it finds in the environment.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException, IncompleteRead
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from urllib.request import Request, urlopen

from bufscan.errors import UnreadableError, UsageError, without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from http.client import HTTPResponse

_BLOCK = 1 << 18  # the header of most shards, and what a request takes anyway
_KEPT_BLOCKS = 8
_TIMEOUT = 20.0  # seconds without a byte
_TRIES = 3
_PAUSE = 0.3  # seconds before the second try, twice as long before the third
_CONNECTIONS = 8
_AGAIN = frozenset((429, 500, 502, 503, 504))
_DOWNLOAD = "download it, and name the file"
_PARTIAL, _OK, _NO_RANGE = 206, 200, 416
_REASONS = {
    401: ("access denied (401)", "the server wants credentials"),
    403: ("access denied (403)", "the credentials, if any, do not allow it, or a signed link has expired"),
    404: ("no such file (404)", None),
    410: ("no such file any more (410)", None),
    407: ("a proxy wants credentials (407)", None),
    429: ("the server wants fewer requests (429)", "try again later"),
}


class Ranges(Protocol):
    """Gives ranges of one remote file."""

    def size(self) -> int:
        """Bytes in all."""

    def fetch(self, offset: int, length: int) -> bytes:
        """Exactly these bytes.

        Raises:
            UnreadableError: they cannot be had.
        """


class RemoteSource:
    """A remote file as a source of bytes; short reads are served from blocks that are kept. Threads may share it.

    Attributes:
        name: how messages call it.
        size: bytes in all.
    """

    def __init__(self, ranges: Ranges, name: str) -> None:
        self.name = name
        self.size = ranges.size()
        self._ranges = ranges
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._lock = Lock()

    def read(self, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise UnreadableError(
                f"bytes {offset} to {offset + length} lie outside the {self.size} bytes of the file"
            )
        if length > _BLOCK:
            return self._ranges.fetch(offset, length)
        with self._lock:
            for start, block in self._blocks.items():
                if start <= offset and offset + length <= start + len(block):
                    return block[offset - start : offset - start + length]
        block = self._ranges.fetch(offset, min(_BLOCK, self.size - offset)) if length else b""
        with self._lock:
            self._blocks[offset] = block
            if len(self._blocks) > _KEPT_BLOCKS:
                self._blocks.popitem(last=False)
        return block[:length]

    def read_into(self, offset: int, buffer: memoryview) -> None:
        buffer[:] = self.read(offset, len(buffer))

    def map(self) -> bytearray:
        raise UnreadableError("its elements do not lie behind each other in a remote file", hint=_DOWNLOAD)


class RemoteFolder:
    """The files beside a remote file, or in a remote folder; opened as those of a local one.

    Attributes:
        notes: as those of a local folder: none.
    """

    def __init__(self, base: str) -> None:
        """`base` is the folder's address, which ends in a slash."""
        self.notes: tuple[str, ...] = ()
        self._base = base
        self._opened: dict[str, RemoteSource] = {}

    def open(self, name: str) -> RemoteSource:
        """The file of that name, directly in the folder.

        Raises:
            UnreadableError: the name is no bare file name, or there is no such file.
        """
        if name in ("", ".", "..") or any(character in name for character in "/\\:\0?#"):
            raise UnreadableError("not a bare file name, so it is not opened")
        if name not in self._opened:
            self._opened[name] = open_url(self._base + (quote(name) if _is_http(self._base) else name), name)
        return self._opened[name]

    def prefetch(self, names: Sequence[str]) -> None:
        """Open the files at once, several at a time; whoever opens one later is told what failed."""

        def fetch(name: str) -> None:
            with suppress(UnreadableError):
                source = self.open(name)
                source.read(0, min(1, source.size))

        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            for _ in pool.map(fetch, names):
                pass


def open_url(url: str, name: str | None = None) -> RemoteSource:
    """The remote file at an address.

    Raises:
        UnreadableError: there is none, or its server cannot give ranges.
    """
    ranges = _Http(url) if _is_http(url) else _Stored(url)
    return RemoteSource(ranges, name or without_secrets(url))


def list_remote(url: str) -> list[str] | None:
    """The names of the files in a remote folder; None where the address is one of a file, or cannot be listed.

    Raises:
        UnreadableError: there is nothing there.
    """
    if _is_http(url):
        return None
    system, path = _file_system(url)
    entries: Iterable[dict[str, Any]] = _asked(lambda: system.ls(path, detail=True))
    if len(found := list(entries)) == 1 and found[0]["name"].rstrip("/") == path.rstrip("/"):
        return None
    return sorted(each["name"].rpartition("/")[2] for each in found if each.get("type") == "file")


def folder_of(url: str) -> RemoteFolder:
    """The folder that a remote file lies in."""
    parts = urlsplit(url)
    return RemoteFolder(urlunsplit(parts._replace(path=parts.path.rpartition("/")[0] + "/", fragment="")))


def _is_http(url: str) -> bool:
    return urlsplit(url).scheme in ("http", "https")


class _Http:
    """Ranges over http. What the first answer says of the file must hold for all."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        self._url = urlunsplit(parts._replace(netloc=host, fragment=""))
        self._login = (unquote(parts.username or ""), unquote(parts.password or "")) if parts.username else None
        self._tag: str | None = None
        self._size = -1
        self._start = b""

    def size(self) -> int:
        if self._size < 0:
            self._start, self._size = _tried(lambda: self._range(0, _BLOCK))
        return self._size

    def fetch(self, offset: int, length: int) -> bytes:
        if offset + length <= len(self._start):
            return self._start[offset : offset + length]
        data: bytes
        data, total = _tried(lambda: self._range(offset, length))
        if total != self._size:
            raise UnreadableError("the file changed while it was read")
        return data

    def _range(self, offset: int, length: int) -> tuple[bytes, int]:
        """The bytes, as far as the file has them, and its size."""
        request = Request(self._url, headers={"Accept-Encoding": "identity"})  # noqa: S310 - http(s)
        request.add_header("Range", f"bytes={offset}-{offset + length - 1}")
        if self._login is not None:
            import base64

            token = base64.b64encode(":".join(self._login).encode()).decode()
            request.add_unredirected_header("Authorization", f"Basic {token}")
        try:
            with urlopen(request, timeout=_TIMEOUT) as response:  # noqa: S310 - http(s)
                return self._taken(response, offset, length)
        except HTTPError as error:
            with error:
                if error.code == _NO_RANGE and offset == 0:
                    return b"", 0
                raise _RefusedError(error.code) from None

    def _taken(self, response: HTTPResponse, offset: int, length: int) -> tuple[bytes, int]:
        if response.status == _OK:
            announced = response.headers.get("Content-Length", "")
            if offset or not announced.isdecimal() or int(announced) > length:
                size = f"all {int(announced):,} bytes" if announced.isdecimal() else "all of it"
                raise UnreadableError(f"the server gives no ranges, so {size} would be downloaded", hint=_DOWNLOAD)
            return _whole(response, int(announced)), int(announced)
        start, end, total = _content_range(response.headers.get("Content-Range", ""))
        if start != offset or end >= offset + length or (end - start + 1 < length and end + 1 != total):
            raise UnreadableError("the server sent another range than it was asked for", hint=_DOWNLOAD)
        tag = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if self._tag is not None and tag != self._tag:
            raise UnreadableError("the file changed while it was read", hint="run it again")
        self._tag = tag
        return _whole(response, end - start + 1), total


class _RefusedError(Exception):
    """The server answered with an error."""

    def __init__(self, code: int) -> None:
        super().__init__(str(code))
        self.code = code


def _content_range(text: str) -> tuple[int, int, int]:
    """`bytes 0-99/1000`."""
    unit, _, rest = text.partition(" ")
    span, _, total = rest.partition("/")
    start, _, end = span.partition("-")
    if unit.lower() == "bytes" and start.isdecimal() and end.isdecimal() and total.isdecimal():
        return int(start), int(end), int(total)
    raise UnreadableError("the server does not say which range it sent, or how large the file is", hint=_DOWNLOAD)


def _whole(response: HTTPResponse, length: int) -> bytes:
    data = response.read(length)
    if len(data) < length:
        raise IncompleteRead(data, length - len(data))
    return data


def _tried(ask: Any) -> Any:
    """What `ask` answers, at the latest at the third try."""
    for attempt in range(1, _TRIES + 1):
        try:
            return ask()
        except _RefusedError as refused:
            if refused.code not in _AGAIN or attempt == _TRIES:
                what, hint = _REASONS.get(refused.code, (f"the server answers with error {refused.code}", None))
                raise UnreadableError(what, hint=hint) from None
        except IncompleteRead as error:
            if attempt == _TRIES:
                missing = f"{error.expected or 0:,} bytes less than it promised"
                raise UnreadableError(f"the server sent {missing}", hint="try again later") from None
        except (OSError, HTTPException) as error:
            if attempt == _TRIES:
                raise UnreadableError(f"the server cannot be reached: {_reason(error)}") from None
        time.sleep(_PAUSE * attempt)
    raise AssertionError("unreachable")


def _reason(error: Exception) -> str:
    """Why, without the address, which may hold a password."""
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return f"no answer within {_TIMEOUT:.0f} seconds"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower()
    return type(cause).__name__ if isinstance(cause, BaseException) else "unknown reason"


class _Stored:
    """Ranges through fsspec."""

    def __init__(self, url: str) -> None:
        self._system, self._path = _file_system(url)

    def size(self) -> int:
        info = _asked(lambda: self._system.info(self._path))
        size = info.get("size")
        if info.get("type") != "file" or not isinstance(size, int):
            raise UnreadableError("no file, or one whose size is not known")
        return size

    def fetch(self, offset: int, length: int) -> bytes:
        data: bytes = _asked(lambda: self._system.cat_file(self._path, start=offset, end=offset + length))
        if len(data) != length:
            raise UnreadableError(
                f"{len(data):,} bytes came where {length:,} were asked for", hint="try again later"
            )
        return data


def _file_system(url: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise UsageError(
            "remote files other than http(s) need fsspec", hint="`pip install 'bufscan[remote]'`"
        ) from None
    scheme = urlsplit(url).scheme
    try:
        system, path = url_to_fs(url)
    except ImportError:
        raise UsageError(
            f"`{scheme}://` needs a package that is not installed", hint=f"`pip install 'fsspec[{scheme}]'`"
        ) from None
    except ValueError:
        raise UsageError(f"fsspec knows no scheme `{scheme}://`") from None
    return system, path


def _asked(ask: Any) -> Any:
    """What a file system answers. Its errors may hold addresses with credentials: only their kind is told."""
    try:
        return ask()
    except FileNotFoundError:
        raise UnreadableError("no such file") from None
    except PermissionError:
        raise UnreadableError("access denied", hint="give credentials in the way that fsspec reads them") from None
    except Exception as error:  # noqa: BLE001 - every package behind fsspec has errors of its own
        kind = type(error).__name__
        if "Credentials" in kind or "Auth" in kind or "Gated" in kind:
            hint = "give credentials in the way that fsspec reads them"
            raise UnreadableError(f"access denied ({kind})", hint=hint) from None
        raise UnreadableError(f"it cannot be read: {kind}") from None
