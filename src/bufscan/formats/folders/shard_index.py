"""The index of a sharded checkpoint, as Hugging Face libraries write it: which tensor is in which file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from bufscan.errors import UnreadableError
from bufscan.formats.containers.strict_json import MAX_BYTES, load_json
from bufscan.formats.listing import quoted

if TYPE_CHECKING:
    from bufscan.bytesource import ByteSource

_MAX_FILES = 10_000


class ShardIndex(NamedTuple):
    """What an index claims.

    Attributes:
        names: the tensors' names by the file that should hold them.
        total_size: bytes of all tensors; None where it says nothing.
        metadata: the rest of what it says about the checkpoint, as text.
    """

    names: dict[str, list[str]]
    total_size: int | None
    metadata: dict[str, str]


def read_shard_index(source: ByteSource) -> ShardIndex:
    """The claims of an index file.

    Raises:
        UnreadableError: it is no JSON, or not the JSON of an index.
    """
    if source.size > MAX_BYTES:
        raise UnreadableError(f"the index has {source.size:,} bytes, more than the {MAX_BYTES:,} allowed")
    data = source.read(0, source.size)
    weight_map, metadata = _decode_typed(data) or _decode_carefully(data)
    names: dict[str, list[str]] = {}
    for name, file in weight_map.items():
        names.setdefault(file, []).append(name)
        if len(names) > _MAX_FILES:
            raise UnreadableError(f"the index names more than {_MAX_FILES:,} files")
    if not names:
        raise UnreadableError("the index names no file")
    return ShardIndex(names, *_read_metadata(metadata))


class _Index(msgspec.Struct, gc=False):
    weight_map: dict[str, str]
    metadata: dict[str, str | int] = {}


_INDEX = msgspec.json.Decoder(_Index)


def _decode_typed(data: bytes) -> tuple[dict[str, str], dict[str, Any]] | None:
    """`weight_map` and `metadata`, or None when only `_decode_carefully` can tell.

    As with a safetensors header, whatever was dropped had a key, and the quotes tell that nothing was.
    """
    try:
        index = _INDEX.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    texts = sum(isinstance(value, str) for value in index.metadata.values())
    strings = 1 + 2 * len(index.weight_map) + (b'"metadata"' in data) + len(index.metadata) + texts
    numbers = (value for value in index.metadata.values() if isinstance(value, int))
    # A negative zero is read as 0, and readers disagree on it.
    if data.count(b'"') != 2 * strings or any(number == 0 for number in numbers):
        return None
    return index.weight_map, index.metadata


def _decode_carefully(data: bytes) -> tuple[dict[str, str], dict[str, Any]]:
    index = load_json(data, what="the index")
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict):
        raise UnreadableError("the index has no `weight_map` that gives each tensor its file")
    for name, file in weight_map.items():
        if not isinstance(file, str):
            raise UnreadableError(f"the index gives {quoted(name)} no file name")
    metadata = index.get("metadata")
    return weight_map, metadata if isinstance(metadata, dict) else {}


def _read_metadata(metadata: dict[str, Any]) -> tuple[int | None, dict[str, str]]:
    texts = {key: str(value) for key, value in metadata.items() if isinstance(value, str | int | float)}
    match metadata.get("total_size"):
        case bool():
            return None, texts
        case int() | float() as size if size == int(size):  # some writers summed up in floating point
            return int(size), texts
    return None, texts
