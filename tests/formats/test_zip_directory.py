"""Archives that real writers made: every record found where it lies, with what Python's zipfile reads."""

from __future__ import annotations

import io
import zipfile
from struct import pack_into
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bufscan.bytesource import FileSource, MemorySource
from bufscan.errors import UnreadableError
from bufscan.formats.containers.anomaly_log import AnomalyLog
from bufscan.formats.containers.zip_directory import DEFLATED, STORED, ZipDirectory

if TYPE_CHECKING:
    from pathlib import Path

LARGE = 1 << 20

record_names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)


def written(records: dict[str, bytes], method: int = STORED, comment: bytes = b"") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.comment = comment
        for name, data in records.items():
            archive.writestr(name, data)
    return file.getvalue()


def opened(data: bytes) -> tuple[ZipDirectory, AnomalyLog]:
    log = AnomalyLog()
    return ZipDirectory(MemorySource("x.zip", data), log), log


@given(
    records=st.dictionaries(record_names, st.binary(max_size=200), max_size=8).filter(
        lambda records: len({name.lower() for name in records}) == len(records)
    ),
    method=st.sampled_from([STORED, DEFLATED]),
    comment=st.binary(max_size=50).filter(lambda comment: b"PK" not in comment),
)
def test_what_zipfile_writes_is_read(records: dict[str, bytes], method: int, comment: bytes) -> None:
    data = written(records, method, comment)
    directory, log = opened(data)
    found = {record.name: directory.read(record, limit=LARGE) for record in directory.records.values()}
    # zipfile itself changes names: backslashes on Windows, and nothing here.
    assert {
        info.filename: records[info.filename] for info in zipfile.ZipFile(io.BytesIO(data)).infolist()
    } == found
    assert bool(comment) == bool(log.anomalies())


def test_bytes_written_without_their_size_are_followed_by_it() -> None:
    """To a stream that cannot seek, zipfile writes a descriptor behind the bytes, as torch does."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:  # type: ignore[override]
            self.data += bytes(data)
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as archive:
        archive.writestr("a/data.pkl", b"first")
        archive.writestr("a/version", b"second")
    directory, log = opened(pipe.data)
    assert [b"first", b"second"] == [directory.read(r, limit=LARGE) for r in directory.records.values()]
    assert () == log.anomalies()


def test_an_archive_for_large_files_is_read() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, archive.open("a/data.pkl", "w", force_zip64=True) as record:
        record.write(b"small")
    directory, log = opened(file.getvalue())
    assert b"small" == directory.read(directory.records["a/data.pkl"], limit=LARGE)
    assert () == log.anomalies()


def test_an_archive_of_more_than_65535_records_is_read() -> None:
    names = [f"a/{i}" for i in range(66_000)]
    directory, log = opened(written(dict.fromkeys(names, b"")))
    assert names == [record.name for record in directory.records.values()]
    assert () == log.anomalies()


@pytest.mark.parametrize("aligned", [1, 64, 4096])
def test_the_records_of_torch_lie_where_they_are_aligned(tmp_path: Path, aligned: int) -> None:
    from torch.utils.serialization import config

    path = tmp_path / "model.pt"
    with config.patch("save.storage_alignment", aligned):
        torch.save({"w": torch.arange(100.0), "b": torch.ones(3)}, path)
    data, log = path.read_bytes(), AnomalyLog()
    with FileSource(path) as source:
        directory = ZipDirectory(source, log)
        for record in directory.records.values():
            offset = directory.data_offset(record)
            assert data[offset : offset + record.size] == zipfile.ZipFile(path).read(record.name)
            assert "/data/" not in record.name or not offset % aligned
    assert () == log.anomalies()


def test_a_record_is_read_only_up_to_its_limit() -> None:
    directory, _ = opened(written({"a/data.pkl": bytes(100)}))
    assert bytes(100) == directory.read(directory.records["a/data.pkl"], limit=100)
    with pytest.raises(UnreadableError, match="larger than 99 bytes"):
        directory.read(directory.records["a/data.pkl"], limit=99)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_named_and_not_read(method: int) -> None:
    directory, _ = opened(written({"a/data.pkl": bytes(100)}, method))
    with pytest.raises(UnreadableError, match=f"compressed with method {method}"):
        directory.read(directory.records["a/data.pkl"], limit=LARGE)


def test_a_wrong_checksum_is_told() -> None:
    data = bytearray(written({"a/data.pkl": b"first"}))
    pack_into("<L", data, data.index(b"PK\1\2") + 16, 1)
    directory, log = opened(bytes(data))
    directory.read(directory.records["a/data.pkl"], limit=LARGE)
    assert "wrong_checksum" in {anomaly.kind for anomaly in log.anomalies()}


@given(st.binary(max_size=200))
def test_other_bytes_are_no_archive(data: bytes) -> None:
    with pytest.raises(UnreadableError):
        opened(data)


@given(position=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_changed_byte_is_survived(position: int, value: int) -> None:
    data = bytearray(written({"a/data.pkl": b"first", "a/version": b"3"}, DEFLATED, b"a comment"))
    data[position % len(data)] = value
    try:
        directory, _ = opened(bytes(data))
        for record in directory.records.values():
            directory.read(record, limit=LARGE)
    except UnreadableError as error:
        assert len(error.message) < 300  # noqa: PT017 - it may as well be read


def test_an_odd_thing_is_told_twenty_times_and_then_counted() -> None:
    log = AnomalyLog()
    for i in range(1050):
        log.note("many", f"number {i}")
    log.note("few", "one")
    assert [*(f"number {i}" for i in range(20)), "one", "the same 1,030 more times"] == [
        anomaly.message for anomaly in log.anomalies()
    ]
