"""The safetensors reader: eight bytes of length, a JSON header, then the tensors' bytes without a gap.

It accepts and refuses what the reference reader (safetensors 0.8) does, and refuses equal names besides. Only the
header is read, never the data.
"""

from __future__ import annotations

from itertools import islice
from math import prod
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import msgspec

from bufscan.dtypes import DTYPES
from bufscan.errors import UnreadableError
from bufscan.formats.containers.strict_json import load_json
from bufscan.formats.folders.dcp_pieces import PIECES_NOTE, SHARDING_INFO
from bufscan.formats.listing import counted, listed, quoted
from bufscan.inventory import Anomaly, Inventory, Skipped, Storage, Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.bytesource import ByteSource

MAX_HEADER = 100_000_000
"""Bytes of header that the reference reader takes at most."""

_CUT_OFF = "the file is cut off: copy or download it again"
_LENGTH_BYTES = 8
_LARGEST = (1 << 64) - 1  # sizes are u64 in the reference reader
_LARGEST_STRIDE = (1 << 63) - 1  # int64 in torch
_MANY_DIMENSIONS = 16
_MAX_TIES = 10_000

_TYPE_NAMES = {
    "BOOL": "bool",
    "F4": "float4_e2m1fn_x2",
    "F6_E2M3": "float6_e2m3fn",
    "F6_E3M2": "float6_e3m2fn",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
    **{
        f"{letter}{bits}": f"{kind}{bits}"
        for letter, kind in (("I", "int"), ("U", "uint"))
        for bits in (8, 16, 32, 64)
    },
}
"""torch's name by the header's; these are all that the reference reader knows."""

# The header counts single 4-bit elements where torch counts bytes of two.
_BITS = {code: DTYPES[name].bits for code, name in _TYPE_NAMES.items()} | {"F4": 4}

_Row: TypeAlias = tuple[int, int, str, str, tuple[int, ...]]
"""begin, end, name, type and shape of one tensor, sorted by where its bytes lie."""


def read_safetensors(source: ByteSource, target: str, *, file: str | None = None) -> Inventory:
    """The tensors of one file, in the order of their bytes; `file` is its name where it is one of several.

    Writers sort the header by type and name or leave it to a hash map, so its order says nothing of the model; the
    order of the bytes is what the reference reader lists, and what reading the values wants.

    Raises:
        UnreadableError: the file is not what the reference reader would accept, or has two equal names.
    """
    header = _read_header(source)
    data_start = _LENGTH_BYTES + len(header)
    decoded = _decode_typed(header)
    rows, metadata = _decode_carefully(header) if decoded is None else decoded
    rows.sort()
    _require_seamless(rows, source.size - data_start)
    tensors, storages = _make_records(rows, data_start, file)
    ties, skipped = _find_ties(metadata, tensors)
    notes = []
    if ties:
        notes.append(f"save_model left out {counted(len(ties), 'tied name')}, which `__metadata__` records")
    if SHARDING_INFO in metadata:
        notes.append(PIECES_NOTE)
    return Inventory(
        target=target,
        format="safetensors",
        tensors=(*tensors, *ties),
        storages=storages,
        anomalies=tuple(_find_unloadable(rows)),
        skipped=skipped,
        metadata=metadata,
        notes=tuple(notes),
    )


def _read_header(source: ByteSource) -> bytes:
    if source.size < _LENGTH_BYTES:
        raise UnreadableError("too short for a safetensors file: not even the header's length is there")
    length = int.from_bytes(source.read(0, _LENGTH_BYTES), "little")
    if length > MAX_HEADER:
        raise UnreadableError(
            f"the safetensors header claims {length:,} bytes, more than the {MAX_HEADER:,} allowed"
        )
    following = source.size - _LENGTH_BYTES
    if length > following:
        raise UnreadableError(
            f"the safetensors header should have {length:,} bytes, but only {following:,} follow", hint=_CUT_OFF
        )
    return source.read(_LENGTH_BYTES, length)


