"""The records of a zip archive, from its central directory alone, as torch reads it.

Python's `zipfile` is neither strict nor lenient where torch is (checksums switched off, duplicate names,
prefixes), and it is several times slower on 100,000 records. Layout: PKWARE APPNOTE 6.3.10, sections 4.3 to 4.5.
"""

from __future__ import annotations

import zlib
from struct import Struct, error, unpack_from
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import msgspec

from bufscan.bytesource import ReadAhead
from bufscan.errors import UnreadableError
from bufscan.formats.listing import quoted
from bufscan.formats.signatures import ZIP_LOCAL_HEADER

if TYPE_CHECKING:
    from bufscan.bytesource import ByteSource
    from bufscan.formats.containers.anomaly_log import AnomalyLog

_END_SIGNATURE = b"PK\5\6"
_END_OF_DIRECTORY = Struct("<4s4H2LH")
_END_OF_DIRECTORY_64 = Struct("<4sQ2H2L4Q")
_LOCATOR_64 = Struct("<4sLQL")
_ENTRY = Struct("<4s4x2H4x3L4H6xL")  # without versions, times and attributes
_LOCAL_HEADER = Struct("<4s2x2H4x3L2H")
_MAX_COMMENT = 0xFFFF
_ZIP64_EXTRA = 1
_SEE_ZIP64 = 0xFFFFFFFF
_ENCRYPTED = 0x1
_DESCRIPTOR = 0x8
_DESCRIPTOR_BYTES = 12  # without its optional signature and in 32 bits
_LARGEST_DESCRIPTOR = 24

