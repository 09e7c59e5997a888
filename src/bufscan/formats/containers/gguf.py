"""GGUF, the format of llama.cpp: pairs, a row for each tensor, then the tensors' bytes. Versions 2 and 3.

Layout: `docs/gguf.md` of ggml. Only the header is read. Dimensions stand in it from the fastest to the slowest, in
the order contrary to torch's. Packed types keep many elements in one block; they are shown by their name.
"""

from __future__ import annotations

from math import prod
from struct import Struct
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from bufscan.dtypes import DTYPES, GGUF_BLOCKS
from bufscan.errors import UnreadableError
from bufscan.formats.containers.anomaly_log import AnomalyLog
from bufscan.formats.listing import counted, listed, quoted
from bufscan.formats.pickle.allowance import Allowance
from bufscan.inventory import Inventory, Part, Skipped, Storage, Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.bytesource import ByteSource

_VERSIONS = (2, 3)
_WINDOW = 1 << 20
_MOST_HEADER_BYTES = 1 << 28
_MOST_DIMENSIONS = 8  # GGML_MAX_DIMS is 4
_LARGEST = 1 << 63
_LONGEST_TEXT = 200
_MOST_METADATA = 1000
_DEEPEST = 3
_ALIGNMENT = "general.alignment"
_DEFAULT_ALIGNMENT = 32
_CUT_OFF = "the file is cut off: copy or download it again"

_STRING, _ARRAY, _BOOL = 8, 9, 7
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}

# ggml_type by number.
_TYPES = {
    0: "float32",
    1: "float16",
    24: "int8",
    25: "int16",
    26: "int32",
    27: "int64",
    28: "float64",
    30: "bfloat16",
    2: "Q4_0",
    3: "Q4_1",
    6: "Q5_0",
    7: "Q5_1",
    8: "Q8_0",
    9: "Q8_1",
    10: "Q2_K",
    11: "Q3_K",
    12: "Q4_K",
    13: "Q5_K",
    14: "Q6_K",
    15: "Q8_K",
    16: "IQ2_XXS",
    17: "IQ2_XS",
    18: "IQ3_XXS",
    19: "IQ1_S",
    20: "IQ4_NL",
    21: "IQ3_S",
    22: "IQ2_S",
    23: "IQ4_XS",
    29: "IQ1_M",
    34: "TQ1_0",
    35: "TQ2_0",
    39: "MXFP4",
    40: "NVFP4",
    41: "Q1_0",
}


class _Row(NamedTuple):
    """One tensor as the header describes it; `shape` in torch's order, `offset` from the start of the data."""

    name: str
    shape: tuple[int, ...]
    code: int
    offset: int


class _Data(NamedTuple):
    """Where the tensors' bytes begin and the file ends, and at multiples of what each tensor begins."""

    start: int
    end: int
    step: int
    byteorder: Literal["little", "big"]