# Decoding: into types at C speed when the text can be shown to hold nothing else, else member by member.

_Size = Annotated[int, msgspec.Meta(ge=0)]


class _Entry(msgspec.Struct, gc=False):
    dtype: str | None = None
    shape: tuple[_Size, ...] | None = None
    data_offsets: tuple[_Size, _Size] | None = None


class _Header(msgspec.Struct):
    metadata: dict[str, str] = msgspec.field(name="__metadata__", default_factory=dict)


_ENTRIES = msgspec.json.Decoder(dict[str, _Entry])
_HEADER = msgspec.json.Decoder(_Header)


def _decode_typed(header: bytes) -> tuple[list[_Row], dict[str, str]] | None:
    """The rows and `__metadata__`, or None when only `_decode_carefully` can tell.

    Types drop what they do not name, and the first of two equal keys. Whatever is dropped had a key, so nothing
    was when the text has no more quotes than the strings that were kept: five for each tensor (its name, three
    keys and its type). An escaped quote inside a string only makes them more.
    """
    if _may_hold_negative_zero(header):
        return None
    try:
        metadata = _HEADER.decode(header).metadata
        entries = _ENTRIES.decode(header)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    strings = 0 if entries.pop("__metadata__", None) is None else 1 + 2 * len(metadata)
    if header.count(b'"') != 2 * (strings + 5 * len(entries)):
        return None
    rows: list[_Row] = []
    for name, entry in entries.items():
        if entry.dtype is None or entry.shape is None or entry.data_offsets is None:
            return None
        rows.append((*entry.data_offsets, name, entry.dtype, entry.shape))
    return rows, metadata


def _may_hold_negative_zero(header: bytes) -> bool:
    """Whether `-0`, which msgspec reads as 0 and the reference reader refuses, may stand in an array."""
    return b"-0" in header and any(before + b"-0" in header for before in (b"[", b",", b" ", b"\t", b"\r", b"\n"))


def _decode_carefully(header: bytes) -> tuple[list[_Row], dict[str, str]]:
    entries = load_json(header, what="the safetensors header", max_bytes=MAX_HEADER)
    if not isinstance(entries, dict):
        raise UnreadableError("the safetensors header is not a JSON object")
    metadata = entries.pop("__metadata__", None)
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise UnreadableError("`__metadata__` in the safetensors header is not an object of strings")
    return [_read_entry(name, entry) for name, entry in entries.items()], metadata


def _read_entry(name: str, entry: Any) -> _Row:
    match entry:
        # The reference reader takes the three fields by position as well, and a type as {"F32": null}.
        case {"dtype": code, "shape": [*shape], "data_offsets": [begin, end]} | [code, [*shape], [begin, end]] if (
            all(type(size) is int and size >= 0 for size in (begin, end, *shape))
        ):
            if isinstance(code, dict) and list(code.values()) == [None]:
                (code,) = code
            if isinstance(code, str):
                return begin, end, name, code, tuple(shape)
    raise UnreadableError(f"the safetensors header does not give {quoted(name)} a dtype, shape and data_offsets")


# Validity, as the reference reader sees it.


def _require_seamless(rows: list[_Row], data_size: int) -> None:
    """The tensors' bytes must follow each other without gap or overlap, from the first to the last of the data."""
    expected = 0
    for begin, end, name, code, shape in rows:
        bits = _BITS.get(code)
        if bits is None:
            raise UnreadableError(f"{quoted(name)} has a type that safetensors does not know: {quoted(code)}")
        if begin != expected or end < begin:
            raise UnreadableError(
                f"the bytes of {quoted(name)} run from {begin:,} to {end:,}, but should begin at {expected:,}"
            )
        numel = prod(shape) if len(shape) < _MANY_DIMENSIONS else _count_elements(shape)
        if numel is None or numel * bits != (end - begin) * 8 or (numel == 0 and _count_elements(shape) is None):
            raise UnreadableError(
                f"the shape of {quoted(name)} does not fit its {counted(end - begin, 'byte')} of {code}"
            )
        expected = end
    if expected > data_size:
        raise UnreadableError(
            f"the tensors should take {expected:,} bytes, but the file holds only {data_size:,}",
            hint=_CUT_OFF,
        )
    if expected < data_size:
        raise UnreadableError(f"{counted(data_size - expected, 'byte')} after the last tensor belong to none")


