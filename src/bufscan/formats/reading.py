"""Which reader reads a file: decided by its bytes, never by its name."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from bufscan.bytesource import is_folder
from bufscan.errors import UnreadableError
from bufscan.formats.signatures import HEAD_BYTES, is_safetensors, is_shard_index, is_tar, is_torch_legacy, is_zip

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bufscan.bytesource import ByteSource, OpenFiles
    from bufscan.inventory import Inventory


# Each reader is imported when its format is met: start-up pays for one of them, not for all.


def _zip(source: ByteSource, target: str, plain: bool) -> Inventory:
    from bufscan.formats.torch_zip import read_torch_zip

    return read_torch_zip(source, target, plain=plain)


def _legacy(source: ByteSource, target: str, plain: bool) -> Inventory:
    from bufscan.formats.torch_legacy import read_torch_legacy

    return read_torch_legacy(source, target, plain=plain)


def _tar(source: ByteSource, target: str, plain: bool) -> Inventory:
    from bufscan.formats.torch_tar import read_torch_tar

    return read_torch_tar(source, target, plain=plain)


def _safetensors(source: ByteSource, target: str, plain: bool) -> Inventory:  # noqa: ARG001 - it has none
    from bufscan.formats.safetensors import read_safetensors

    return read_safetensors(source, target)


class Reader(NamedTuple):
    """One format: how to tell it from a file's first bytes, and how to read it."""

    recognises: Callable[[bytes], bool]
    read: Callable[[ByteSource, str, bool], Inventory]


# In torch's order: what could be read in two ways is read in the way that torch would choose.
READERS = (
    Reader(is_zip, _zip),
    Reader(is_tar, _tar),
    Reader(is_torch_legacy, _legacy),
    Reader(is_safetensors, _safetensors),
)

_FORMATS_READ = "bufscan reads what torch.save and safetensors write"
_OTHER_FORMATS = (
    (b"\x1f\x8b", "a gzip file", "unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first"),
    (b"BZh", "a bzip2 file", "unpack it first"),
    (b"\xfd7zXZ\0", "an xz file", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd file", "unpack it first"),
    (b"GGUF", "a GGUF file, not a PyTorch checkpoint", _FORMATS_READ),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, not a PyTorch checkpoint", _FORMATS_READ),
    (b"\x93NUMPY", "a NumPy array file, not a PyTorch checkpoint", _FORMATS_READ),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "fetch it: `git lfs pull`"),
    (b"\x80", "a plain pickle, not written by torch.save", "save it again: `torch.save(state_dict, path)`"),
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
            return reader.read(source, target, plain)
    for start, kind, hint in _OTHER_FORMATS:
        if head.startswith(start):
            raise UnreadableError(kind, hint=hint)
    raise UnreadableError("not a checkpoint: its first bytes are those of no known format", hint=_FORMATS_READ)


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
    from bufscan.formats.sharded import read_index, read_sharded  # only checkpoints of several files need it

    return (read_sharded if in_folder else read_index)(path, target, partial(read_file, plain=plain), files)
