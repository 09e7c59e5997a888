"""Zip archives that lie or that could be read in two ways: read as torch reads them, or refused.

What torch loads may never pass as clean where something about the archive is odd.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from struct import pack
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from crafted_pickles import called, mapping, name, pickled, tensor, text
from crafted_zip import DEFLATED, Archive, Entry, checkpoint, checkpoint_entries
from hostile_reading import anomalies, failures, is_clean, names, read, refusal
from torch_verdict import loaded, loads

if TYPE_CHECKING:
    from collections.abc import Callable

PICKLE = pickled(mapping(text("w"), tensor()))
OTHER = pickled(mapping(text("other"), tensor()))
FLOATS = pack("<4f", 1, 2, 3, 4)
SOUND = checkpoint_entries(PICKLE, {"0": FLOATS})
TOP = "a/"


def archive(*entries: Entry, **fields: Any) -> bytes:
    return Archive(entries or SOUND, **fields).to_bytes()


def changed(record: str, **changes: Any) -> tuple[Entry, ...]:
    """The sound records, one of them changed."""
    assert any(entry.name == TOP + record for entry in SOUND)
    return tuple(replace(entry, **changes) if entry.name == TOP + record else entry for entry in SOUND)


def in_directory(record: str, **lies: int | bytes) -> tuple[Entry, ...]:
    """The sound records, the directory's entry of one of them changed."""
    return changed(record, in_directory=lies)


def without(record: str) -> tuple[Entry, ...]:
    return tuple(entry for entry in SOUND if entry.name != TOP + record)


def test_a_sound_archive_is_clean() -> None:
    assert is_clean(read(archive()))
    assert [1, 2, 3, 4] == loaded(archive())["w"].tolist()


class Odd(NamedTuple):
    """An archive, what bufscan says of it, and whether torch loads it."""

    data: bytes
    says: str
    torch_loads: bool


