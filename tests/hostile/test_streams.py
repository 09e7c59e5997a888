"""The older formats: legacy streams and tar archives that lie, and files that could be either."""

from __future__ import annotations

import pickle
import tarfile
from struct import pack
from typing import Any

import pytest
from crafted_pickles import called, integer, mapping, name, pickled, sequence, storage, tensor, text
from crafted_streams import MAGIC, PROTOCOL, SYSTEM, elements, legacy, tar, tar_checkpoint
from crafted_zip import checkpoint
from hostile_reading import anomalies, failures, is_clean, names, read, read_or_refuse, refusal
from torch_verdict import loaded, loads

from bufscan.errors import UnreadableError
from bufscan.formats.reading import READERS
from bufscan.formats.signatures import is_tar, is_torch_legacy


def legacy_storage(key: str = "0", numel: int = 4, kind: str = "FloatStorage", view: bytes = b"N") -> bytes:
    """A persistent id of the older formats: with a view."""
    return storage(key, numel, kind=kind)[:-2] + view + b"tQ"


def legacy_tensor(**fields: Any) -> bytes:
    from crafted_pickles import NO_HOOKS

    rebuild = name("torch._utils", "_rebuild_tensor_v2")
    return called(rebuild, legacy_storage(**fields), b"K\0", b"K\4\x85", b"K\1\x85", b"\x89", NO_HOOKS)


OBJECT = pickled(mapping(text("w"), legacy_tensor()))


def test_a_sound_stream_is_clean() -> None:
    data = legacy(OBJECT)
    assert is_clean(read(data))
    assert [1, 2, 3, 4] == loaded(data)["w"].tolist()


def test_the_elements_are_little_endian_whatever_the_writer_was() -> None:
    system = pickle.dumps({"little_endian": False}, 2)
    data = MAGIC + PROTOCOL + system + OBJECT + pickle.dumps(["0"], 2) + elements(1, 2, 3, 4)
    assert [1, 2, 3, 4] == loaded(data)["w"].tolist()
    assert {"little"} == {found.byteorder for found in read(data).storages.values()}


# torch loads these, and leaves elements uninitialised in the first.
WITHOUT_COMPLAINT = {"without its list of storages", "lists a storage twice"}

STREAMS: dict[str, tuple[bytes, str]] = {
    "only the magic number": (MAGIC, "broken pickle at byte 15"),
    "another protocol": (MAGIC + pickle.dumps(1002, 2) + SYSTEM + OBJECT, "unknown protocol version"),
    "a protocol that is an object": (MAGIC + pickled(called(name("m", "f"))), "unknown protocol version"),
    "no keys": (MAGIC + PROTOCOL + SYSTEM + OBJECT, "broken pickle"),
    "keys that are no list": (MAGIC + PROTOCOL + SYSTEM + OBJECT + pickled(b"}"), "without its list of storages"),
    "a key twice": (legacy(OBJECT, ("0", "0"), elements(1, 2, 3, 4) * 2), "lists a storage twice"),
    "a key that nothing refers to": (legacy(OBJECT, ("1",)), "stores something its pickle does not refer to"),
    "a negative count": (legacy(OBJECT, stored=pack("<q", -4) + bytes(16)), "a negative count"),
    "a count beyond the file": (legacy(OBJECT, stored=pack("<q", 1 << 60)), "announces 4611686018427387904 bytes"),
    "no elements": (legacy(OBJECT, stored=b""), "announces 8 bytes"),
    "elements cut": (legacy(OBJECT)[:-1], "announces 16 bytes"),
    "a hundred thousand keys": (legacy(OBJECT, tuple(map(str, range(100_000)))), "announces 8 bytes"),
}


@pytest.mark.parametrize(("data", "says"), STREAMS.values(), ids=STREAMS)
def test_a_stream_that_lies_is_refused(data: bytes, says: str) -> None:
    assert says in refusal(data)
    assert (says in WITHOUT_COMPLAINT) == loads(data, weights_only=False)


def test_a_stream_cut_anywhere_is_refused() -> None:
    data = legacy(OBJECT)
    for length in range(len(data)):
        assert refusal(data[:length])


def test_what_comes_after_the_last_storage_is_told() -> None:
    assert {"trailing_bytes"} == anomalies(read(legacy(OBJECT) + b"MZ"))


def test_a_count_that_is_not_the_announced_one_is_told() -> None:
    assert "8 bytes in the file where 16 are announced" in failures(read(legacy(OBJECT, stored=elements(1, 2))))


def test_the_first_class_of_a_storage_says_how_wide_its_elements_are() -> None:
    """As in torch: a second one, for the same key, only looks at the same bytes."""
    narrow = legacy_tensor(kind="CharStorage", numel=16)
    inventory = read(legacy(pickled(mapping(text("w"), legacy_tensor(), text("v"), narrow))))
    assert {16} == {found.nbytes for found in inventory.storages.values()}
    assert set() == anomalies(inventory)


