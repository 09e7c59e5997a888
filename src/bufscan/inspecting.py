"""Inspect a target: read it, then decide the roles that it leaves open."""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bufscan.bytesource import FileSource, MemorySource
from bufscan.errors import UnreadableError, UsageError
from bufscan.formats.reading import read_file, read_folder
from bufscan.roles.deciding import decide
from bufscan.target import FileTarget, FolderTarget, ObjectTarget, StandardInput, parse_target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.inventory import Inventory
    from bufscan.target import Target

_MOST_PIPED_BYTES = 1 << 30


def inspect(target: str) -> Inventory:
    """Every tensor that the target holds, with its role and the evidence for it.

    Raises:
        UsageError: the target is none that can be inspected.
        UnreadableError: the target cannot be read.
    """
    with _garbage_collector_paused():
        return decide(_read(parse_target(target), target))


def _read(target: Target, text: str) -> Inventory:
    match target:
        case FileTarget(path):
            with FileSource(path, name=text) as source:
                return read_file(source, text)
        case FolderTarget(path):
            return read_folder(path, text)
        case StandardInput():
            return read_file(_piped(), text)
        case ObjectTarget():
            raise UsageError("importing modules is not supported yet")


def _piped() -> MemorySource:
    data = sys.stdin.buffer.read(_MOST_PIPED_BYTES + 1)
    if len(data) > _MOST_PIPED_BYTES:
        raise UnreadableError("more than 1 GiB came from standard input", hint="write it to a file first")
    return MemorySource("standard input", data)


@contextmanager
def _garbage_collector_paused() -> Iterator[None]:
    """Reading makes hundreds of thousands of records and no cycles; collecting meanwhile only walks them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