REFUSED = {
    "encrypted": Odd(archive(*in_directory("data.pkl", flags=1)), "record `a/data.pkl` is encrypted", False),
    "an encrypted storage": Odd(
        archive(*in_directory("data/0", flags=1)), "record `a/data/0` is encrypted", False
    ),
    "an unknown method": Odd(archive(*in_directory("data.pkl", method=12)), "compressed with method 12", False),
    "two of a name": Odd(
        archive(*SOUND, Entry("a/data.pkl", OTHER)), "two records of the zip archive are called `a/data.pkl`", True
    ),
    "two names that differ in case": Odd(
        archive(*SOUND, Entry("a/DATA.PKL", OTHER)), "two records of the zip archive are called `a/DATA.PKL`", True
    ),
    "a stored record of two sizes": Odd(
        archive(*in_directory("data/0", size=1 << 30)), "record `a/data/0` has two sizes", False
    ),
    "a pickle that is shorter than it says": Odd(
        archive(*in_directory("data.pkl", size=len(PICKLE) + 9, stored_size=len(PICKLE) + 9)),
        "record `a/data.pkl` runs into what follows it",
        True,
    ),
    "a storage that reaches into the next record": Odd(
        archive(*in_directory("data/0", size=40, stored_size=40)), "`a/data/0` runs into what follows it", False
    ),
    "a storage beyond the file": Odd(
        archive(*in_directory("data/0", size=1 << 30, stored_size=1 << 30)),
        "`a/data/0` runs into what follows it",
        False,
    ),
    "a local header that shifts the data": Odd(
        archive(*changed("data/0", local_extra=bytes(8))).replace(b"\x08\0a/data/0", b"\x18\0a/data/0"),
        "`a/data/0` runs into what follows it",
        True,
    ),
    "no local header": Odd(
        archive().replace(b"PK\3\4", b"PK\3\5").replace(b"PK\3\5", b"PK\3\4", 1),
        "has no local header",
        False,
    ),
    "a header outside the file": Odd(
        archive(*in_directory("data/0", header=1 << 31)), "record `a/data/0` lies outside the archive", False
    ),
    "one record more than there are": Odd(archive(count=5), "does not lie where its end record says", False),
    "one record less than there are": Odd(
        archive(*SOUND, Entry("a/more"), count=4), "announces 4 records and lists 5", True
    ),
    "no records": Odd(archive(count=0), "announces 0 records and lists 4", False),
    "a directory that is too short": Odd(archive(directory_size=100), "does not lie where", False),
    "a directory that is too long": Odd(archive(directory_size=1 << 30), "does not lie where", False),
    "a directory elsewhere": Odd(archive(directory_start=5), "announces 4 records and lists 0", False),
    "a directory after the file": Odd(archive(directory_start=1 << 31), "does not lie where", False),
    "a part of several": Odd(
        archive(*in_directory("data/0", disk=3)), "a zip archive that is a part of several", False
    ),
    "a size of 4 GiB without its 64 bits": Odd(
        archive(*in_directory("data/0", size=0xFFFFFFFF, stored_size=0xFFFFFFFF)),
        "lacks a size or an offset",
        False,
    ),
    "a size of 2^63": Odd(
        archive(
            *in_directory(
                "data/0", size=0xFFFFFFFF, stored_size=0xFFFFFFFF, extra=pack("<2H2Q", 1, 16, *[1 << 63] * 2)
            )
        ),
        "runs into what follows it",
        False,
    ),
    "two folders deep": Odd(
        archive(*(replace(entry, name=f"x/{entry.name}") for entry in SOUND)),
        "not in the one top folder that torch requires",
        False,
    ),
    "no folder": Odd(
        archive(*(replace(entry, name=str(entry.name)[2:]) for entry in SOUND)),
        "not in the one top folder that torch requires",
        False,
    ),
    "no pickle": Odd(archive(*without("data.pkl")), "it has no data.pkl", False),
    "an unknown byte order": Odd(archive(*changed("byteorder", data=b"middle")), "neither little nor big", False),
    "a byte order of a megabyte": Odd(
        archive(*changed("byteorder", data=bytes(10**6))), "larger than 64 bytes", False
    ),
    "a pickle that cannot be inflated": Odd(
        archive(*in_directory("data.pkl", method=DEFLATED)), "`a/data.pkl` cannot be inflated", False
    ),
    "a compressed pickle of another length": Odd(
        archive(*changed("data.pkl", method=DEFLATED, in_directory={"size": len(PICKLE) - 1})),
        "`a/data.pkl` is not as long as the directory says",
        False,
    ),
    "a compressed storage of a thousand times its bytes": Odd(
        archive(*changed("data/0", method=DEFLATED, in_directory={"size": 1 << 30})),
        "`a/data/0` is said to be larger than its bytes can make it",
        False,
    ),
    "bytes before the archive": Odd(archive(prefix=b"#!/bin/sh\n"), "not a checkpoint", False),
    "a huge name twice": Odd(
        archive(*SOUND, *[Entry("a/" + "n" * 60_000)] * 2),
        "two records of the zip archive are called `a/nnn",
        True,
    ),
    "only an end record": Odd(b"PK\3\4" + archive()[-22:], "does not lie where", False),
    "a locator that leads nowhere": Odd(
        archive(zip64=(4, 1, 1)).replace(b"PK\6\6", b"PK\6\5"), "zip64 end record does not lie where", True
    ),
}


@pytest.mark.parametrize("odd", REFUSED.values(), ids=REFUSED)
def test_an_archive_that_contradicts_itself_is_refused(odd: Odd) -> None:
    assert odd.says in refusal(odd.data)
    assert odd.torch_loads == loads(odd.data)


class Doubtful(NamedTuple):
    """An archive that is read, the kinds of what is odd about it, whether torch loads it, and what is unread."""

    data: bytes
    kinds: set[str]
    torch_loads: bool
    unread: str = ""


STOWAWAY = b"MZ" + bytes(100)