def _count_elements(shape: tuple[int, ...]) -> int | None:
    """The product of the sizes; None where it leaves 64 bits on the way, even if a later size is 0."""
    numel = 1
    for size in shape:
        numel *= size
        if max(size, numel) > _LARGEST:
            return None
    return numel


# Records.


def _make_records(rows: list[_Row], data_start: int, file: str | None) -> tuple[list[Tensor], dict[str, Storage]]:
    tensors = []
    storages = {}
    for begin, end, name, code, shape in rows:
        seen = shape if code != "F4" else _halve_last(shape)
        key = name if file is None else f"{file}:{name}"
        nbytes = end - begin
        tensors.append(
            Tensor(
                name=name,
                shape=seen,
                dtype=_TYPE_NAMES[code],
                stride=None if seen is None else _contiguous_stride(seen),
                storage=key,
                stored_bytes=nbytes,
                # Whether parameter or buffer: it is here, and follows its model.
                saved=True,
                moves=True,
                file=file,
            )
        )
        storages[key] = Storage(key=key, nbytes=nbytes, file=file, offset=data_start + begin)
    return tensors, storages


def _halve_last(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape torch gives an F4 tensor, two elements in one; None for an odd last size, which it refuses."""
    return None if shape[-1] % 2 else (*shape[:-1], shape[-1] // 2)


_MATRIX = 2
_SMALL = 1 << 31  # two such sizes make no stride that torch could not hold


def _contiguous_stride(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """In elements, a size of 0 counting as 1, as in torch; None where torch could not hold it."""
    if not shape[1:]:
        return (1,) * len(shape)
    if len(shape) == _MATRIX and shape[0] < _SMALL > shape[1]:
        return shape[1] or 1, 1
    strides = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= size or 1
        if step > _LARGEST_STRIDE:
            return None
    return tuple(reversed(strides))


def _find_ties(metadata: dict[str, str], tensors: list[Tensor]) -> tuple[list[Tensor], tuple[Skipped, ...]]:
    """Second names of tensors: save_model drops them from the file and notes `{dropped: kept}`."""
    if len(metadata) <= ("format" in metadata):
        return [], ()
    by_name = {tensor.name: tensor for tensor in tensors}
    pairs = (
        (dropped, kept)
        for dropped, kept in metadata.items()
        if kept in by_name and dropped not in by_name and dropped != "format"
    )
    ties = [
        msgspec.structs.replace(
            by_name[kept], name=dropped, alias_of=kept, evidence="`__metadata__` names it as tied"
        )
        for dropped, kept in islice(pairs, _MAX_TIES)
    ]
    if next(pairs, None) is None:
        return ties, ()
    reason = f"more than {_MAX_TIES:,} names are given to other tensors, as in no model"
    return [], (Skipped(what="ties in `__metadata__`", reason=reason),)


def _find_unloadable(rows: list[_Row]) -> Iterator[Anomaly]:
    """What the format allows and torch does not."""
    codes = {code for _, _, _, code, _ in rows}
    if "F4" in codes:
        odd = [name for _, _, name, code, shape in rows if code == "F4" and shape[-1] % 2]
        if odd:
            message = f"torch cannot load 4-bit tensors with an odd last dimension: {listed(odd)}"
            yield Anomaly(kind="unloadable_tensor", message=message)
    for code in sorted(codes & {"F6_E2M3", "F6_E3M2"}):
        names = [name for _, _, name, found, _ in rows if found == code]
        yield Anomaly(kind="unloadable_tensor", message=f"torch has no type {code}: {listed(names)}")
