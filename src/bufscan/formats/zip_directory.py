"""The records of a zip archive, from its central directory alone, as torch reads it.

Python's `zipfile` is neither strict nor lenient where torch is (checksums switched off, duplicate names,
prefixes), and it is several times slower on 100,000 records. Layout: PKWARE APPNOTE 6.3.10, sections 4.3 to 4.5.
"""

from __future__ import annotations

import zlib
from struct import Struct, error, unpack_from
from typing import TYPE_CHECKING

import msgspec

from bufscan.errors import UnreadableError
from bufscan.formats.signatures import ZIP_LOCAL_HEADER
from bufscan.inventory import Anomaly

if TYPE_CHECKING:
    from bufscan.bytesource import ByteSource

_END_OF_DIRECTORY = Struct("<4s4H2LH")
_END_OF_DIRECTORY_64 = Struct("<4sQ2H2L4Q")
_LOCATOR_64 = Struct("<4sLQL")
_ENTRY = Struct("<4s6H3L5H2L")
_LOCAL_HEADER_BYTES = 30
_MAX_COMMENT = 0xFFFF
_ZIP64_EXTRA = 1
_SEE_ZIP64 = 0xFFFFFFFF
_SEE_ZIP64_COUNT = 0xFFFF
_ENCRYPTED = 0x1
_DESCRIPTOR = 0x8
_DESCRIPTOR_BYTES = 12  # without its optional signature and in 32 bits

STORED, DEFLATED = 0, 8

_TRUNCATED_HINT = "the file looks truncated: copy or download it again"


class Record(msgspec.Struct, frozen=True, gc=False):
    """One file in the archive, as the central directory describes it.

    Attributes:
        name: as stored, without any change.
        size, stored_size: bytes after and before inflating.
        header: offset of its local header.
        limit: offset that its bytes may not pass: the next local header, or the directory; where a data
            descriptor comes after the bytes, there is room for that as well.
    """

    name: str
    size: int
    stored_size: int
    method: int
    crc: int
    header: int
    limit: int


class ZipDirectory:
    """An archive's records by name, and what is odd about the archive."""

    def __init__(self, source: ByteSource) -> None:
        """Read the directory.

        Raises:
            UnreadableError: there is none, it contradicts itself, or two records share a name.
        """
        self._source = source
        self.anomalies: list[Anomaly] = []
        start, size, count, end = _find_directory(source)
        entries = _parse_entries(source.read(start, size), count)
        self.records: dict[str, Record] = {}
        self._add(entries, start)
        if end < source.size:
            self._note("trailing_bytes", f"{source.size - end} bytes after the end of the zip archive")

    def _note(self, kind: str, message: str) -> None:
        self.anomalies.append(Anomaly(kind=kind, message=message))

    def _add(self, entries: list[tuple[bytes, int, int, int, int, int, int]], directory: int) -> None:
        headers = sorted({entry[5] for entry in entries})
        following = dict(zip(headers, [*headers[1:], directory], strict=True))
        if len(headers) < len(entries):
            self._note("overlapping_records", "several directory entries point to the same local header")
        folded: set[str] = set()
        for name_bytes, method, crc, stored_size, size, header, flags in entries:
            # Names are only compared with names that we make ourselves; odd bytes stay distinct.
            name = name_bytes.decode("utf-8", "surrogateescape")
            if flags & _ENCRYPTED:
                raise UnreadableError(f"record {name!r} is encrypted")
            # torch looks records up without regard to case, and which of two it finds is an accident.
            if name.lower() in folded:
                raise UnreadableError(f"two records of the zip archive are called {name!r}")
            folded.add(name.lower())
            if header + _LOCAL_HEADER_BYTES + stored_size > following[header]:
                if header >= directory:
                    raise UnreadableError(f"record {name!r} lies outside the archive", hint=_TRUNCATED_HINT)
                self._note("overlapping_records", f"record {name!r} runs into what follows it")
            limit = following[header] - (_DESCRIPTOR_BYTES if flags & _DESCRIPTOR else 0)
            self.records[name] = Record(name, size, stored_size, method, crc, header, limit)

    def data_offset(self, record: Record) -> int:
        """Where the record's bytes start: after its local header, whose lengths differ from the directory's.

        Raises:
            UnreadableError: there is no local header, or the bytes do not fit before what follows.
        """
        name = record.name.encode("utf-8", "surrogateescape")
        header = self._source.read(record.header, _LOCAL_HEADER_BYTES + len(name))
        if header[:4] != ZIP_LOCAL_HEADER:
            raise UnreadableError(f"record {record.name!r} has no local header", hint=_TRUNCATED_HINT)
        name_length, extra_length = unpack_from("<2H", header, 26)
        if header[_LOCAL_HEADER_BYTES:] != name:
            self._note("local_name", f"the local header of record {record.name!r} gives another name")
        start: int = record.header + _LOCAL_HEADER_BYTES + name_length + extra_length
        if start + record.stored_size > record.limit:
            raise UnreadableError(f"record {record.name!r} runs into what follows it")
        return start

    def read(self, record: Record, *, limit: int) -> bytes:
        """The record's contents, inflated where it is compressed; at most `limit` bytes.

        Raises:
            UnreadableError: it is larger, compressed in another way, or not as long as the directory says.
        """
        if record.size > limit:
            raise UnreadableError(f"record {record.name!r} is larger than {limit} bytes")
        stored = self._source.read(self.data_offset(record), record.stored_size)
        if record.method == STORED:
            data = stored
        elif record.method == DEFLATED:
            inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            try:
                data = inflater.decompress(stored, record.size + 1)
            except zlib.error:
                raise UnreadableError(f"record {record.name!r} cannot be inflated") from None
        else:
            raise UnreadableError(f"record {record.name!r} is compressed with method {record.method}")
        if len(data) != record.size:
            raise UnreadableError(f"record {record.name!r} is not as long as the directory says")
        # torch can be told not to compute checksums and then writes zero.
        if record.crc and zlib.crc32(data) != record.crc:
            self._note("wrong_checksum", f"record {record.name!r} does not have the checksum it claims")
        return data


