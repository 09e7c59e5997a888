"""How each format's files begin. A file's name is never asked."""

from __future__ import annotations

HEAD_BYTES = 512
"""As many first bytes as any of these needs."""

ZIP_LOCAL_HEADER = b"PK\3\4"

# Protocol 2 and an integer of ten bytes: torch's magic number 0x1950a86a20f9469cfc6c, pickled as a literal.
_TORCH_LEGACY = bytes.fromhex("80028a0a6cfc9c46f9206aa85019")

_TAR_OFFSET, _TAR = 257, b"ustar"

_LARGEST_HEADER = 100_000_000
_JSON_BLANKS = b" \t\n\r"


def is_zip(head: bytes) -> bool:
    """A zip archive from its first byte on, as torch requires."""
    return head.startswith(ZIP_LOCAL_HEADER)


def is_torch_legacy(head: bytes) -> bool:
    """The stream that torch.save wrote before 1.6."""
    return head.startswith(_TORCH_LEGACY)


def is_tar(head: bytes) -> bool:
    """A tar archive, as torch 0.1 wrote."""
    return head[_TAR_OFFSET : _TAR_OFFSET + len(_TAR)] == _TAR


def is_safetensors(head: bytes) -> bool:
    """A length that a safetensors header may have, then JSON; blanks before it may fill all of `head`."""
    length, header = int.from_bytes(head[:8], "little"), head[8:]
    return bool(header) and length <= _LARGEST_HEADER and header.lstrip(_JSON_BLANKS)[:1] in (b"{", b"")


def is_shard_index(head: bytes) -> bool:
    """The JSON index of a sharded checkpoint: an object that soon comes to its `weight_map`."""
    return head.lstrip(_JSON_BLANKS).startswith(b"{") and b'"weight_map"' in head
