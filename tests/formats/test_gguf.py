"""GGUF files: written byte by byte after the format's description, and by llama.cpp's own package."""

from __future__ import annotations

import random
from struct import pack
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bufscan.bytesource import MemorySource
from bufscan.checking import check
from bufscan.comparing.diffing import diff
from bufscan.dtypes import DTYPES, GGUF_BLOCKS
from bufscan.errors import UnreadableError
from bufscan.formats.reading import read_file

if TYPE_CHECKING:
    from pathlib import Path

    from bufscan.inventory import Inventory

F32, Q4_0, Q4_K = 0, 2, 12


def text(value: str) -> bytes:
    return pack("<Q", len(value.encode())) + value.encode()


def pair(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + pack("<I", kind) + value


def row(name: str, sizes: tuple[int, ...], code: int, offset: int) -> bytes:
    return text(name) + pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, code, offset)


PAIRS = (
    pair("general.architecture", 8, text("llama")),
    pair("llama.block_count", 4, pack("<I", 2)),
    pair("tokenizer.tokens", 9, pack("<IQ", 8, 3) + text("a") + text("b") + text("c")),
    pair("tokenizer.scores", 9, pack("<IQ3f", 6, 3, 0, 1, 2)),
    pair("flag", 7, b"\1"),
)
ROWS = (
    row("token_embd.weight", (256, 3), Q4_K, 0),
    row("blk.0.attn_q.weight", (64, 2), Q4_0, 448),
    row("output_norm.weight", (4,), F32, 544),
)
DATA = bytes(range(256)) + bytes(176) + bytes(16) + bytes(72) + bytes(24) + pack("<4f", 1, 2, 3, 4)


def gguf(
    *,
    rows: tuple[bytes, ...] = ROWS,
    pairs: tuple[bytes, ...] = PAIRS,
    data: bytes = DATA,
    version: int = 3,
    counts: tuple[int, int] | None = None,
) -> bytes:
    tensors, keys = (len(rows), len(pairs)) if counts is None else counts
    header = b"GGUF" + pack("<IQQ", version, tensors, keys) + b"".join(pairs) + b"".join(rows)
    return header + bytes(-len(header) % 32) + data


def read(data: bytes) -> Inventory:
    return read_file(MemorySource("model.gguf", data), "model.gguf")


def test_names_shapes_types_and_sizes() -> None:
    found = read(gguf())
    assert [
        ("token_embd.weight", (3, 256), "Q4_K", 3 * 144),
        ("blk.0.attn_q.weight", (2, 64), "Q4_0", 4 * 18),
        ("output_norm.weight", (4,), "float32", 16),
    ] == [(each.name, each.shape, each.dtype, each.stored_bytes) for each in found.tensors]
    assert 3 * 144 + 4 * 18 + 16 == found.stored_bytes
    assert {
        "general.architecture": "llama",
        "llama.block_count": "2",
        "tokenizer.tokens": "3 texts",
        "tokenizer.scores": "3 numbers",
        "flag": "True",
    } == found.metadata
    assert () == found.anomalies


def test_blocks_are_as_large_as_the_packages_own_table_says() -> None:
    """4.5 bits an element in Q4_0, 2.0625 in IQ2_XXS."""
    assert 18 * 8 / 32 == DTYPES["Q4_0"].nbytes(32) * 8 / 32 == 4.5
    assert 2.0625 == DTYPES["IQ2_XXS"].nbytes(1 << 20) * 8 / (1 << 20)
    gguf_package = pytest.importorskip("gguf")
    sizes = {kind.name: size for kind, size in gguf_package.GGML_QUANT_SIZES.items()}
    assert GGUF_BLOCKS == {name: sizes[name] for name in GGUF_BLOCKS}


def test_a_file_of_the_package_is_read_as_the_package_reads_it(tmp_path: Path) -> None:
    package = pytest.importorskip("gguf")
    path = tmp_path / "model.gguf"
    writer = package.GGUFWriter(path, "llama")
    writer.add_block_count(2)
    weights = np.arange(512, dtype=np.float32).reshape(2, 256) / 512
    writer.add_tensor("token_embd.weight", weights)
    for kind in ("Q4_0", "Q8_0", "BF16"):
        code = package.GGMLQuantizationType[kind]
        writer.add_tensor(f"blk.0.{kind}.weight", package.quants.quantize(weights, code), raw_dtype=code)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    expected = {
        each.name: (tuple(map(int, each.shape[::-1])), int(each.n_bytes))
        for each in package.GGUFReader(path).tensors
    }
    found = read(path.read_bytes())
    assert expected == {each.name: (each.shape, each.stored_bytes) for each in found.tensors}
    assert ["float32", "Q4_0", "Q8_0", "bfloat16"] == [each.dtype for each in found.tensors]
    assert () == found.anomalies


