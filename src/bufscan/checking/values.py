"""Where the values of a target's tensors are read from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.bytesource import FileSource
from bufscan.errors import UnreadableError
from bufscan.formats.shard_files import shard_folder
from bufscan.target import FileTarget, FolderTarget
from bufscan.values.finiteness import count_nonfinite
from bufscan.values.storages import FileStorages, LiveStorages

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import ExitStack

    import torch

    from bufscan.bytesource import ByteSource
    from bufscan.findings import CountNonFinite
    from bufscan.inventory import Inventory
    from bufscan.target import ModuleTarget, Target


def values_in_file(inventory: Inventory, target: Target | ModuleTarget, files: ExitStack) -> CountNonFinite:
    """Reads from the target's own file, or from the files of its folder; `files` closes them."""

    def open_file(file: str | None) -> ByteSource:
        match target:
            case FileTarget(path) | FolderTarget(path):
                folder = path if isinstance(target, FolderTarget) else path.parent
                source = FileSource(path) if file is None else shard_folder(folder).open(file)
                return files.enter_context(source)
            case _:
                raise UnreadableError("standard input can be read only once")

    reader = FileStorages(open_file)
    return lambda tensor: count_nonfinite(tensor, inventory.storages, reader)


def values_in_memory(inventory: Inventory, storages: Mapping[str, torch.UntypedStorage]) -> CountNonFinite:
    """Reads from the storages of a live model."""
    reader = LiveStorages(storages)
    return lambda tensor: count_nonfinite(tensor, inventory.storages, reader)
