"""How each format's files begin. A file's name is never asked."""

from __future__ import annotations

import re
from struct import unpack_from
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bufscan.bytesource import ByteSource

HEAD_BYTES = 512
"""As many first bytes as any of these needs."""

ZIP_LOCAL_HEADER = b"PK\3\4"
_ZIP_END_BYTES = 22

# An integer of ten bytes, torch's magic number 0x1950a86a20f9469cfc6c, and the end: a literal and no more. From
# protocol 4 on, the length of a frame comes before it.
_TORCH_LEGACY = rb"\x80[\2-\5](?:\x95.{8})?\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\."

# From protocol 2 on a pickle says so. Before that it may begin with a dict or a list, or with the name of a class.
_PICKLE = rb"\x80[\1-\5]|\([dl]p\d+\n|[}\]]q|c[\w.]+\n[\w.]+\n(?:p\d+\n|q|\()"
_NPY = b"\x93NUMPY"
_GGUF = b"GGUF"

_TAR_BLOCK = 512
_TAR_CHECKSUM = slice(148, 156)

_LARGEST_HEADER = 100_000_000
_JSON_BLANKS = b" \t\n\r"


def is_zip(head: bytes) -> bool:
    """A zip archive from its first byte on, as torch requires."""
    return head.startswith(ZIP_LOCAL_HEADER)


def ends_as_zip(source: ByteSource) -> bool:
    """Whether a file of another format ends as a zip archive does: many programs look for its directory there.

    The end record must be the last thing in the file, and its directory must lie where it says, counted from the
    start of the file or of an archive that was appended to it.
    """
    if source.size < _ZIP_END_BYTES:
        return False
    tail = source.read(source.size - _ZIP_END_BYTES, _ZIP_END_BYTES)
    if not tail.startswith(b"PK\5\6"):
        return False
    size, _, comment = unpack_from("<2LH", tail, 12)
    start = source.size - _ZIP_END_BYTES - size
    return comment == 0 and start >= 0 and (not size or source.read(start, 4) == b"PK\1\2")


def is_torch_legacy(head: bytes) -> bool:
    """The stream that torch.save wrote before 1.6."""
    return re.match(_TORCH_LEGACY, head, re.DOTALL) is not None


def is_pickle(head: bytes) -> bool:
    """A pickle that torch.save did not write: `pickle.dump` of a dict of arrays, for instance."""
    return re.match(_PICKLE, head) is not None


def is_gguf(head: bytes) -> bool:
    """A model of llama.cpp."""
    return head.startswith(_GGUF)


def is_npy(head: bytes) -> bool:
    """One NumPy array (numpy.lib.format)."""
    return head.startswith(_NPY)


def is_tar(head: bytes) -> bool:
    """A tar archive, as torch 0.1 wrote: its first block has the checksum that it claims.

    Nothing else is asked, for torch asks for nothing else, and tries this before it reads a stream.
    """
    if len(head) < _TAR_BLOCK:
        return False
    block = head[:_TAR_BLOCK]
    rest = block[: _TAR_CHECKSUM.start] + b" " * 8 + block[_TAR_CHECKSUM.stop :]
    signed = sum(rest) - 256 * sum(byte > 127 for byte in rest)  # noqa: PLR2004 - as some old writers added
    return tar_number(block[_TAR_CHECKSUM]) in (sum(rest), signed)


def tar_number(field: bytes) -> int | None:
    """A number in a tar header, read as Python's tarfile reads it; None when it is none."""
    if field[0] == 0x80:  # noqa: PLR2004 - marks a binary number
        return int.from_bytes(field[1:])
    try:
        return int(field.partition(b"\0")[0].strip() or b"0", 8)
    except ValueError:
        return None


def is_safetensors(head: bytes) -> bool:
    """A length that a safetensors header may have, then JSON; blanks before it may fill all of `head`."""
    length, header = int.from_bytes(head[:8], "little"), head[8:]
    return bool(header) and length <= _LARGEST_HEADER and header.lstrip(_JSON_BLANKS)[:1] in (b"{", b"")


def is_shard_index(head: bytes) -> bool:
    """The JSON index of a sharded checkpoint: an object that soon comes to its `weight_map`."""
    return head.lstrip(_JSON_BLANKS).startswith(b"{") and b'"weight_map"' in head
