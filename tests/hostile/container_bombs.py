"""Archives and streams that are large in what they announce, or in what they list."""

from __future__ import annotations

import zlib
from struct import pack
from typing import TYPE_CHECKING

from bomb_parts import MEMORY, SIZE, bomb, distinct
from crafted_pickles import pickled
from crafted_streams import MAGIC, PROTOCOL, SYSTEM, legacy
from crafted_zip import DEFLATED, Archive, Entry

if TYPE_CHECKING:
    from collections.abc import Callable


def zip_of_entries(entry_name: Callable[[int], bytes]) -> bytes:
    """As many directory entries as there is room for, all of one record."""
    body = Archive((Entry("a/data.pkl", pickled(b"N")),)).to_bytes()
    start = body.index(b"PK\1\2")
    directory, count = bytearray(body[start : body.index(b"PK\5\6")]), 1
    while start + len(directory) < SIZE - 70_000:
        unique = entry_name(count)
        directory += pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, *[0] * 7, len(unique), *[0] * 6) + unique
        count += 1
    end = pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(directory), start)
    end += pack("<4sLQL", b"PK\6\7", 0, start + len(directory), 1)
    end += pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return body[:start] + bytes(directory) + end


@bomb
def a_zip_of_two_hundred_thousand_records() -> bytes:
    return zip_of_entries(lambda number: b"%x" % number)


@bomb
def a_zip_of_long_names() -> bytes:
    return zip_of_entries(lambda number: b"%x" % number + b"z" * 60_000)


@bomb
def a_compressed_pickle_of_ten_megabytes() -> bytes:
    value = pickled(b"](", b"]" * (MEMORY // 72), b"N" * 3_000_000, b"e")
    return Archive((Entry("a/data.pkl", value, DEFLATED), Entry("a/version", b"3\n"))).to_bytes()


@bomb
def a_compressed_pickle_of_64_mebibytes() -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    data = b"".join([*(deflate.compress(bytes(1 << 20)) for _ in range(64)), deflate.flush()])
    lies: dict[str, int | bytes] = {"method": DEFLATED, "size": 64 << 20}
    return Archive((Entry("a/data.pkl", data, in_directory=lies), Entry("a/version", b"3\n"))).to_bytes()


@bomb
def a_stream_that_is_read_again_and_again() -> bytes:
    """Every window that is tried runs to its end; only the last one holds the whole pickle."""
    filler = SIZE - 2_900_000
    value = b"](" + b"]" * 1_300_000 + b"N" * 1_500_000 + b"e\x8e" + pack("<Q", filler) + bytes(filler) + b"\x86"
    return legacy(pickled(value), keys=(), stored=b"")


@bomb
def a_stream_without_end() -> bytes:
    return MAGIC + PROTOCOL + SYSTEM + b"\x80\2](" + b"]" * 1_300_000 + b"N" * 3_000_000


@bomb
def a_stream_of_a_million_keys() -> bytes:
    return MAGIC + PROTOCOL + SYSTEM + pickled(b"N") + pickled(b"](", *distinct(1_300_000), b"e")