READ = {
    "bytes after the end": Doubtful(archive(suffix=b"junk" * 5), {"trailing_bytes"}, True),
    "a comment": Doubtful(archive(comment=b"#!/bin/sh"), {"comment"}, True),
    "a comment that hides an archive": Doubtful(archive(comment=archive()[:-22]), {"comment"}, True),
    "a comment that is cut": Doubtful(archive(comment=b"abc", comment_length=99), {"comment"}, True),
    "a stowaway before the first record": Doubtful(archive(prefix=b"PK\3\4" + STOWAWAY), {"unused_bytes"}, True),
    "a stowaway between two records": Doubtful(archive(*changed("data/0", gap=STOWAWAY)), {"unused_bytes"}, True),
    "a stowaway before the directory": Doubtful(archive(before_directory=STOWAWAY), {"unused_bytes"}, True),
    "a wrong checksum of the pickle": Doubtful(
        archive(*in_directory("data.pkl", crc=1)), {"wrong_checksum", "local_header"}, True
    ),
    "another name in the local header": Doubtful(
        archive(*changed("data/0", local_name=b"a/data/1")), {"local_header"}, True
    ),
    "another method in the local header": Doubtful(
        archive(*changed("data/0", method=DEFLATED, in_directory={"method": 0, "size": 14, "stored_size": 14})),
        {"local_header"},
        False,
        unread="14 bytes in the file where 16 are announced",
    ),
    "two names for one record": Doubtful(
        archive(*SOUND, Entry("a/data/7", FLOATS, in_directory={"header": 0})),
        {"overlapping_records", "unused_storage", "unused_bytes"},
        True,
    ),
    "a record of another folder": Doubtful(archive(*SOUND, Entry("b/data.pkl", OTHER)), {"foreign_record"}, False),
    "a record that leads upwards": Doubtful(
        archive(*SOUND, Entry("../etc/passwd", b"x")), {"foreign_record"}, False
    ),
    "an absolute record": Doubtful(archive(*SOUND, Entry("/etc/passwd", b"x")), {"foreign_record"}, False),
    "no version": Doubtful(archive(*without("version")), {"version"}, False),
    "a version to come": Doubtful(
        archive(*changed("version", data=b"9999\n")), set(), False, unread="a version of the format"
    ),
    "a version that is none": Doubtful(
        archive(*changed("version", data=b"three")), set(), False, unread="a version of the format"
    ),
    "a compressed storage": Doubtful(archive(*changed("data/0", method=DEFLATED)), {"compressed_record"}, True),
    "a compressed pickle": Doubtful(archive(*changed("data.pkl", method=DEFLATED)), {"compressed_record"}, True),
    "an unknown storage": Doubtful(archive(*SOUND, Entry("a/data/1", b"x")), {"unused_storage"}, True),
    "a storage that is too short": Doubtful(
        archive(*changed("data/0", data=FLOATS[:8])), set(), False, unread="8 bytes in the file where 16"
    ),
    "a storage that is too long": Doubtful(
        archive(*changed("data/0", data=FLOATS * 2)), set(), False, unread="32 bytes in the file where 16"
    ),
    "no storage": Doubtful(archive(*without("data/0")), set(), False, unread="the file does not hold it"),
}


@pytest.mark.parametrize("doubtful", READ.values(), ids=READ)
def test_what_is_odd_about_an_archive_is_told(doubtful: Doubtful) -> None:
    inventory = read(doubtful.data)
    assert ["w"] == names(inventory)
    assert doubtful.kinds == anomalies(inventory)
    assert doubtful.unread in failures(inventory)
    assert bool(doubtful.unread) == bool(failures(inventory))
    assert doubtful.torch_loads == loads(doubtful.data)


def test_no_checksum_is_no_wrong_checksum() -> None:
    """torch can be told not to compute them, and then writes zeros."""
    descriptor = pack("<4s3L", b"PK\7\x08", 0, 0, 0)
    entries = [replace(entry, flags=8, gap=descriptor, in_directory={"crc": 0}) for entry in SOUND]
    assert is_clean(read(archive(*entries)))


def test_records_are_found_without_regard_to_case_as_torch_finds_them() -> None:
    """Else bufscan would take the elements for little-endian where torch swaps them."""
    data = archive(*without("byteorder"), Entry("a/BYTEORDER", b"big"))
    assert {"big"} == {storage.byteorder for storage in read(data).storages.values()}
    assert [1, 2, 3, 4] != loaded(data)["w"].tolist()


# Two directories in one file: the older end record leads to one, the zip64 record to the other.


def two_directories(*, seen_by_old_readers: bytes, seen_by_torch: bytes) -> bytes:
    first = Archive(checkpoint_entries(seen_by_old_readers, {"0": FLOATS})).to_bytes()
    directory_start = first.index(b"PK\1\2")
    directory = first[directory_start:-22]
    second = Archive(checkpoint_entries(seen_by_torch, {"0": FLOATS}), prefix=first[:-22]).to_bytes()
    start = second.index(b"PK\1\2", len(first))
    size = len(second) - 22 - start
    record = pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 4, 4, size, start)
    locator = pack("<4sLQL", b"PK\6\7", 0, len(second) - 22, 1)
    end = pack("<4s4H2LH", b"PK\5\6", 0, 0, 4, 4, len(directory), directory_start, 0)
    return second[:-22] + record + locator + end


