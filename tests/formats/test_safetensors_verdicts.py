"""The safetensors reader against the reference reader: every file is accepted by both or refused by both."""

from __future__ import annotations

import json
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import pytest
import safetensors
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bufscan.bytesource import MemorySource
from bufscan.errors import UnreadableError
from bufscan.formats.containers import safetensors as reader
from safetensors_files import file_of, header_of, save

if TYPE_CHECKING:
    from pathlib import Path

    from bufscan.inventory import Inventory

KNOWN_DIFFERENCES = (
    # Two equal names: the reference reader silently takes the last one.
    "twice in one object",
    # In a field that nobody needs. As a size or an offset the reference reader refuses -0, too.
    "negative zero",
    # Megabytes of nothing but brackets, in a field that nobody needs: memory is bounded first.
    "objects and arrays into",
)
"""The only reasons to refuse what the reference reader accepts."""


def tensor(dtype: str = "F32", shape: str = "[0]", offsets: str = "[0,0]") -> str:
    return f'"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}'


def one(dtype: str = "F32", shape: str = "[0]", offsets: str = "[0,0]", data: int = 0) -> bytes:
    """A file with one tensor."""
    return file_of(f'{{"a":{{{tensor(dtype, shape, offsets)}}}}}', data)


def several(data: int, **tensors: tuple[str, str]) -> bytes:
    """A file of bytes: shape and offsets by name."""
    entries = (f'"{name}":{{{tensor("U8", shape, offsets)}}}' for name, (shape, offsets) in tensors.items())
    return file_of(f"{{{','.join(entries)}}}", data)


def with_field(text: str) -> bytes:
    """A file whose tensor has an unknown field with this value."""
    return file_of(f'{{"a":{{{tensor()},"x":{text}}}}}')


