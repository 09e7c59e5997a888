"""Small files read whole, files written whole or not at all, and those that others write to as well."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO

from bufscan.errors import BufscanError

if TYPE_CHECKING:
    from pathlib import Path


MOST_BYTES = 256 << 20
"""Of a file that is read whole: no configuration and no baseline is larger, but a device has no end."""


def read_whole(path: Path) -> bytes:
    """What the file holds.

    Raises:
        BufscanError: when it cannot be read, or is larger than `MOST_BYTES`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise BufscanError(f"cannot be read: {_reason(error)}") from error
    if len(data) > MOST_BYTES:
        raise BufscanError(f"cannot be read: larger than {MOST_BYTES >> 20} MiB")
    return data


def write_whole(path: Path, data: bytes) -> None:
    """Put `data` in the place of what `path` held; nobody ever sees half of it.

    A link keeps pointing where it points, and permissions stay. What cannot be replaced, a device or a pipe, is
    written to.

    Raises:
        BufscanError: when it cannot be written.
    """
    try:
        target = path.resolve()
        if target.exists() and not target.is_file():
            target.write_bytes(data)
        else:
            _replace(target, data)
    except OSError as error:
        raise BufscanError(f"cannot be written: {_reason(error)}") from error


def add_to(path: Path, data: bytes) -> None:
    """Write `data` after what `path` holds.

    Raises:
        BufscanError: when it cannot be written.
    """
    try:
        with path.open("ab") as file:
            file.write(data)
    except OSError as error:
        raise BufscanError(f"cannot be written: {_reason(error)}") from error


def make_folder(path: Path) -> None:
    """Make the folder and those above it, where they are missing.

    Raises:
        BufscanError: when it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BufscanError(f"cannot be made: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    return (error.strerror or "unknown reason").lower()


def _replace(target: Path, data: bytes) -> None:
    temporary, file = _new_beside(target)
    try:
        with file:
            file.write(data)
        if target.exists():
            temporary.chmod(target.stat().st_mode & 0o7777)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _new_beside(target: Path) -> tuple[Path, BinaryIO]:
    """A file that was not there before, open for writing: whoever removes it removes nothing of anybody else's.

    Not by `tempfile`, whose files nobody else may read.
    """
    while True:
        path = target.with_name(f".bufscan-{os.urandom(8).hex()}.tmp")
        try:
            return path, path.open("xb")
        except FileExistsError:
            continue