def read_gguf(source: ByteSource, target: str) -> Inventory:
    """The inventory of a GGUF file.

    Raises:
        UnreadableError: its header is broken, or of another version.
    """
    header = _Header(source)
    anomalies = AnomalyLog()
    header.take(4)
    version = header.version()
    if version not in _VERSIONS:
        raise UnreadableError(f"a GGUF file of version {version}, which is not known")
    tensors, pairs = header.number("Q"), header.number("Q")
    if tensors > (most := Allowance(source.size).entries):
        raise UnreadableError(f"a GGUF file that announces {tensors:,} tensors, more than {most:,}")
    metadata, skipped = _read_pairs(header, pairs, anomalies)
    rows = list(_read_rows(header, tensors))
    alignment = metadata.get(_ALIGNMENT, str(_DEFAULT_ALIGNMENT))
    step = int(alignment) if alignment.isdecimal() and len(alignment) < 10 else 0  # noqa: PLR2004 - of 32 bits
    if not step or step % 8:
        raise UnreadableError(f"a GGUF file whose `{_ALIGNMENT}` is no multiple of 8")
    start = -(-header.position // step) * step
    if len({row.name for row in rows}) < len(rows):
        raise UnreadableError("a GGUF file in which two tensors have one name")
    data = _Data(start, source.size, step, header.byteorder)
    records, storages, failed = _make_records(rows, data)
    _note_gaps(rows, records, data, anomalies)
    return Inventory(
        target=target,
        format="gguf",
        tensors=tuple(records),
        storages=storages,
        anomalies=anomalies.anomalies(),
        skipped=(*skipped, *failed),
        metadata=metadata,
    )


class _Header:
    """A position in the header, read window by window; nothing is taken that the file does not have."""

    def __init__(self, source: ByteSource) -> None:
        self.position = 0
        self.byteorder: Literal["little", "big"] = "little"
        self._source = source
        self._window = b""
        self._start = 0

    def take(self, length: int) -> bytes:
        """The next `length` bytes."""
        end = self.position + length
        if end > min(self._source.size, _MOST_HEADER_BYTES):
            raise UnreadableError("the GGUF header ends in the middle, or is larger than any", hint=_CUT_OFF)
        if end > self._start + len(self._window):
            self._start = self.position
            size = min(max(length, _WINDOW), self._source.size - self.position)
            self._window = self._source.read(self.position, size)
        at = self.position - self._start
        self.position = end
        return self._window[at : at + length]

    def skip(self, length: int) -> None:
        """Move on without reading."""
        if length > min(self._source.size, _MOST_HEADER_BYTES) - self.position:
            raise UnreadableError("the GGUF header ends in the middle, or is larger than any", hint=_CUT_OFF)
        self.position += length

    def number(self, code: str) -> Any:
        """A number in the struct module's code."""
        packed = Struct(f"{'<' if self.byteorder == 'little' else '>'}{code}")
        return packed.unpack(self.take(packed.size))[0]

    def version(self) -> int:
        """The version, whose bytes also tell their order."""
        data = self.take(4)
        if int.from_bytes(data, "little") > 0xFFFF:  # noqa: PLR2004 - as gguf tells them apart
            self.byteorder = "big"
        return int.from_bytes(data, self.byteorder)

    def text(self) -> str:
        """A string, which must be UTF-8."""
        try:
            return self.take(self.number("Q")).decode()
        except UnicodeDecodeError:
            raise UnreadableError("the GGUF header has a text that is no UTF-8") from None


def _read_pairs(header: _Header, count: int, anomalies: AnomalyLog) -> tuple[dict[str, str], list[Skipped]]:
    metadata: dict[str, str] = {}
    more = 0
    for _ in range(count):
        key = header.text()
        text = _read_value(header, header.number("I"), 0)
        if key in metadata:
            anomalies.note("repeated_key", f"the header has the key {quoted(key)} twice")
        elif len(metadata) < _MOST_METADATA or key == _ALIGNMENT:
            metadata[key[:_LONGEST_TEXT]] = text
        else:
            more += 1
    reason = "the header has more of them than are shown"
    return metadata, [Skipped(what=counted(more, "more key"), reason=reason)] if more else []


def _read_value(header: _Header, kind: int, depth: int) -> str:
    """A value as text; of an array, what it is made of."""
    if kind == _STRING:
        text = header.text()
        return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"
    if kind == _ARRAY:
        if depth == _DEEPEST:
            raise UnreadableError("the GGUF header nests arrays too deep")
        return _read_array(header, depth)
    code = _SCALARS.get(kind)
    if code is None:
        raise UnreadableError(f"the GGUF header has a value of the unknown type {kind}")
    value = header.number(code)
    return str(bool(value)) if kind == _BOOL else str(value)


def _read_array(header: _Header, depth: int) -> str:
    kind, count = header.number("I"), header.number("Q")
    code = _SCALARS.get(kind)
    if code is not None:
        header.skip(count * Struct(f"<{code}").size)
        return f"{count:,} numbers"
    for _ in range(count):
        if kind == _STRING:
            header.skip(header.number("Q"))
        else:
            _read_value(header, kind, depth + 1)
    return f"{count:,} {'texts' if kind == _STRING else 'arrays'}"


def _read_rows(header: _Header, count: int) -> Iterator[_Row]:
    for _ in range(count):
        name = header.text()
        dimensions = header.number("I")
        if dimensions > _MOST_DIMENSIONS:
            raise UnreadableError(f"the GGUF header gives {quoted(name)} {dimensions} dimensions")
        sizes = tuple(header.number("Q") for _ in range(dimensions))
        if prod(sizes) >= _LARGEST or max(sizes, default=0) >= _LARGEST:
            raise UnreadableError(f"the GGUF header gives {quoted(name)} more elements than can be counted")
        yield _Row(name, sizes[::-1], header.number("I"), header.number("Q"))


def _make_records(rows: list[_Row], data: _Data) -> tuple[list[Tensor], dict[str, Storage], list[Skipped]]:
    tensors: list[Tensor] = []
    storages: dict[str, Storage] = {}
    beyond: list[str] = []
    failed: list[Skipped] = []
    for row in rows:
        dtype = DTYPES.get(_TYPES.get(row.code, ""))
        last = row.shape[-1] if row.shape else 1
        if dtype is None or last % dtype.block:
            what = f"type {row.code}, which is not known" if dtype is None else f"{dtype.name}, which does not fit"
            failed.append(Skipped(what=f"tensor {row.name}", reason=f"it is of {what}", failed=True))
            continue
        nbytes = dtype.nbytes(prod(row.shape))
        if data.start + row.offset + nbytes > data.end:
            beyond.append(row.name)
        else:
            storages[row.name] = Storage(
                key=row.name, nbytes=nbytes, offset=data.start + row.offset, byteorder=data.byteorder
            )
        tensors.append(_record(row, dtype.name, nbytes))
    if beyond:
        reason = f"the file ends before it: {listed(beyond)}"
        failed.append(Skipped(what=counted(len(beyond), "tensor"), reason=reason, failed=True))
    return tensors, storages, failed


def _record(row: _Row, dtype: str, nbytes: int) -> Tensor:
    blocks = Part(name="blocks", shape=(nbytes,), dtype="uint8", stride=(1,), storage=row.name)
    is_packed = dtype in GGUF_BLOCKS
    return Tensor(
        name=row.name,
        shape=row.shape,
        dtype=dtype,
        stride=None if is_packed else tuple(prod(row.shape[axis + 1 :]) for axis in range(len(row.shape))),
        storage=None if is_packed else row.name,
        parts=(blocks,) if is_packed else (),
        stored_bytes=nbytes,
        # Whether parameter or buffer: it is here, and follows its model.
        saved=True,
        moves=True,
    )


def _note_gaps(rows: list[_Row], tensors: list[Tensor], data: _Data, anomalies: AnomalyLog) -> None:
    """Tensors lie behind each other, each at the next multiple of the alignment."""
    sizes = {tensor.name: tensor.stored_bytes for tensor in tensors}
    end = 0
    for row in sorted(rows, key=lambda row: row.offset):
        if row.name not in sizes:
            return  # how long it is nobody knows
        if row.offset % data.step:
            anomalies.note("misaligned", f"{quoted(row.name)} does not begin at a multiple of {data.step} bytes")
        if row.offset < end:
            anomalies.note("overlapping_records", f"the bytes of {quoted(row.name)} overlap those of another")
        elif row.offset - end >= data.step:
            anomalies.note("unused_bytes", f"{row.offset - end} bytes before {quoted(row.name)} belong to none")
        end = max(end, row.offset + sizes[row.name])
    if (rest := data.end - data.start - end) >= data.step:
        anomalies.note("trailing_bytes", f"{rest} bytes after the last tensor belong to none")