F = f"{{{tensor()}}}"
CODES = (*reader._TYPE_NAMES, "C128", "F8_E4M3FN", "F8_E8M0FNU", "F4_E2M1", "I4", "C32", "f32", "F3", "")
ODD_FILES = {
    # The file around the header.
    "empty file": b"",
    "seven bytes": bytes(7),
    "empty header": file_of(""),
    "blank header": file_of("   "),
    "no tensors": file_of("{}"),
    "no tensors but data": file_of("{}", 1),
    "header longer than the file": file_of("{}", length=3),
    "header shorter than its text": file_of("{}", length=1),
    "header length of 2^64 - 1": file_of("{}", length=2**64 - 1),
    "header length of 100 MB and one": file_of("{}", length=100_000_001),
    "trailing bytes": one("U8", "[1]", "[0,1]", data=2),
    "missing bytes": one("U8", "[2]", "[0,2]", data=1),
    # Text.
    "leading blanks": file_of(" \t\r\n{}"),
    "trailing blanks": file_of("{} \t\r\n"),
    "blanks everywhere": file_of('{ "a" :\n{"dtype" : "F32" ,\t"shape" : [ 0 ] , "data_offsets" : [ 0 , 0 ] } }'),
    "vertical tab": file_of("\x0b{}"),
    "NUL padding": file_of("{}\0\0"),
    "byte-order mark": file_of("\ufeff{}"),
    "two objects": file_of("{}{}"),
    "array": file_of("[]"),
    "null": file_of("null"),
    "NaN": file_of("NaN"),
    "100,000 brackets": file_of("[" * 100_000),
    # Names.
    "empty name": file_of(f'{{"":{F}}}'),
    "non-ASCII name": file_of(f'{{"größe":{F}}}'),
    "non-UTF-8 name": file_of(b'{"\xff":' + F.encode() + b"}"),
    "surrogate in UTF-8": file_of(b'{"\xed\xa0\x80":' + F.encode() + b"}"),
    "escaped lone surrogate": file_of(f'{{"\\ud800":{F}}}'),
    "escaped pair": file_of(f'{{"\\ud83d\\ude00":{F}}}'),
    "control character in a name": file_of(f'{{"a\nb":{F}}}'),
    "escaped control character": file_of(f'{{"a\\u0000b":{F}}}'),
    "name with quotes and braces": file_of(f'{{"a\\"{{}}b":{F}}}'),
    "name with ` -0`": file_of(f'{{"layer -0":{F}}}'),
    "equal names": file_of(f'{{"a":{F},"a":{F}}}'),
    "equal names, one escaped": file_of(f'{{"a":{F},"\\u0061":{F}}}'),
    "equal names, the first invalid": file_of(f'{{"a":3,"a":{F}}}'),
    "equal names, the first out of range": file_of(f'{{"a":{{{tensor("F32", "[9]", "[4,2]")}}},"a":{F}}}'),
    # Ranges.
    "scalar": one("F32", "[]", "[0,4]", data=4),
    "zero-size dimension": one("F32", "[3,0,2]"),
    "two empty tensors": several(0, a=("[0]", "[0,0]"), b=("[0]", "[0,0]")),
    "empty tensor in the middle": several(3, a=("[2]", "[0,2]"), b=("[0]", "[2,2]"), c=("[1]", "[2,3]")),
    "empty tensor inside another": several(2, a=("[2]", "[0,2]"), b=("[0]", "[1,1]")),
    "hole at the start": several(2, a=("[1]", "[1,2]")),
    "hole in the middle": several(3, a=("[1]", "[0,1]"), b=("[1]", "[2,3]")),
    "overlap": several(3, a=("[2]", "[0,2]"), b=("[2]", "[1,3]")),
    "same range twice": several(1, a=("[1]", "[0,1]"), b=("[1]", "[0,1]")),
    "reversed range": several(1, a=("[1]", "[1,0]")),
    "range past the file": several(3, a=("[4]", "[0,4]")),
    "shape larger than range": several(1, a=("[2]", "[0,1]")),
    "shape smaller than range": several(2, a=("[1]", "[0,2]")),
    # Numbers.
    "negative dimension": one(shape="[-1]"),
    "negative zero dimension": one(shape="[-0]"),
    "negative zero offset": one(offsets="[0, -0]"),
    "float dimension": one(shape="[0.0]"),
    "dimension with exponent": one(shape="[0e0]"),
    "boolean dimension": one(shape="[false]"),
    "string for a shape": one(shape='""'),
    "null for a shape": one(shape="null"),
    "nested shape": one(shape="[[0]]"),
    "one offset": one(offsets="[0]"),
    "three offsets": one(offsets="[0,0,0]"),
    "float offset": one(offsets="[0,0.0]"),
    "largest dimension": one(shape="[0,18446744073709551615]"),
    "dimension of 2^64": one(shape="[0,18446744073709551616]"),
    "dimension of 400 digits": one(shape=f"[0,{'1' * 400}]"),
    "overflow before a 0": one(shape="[4294967296,4294967296,0]"),
    "no overflow after a 0": one(shape="[0,4294967296,4294967296]"),
    "largest product before a 0": one(shape="[4294967296,4294967295,0]"),
    "many dimensions of 1": one("U8", f"[{'1,' * 99}1]", "[0,1]", data=1),
    "many dimensions that overflow": one("U8", f"[{'2,' * 99}0]"),
    "bits that overflow": one("U8", "[2305843009213693952]", "[0,2305843009213693952]"),
    # Types.
    **{f"type {code}": one(code) for code in CODES},
    "F4 in whole bytes": one("F4", "[4]", "[0,2]", data=2),
    "F4 ending inside a byte": one("F4", "[3]", "[0,2]", data=2),
    "F4 with an odd last dimension": one("F4", "[2,3]", "[0,3]", data=3),
    "F4 scalar": one("F4", "[]", "[0,1]", data=1),
    "F4 without elements": one("F4", "[4,0]"),
    "F6 in whole bytes": one("F6_E3M2", "[4]", "[0,3]", data=3),
    "F6 ending inside a byte": one("F6_E3M2", "[3]", "[0,3]", data=3),
    "escaped type": one("\\u004632"),
    "type as an object": file_of('{"a":{"dtype":{"F32":null},"shape":[0],"data_offsets":[0,0]}}'),
    "type as an object with a value": file_of('{"a":{"dtype":{"F32":1},"shape":[0],"data_offsets":[0,0]}}'),
    "type as an array": file_of('{"a":{"dtype":["F32"],"shape":[0],"data_offsets":[0,0]}}'),
    "type as a number": file_of('{"a":{"dtype":3,"shape":[0],"data_offsets":[0,0]}}'),
    # Fields.
    "entry as an array": file_of('{"a":["F32",[0],[0,0]]}'),
    "entry as a longer array": file_of('{"a":["F32",[0],[0,0],0]}'),
    "entry as null": file_of('{"a":null}'),
    "entry as a string": file_of('{"a":"F32"}'),
    "missing type": file_of('{"a":{"shape":[0],"data_offsets":[0,0]}}'),
    "missing shape": file_of('{"a":{"dtype":"F32","data_offsets":[0,0]}}'),
    "missing offsets": file_of('{"a":{"dtype":"F32","shape":[0]}}'),
    "missing offsets and another field": file_of('{"a":{"dtype":"F32","shape":[0],"else":[0,0]}}'),
    "fields in another order": file_of('{"a":{"data_offsets":[0,0],"shape":[0],"dtype":"F32"}}'),
    "escaped field": file_of('{"a":{"\\u0064type":"F32","shape":[0],"data_offsets":[0,0]}}'),
    "equal known fields": file_of(f'{{"a":{{"dtype":"F32",{tensor()}}}}}'),
    "equal unknown fields": with_field('1,"x":1'),
    "unknown field": with_field('[1.5,{"y":null}]'),
    "unknown field out of range": with_field("1e999"),
    "unknown field of -0": with_field("-0"),
    "unknown field of 400,000 empty arrays": with_field(f"[{'[],' * 400_000}0]"),
    "unknown field, 125 deep": with_field("[" * 125 + "]" * 125),
    "unknown field, 126 deep": with_field("[" * 126 + "]" * 126),
    "unknown field, 100,000 deep": with_field("[" * 100_000),
    # Metadata.
    "no metadata": file_of('{"__metadata__":null}'),
    "empty metadata": file_of('{"__metadata__":{}}'),
    "metadata last": file_of(f'{{"a":{F},"__metadata__":{{"format":"pt"}}}}'),
    "metadata named like fields": file_of(f'{{"__metadata__":{{"dtype":"F32","shape":"[0]"}},"a":{F}}}'),
    "metadata that is a tensor": file_of(f'{{"__metadata__":{F}}}'),
    "metadata twice": file_of('{"__metadata__":null,"__metadata__":null}'),
    "metadata twice, once escaped": file_of('{"__metadata__":{},"\\u005f_metadata__":{}}'),
    "metadata as an array": file_of('{"__metadata__":[]}'),
    "metadata of a number": file_of('{"__metadata__":{"a":1}}'),
    "metadata of null": file_of('{"__metadata__":{"a":null}}'),
    "metadata with equal keys": file_of('{"__metadata__":{"a":"1","a":"2"}}'),
}