@pytest.mark.parametrize(
    ("view", "left_out"),
    [
        (b"N", False),
        (sequence(text("9"), b"K\0", b"K\4"), False),
        (sequence(text("9"), b"K\1", b"K\4"), True),
        (sequence(text("9"), integer(-1), b"K\4"), True),
        (sequence(text("9")), True),
        (text("9"), True),
    ],
    ids=["none", "the whole", "past the end", "before the start", "a short one", "text"],
)
def test_a_view_of_a_storage_lies_within_it(view: bytes, left_out: bool) -> None:
    inventory = read(legacy(pickled(mapping(text("w"), legacy_tensor(), text("v"), legacy_tensor(view=view)))))
    assert left_out == ("tensor v" in failures(inventory))


def test_a_pickle_longer_than_the_first_window_is_run_from_its_start() -> None:
    filler = b"".join(text(f"{i:06}") + b"K\1" for i in range(100_000))
    value = pickled(mapping(text("meta"), b"}(" + filler + b"u", text("w"), legacy_tensor()))
    assert ["w"] == names(read(legacy(value)))


def test_a_message_gives_the_place_in_the_file() -> None:
    broken = pickled(b"}" * 100_000 + b"\xff")
    place = len(MAGIC + PROTOCOL + SYSTEM) + 2 + 100_001
    assert f"broken pickle at byte {place}" in refusal(MAGIC + PROTOCOL + SYSTEM + broken)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_the_magic_number_may_be_written_in_any_protocol_that_torch_takes(protocol: int) -> None:
    assert is_torch_legacy(pickle.dumps(0x1950A86A20F9469CFC6C, protocol))


# Tar.


def test_a_tar_checkpoint_of_torch_0_1_is_named_with_the_way_out() -> None:
    with pytest.raises(UnreadableError, match=r"a checkpoint of torch 0\.1") as caught:
        read(tar(tar_checkpoint()))
    assert "torch.save(torch.load(" in (caught.value.hint or "")


def test_another_tar_archive_is_said_to_be_one() -> None:
    assert "a tar archive, but not a PyTorch checkpoint" in refusal(tar({"README": b"hello"}))


def test_a_tar_archive_cut_anywhere_is_refused() -> None:
    data = tar(tar_checkpoint())
    assert {str} == {type(read_or_refuse(data[:length])) for length in range(0, len(data), 7)}


def tar_header(member: str, data: bytes, **fields: Any) -> bytes:
    """One member, its header made by tarfile from fields that torch would not write."""
    info = tarfile.TarInfo(member)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512)


# One file, two meanings.


def polyglot_of_tar_and_stream() -> bytes:
    """A tar archive whose first member is called like the start of a legacy stream."""
    stream = legacy(pickled(mapping(text("harmless"), legacy_tensor())))
    start = bytearray(tar_header("x", b""))
    # Then the system information: a text that reaches to the end of the block.
    head = stream[: len(MAGIC + PROTOCOL)] + b"\x80\x02X\xe0\1\0\0"
    start[: len(head)] = head
    start[148:156] = b" " * 8
    start[148:156] = b"%06o\0 " % sum(start)
    members = b"".join(tar_header(each, content) for each, content in tar_checkpoint().items())
    return bytes(start) + members + bytes(1024)


def test_a_file_that_is_both_tar_and_stream_is_taken_as_torch_takes_it() -> None:
    data = polyglot_of_tar_and_stream()
    assert is_tar(data[:512])
    assert is_torch_legacy(data[:512])
    first = next(reader for reader in READERS if reader.recognises(data[:512]))
    assert first.recognises is is_tar


def test_a_file_that_is_both_zip_and_tar_is_taken_as_a_zip_as_torch_takes_it() -> None:
    archive = bytearray(checkpoint(pickled(mapping(text("w"), tensor()), b"N0" * 300)))
    archive[148:156] = b" " * 8
    archive[148:156] = b"%06o\0 " % sum(archive[:512])
    assert is_tar(bytes(archive[:512]))
    assert next(reader for reader in READERS if reader.recognises(archive[:512])) is READERS[0]


def test_a_first_block_is_a_tar_header_exactly_when_tarfile_says_so() -> None:
    header = bytearray(tar_header("x", b""))
    number = int(header[148:154], 8)
    for field in (b"%06o\0 ", b"%07o\0", b"%o\0", b" %o ", b"0o%o", b"+%o", b"%06o\0x", b"%08o"):
        header[148:156] = (field % number).ljust(8, b"\0")[:8]
        expected = True
        try:
            tarfile.TarInfo.frombuf(bytes(header), "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            expected = False
        assert expected == is_tar(bytes(header)), field
    assert not is_tar(bytes(512))
    assert not is_tar(bytes(header[:511]))
