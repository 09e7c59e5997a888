"""One side of a comparison: what its target holds, and a way to the values."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from bufscan.bytesource import FileSource
from bufscan.errors import BufscanError, UsageError
from bufscan.formats.reading import read_file
from bufscan.formats.shard_files import shard_folder
from bufscan.inspecting import inspect, standard_input
from bufscan.inventory import Inventory
from bufscan.roles.deciding import decide
from bufscan.target import FileTarget, FolderTarget, ObjectTarget, StandardInput, parse_target, require_target
from bufscan.values.storages import FileStorages, LiveStorages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from torch import nn

    from bufscan.bytesource import ByteSource
    from bufscan.target import Given
    from bufscan.values.storages import StorageReader


class Side(NamedTuple):
    """One of the two targets."""

    inventory: Inventory
    reader: StorageReader

    @property
    def is_live(self) -> bool:
        """Whether it is a model in memory rather than an artefact."""
        return self.inventory.format == "live"

    @property
    def has_values(self) -> bool:
        """Whether values were ever written; `torch.serialization.skip_data` leaves room for them alone."""
        return all(anomaly.kind != "no_values" for anomaly in self.inventory.anomalies)


class SideError(BufscanError):
    """One of the two targets cannot be read; `target` is how the user named it."""

    def __init__(self, target: str, error: BufscanError) -> None:
        super().__init__(error.message, hint=error.hint)
        self.target = target


@contextmanager
def opened(
    old: Given, new: Given, *, device: str | None = None, dtype: str | None = None
) -> Iterator[tuple[Side, Side]]:
    """Both sides while their files are open. Files are read before any code of the user's is imported.

    Args:
        old: a file, a folder, the name of a model, or a model.
        new: the same.
        device: where named models are built; None for torch's default.
        dtype: default dtype while they are built, the same.

    Raises:
        SideError: one of them cannot be read or built.
        UsageError: the two, or the options, do not go together.
    """
    old, new = require_target(old), require_target(new)
    kinds = _kind_of(old), _kind_of(new)
    if kinds == (StandardInput, StandardInput):
        raise UsageError("standard input can be only one of the two sides")
    if ObjectTarget not in kinds and (device is not None or dtype is not None):
        raise UsageError("a device and a dtype are for models that are built, and nothing is built here")
    with ExitStack() as files:
        if kinds[0] is ObjectTarget:
            second = open_side(new, files, device=device, dtype=dtype)
            yield open_side(old, files, device=device, dtype=dtype), second
        else:
            first = open_side(old, files, device=device, dtype=dtype)
            yield first, open_side(new, files, device=device, dtype=dtype)


def _kind_of(target: str | nn.Module) -> type:
    """The kind of target that a text names; of a module, its own class."""
    if not isinstance(target, str):
        return type(target)
    try:
        return type(parse_target(target))
    except BufscanError as error:
        raise SideError(target, error) from error


def open_side(
    target: str | nn.Module, files: ExitStack, *, device: str | None = None, dtype: str | None = None
) -> Side:
    """One target; what it opens is entered in `files`.

    Raises:
        SideError: it cannot be read or built.
    """
    try:
        return _open(target, files, device, dtype)
    except BufscanError as error:
        name = target if isinstance(target, str) else type(target).__qualname__
        raise SideError(name, error) from error


def _open(target: str | nn.Module, files: ExitStack, device: str | None, dtype: str | None) -> Side:
    if not isinstance(target, str):
        return _scanned(target, type(target).__qualname__)
    match parse_target(target):
        case ObjectTarget() as named:
            from bufscan.live.importing import build

            return _scanned(build(named, device=device, dtype=dtype), target)
        case StandardInput():
            source = standard_input()
            return Side(decide(read_file(source, target)), FileStorages(lambda _: source))
        case FileTarget(path) if str(path) == os.devnull:  # how git names the side that a file is not on
            return Side(Inventory(target=target, format="nothing"), LiveStorages({}))
        case FileTarget(path):
            return Side(inspect(target), FileStorages(_opener(path, path.parent, files)))
        case FolderTarget(path):
            return Side(inspect(target), FileStorages(_opener(path, path, files)))


def _scanned(model: nn.Module, target: str) -> Side:
    from bufscan.live.describing import StorageTable
    from bufscan.live.scanning import scan

    storages = StorageTable()
    inventory = scan(model, target, storages)
    return Side(inventory, LiveStorages(storages.live))


def _opener(path: Path, folder: Path, files: ExitStack) -> Callable[[str | None], ByteSource]:
    """What opens the target itself, or the file of that name in the folder of its shards."""

    def open_file(file: str | None) -> ByteSource:
        source = FileSource(path) if file is None else shard_folder(folder).open(file)
        return files.enter_context(source)

    return open_file
