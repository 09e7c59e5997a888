from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from peak_memory import peak_mebibytes

from bufscan.bytesource import FileSource, MemorySource
from bufscan.errors import UnreadableError
from bufscan.formats.containers.safetensors import read_safetensors
from bufscan.formats.signatures import is_safetensors
from safetensors_files import file_of, save

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bufscan.inventory import Inventory


def read(content: bytes) -> Inventory:
    return read_safetensors(MemorySource("model.safetensors", content), "model.safetensors")


def entry(dtype: str = "F32", shape: str = "[0]", offsets: str = "[0,0]", more: str = "") -> str:
    return f'{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}{more}}}'


# What torch would load.

TORCH_TENSORS = {
    "bool": torch.tensor([True, False, True]),
    "int8": torch.arange(3, dtype=torch.int8),
    "uint8": torch.arange(3, dtype=torch.uint8),
    "int16": torch.arange(3, dtype=torch.int16),
    "uint16": torch.tensor([1, 2], dtype=torch.uint16),
    "int32": torch.arange(3, dtype=torch.int32),
    "uint32": torch.tensor([1, 2], dtype=torch.uint32),
    "int64": torch.arange(6).reshape(2, 3),
    "uint64": torch.tensor([1, 2], dtype=torch.uint64),
    "float16": torch.ones(2, 2, dtype=torch.float16),
    "bfloat16": torch.ones(2, 2, dtype=torch.bfloat16),
    "float32": torch.rand(2, 3, 4),
    "float64": torch.rand(5, dtype=torch.float64),
    "complex64": torch.rand(2, dtype=torch.complex64),
    "float8_e4m3fn": torch.ones(4, dtype=torch.float8_e4m3fn),
    "float8_e5m2": torch.ones(4, dtype=torch.float8_e5m2),
    "float8_e8m0fnu": torch.ones(4).to(torch.float8_e8m0fnu),
    "float8_e4m3fnuz": torch.ones(4).to(torch.float8_e4m3fnuz),
    "float8_e5m2fnuz": torch.ones(4).to(torch.float8_e5m2fnuz),
    "float4_e2m1fn_x2": torch.arange(8, dtype=torch.uint8).reshape(2, 4).view(torch.float4_e2m1fn_x2),
    "scalar": torch.tensor(1.5),
    "empty": torch.empty(2, 0, 3),
}


