"""Inspect a target: read the file or build the model, then decide the roles that are left open."""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bufscan.bytesource import FileSource, MemorySource
from bufscan.errors import UnreadableError
from bufscan.formats.reading import read_file, read_folder
from bufscan.roles.deciding import decide
from bufscan.target import FileTarget, FolderTarget, ObjectTarget, StandardInput, parse_target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from bufscan.inventory import Inventory

_MOST_PIPED_BYTES = 1 << 30


def inspect(target: str | nn.Module, *, device: str | None = None, dtype: str | None = None) -> Inventory:
    """Every tensor that the target holds, with its role and the evidence for it.

    A file or a folder is read without torch and without running anything in it. A module, or the name of one
    (`package.module:Model`, `path/to/file.py:make_model(dim=64)`), is measured as it is.

    Args:
        target: what to inspect.
        device: where a named model is built (`meta` allocates nothing); None for torch's default.
        dtype: default dtype while a named model is built; None for torch's default.

    Raises:
        UsageError: the target is none that can be inspected.
        UnreadableError: the target cannot be read or built.
    """
    if not isinstance(target, str):
        from bufscan.live.scanning import scan

        return scan(target, type(target).__qualname__)
    parsed = parse_target(target)
    if isinstance(parsed, ObjectTarget):
        from bufscan.live.importing import build
        from bufscan.live.scanning import scan

        return scan(build(parsed, device=device, dtype=dtype), target)
    with _garbage_collector_paused():
        return decide(_read(parsed, target))


def _read(target: FileTarget | FolderTarget | StandardInput, text: str) -> Inventory:
    match target:
        case FileTarget(path):
            with FileSource(path, name=text) as source:
                return read_file(source, text)
        case FolderTarget(path):
            return read_folder(path, text)
        case StandardInput():
            return read_file(_piped(), text)


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
