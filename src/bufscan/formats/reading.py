"""Which reader reads a file: decided by its bytes, never by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bufscan.errors import UnreadableError
from bufscan.formats import safetensors, torch_legacy, torch_tar, torch_zip

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bufscan.bytesource import ByteSource
    from bufscan.inventory import Inventory

_HEAD_BYTES = 512


class Reader(NamedTuple):
    """One format: how to tell it from a file's first bytes and its size, and how to read it."""

    recognises: Callable[[bytes, int], bool]
    read: Callable[[ByteSource, str], Inventory]


READERS = (
    Reader(torch_zip.recognises, torch_zip.read_torch_zip),
    Reader(torch_legacy.recognises, torch_legacy.read_torch_legacy),
    Reader(torch_tar.recognises, torch_tar.read_torch_tar),
    Reader(safetensors.recognises, safetensors.read_safetensors),
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


def read_file(source: ByteSource, target: str) -> Inventory:
    """The inventory of one file; `target` is how the user named it.

    Raises:
        UnreadableError: it is empty, of no known format, or broken.
    """
    if not source.size:
        raise UnreadableError("the file is empty")
    head = source.read(0, min(_HEAD_BYTES, source.size))
    for reader in READERS:
        if reader.recognises(head, source.size):
            return reader.read(source, target)
    for start, kind, hint in _OTHER_FORMATS:
        if head.startswith(start):
            raise UnreadableError(kind, hint=hint)
    raise UnreadableError("not a checkpoint: its first bytes are those of no known format", hint=_FORMATS_READ)


def read_folder(path: Path, target: str) -> Inventory:
    """The inventory of a folder that holds a checkpoint, sharded or not.

    Raises:
        UnreadableError: there is no checkpoint in it, or none of its files can be read.
    """
    from bufscan.formats.sharded import read_sharded  # only folders need it

    return read_sharded(path, target, read_file)
