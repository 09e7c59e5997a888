"""Which reader reads a file: decided by its bytes, never by its name."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from bufscan.bytesource import is_file, is_folder
from bufscan.errors import UnreadableError
from bufscan.formats.signatures import (
    HEAD_BYTES,
    ends_as_zip,
    is_gguf,
    is_npy,
    is_pickle,
    is_safetensors,
    is_shard_index,
    is_tar,
    is_torch_legacy,
    is_zip,
)
from bufscan.inventory import Anomaly

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bufscan.bytesource import ByteSource, OpenFiles
    from bufscan.inventory import Inventory


# Each reader is imported when its format is met: start-up pays for one of them, not for all.


def _zip(source: ByteSource, target: str, plain: bool) -> Inventory:
    from bufscan.formats.containers.torch_zip import read_torch_zip

    return read_torch_zip(source, target, plain=plain)


def _legacy(source: ByteSource, target: str, plain: bool) -> Inventory:
    from bufscan.formats.containers.torch_legacy import read_torch_legacy

    return read_torch_legacy(source, target, plain=plain)


def _tar(source: ByteSource, target: str, plain: bool) -> Inventory:  # noqa: ARG001 - it is only named
    from bufscan.formats.containers.archives import what_tar_is

    raise what_tar_is(source, target)


def _safetensors(source: ByteSource, target: str, plain: bool) -> Inventory:  # noqa: ARG001 - it has none
    from bufscan.formats.containers.safetensors import read_safetensors

    return read_safetensors(source, target)


def _npy(source: ByteSource, target: str, plain: bool) -> Inventory:  # noqa: ARG001 - it has none
    from bufscan.formats.containers.numpy_files import read_npy

    return read_npy(source, target)


def _pickle(source: ByteSource, target: str, plain: bool) -> Inventory:
    from bufscan.formats.containers.plain_pickle import read_plain_pickle

    return read_plain_pickle(source, target, plain=plain)


def _gguf(source: ByteSource, target: str, plain: bool) -> Inventory:  # noqa: ARG001 - it has none
    from bufscan.formats.containers.gguf import read_gguf

    return read_gguf(source, target)


class Reader(NamedTuple):
    """One format: what a file of it is, how to tell it from its first bytes, and how to read it."""

    name: str
    recognises: Callable[[bytes], bool]
    read: Callable[[ByteSource, str, bool], Inventory]


# In torch's order: what could be read in two ways is read in the way that torch would choose.
READERS = (
    Reader("a zip archive", is_zip, _zip),
    Reader("a tar archive", is_tar, _tar),
    Reader("a checkpoint of torch before 1.6", is_torch_legacy, _legacy),
    Reader("a safetensors file", is_safetensors, _safetensors),
    Reader("a NumPy array", is_npy, _npy),
    Reader("a GGUF file", is_gguf, _gguf),
    Reader("a pickle", is_pickle, _pickle),
)


def read_file(source: ByteSource, target: str, *, plain: bool = False) -> Inventory:
    """The inventory of one file; `target` is how the user named it. `plain`: with the values beside its tensors.

    Raises:
        UnreadableError: it is empty, of no known format, or broken.
    """
    if not source.size:
        raise UnreadableError("the file is empty")
    head = _head_of(source)
    for reader in READERS:
        if reader.recognises(head):
            return _with_other_formats(reader.read(source, target, plain), reader, source, head)
    from bufscan.formats.identifying import unread

    raise unread(source)


def _with_other_formats(inventory: Inventory, used: Reader, source: ByteSource, head: bytes) -> Inventory:
    """The inventory, saying so where another program could take the same bytes for a file of another format."""
    # A pickle has too short a sign: some lengths of a safetensors header look like it.
    told_apart = (reader for reader in READERS if reader is not used and reader.read is not _pickle)
    others = [reader.name for reader in told_apart if reader.recognises(head)]
    if used.read is not _zip and ends_as_zip(source):
        others.append("a zip archive")
    if not others:
        return inventory
    message = f"another program can take the file for {' or '.join(others)}, with other contents"
    two = Anomaly(kind="two_formats", message=message)
    return replace(inventory, anomalies=(*inventory.anomalies, two))


def is_unzipped(folder: Path) -> bool:
    """Whether a folder is what unpacking a checkpoint gives: without its storages nobody unpacked one."""
    return is_file(folder / "data.pkl") and (is_file(folder / "version") or is_folder(folder / "data"))


def _head_of(source: ByteSource) -> bytes:
    return source.read(0, min(HEAD_BYTES, source.size))


def read_path(path: Path, target: str, files: OpenFiles, *, plain: bool = False) -> Inventory:
    """The inventory of a file, of the shards that an index file lists, or of the checkpoint in a folder.

    What is opened stays open in `files`.

    Raises:
        UnreadableError: there is no checkpoint there, or nothing of it can be read.
    """
    in_folder = is_folder(path)
    if not in_folder:
        source = files.open(path, name=target)
        if not is_shard_index(_head_of(source)):
            return read_file(source, target, plain=plain)
    from bufscan.formats.folders.sharded import (  # only checkpoints of several files need it
        read_index,
        read_sharded,
    )

    read = partial(read_file, plain=plain)
    if in_folder:
        return read_sharded(path, target, read, files, plain=plain)
    return read_index(path, target, read, files)