_MOST_DIRECTORY_BYTES = 1 << 28  # three million records
_LARGEST_INFLATION = 1032  # bytes that deflate can make of one (RFC 1951)

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
    """An archive's records by their names in lower case: torch looks them up without regard to case."""

    def __init__(self, source: ByteSource, anomalies: AnomalyLog) -> None:
        """Read the directory; what is odd about the archive goes to `anomalies`.

        Raises:
            UnreadableError: there is none, it contradicts itself, or two records share a name.
        """
        self._source = source
        self._headers = ReadAhead(source)
        self._anomalies = anomalies
        found = _find_directory(source, anomalies)
        entries = _parse_entries(source.read(found.start, found.size), found.entries)
        self.records: dict[str, Record] = {}
        self._add(entries, found.start)

    def _add(self, entries: list[_Entry], directory: int) -> None:
        headers = sorted({entry[5] for entry in entries})
        following = dict(zip(headers, [*headers, directory][1:], strict=True))
        if len(headers) < len(entries):
            self._anomalies.note("overlapping_records", "several directory entries point to the same local header")
        if headers and headers[0]:
            self._anomalies.note("unused_bytes", f"{headers[0]} bytes before the first record")
        records, local_header = self.records, _LOCAL_HEADER.size
        for name_bytes, method, crc, stored_size, size, header, flags in entries:
            # Names are only compared with names that we make ourselves; odd bytes stay distinct.
            name = name_bytes.decode("utf-8", "surrogateescape")
            if flags & _ENCRYPTED:
                raise UnreadableError(
                    f"a zip archive that needs a password: record {quoted(name)} is encrypted",
                    hint="unpack it with its password first",
                )
            # Which of two torch finds is an accident.
            folded = name.lower()
            if folded == name:
                folded = name  # one object for both: there may be very many
            if folded in records:
                raise UnreadableError(f"two records of the zip archive are called {quoted(name)}")
            limit = following[header]
            if header + local_header + stored_size > limit:
                if header >= directory:
                    raise UnreadableError(f"record {quoted(name)} lies outside the archive", hint=_TRUNCATED_HINT)
                self._anomalies.note("overlapping_records", f"record {quoted(name)} runs into what follows it")
            if size > stored_size if method == STORED else size > _LARGEST_INFLATION * stored_size:
                raise UnreadableError(f"record {quoted(name)} is said to be larger than its bytes can make it")
            if flags & _DESCRIPTOR:
                limit -= _DESCRIPTOR_BYTES
            records[folded] = Record(name, size, stored_size, method, crc, header, limit)

    def data_offset(self, record: Record) -> int:
        """Where the record's bytes start: after its local header, whose lengths differ from the directory's.

        Raises:
            UnreadableError: there is no local header, or the bytes do not fit before what follows.
        """
        name = record.name.encode("utf-8", "surrogateescape")
        header = self._headers.read(record.header, _LOCAL_HEADER.size + len(name))
        signature, flags, method, crc, stored_size, size, name_length, extra_length = _LOCAL_HEADER.unpack_from(
            header
        )
        if signature != ZIP_LOCAL_HEADER:
            raise UnreadableError(f"record {quoted(record.name)} has no local header", hint=_TRUNCATED_HINT)
        told = not flags & _DESCRIPTOR and _SEE_ZIP64 not in (size, stored_size)
        if (
            header[_LOCAL_HEADER.size :] != name
            or method != record.method
            or flags & _ENCRYPTED
            or (told and (crc, stored_size, size) != (record.crc, record.stored_size, record.size))
        ):
            message = f"the local header of record {quoted(record.name)} says something else than the directory"
            self._anomalies.note("local_header", message)
        start: int = record.header + _LOCAL_HEADER.size + name_length + extra_length
        unused = record.limit - start - record.stored_size
        if unused < 0:
            raise UnreadableError(f"record {quoted(record.name)} runs into what follows it")
        if unused > _LARGEST_DESCRIPTOR:
            self._anomalies.note("unused_bytes", f"{unused} bytes after record {quoted(record.name)}")
        return start

    def read_start(self, record: Record, length: int) -> bytes:
        """The record's first `length` bytes, or all that it has.

        Raises:
            UnreadableError: they cannot be had.
        """
        length = min(length, record.size)
        # What deflate cannot compress it stores, in blocks with a few bytes before each.
        stored = self._source.read(self.data_offset(record), min(record.stored_size, length + length // 64 + 64))
        return stored[:length] if record.method == STORED else self._inflated(record, stored, length)

    def read(self, record: Record, *, limit: int) -> bytes:
        """The record's contents, inflated where it is compressed; at most `limit` bytes.

        Raises:
            UnreadableError: it is larger, compressed in another way, or not as long as the directory says.
        """
        # Deflate adds a few bytes to what it cannot compress.
        if record.size > limit or record.stored_size > limit + limit // 64 + 64:
            raise UnreadableError(f"record {quoted(record.name)} is larger than {limit} bytes")
        stored = self._source.read(self.data_offset(record), record.stored_size)
        data = stored if record.method == STORED else self._inflated(record, stored, record.size + 1)
        if len(data) != record.size:
            raise UnreadableError(f"record {quoted(record.name)} is not as long as the directory says")
        # torch can be told not to compute checksums and then writes zero.
        if record.crc and zlib.crc32(data) != record.crc:
            message = f"record {quoted(record.name)} does not have the checksum it claims"
            self._anomalies.note("wrong_checksum", message)
        return data

    def _inflated(self, record: Record, stored: bytes, most: int) -> bytes:
        """What the stored bytes make, or the first `most` bytes of it."""
        if record.method != DEFLATED:
            raise UnreadableError(f"record {quoted(record.name)} is compressed with method {record.method}")
        try:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(stored, most)
        except zlib.error:
            raise UnreadableError(f"record {quoted(record.name)} cannot be inflated") from None


class _Location(NamedTuple):
    """Start and size of the central directory, and how many entries it lists."""

    start: int
    size: int
    entries: int


def _find_directory(source: ByteSource, anomalies: AnomalyLog) -> _Location:
    tail_size = min(source.size, _END_OF_DIRECTORY.size + _MAX_COMMENT)
    tail_start = source.size - tail_size
    tail = source.read(tail_start, tail_size)
    position = tail.rfind(_END_SIGNATURE, 0, tail_size - _END_OF_DIRECTORY.size + len(_END_SIGNATURE))
    if position < 0:
        raise UnreadableError("a zip archive without its central directory", hint=_TRUNCATED_HINT)
    _, disk, first_disk, count_here, count, size, start, comment = _END_OF_DIRECTORY.unpack_from(tail, position)
    end_record = tail_start + position
    trailing = source.size - end_record - _END_OF_DIRECTORY.size
    if trailing > comment:
        anomalies.note("trailing_bytes", f"{trailing - comment} bytes after the end of the zip archive")
    if comment:
        anomalies.note("comment", f"the zip archive has a comment of {comment} bytes")
    found, limit = _Location(start, size, count), end_record
    # As in torch, a zip64 record counts wherever there is one, and not only where the older one refers to it.
    wide = _find_directory_64(source, end_record)
    if wide is not None:
        if any(old not in (new, _SEE_ZIP64, _SEE_ZIP64 >> 16) for old, new in zip(found, wide[0], strict=True)):
            anomalies.note("end_record", "the two end records of the zip archive do not agree")
        found, limit = wide
    elif disk or first_disk or count_here != count:
        raise UnreadableError("a zip archive that is a part of several")
    if found.start + found.size > limit or found.size < found.entries * _ENTRY.size:
        raise UnreadableError("the zip archive's central directory does not lie where its end record says")
    if found.size > _MOST_DIRECTORY_BYTES:
        raise UnreadableError(f"the zip archive's central directory has more than {_MOST_DIRECTORY_BYTES} bytes")
    return found


def _find_directory_64(source: ByteSource, end_record: int) -> tuple[_Location, int] | None:
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
    disk, first_disk, count_here, count, size, start = fields[4:]
    if disk or first_disk or count_here != count:
        raise UnreadableError("a zip archive that is a part of several")
    return _Location(start, size, count), offset


# Name, method, checksum, stored size, size, header offset and flags.
_Entry: TypeAlias = tuple[bytes, int, int, int, int, int, int]


def _parse_entries(data: bytes, count: int) -> list[_Entry]:
    entries = []
    position = 0
    unpack_entry, fixed = _ENTRY.unpack_from, _ENTRY.size
    try:
        while position < len(data):
            (
                signature, flags, method, crc, stored_size, size,
                name_length, extra_length, comment_length, disk, header,
            ) = unpack_entry(data, position)  # fmt: skip
            if signature != b"PK\1\2":
                break
            name_end = position + fixed + name_length
            name = data[position + fixed : name_end]
            if _SEE_ZIP64 in (size, stored_size, header):
                extra = data[name_end : name_end + extra_length]
                size, stored_size, header = _widen(extra, size, stored_size, header)
            if disk:
                raise UnreadableError("a zip archive that is a part of several")
            if method == STORED and size != stored_size:
                name_text = name.decode("utf-8", "surrogateescape")
                raise UnreadableError(f"record {quoted(name_text)} has two sizes, and it is not compressed")
            entries.append((name, method, crc, stored_size, size, header, flags))
            position = name_end + extra_length + comment_length
    except error:
        raise UnreadableError("the zip archive's central directory is cut short", hint=_TRUNCATED_HINT) from None
    if len(entries) != count or position != len(data):
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
            widened = [next(wide, _SEE_ZIP64) if value == _SEE_ZIP64 else value for value in narrow]
            break
        position += 4 + length
    else:
        widened = list(narrow)
    if _SEE_ZIP64 in widened:
        raise UnreadableError("the zip archive lacks a size or an offset of more than 4 GiB")
    return widened