def test_of_two_directories_the_one_counts_that_torch_reads() -> None:
    data = two_directories(seen_by_old_readers=PICKLE, seen_by_torch=OTHER)
    assert ["other"] == [*loaded(data)] == names(read(data))
    assert "end_record" in anomalies(read(data))


def test_a_zip64_record_that_agrees_is_nothing_odd() -> None:
    plain = archive()
    start = plain.index(b"PK\1\2")
    size = len(plain) - 22 - start
    data = archive(zip64=(4, size, start), count=0xFFFF, directory_size=0xFFFFFFFF, directory_start=0xFFFFFFFF)
    assert is_clean(read(data))
    assert loads(data)


def test_sizes_of_64_bits_are_read_where_the_short_ones_refer_to_them() -> None:
    extra = b"XX\4\0abcd" + pack("<2H2Q", 1, 16, 16, 16)
    data = archive(*in_directory("data/0", size=0xFFFFFFFF, stored_size=0xFFFFFFFF, extra=extra))
    assert is_clean(read(data))
    assert loads(data)


# Bombs.


def deflated_zeros(mebibytes: int) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return b"".join([*(deflate.compress(bytes(1 << 20)) for _ in range(mebibytes)), deflate.flush()])


def bomb(record: str, mebibytes: int, claimed: int) -> bytes:
    stored = deflated_zeros(mebibytes)
    lies: dict[str, int | bytes] = {"method": DEFLATED, "size": claimed, "crc": 0}
    return archive(*changed(record, data=stored, in_directory=lies))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (bomb("data.pkl", 64, 64 << 20), "`a/data.pkl` is larger than 10000000 bytes"),
        (bomb("data.pkl", 64, 1000), "`a/data.pkl` is not as long as the directory says"),
        (bomb("version", 64, 2), "`a/version` is larger than 64 bytes"),
        (bomb("version", 1, 2), "`a/version` is larger than 64 bytes"),
    ],
    ids=["an honest one", "one that understates", "in the version", "a small one in the version"],
)
def test_a_bomb_is_not_inflated(data: bytes, says: str) -> None:
    assert says in refusal(data)


def test_a_compressed_storage_is_never_inflated() -> None:
    data = bomb("data/0", 64, 64 << 20)
    (storage,) = read(data).storages.values()
    assert (64 << 20, None) == (storage.nbytes, storage.offset)


# Damage.


def test_an_archive_cut_anywhere_is_refused() -> None:
    data = archive()
    for length in range(len(data)):
        assert refusal(data[:length])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: checkpoint(b""), "broken pickle at byte 0"),
        (lambda: checkpoint(b"."), "ends with nothing on the stack"),
        (lambda: checkpoint(PICKLE[:-1]), "it ends in the middle"),
        (lambda: checkpoint(b"\x80\x02" + bytes(100)), "no pickle opcode has the code 0x00"),
    ],
    ids=["empty", "only its end", "cut", "zeros"],
)
def test_a_broken_pickle_in_a_sound_archive_is_refused(make: Callable[[], bytes], says: str) -> None:
    assert says in refusal(make())


@pytest.mark.parametrize(
    ("records", "says"),
    [
        (["a/constants.pkl"], "a TorchScript archive"),
        (["a/CONSTANTS.PKL"], "a TorchScript archive"),
    ],
)
def test_an_archive_of_another_kind_is_named(records: list[str], says: str) -> None:
    assert says in refusal(archive(*SOUND, *(Entry(record, pickled(b")")) for record in records)))


def test_an_archive_of_torch_package_is_not_taken_for_an_exported_program() -> None:
    names = ("a/.data/0.storage", "a/.data/extern_modules", "a/models/net.py", "a/net/net.pkl")
    assert "broken pickle" in refusal(archive(*(Entry(name, b"x") for name in names)))


def test_a_name_that_is_no_utf8_is_a_name_like_others() -> None:
    assert {"foreign_record"} == anomalies(read(archive(*SOUND, Entry(b"\xff\xfe/\x1b[31m\n", b"x"))))


def test_what_a_pickle_in_an_archive_calls_is_told_and_not_called() -> None:
    inventory = read(checkpoint(pickled(called(name("os", "abort")))))
    assert ("os.abort",) == inventory.globals
