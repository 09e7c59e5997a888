"""Open what an address names: one file, the shards that an index lists, or a folder of an object store."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bufscan.errors import without_secrets
from bufscan.formats.folders.sharded import read_remote_folder, read_remote_index
from bufscan.formats.reading import read_file
from bufscan.formats.signatures import HEAD_BYTES, is_shard_index
from bufscan.remote import RemoteFolder, folder_of, list_remote, open_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from bufscan.bytesource import ByteSource
    from bufscan.inventory import Inventory


def read_url(url: str, *, plain: bool) -> tuple[Inventory, Callable[[str | None], ByteSource]]:
    """The inventory of what lies at an address, and what opens its files again for values.

    Raises:
        UnreadableError: there is nothing that can be read.
    """
    shown = without_secrets(url)
    read = partial(read_file, plain=plain)
    names = list_remote(url)
    if names is not None:
        folder = RemoteFolder(url.rstrip("/") + "/")
        return read_remote_folder(names, folder, shown, read), partial(_open_in, folder)
    source = open_url(url)
    folder = folder_of(url)
    if is_shard_index(source.read(0, min(HEAD_BYTES, source.size))):
        return read_remote_index(source, folder, shown, read), partial(_open_in, folder)
    return read(source, shown), lambda _: source


def _open_in(folder: RemoteFolder, file: str | None) -> ByteSource:
    assert file is not None  # noqa: S101 - every storage of a folder says in which file it lies
    return folder.open(file)