def test_every_dtype_that_the_library_writes_is_read_as_torch_loads_it(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(save(TORCH_TENSORS))
    with FileSource(path) as source:
        inventory = read_safetensors(source, "model.safetensors")
        assert "safetensors" == inventory.format
        assert TORCH_TENSORS.keys() == {tensor.name for tensor in inventory.tensors}
        for tensor in inventory.tensors:
            original = TORCH_TENSORS[tensor.name]
            storage = inventory.storages[tensor.storage]
            assert str(original.dtype) == f"torch.{tensor.dtype}"
            assert original.shape == tensor.shape
            assert original.stride() == tensor.stride
            assert original.nbytes == tensor.nbytes == tensor.stored_bytes == storage.nbytes
            values = torch.frombuffer(
                bytearray(source.read(storage.offset, storage.nbytes) or b"-"), dtype=torch.uint8
            )
            assert (
                original.numel() == 0
                or original.contiguous().view(-1).view(torch.uint8).tolist() == values.tolist()
            )
    assert sum(tensor.nbytes for tensor in TORCH_TENSORS.values()) == inventory.stored_bytes


def test_nothing_is_claimed_that_the_format_does_not_state() -> None:
    (tensor,) = read(save({"weight": torch.ones(2)})).tensors
    assert (None, None, None) == (tensor.device, tensor.requires_grad, tensor.trains)
    assert ("parameter", "assumed") == (tensor.role, tensor.certainty)


def test_tensors_come_in_the_order_of_their_bytes() -> None:
    b, c, a = entry("U8", "[2]", "[3,5]"), entry("U8", "[1]", "[0,1]"), entry("U8", "[2]", "[1,3]")
    header = f'{{"b":{b},"c":{c},"a":{a}}}'
    inventory = read(file_of(header, 5))
    assert ["c", "a", "b"] == [tensor.name for tensor in inventory.tensors]
    offsets = [storage.offset for storage in inventory.storages.values()]
    assert [8 + len(header), 9 + len(header), 11 + len(header)] == offsets


def test_metadata_is_kept() -> None:
    inventory = read(save({"a": torch.ones(1)}, metadata={"format": "pt", "licence": "MIT"}))
    assert {"format": "pt", "licence": "MIT"} == inventory.metadata


def test_a_name_that_save_model_left_out_is_shown_as_tied_to_the_one_it_kept() -> None:
    # save_model notes each dropped name with the one it kept.
    inventory = read(save({"0.weight": torch.ones(2, 2)}, metadata={"1.weight": "0.weight", "format": "pt"}))
    kept, tied = inventory.tensors
    assert ("0.weight", None) == (kept.name, kept.alias_of)
    assert ("1.weight", "0.weight") == (tied.name, tied.alias_of)
    assert (kept.storage, kept.shape, kept.stride) == (tied.storage, tied.shape, tied.stride)
    assert "tied" in tied.evidence
    assert 16 == inventory.stored_bytes


NO_TIES = {
    "format": {"format": "pt", "licence": "MIT"},
    "a value that is no tensor": {"left": "right"},
    "a key that is a tensor itself": {"a": "pt"},
    "a chain that ends nowhere": {"x": "y", "y": "z"},
}


@pytest.mark.parametrize("metadata", NO_TIES.values(), ids=NO_TIES.keys())
def test_other_metadata_is_not_taken_for_a_tie(metadata: dict[str, str]) -> None:
    inventory = read(save({"pt": torch.ones(1), "a": torch.ones(1)}, metadata=metadata))
    assert {"pt", "a"} == {tensor.name for tensor in inventory.tensors}


def test_more_ties_than_any_model_has_are_counted_and_not_listed() -> None:
    ties = {f"name{number}": "a" for number in range(10_001)}
    inventory = read(save({"a": torch.ones(1)}, metadata=ties))
    assert ["a"] == [tensor.name for tensor in inventory.tensors]
    (skipped,) = inventory.skipped
    assert "more than 10,000" in skipped.reason


def test_shards_of_torch_distributed_say_that_their_shapes_are_partial() -> None:
    inventory = read(save({"a": torch.ones(1)}, metadata={"DCP_SHARDING_INFO": '{"a": {"saved_offsets": [4]}}'}))
    (note,) = inventory.notes
    assert "pieces" in note


UNLOADABLE = {
    "an odd last dimension of F4": (entry("F4", "[2,3]", "[0,3]"), "odd last dimension", None),
    "a 6-bit float": (entry("F6_E2M3", "[4]", "[0,3]"), "no type F6_E2M3", (4,)),
}


@pytest.mark.parametrize(("text", "message", "shape"), UNLOADABLE.values(), ids=UNLOADABLE.keys())
def test_what_the_format_allows_and_torch_does_not_is_an_anomaly(
    text: str, message: str, shape: tuple[int, ...] | None
) -> None:
    inventory = read(file_of(f'{{"a":{text}}}', 3))
    (anomaly,) = inventory.anomalies
    assert message in anomaly.message
    assert shape == inventory.tensors[0].shape
    assert 3 == inventory.tensors[0].stored_bytes


def test_strides_that_torch_could_not_hold_are_left_out() -> None:
    dims = ",".join(["4294967296"] * 40)
    (tensor,) = read(file_of(f'{{"a":{entry("F32", f"[0,{dims}]")}}}')).tensors
    assert tensor.stride is None
    assert 0 == tensor.nbytes


REFUSALS = {
    "too short": (b"1234567", "too short"),
    "a header larger than allowed": (file_of("{}", length=100_000_001), "claims 100,000,001 bytes"),
    "a header past the end": (file_of("{}", length=3), "should have 3 bytes, but only 2 follow"),
    "no JSON": (file_of("{,}"), "the safetensors header is not valid JSON"),
    "an array": (file_of("[]"), "not a JSON object"),
    "metadata of numbers": (file_of('{"__metadata__":{"a":1}}'), "`__metadata__` in the safetensors header"),
    "an equal name": (file_of(f'{{"a":{entry()},"a":{entry()}}}'), "`a` twice"),
    "an entry that is none": (file_of('{"a":1}'), "does not give `a` a dtype, shape and data_offsets"),
    "an unknown type": (file_of(f'{{"a":{entry("C128")}}}'), "a type that safetensors does not know: `C128`"),
    "a gap": (file_of(f'{{"a":{entry("U8", "[1]", "[1,2]")}}}', 2), "run from 1 to 2, but should begin at 0"),
    "a reversed range": (file_of(f'{{"a":{entry("U8", "[1]", "[0,-1]")}}}', 1), "does not give `a`"),
    "an end before the beginning": (
        file_of(f'{{"a":{entry("U8", "[1]", "[0,1]")},"b":{entry("U8", "[1]", "[1,0]")}}}', 1),
        "the bytes of `b` run from 1 to 0",
    ),
    "a shape that does not fit": (file_of(f'{{"a":{entry("U8", "[3]", "[0,2]")}}}', 2), "fit its 2 bytes of U8"),
    "data cut off": (file_of(f'{{"a":{entry("U8", "[2]", "[0,2]")}}}', 1), "take 2 bytes, but the file"),
    "data too long": (file_of("{}", 1), "1 byte after the last tensor belong"),
    "a name of a megabyte": (file_of(f'{{"{"x" * 1_000_000}":1}}'), "does not give `xxx"),
}


@pytest.mark.parametrize(("content", "message"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_refusal_is_one_short_sentence_that_says_what_is_wrong(content: bytes, message: str) -> None:
    with pytest.raises(UnreadableError) as failure:
        read(content)
    assert message in failure.value.message
    assert len(failure.value.message) < 200


# Recognising.

HEADS = {
    "a file as the library writes it": (True, save({"a": torch.ones(3)})),
    "no tensors": (True, file_of("{}")),
    "leading blanks": (True, file_of(" \n\t{}")),
    "more leading blanks than the first bytes show": (True, file_of(" " * 600 + "{}")[:512]),
    "a file that was cut off": (True, save({"a": torch.ones(300)})[:40]),
    "nothing but a length": (False, bytes(8)),
    "zeros": (False, bytes(64)),
    "a zip": (False, b"PK\3\4\0\0\x08\x08" + bytes(22) + b"{}"),
    "JSON": (False, b'{"metadata": {}, "weight_map": {}}'),
    "a header larger than allowed": (False, file_of("{}", length=100_000_001)),
    "nothing": (False, b""),
}


@pytest.mark.parametrize(("expected", "head"), HEADS.values(), ids=HEADS.keys())
def test_a_file_is_recognised_by_its_first_bytes(expected: bool, head: bytes) -> None:
    assert expected == is_safetensors(head)


# Hostile files of ten megabytes.


def tiny_tensors(count: int) -> str:
    entries = (f'"{n:x}":{{"dtype":"U8","shape":[],"data_offsets":[{n},{n + 1}]}}' for n in range(count))
    return ",".join(entries)


def named(count: int, text: str) -> str:
    return ",".join(f'"{number:x}":{text}' for number in range(count))


EMPTY = entry("U8")
WITH_FIELD = f'"a field":{EMPTY[:-1]},"x":1}}'
HOSTILE = {
    "opening brackets": lambda: "[" * 10_000_000,
    "opening brackets in an unknown field": lambda: '{"a":{"x":' + "[" * 9_000_000,
    "empty arrays in an unknown field": lambda: f'{{"a":{EMPTY[:-1]},"x":[{"[]," * 3_000_000}0]}}}}',
    "empty entries": lambda: f"{{{named(900_000, '{}')}}}",
    "numbers for entries": lambda: f"{{{named(900_000, '1')}}}",
    "tiny tensors": lambda: f"{{{tiny_tensors(150_000)}}}",
    "tiny tensors and an equal name": lambda: f'{{"0":0,{tiny_tensors(150_000)}}}',
    "tensors without elements": lambda: f"{{{named(170_000, EMPTY)}}}",
    "tensors without elements and an unknown field": lambda: f"{{{named(170_000, EMPTY)},{WITH_FIELD}}}",
    "entries as arrays": lambda: f"{{{named(400_000, '[{}U8{},[0],[0,0]]'.format(*chr(34) * 2))}}}",
    "many dimensions": lambda: f'{{"a":{entry("U8", "[0" + ",257" * 2_400_000 + "]")}}}',
    "many ties": lambda: f'{{"a":{EMPTY},"__metadata__":{{{named(700_000, chr(34) + "a" + chr(34))}}}}}',
}


@pytest.mark.parametrize("make_header", HOSTILE.values(), ids=HOSTILE.keys())
def test_ten_megabytes_of_anything_stay_within_200_mebibytes(
    make_header: Callable[[], str], tmp_path: Path
) -> None:
    header = make_header()
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(file_of(header, 150_000 if '"shape":[],' in header else 0))
    statement = (
        "from pathlib import Path; from bufscan.bytesource import FileSource; "
        "from bufscan.formats.containers.safetensors import read_safetensors; "
        f"read_safetensors(FileSource(Path({str(path)!r})), '')"
    )
    assert peak_mebibytes(statement) < 200
