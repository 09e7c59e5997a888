"""A file that no reader reads is named for what it is."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bufscan.bytesource import MemorySource
from bufscan.errors import UnreadableError
from bufscan.formats.identifying import KINDS
from bufscan.formats.reading import read_file


def empty_zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w"):
        pass
    return stream.getvalue()


WORDS = b"weights of a model, but only in words\n" * 3

SAMPLES: dict[str, tuple[bytes, str, str]] = {
    "gzip": (gzip.compress(WORDS), "a gzip file", "gunzip"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4" + bytes(30), "a 7z archive", "7z x"),
    "rar": (b"Rar!\x1a\x07\x01\0" + bytes(30), "a RAR archive", "unrar"),
    "bzip2": (bz2.compress(WORDS), "a bzip2 file", "bunzip2"),
    "xz": (lzma.compress(WORDS), "an xz file", "unxz"),
    "zstd": (b"\x28\xb5\x2f\xfd\x24\x05" + bytes(30), "a zstd file", "unzstd"),
    "lz4": (b"\x04\x22\x4d\x18\x64\x40" + bytes(30), "an lz4 file", "unlz4"),
    "zlib": (zlib.compress(WORDS), "a zlib stream", "without compression"),
    "empty zip": (empty_zip(), "a zip archive with nothing in it", "again"),
    "LFS pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "a Git LFS pointer",
        "git lfs pull",
    ),
    "annex pointer": (b"/annex/objects/MD5E-s123--abc.pt\n", "a git-annex pointer", "git annex get"),
    "GGML": (b"tjgg\3\0\0\0" + bytes(16), "a GGML file", "made from"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(40), "an HDF5 file", "NumPy"),
    "mobile": (b"\x20\0\0\0PTMF" + bytes(40), "mobile devices", "made from"),
    "ExecuTorch": (b"\x20\0\0\0ET12" + bytes(40), "an ExecuTorch program", "made from"),
    "TFLite": (b"\x1c\0\0\0TFL3" + bytes(40), "a TensorFlow Lite model", "NumPy"),
    "ONNX": (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:", "an ONNX model", "made from"),
    "Flax": (b"\x81\xa6params\x82\xa4bias\xc7\x20\1" + bytes(40), "a msgpack file, as Flax writes", "NumPy"),
    "Parquet": (b"PAR1\x15\4\x15" + bytes(40), "a Parquet table", "NumPy"),
    "SQLite": (b"SQLite format 3\0" + bytes(40), "an SQLite database", "NumPy"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(40), "picture", "NumPy"),
    "program": (b"\x7fELF\2\1\1" + bytes(40), "a program", "NumPy"),
    "web page": (
        b"\n<!DOCTYPE html><html><head><title>\n Quota\n exceeded</title></head>",
        "a web page, not a checkpoint: `Quota exceeded`",
        "download it again",
    ),
    "web page without a title": (b"<HTML><body>404 Not Found</body></HTML>", "a web page", "download it again"),
    "XML": (
        b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>',
        "an XML document, not a checkpoint: `AccessDenied`",
        "download it again",
    ),
    "JSON": (
        b'{"error": "Repository not found", "status": 404}',
        "a JSON document, not a checkpoint: `Repository not found`",
        "the weights",
    ),
    "configuration": (b'{"model_type": "bert"}', "a JSON document, not a checkpoint", "the weights"),
    "text": ("Gewichte fürs Modell, aber nur in Worten\n".encode(), "not a checkpoint, but text", "the weights"),
}


def refused(data: bytes) -> UnreadableError:
    with pytest.raises(UnreadableError) as caught:
        read_file(MemorySource("model.pt", data), "model.pt")
    return caught.value


@pytest.mark.parametrize(("data", "says", "hints"), SAMPLES.values(), ids=SAMPLES)
def test_a_file_is_named_for_what_it_is(data: bytes, says: str, hints: str) -> None:
    error = refused(data)
    assert says in error.message
    assert hints in (error.hint or "")


def test_every_kind_has_a_sample() -> None:
    met = {next(kind for kind in KINDS if kind.fits(data)) for data, _, _ in SAMPLES.values()}
    assert set(KINDS) == met


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (bytes(1), "all 1 bytes"),
        (bytes(4096), "all 4,096 bytes"),
        (bytes(1 << 24) + b"x" * 9, "in its first 16,777,216 bytes"),
    ],
)
def test_zeros_are_called_zeros(data: bytes, says: str) -> None:
    error = refused(data)
    assert says in error.message
    assert "again" in (error.hint or "")


def test_zeros_before_something_else_are_of_no_known_format() -> None:
    assert "no known format" in refused(bytes(5000) + b"x").message


def test_the_index_of_a_tensorflow_checkpoint_is_told_by_its_end() -> None:
    data = b"\0\x0a\1" + b"\x9d\x07" * 40 + 0xDB4775248B80FB57.to_bytes(8, "little")
    assert "TensorFlow" in refused(data).message


STARTS = [*(data[:12] for data, _, _ in SAMPLES.values()), b"", b"\x93NUMPY\1\0", b"(dp0\n", b"PK\3\4"]


@given(start=st.sampled_from(STARTS), rest=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(start: bytes, rest: bytes) -> None:
    with suppress(UnreadableError):
        read_file(MemorySource("model.pt", start + rest or b"x"), "model.pt")


@given(st.text(max_size=2000))
def test_what_a_page_says_of_itself_is_cut(title: str) -> None:
    page = f"<html><title>{title}</title>".encode(errors="replace")
    assert len(refused(page).message) < 200
    assert len(refused(json.dumps({"error": title}).encode()).message) < 200


def test_json_that_is_not_utf_8_is_still_refused_in_words() -> None:
    assert "JSON" in refused(b'{"error": "\xff"}').message