def _find_directory(source: ByteSource) -> tuple[int, int, int, int]:
    """Start, size and entry count of the central directory, and where the archive ends."""
    tail_size = min(source.size, _END_OF_DIRECTORY.size + _MAX_COMMENT)
    tail_start = source.size - tail_size
    tail = source.read(tail_start, tail_size)
    position = tail.rfind(b"PK\5\6")
    if position < 0 or position + _END_OF_DIRECTORY.size > tail_size:
        raise UnreadableError("a zip archive without its central directory", hint=_TRUNCATED_HINT)
    fields = _END_OF_DIRECTORY.unpack_from(tail, position)
    _, _, _, _, count, size, start, comment_length = fields
    record_start = tail_start + position
    end = record_start + _END_OF_DIRECTORY.size + comment_length
    if _SEE_ZIP64 in (size, start) or count == _SEE_ZIP64_COUNT:
        found = _find_directory_64(source, record_start)
        if found is not None:
            start, size, count, record_start = found
    if start + size > record_start:
        raise UnreadableError("the zip archive's central directory does not lie where its end record says")
    return start, size, count, min(end, source.size)


def _find_directory_64(source: ByteSource, end_record: int) -> tuple[int, int, int, int] | None:
    """The same from the zip64 records before the end record, and where they start; None without a locator."""
    locator_start = end_record - _LOCATOR_64.size
    if locator_start < 0:
        return None
    signature, _, offset, _ = _LOCATOR_64.unpack(source.read(locator_start, _LOCATOR_64.size))
    if signature != b"PK\6\7":
        return None
    if offset + _END_OF_DIRECTORY_64.size > locator_start:
        raise UnreadableError("the zip archive's zip64 end record does not lie where its locator says")
    fields = _END_OF_DIRECTORY_64.unpack(source.read(offset, _END_OF_DIRECTORY_64.size))
    if fields[0] != b"PK\6\6":
        raise UnreadableError("the zip archive's zip64 end record does not lie where its locator says")
    count, size, start = fields[7:10]
    return start, size, count, offset


def _parse_entries(data: bytes, count: int) -> list[tuple[bytes, int, int, int, int, int, int]]:
    """Name, method, checksum, stored size, size, header offset and flags of every entry."""
    entries = []
    position = 0
    unpack_entry, fixed = _ENTRY.unpack_from, _ENTRY.size
    try:
        while position < len(data):
            (
                signature, _, _, flags, method, _, _, crc, stored_size, size,
                name_length, extra_length, comment_length, _, _, _, header,
            ) = unpack_entry(data, position)  # fmt: skip
            if signature != b"PK\1\2":
                break
            name_end = position + fixed + name_length
            name = data[position + fixed : name_end]
            if _SEE_ZIP64 in (size, stored_size, header):
                extra = data[name_end : name_end + extra_length]
                size, stored_size, header = _widen(extra, size, stored_size, header)
            entries.append((name, method, crc, stored_size, size, header, flags))
            position = name_end + extra_length + comment_length
    except error:
        raise UnreadableError("the zip archive's central directory is cut short", hint=_TRUNCATED_HINT) from None
    if len(entries) != count:
        raise UnreadableError(f"the zip archive announces {count} records and lists {len(entries)}")
    return entries


def _widen(extra: bytes, *narrow: int) -> list[int]:
    """Replace each 0xFFFFFFFF by the 64-bit value that the zip64 extra field holds for it, in order."""
    position = 0
    while position + 4 <= len(extra):
        kind, length = unpack_from("<2H", extra, position)
        if kind == _ZIP64_EXTRA:
            field = extra[position + 4 : position + 4 + length]
            wide = iter([value for (value,) in Struct("<Q").iter_unpack(field[: len(field) // 8 * 8])])
            return [next(wide, value) if value == _SEE_ZIP64 else value for value in narrow]
        position += 4 + length
    return list(narrow)