def read(content: bytes) -> Inventory:
    return reader.read_safetensors(MemorySource("model.safetensors", content), "model.safetensors")


def refusal_of(content: bytes) -> str | None:
    """The sentence with which bufscan refuses the file; None when it accepts it."""
    try:
        read(content)
    except UnreadableError as error:
        return error.message
    return None


def reference_verdict(content: bytes) -> dict[str, tuple[str, list[int], bytes]] | None:
    """Type, shape and bytes by name as the reference reader gives them; None when it refuses."""
    try:
        tensors = safetensors.deserialize(content)
    except safetensors.SafetensorError:
        return None
    return {name: (info["dtype"], info["shape"], bytes(info["data"])) for name, info in tensors}


def assert_same_verdict(content: bytes) -> None:
    expected = reference_verdict(content)
    refusal = refusal_of(content)
    if refusal is not None:
        assert expected is None or any(reason in refusal for reason in KNOWN_DIFFERENCES), refusal
        return
    assert expected is not None, "bufscan accepts what the reference reader refuses"
    inventory = read(content)
    own = [tensor for tensor in inventory.tensors if tensor.alias_of is None]
    assert expected.keys() == {tensor.name for tensor in own}
    for tensor in own:
        code, shape, data = expected[tensor.name]
        storage = inventory.storages[tensor.storage]
        assert reader._TYPE_NAMES[code] == tensor.dtype
        assert code == "F4" or tuple(shape) == tensor.shape
        assert data == content[storage.offset :][: storage.nbytes]


@pytest.mark.parametrize("content", ODD_FILES.values(), ids=ODD_FILES.keys())
def test_an_odd_file_gets_the_verdict_of_the_reference_reader(content: bytes) -> None:
    assert_same_verdict(content)


