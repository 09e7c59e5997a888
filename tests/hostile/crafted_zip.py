"""Zip archives written field by field, so that every field can lie."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from struct import pack

STORED, DEFLATED = 0, 8


@dataclass(frozen=True)
class Entry:
    """One record. What is None is filled in truthfully.

    `in_directory` overrides fields of the directory's entry alone: crc, stored_size, size, header, flags, method,
    disk, extra.
    """

    name: str | bytes
    data: bytes = b""
    method: int = STORED
    flags: int = 0
    local_name: bytes | None = None
    local_extra: bytes = b""
    gap: bytes = b""
    in_directory: dict[str, int | bytes] = field(default_factory=dict)

    @property
    def raw_name(self) -> bytes:
        return self.name if type(self.name) is bytes else self.name.encode()  # type: ignore[union-attr]

    @property
    def stored(self) -> bytes:
        if self.method != DEFLATED:
            return self.data
        deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        return deflate.compress(self.data) + deflate.flush()


@dataclass(frozen=True)
class Archive:
    """A whole archive; the fields that are None are filled in truthfully."""

    entries: tuple[Entry, ...]
    prefix: bytes = b""
    suffix: bytes = b""
    comment: bytes = b""
    before_directory: bytes = b""
    count: int | None = None
    directory_size: int | None = None
    directory_start: int | None = None
    comment_length: int | None = None
    zip64: tuple[int, int, int] | None = None  # count, size and start in a zip64 end record

    def to_bytes(self) -> bytes:
        body = bytearray(self.prefix)
        directory = bytearray()
        for entry in self.entries:
            directory += _directory_entry(entry, header=len(body))
            body += _local_header(entry) + entry.stored + entry.gap
        body += self.before_directory
        start = len(body)
        body += directory
        if self.zip64 is not None:
            record = len(body)
            count, size, offset = self.zip64
            body += pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, offset)
            body += pack("<4sLQL", b"PK\6\7", 0, record, 1)
        count = len(self.entries) if self.count is None else self.count
        body += pack(
            "<4s4H2LH",
            b"PK\5\6",
            0,
            0,
            count,
            count,
            len(directory) if self.directory_size is None else self.directory_size,
            start if self.directory_start is None else self.directory_start,
            len(self.comment) if self.comment_length is None else self.comment_length,
        )
        return bytes(body + self.comment + self.suffix)


def _local_header(entry: Entry) -> bytes:
    name = entry.raw_name if entry.local_name is None else entry.local_name
    stored = entry.stored
    fixed = pack(
        "<4s5H3L2H",
        b"PK\3\4",
        20,
        entry.flags,
        entry.method,
        0,
        0,
        zlib.crc32(entry.data),
        len(stored),
        len(entry.data),
        len(name),
        len(entry.local_extra),
    )
    return fixed + name + entry.local_extra


def _directory_entry(entry: Entry, header: int) -> bytes:
    given: dict[str, int | bytes] = {
        "flags": entry.flags,
        "method": entry.method,
        "crc": zlib.crc32(entry.data),
        "stored_size": len(entry.stored),
        "size": len(entry.data),
        "header": header,
        "disk": 0,
        "extra": b"",
        "comment": b"",
    } | entry.in_directory
    extra, comment = given["extra"], given["comment"]
    assert isinstance(extra, bytes)
    assert isinstance(comment, bytes)
    fixed = pack(
        "<4s6H3L5H2L",
        b"PK\1\2",
        20,
        20,
        given["flags"],
        given["method"],
        0,
        0,
        given["crc"],
        given["stored_size"],
        given["size"],
        len(entry.raw_name),
        len(extra),
        len(comment),
        given["disk"],
        0,
        0,
        given["header"],
    )
    return fixed + entry.raw_name + extra + comment


def checkpoint_entries(
    pickle: bytes, storages: dict[str, bytes] | None = None, top: str = "a"
) -> tuple[Entry, ...]:
    """The records of a checkpoint as torch.save orders them; one storage of 16 bytes unless others are given."""
    storages = {"0": bytes(range(16))} if storages is None else storages
    return (
        Entry(f"{top}/data.pkl", pickle),
        Entry(f"{top}/byteorder", b"little"),
        *(Entry(f"{top}/data/{key}", data) for key, data in storages.items()),
        Entry(f"{top}/version", b"3\n"),
    )


def checkpoint(pickle: bytes, storages: dict[str, bytes] | None = None) -> bytes:
    """A sound archive around a pickle."""
    return Archive(checkpoint_entries(pickle, storages)).to_bytes()
