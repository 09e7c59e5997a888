"""What a file is that no reader reads, told by its bytes, and what to do about it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from bufscan.errors import UnreadableError
from bufscan.formats.listing import quoted

if TYPE_CHECKING:
    from collections.abc import Callable

    from bufscan.bytesource import ByteSource

_LOOKED_AT = 1 << 16  # bytes; a title stands in the first few hundred
_ZEROS_LOOKED_AT = 1 << 24

_FORMATS_READ = "bufscan reads what torch, safetensors, llama.cpp and NumPy write"
_AGAIN = "download it again: the server sent this in its place, perhaps because it wants you to log in"
_UNPACK = "unpack it first"
_EXPORT = "bufscan reads the checkpoint that it was made from"


class Kind(NamedTuple):
    """A kind of file: how its first bytes tell it, what it is called, and what to do.

    Attributes:
        is_met: a regular expression for the first bytes, or a test of them.
        name: what it is; may end with what it says of itself.
        hint: what to do.
    """

    is_met: bytes | Callable[[bytes], bool]
    name: str | Callable[[bytes], str]
    hint: str = _FORMATS_READ

    def fits(self, head: bytes) -> bool:
        """Whether a file that begins with `head` is of this kind."""
        if isinstance(self.is_met, bytes):
            return re.match(self.is_met, head, re.DOTALL | re.IGNORECASE) is not None
        return self.is_met(head)

    def name_of(self, head: bytes) -> str:
        """What the file is called in a sentence."""
        return self.name if isinstance(self.name, str) else self.name(head)


def _saying(name: str, pattern: bytes) -> Callable[[bytes], str]:
    """The name, and what the file says of itself where the pattern finds it."""

    def describe(head: bytes) -> str:
        found = re.search(pattern, head, re.DOTALL | re.IGNORECASE)
        said = "" if found is None else " ".join(found[1].decode("utf-8", "replace").split())
        return f"{name}: {quoted(said)}" if said else name

    return describe


def _json_name(head: bytes) -> str:
    """A JSON document, with the error that it reports."""
    name = "a JSON document, not a checkpoint"
    try:
        content = msgspec.json.decode(head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return name
    said = [content[key] for key in ("error", "message", "detail", "status") if key in content]
    words = next((each for each in said if type(each) is str), None)
    return name if words is None else f"{name}: {quoted(words)}"


def _is_text(head: bytes) -> bool:
    """Whether it can be read as text: no control character, and whole letters but for a last one that is cut."""
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:
            return False
        text = head[: error.start].decode()
    return all(character.isprintable() or character in "\t\r\n\f" for character in text)


def _compressed(command: str) -> str:
    return f"{_UNPACK}: `{command}`, or `tar xf` if it is an archive"


_START = rb"(?:\xef\xbb\xbf)?\s*"

KINDS = (
    Kind(rb"\x1f\x8b", "a gzip file", _compressed("gunzip -k")),
    Kind(rb"7z\xbc\xaf\x27\x1c", "a 7z archive", f"{_UNPACK}: `7z x`"),
    Kind(rb"Rar!\x1a\x07", "a RAR archive", f"{_UNPACK}: `unrar x`"),
    Kind(rb"BZh[1-9]", "a bzip2 file", _compressed("bunzip2 -k")),
    Kind(rb"\xfd7zXZ\0", "an xz file", _compressed("unxz -k")),
    Kind(rb"\x28\xb5\x2f\xfd", "a zstd file", _compressed("unzstd")),
    Kind(rb"\x04\x22\x4d\x18", "an lz4 file", _compressed("unlz4")),
    Kind(rb"x[\x01\x9c\xda]", "a zlib stream, as joblib writes", "save it again without compression"),
    Kind(rb"PK\x05\x06", "a zip archive with nothing in it", "copy or download it again"),
    Kind(rb"version https://git-lfs", "a Git LFS pointer, not the file itself", "fetch the file: `git lfs pull`"),
    Kind(rb"/annex/objects/", "a git-annex pointer, not the file itself", "fetch the file: `git annex get`"),
    Kind(rb"(?:lmgg|fmgg|tjgg|algg)", "a GGML file, which came before GGUF", _EXPORT),
    Kind(rb"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes, not a PyTorch checkpoint"),
    Kind(rb".{4}PTMF", "a TorchScript model for mobile devices, without names and roles", _EXPORT),
    Kind(rb".{4}ET\d\d", "an ExecuTorch program, without names and roles", _EXPORT),
    Kind(rb".{4}TFL3", "a TensorFlow Lite model, not a PyTorch checkpoint"),
    # `ir_version`, then the producer's name (onnx.proto, ModelProto).
    Kind(rb"\x08[\x03-\x14]\x12[\x01-\x40][ -~]", "an ONNX model, not a PyTorch checkpoint", _EXPORT),
    # A map whose first key is a short text (flax.serialization.to_bytes).
    Kind(
        rb"(?:[\x81-\x8f]|\xde..|\xdf....)(?:[\xa1-\xbf]|\xd9.)[ -~]",
        "a msgpack file, as Flax writes, not a PyTorch checkpoint",
    ),
    Kind(rb"PAR1", "a Parquet table, not a checkpoint"),
    Kind(rb"SQLite format 3", "an SQLite database, not a checkpoint"),
    Kind(rb"%PDF-|\x89PNG|\xff\xd8\xff|GIF8|RIFF", "a document, picture or sound, not a checkpoint"),
    Kind(rb"\x7fELF|MZ\x90\0", "a program or library, not a checkpoint"),
    Kind(
        _START + rb"(?:<!doctype html|<html|<head|<body)",
        _saying("a web page, not a checkpoint", rb"<title[^>]*>(.{1,1000}?)</title"),
        _AGAIN,
    ),
    Kind(
        _START + rb"<(?:\?xml|error|!doctype)",
        _saying("an XML document, not a checkpoint", rb"<(?:code|title)[^>]*>(.{1,1000}?)</"),
        _AGAIN,
    ),
    Kind(_START + rb"\{", _json_name, "name the file or the folder that has the weights"),
    Kind(_is_text, "not a checkpoint, but text", "name the file or the folder that has the weights"),
)

# At the end of the index of a TensorFlow checkpoint, which is a table of LevelDB (table_format.md).
_TABLE_MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")


def unread(source: ByteSource) -> UnreadableError:
    """What a file is that has none of the formats that are read."""
    head = source.read(0, min(_LOOKED_AT, source.size))
    if not head.strip(b"\0") and (zeros := _zeros(source)) is not None:
        return UnreadableError(
            zeros, hint="a copy or a download that was cut off, or a full disk: copy or download it again"
        )
    for kind in KINDS:
        if kind.fits(head):
            return UnreadableError(kind.name_of(head), hint=kind.hint)
    if head.endswith(_TABLE_MAGIC) or source.read(max(source.size - 8, 0), min(8, source.size)) == _TABLE_MAGIC:
        return UnreadableError(
            "the index of a TensorFlow checkpoint, not a PyTorch checkpoint", hint=_FORMATS_READ
        )
    return UnreadableError("not a checkpoint: its first bytes are those of no known format", hint=_FORMATS_READ)


def _zeros(source: ByteSource) -> str | None:
    """That a file is nothing but zeros, as far as it is looked at; None where it is not."""
    length = min(source.size, _ZEROS_LOOKED_AT)
    if source.read(0, length).strip(b"\0"):
        return None
    if length == source.size:
        return f"nothing but zeros: all {length:,} bytes of it"
    return f"nothing but zeros in its first {length:,} bytes"