@pytest.mark.parametrize("content", ODD_FILES.values(), ids=ODD_FILES.keys())
def test_safe_open_gives_the_same_verdict_as_the_reference_that_is_compared_with(
    content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "odd.safetensors"
    path.write_bytes(content)
    try:
        with safetensors.safe_open(path, "pt") as opened:
            names = set(opened.keys())
    except (safetensors.SafetensorError, OSError):
        names = None
    expected = reference_verdict(content)
    assert names == (None if expected is None else expected.keys())


def test_the_odd_files_hold_accepted_and_refused_ones_and_every_known_difference() -> None:
    refusals = [refusal_of(content) for content in ODD_FILES.values() if reference_verdict(content) is not None]
    assert 50 < len(refusals) < len(ODD_FILES) - 50
    for reason in KNOWN_DIFFERENCES:
        assert any(reason in refusal for refusal in refusals if refusal), reason


BITS = reader._BITS
TOKENS = [
    *'{}[]",:0123456789-.eE \n\\',
    *(
        "true",
        "null",
        "-0",
        "1e5",
        "0.0",
        "18446744073709551616",
        '"a"',
        '"shape"',
        "[0]",
        "{}",
        "\\u0061",
        "\\ud800",
    ),
    *("__metadata__", '"__metadata__":{"a":"b"},', "dtype", "data_offsets", "F32", "F4", "é", "\ufeff", "\0"),
]


@st.composite
def valid_files(draw: st.DrawFn) -> tuple[str, int]:
    """The header's text and the size of the data of a valid file, written in some style."""
    alphabet = draw(st.sampled_from(["ab.0-", 'ab.0é -"\\{']))
    names = draw(st.lists(st.text(alphabet, max_size=4), max_size=4, unique=True))
    kinds = st.tuples(st.sampled_from(sorted(BITS)), st.lists(st.sampled_from([0, 1, 2, 4, 8]), max_size=3))
    tensors = [(name, *draw(kinds)) for name in names if name != "__metadata__"]
    sizes = [BITS[code] * torch.Size(shape).numel() for _, code, shape in tensors]
    assume(all(bits % 8 == 0 for bits in sizes))
    ends = [0, *accumulate(bits // 8 for bits in sizes)]
    header: dict[str, object] = {}
    if draw(st.booleans()):
        texts = st.dictionaries(st.text("abdtypeshape", max_size=5), st.text(max_size=3))
        header["__metadata__"] = draw(st.none() | texts)
    for (name, code, shape), offsets in zip(tensors, pairwise(ends), strict=True):
        fields = {"dtype": code, "shape": shape, "data_offsets": offsets}
        if draw(st.integers(0, 9)) == 0:
            fields["more"] = draw(st.sampled_from([None, 1.5, "x", [[]], {"a": {}}, -0.0]))
        header[name] = dict(draw(st.permutations(list(fields.items()))))
    items = draw(st.permutations(list(header.items())))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " : ")]))
    text = json.dumps(dict(items), separators=separators, ensure_ascii=draw(st.booleans()))
    return text + " " * draw(st.integers(0, 8)), ends[-1]


@st.composite
def mutated_files(draw: st.DrawFn) -> bytes:
    text, data = draw(valid_files())
    for _ in range(draw(st.integers(0, 3))):
        begin = draw(st.integers(0, len(text)))
        end = draw(st.integers(begin, min(len(text), begin + draw(st.sampled_from([0, 1, 1, 2, 60])))))
        text = text[:begin] + draw(st.sampled_from([*TOKENS, "", text[begin:end] * 2])) + text[end:]
    length = len(text.encode()) + draw(st.sampled_from([0] * 12 + [-1, 1]))
    data = max(0, data + draw(st.sampled_from([0] * 12 + [-1, 1])))
    return file_of(text, data, length=max(0, length))


@settings(derandomize=True, deadline=None, max_examples=200)
@given(valid_files())
def test_a_valid_file_in_any_style_is_accepted_like_the_reference_reader_accepts_it(
    file: tuple[str, int],
) -> None:
    content = file_of(*file)
    assert reference_verdict(content) is not None
    assert_same_verdict(content)
    read(content)


@settings(derandomize=True, deadline=None, max_examples=500)
@given(mutated_files())
def test_a_mutated_file_gets_the_verdict_of_the_reference_reader(content: bytes) -> None:
    assert_same_verdict(content)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(mutated_files())
def test_the_fast_way_to_decode_a_header_finds_what_the_careful_way_finds_or_leaves_it_to_it(
    content: bytes,
) -> None:
    typed = reader._decode_typed(content[8:])
    if typed is not None:
        assert typed == reader._decode_carefully(content[8:])


def test_headers_as_writers_write_them_are_decoded_the_fast_way() -> None:
    header = header_of(save({"a": torch.ones(2), "b-0": torch.ones(1)}, metadata={"format": "pt"}))
    assert reader._decode_typed(header) is not None
    sorted_keys = json.dumps(json.loads(header), sort_keys=True).encode()
    assert reader._decode_typed(sorted_keys) is not None
