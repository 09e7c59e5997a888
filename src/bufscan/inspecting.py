"""Inspect a target: read the file or build the model, then decide the roles that are left open."""

from __future__ import annotations

import gc
import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from bufscan.bytesource import MemorySource, exists
from bufscan.errors import UnreadableError, UsageError
from bufscan.formats.reading import read_file, read_path
from bufscan.joining.counterpart import require_one_model
from bufscan.roles.deciding import decide
from bufscan.target import FileTarget, FolderTarget, ObjectTarget, StandardInput, parse_target, require_target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from bufscan.inventory import Inventory
    from bufscan.target import Given

_MOST_PIPED_BYTES = 1 << 30

# `torch.nn.Linear`: like no file name that people give, for these end in something like `.pt`.
_DOTTED_NAME = r"[a-z_]\w*(?:\.[a-z_]\w*)*\.[A-Z]\w*"


def inspect(
    target: Given,
    *,
    model: str | nn.Module | None = None,
    from_config: bool = False,
    device: str | None = None,
    dtype: str | None = None,
) -> Inventory:
    """Every tensor that the target holds, with its role and the evidence for it.

    A file or a folder is read without torch and without running anything in it. A module, or the name of one
    (`package.module:Model`, `path/to/file.py:make_model(dim=64)`), is measured as it is.

    Args:
        target: what to inspect.
        model: the model that a checkpoint belongs to, or its name; it makes the checkpoint's roles exact and shows
            what is missing, unexpected or of another shape. A named model is built on the meta device or,
            where its constructor reads values, on torch's default one.
        from_config: build that model from the `config.json` of the Hugging Face folder that `target` is.
        device: where a named model is built; None for torch's default.
        dtype: default dtype while a named model is built; None for torch's default.

    Raises:
        UsageError: the target is none that can be inspected, or the options contradict it.
        UnreadableError: the target cannot be read, or a model cannot be built.
    """
    target = require_target(target)
    if not isinstance(target, str):
        from bufscan.live.scanning import scan

        _refuse_model(model, from_config=from_config)
        return scan(target, type(target).__qualname__)
    parsed = parse_target(target)
    if isinstance(parsed, ObjectTarget):
        _refuse_model(model, from_config=from_config)
        return _build_and_scan(parsed, target, device=device, dtype=dtype)
    require_one_model(model, from_config=from_config)
    builds = isinstance(model, str)
    if not builds and (device is not None or dtype is not None):
        raise UsageError("a device and a dtype are for models that are built, and nothing is built here")
    with _garbage_collector_paused():
        checkpoint = decide(_read(parsed, target))
    if model is None and not from_config:
        return checkpoint
    return _joined(checkpoint, parsed, model, device=device, dtype=dtype)


def _refuse_model(model: object, *, from_config: bool) -> None:
    if model is not None or from_config:
        raise UsageError("a model is joined to a checkpoint, and this target is a model itself")


def _build_and_scan(target: ObjectTarget, text: str, *, device: str | None, dtype: str | None) -> Inventory:
    from bufscan.live.importing import build
    from bufscan.live.scanning import scan

    return scan(build(target, device=device, dtype=dtype), text)


def _joined(
    checkpoint: Inventory,
    target: FileTarget | FolderTarget | StandardInput,
    model: str | nn.Module | None,
    *,
    device: str | None,
    dtype: str | None,
) -> Inventory:
    """The checkpoint with its model: given, named, or described by the checkpoint's own folder."""
    from bufscan.joining.counterpart import Counterpart, build_described, build_named
    from bufscan.joining.fit import join
    from bufscan.live.scanning import scan

    if model is None:
        other = build_described(target, [tensor.name for tensor in checkpoint.tensors])
    elif isinstance(model, str):
        other = build_named(model, device=device, dtype=dtype)
    else:
        other = Counterpart(model, type(model).__qualname__)
    joined = join(checkpoint, scan(other.model, other.name), other.converted)
    return msgspec.structs.replace(joined, notes=(*joined.notes, other.note)) if other.note else joined


def _read(target: FileTarget | FolderTarget | StandardInput, text: str) -> Inventory:
    match target:
        case FileTarget(path) if path.suffix == ".py" and exists(path):
            raise UsageError("a Python file, not a checkpoint", hint=f"name a model in it: `{text}:Model`")
        case FileTarget(path) if not exists(path) and re.fullmatch(_DOTTED_NAME, text):
            module, _, name = text.rpartition(".")
            raise UnreadableError("no such file", hint=f"if it is a model, name it so: `{module}:{name}`")
        case FileTarget(path) | FolderTarget(path):
            return read_path(path, text)
        case StandardInput():
            return read_file(standard_input(), text)


def standard_input() -> MemorySource:
    """What was piped in.

    Raises:
        UnreadableError: it is nothing, or too much to keep in memory.
    """
    if sys.stdin is None:
        raise UnreadableError("standard input is closed")
    try:
        data = sys.stdin.buffer.read(_MOST_PIPED_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise UnreadableError(f"standard input cannot be read: {reason}") from error
    if not data:
        raise UnreadableError("nothing came from standard input")
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