def test_values_are_compared_the_packed_ones_by_their_bytes(tmp_path: Path) -> None:
    changed = bytearray(gguf())
    changed[-1] ^= 1
    packed = bytearray(gguf())
    packed[-len(DATA) + 3] ^= 1
    for name, data in {"a": gguf(), "b": gguf(), "c": changed, "d": packed}.items():
        (tmp_path / name).write_bytes(data)
    assert diff(str(tmp_path / "a"), str(tmp_path / "b")).identical
    for other, tensor in {"c": "output_norm.weight", "d": "token_embd.weight"}.items():
        difference = diff(str(tmp_path / "a"), str(tmp_path / other))
        assert not difference.identical
        assert [tensor] == [each.name for each in difference.entries]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (gguf(version=1), "version 1, which is not known"),
        (gguf(counts=(1 << 40, 5)), "announces 1,099,511,627,776 tensors"),
        (gguf(counts=(3, 1 << 40)), "GGUF header"),
        (gguf(pairs=(pair("x", 13, b""),)), "unknown type 13"),
        (gguf(pairs=(pair("general.alignment", 4, pack("<I", 7)),)), "no multiple of 8"),
        (gguf(pairs=(text("x") + pack("<I", 9) + pack("<IQ", 9, 1) * 5,)), "nests arrays too deep"),
        (gguf(pairs=(pack("<Q", 1 << 60),)), "ends in the middle"),
        (gguf(rows=(row("w", (1 << 40, 1 << 40), F32, 0),)), "more elements than can be counted"),
        (gguf(rows=(row("w", (1,) * 9, F32, 0),)), "9 dimensions"),
        (gguf(rows=(ROWS[2], ROWS[2])), "two tensors have one name"),
        (b"GGUF", "ends in the middle"),
    ],
)
def test_a_header_that_no_writer_makes_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(UnreadableError, match=says):
        read(data)


def test_a_file_that_is_cut_off_is_not_clean(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf()[:-8])
    (lost,) = [each for each in read(path.read_bytes()).skipped if each.failed]
    assert "`output_norm.weight`" in lost.reason
    assert 2 == check(path).exit_code


@pytest.mark.parametrize(
    ("rows", "kinds"),
    [
        (
            (ROWS[0], row("blk.0.attn_q.weight", (64, 2), Q4_0, 416), ROWS[2]),
            {"overlapping_records", "unused_bytes"},
        ),
        ((ROWS[0], ROWS[2]), {"unused_bytes"}),
        ((ROWS[0], row("blk.0.attn_q.weight", (64, 2), Q4_0, 449), ROWS[2]), {"misaligned"}),
        (ROWS[:2], {"trailing_bytes"}),
    ],
    ids=["overlap", "hole", "misaligned", "trailing"],
)
def test_odd_places_are_told(rows: tuple[bytes, ...], kinds: set[str]) -> None:
    assert kinds == {each.kind for each in read(gguf(rows=rows)).anomalies}


def test_a_type_to_come_is_not_clean() -> None:
    found = read(gguf(rows=(row("w", (4,), 99, 0),)))
    assert ["it is of type 99, which is not known"] == [each.reason for each in found.skipped if each.failed]


def test_a_file_of_the_other_byte_order_is_read() -> None:
    header = b"GGUF" + pack(">IQQ", 3, 1, 0) + pack(">Q", 1) + b"w" + pack(">IQIQ", 1, 4, F32, 0)
    found = read(header + bytes(-len(header) % 32) + pack(">4f", 1, 2, 3, 4))
    assert ["big"] == [each.byteorder for each in found.storages.values()]
    assert [(4,)] == [each.shape for each in found.tensors]


@pytest.mark.parametrize("seed", range(200))
def test_flipped_bits_and_cuts_never_end_in_a_traceback(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - nothing secret
    data = bytearray(gguf())
    if seed % 2:
        del data[chance.randrange(4, len(data)) :]
    for _ in range(chance.randrange(1, 6)):
        data[chance.randrange(4, len(data))] ^= 1 << chance.randrange(8)
    message = ""
    try:
        read(bytes(data))
    except UnreadableError as error:
        message = error.message
    assert len(message) < 300
