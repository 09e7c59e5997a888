from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peak_memory import peak_mebibytes

from bufscan.errors import UnreadableError
from bufscan.formats.containers.strict_json import MAX_DEPTH, load_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REFUSED = {
    "nothing": (b"", "not valid JSON"),
    "blanks only": (b"  \n", "not valid JSON"),
    "two values": (b"{} {}", "not valid JSON"),
    "a trailing comma": (b'{"a": 1,}', "not valid JSON"),
    "single quotes": (b"{'a': 1}", "not valid JSON"),
    "NaN": (b'{"a": NaN}', "not valid JSON"),
    "Infinity": (b'{"a": -Infinity}', "not valid JSON"),
    "a float out of range": (b'{"a": 1e999}', "not valid JSON"),
    "a leading zero": (b'{"a": 01}', "not valid JSON"),
    "a negative zero": (b'{"a": [1, -0]}', "negative zero"),
    "an integer of 309 digits": (b"[" + b"7" * 309 + b"]", "more than 308 digits"),
    "a control character in a string": (b'"\x01"', "not valid JSON"),
    "a lone surrogate": (b'"\\ud800"', "not valid JSON"),
    "an unknown escape": (b'"\\q"', "not valid JSON"),
    "an unterminated string": (b'{"a": "b', "not valid JSON"),
    "a byte-order mark": (b"\xef\xbb\xbf{}", "not valid JSON"),
    "UTF-16": ('{"a": 1}'.encode("utf-16-le"), "not valid JSON"),
    "bytes that are no UTF-8": (b'{"a": "\xff"}', "not UTF-8"),
    "a surrogate in UTF-8": (b'"\xed\xa0\x80"', "not UTF-8"),
    "equal keys": (b'{"a": 1, "b": 2, "a": 1}', "`a` twice"),
    "equal keys, one escaped": (b'{"a": 1, "\\u0061": 1}', "`a` twice"),
    "equal keys deep down": (b'{"a": [{"b": {"c": 1, "c": 2}}]}', "`c` twice"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_text_outside_strict_json_is_refused_in_one_sentence(text: bytes, message: str) -> None:
    with pytest.raises(UnreadableError, match=message) as failure:
        load_json(text, what="the index")
    assert failure.value.message.startswith("the index ")
    assert "\n" not in failure.value.message


def test_text_that_does_not_parse_is_never_repeated_in_the_message() -> None:
    with pytest.raises(UnreadableError) as failure:
        load_json(b"root:$6$secret:19000::::\n")
    assert "root" not in failure.value.message
    assert "secret" not in failure.value.message


@pytest.mark.parametrize("opening", [b"[", b'{"a":'], ids=["arrays", "objects"])
def test_nesting_is_allowed_up_to_the_limit_and_no_deeper(opening: bytes) -> None:
    closing = b"]" if opening == b"[" else b"}"

    def nested(levels: int) -> bytes:
        return opening * levels + b"1" + closing * levels

    load_json(nested(MAX_DEPTH))
    with pytest.raises(UnreadableError, match="levels deep"):
        load_json(nested(MAX_DEPTH + 1))


def test_brackets_and_colons_inside_strings_do_not_count() -> None:
    text = json.dumps({"[[[{{{:::": "[" * 300 + '"\\' + ":" * 300}).encode()
    assert json.loads(text) == load_json(text)


def test_a_text_of_many_strings_is_read_part_by_part() -> None:
    document = {"many": ["a"] * 300_000, "long": '[{"' * 200_000, "more": [{"deep": [":"]}]}
    assert document == load_json(json.dumps(document).encode())


@pytest.mark.parametrize("text", ["1e-0", "[2.5E-0,-0.5,-0e1,1e-07]"])
def test_floats_with_a_zero_after_a_minus_are_no_negative_zeros(text: str) -> None:
    assert json.loads(text) == load_json(text.encode())


def test_text_larger_than_allowed_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(UnreadableError, match="more than the 9 allowed"):
        load_json(b"not JSON at all", max_bytes=9)


def members(count: int) -> str:
    return ",".join(f'"{number:x}":"{number:x}"' for number in range(count))


HOSTILE = {
    "opening brackets": lambda: b"[" * 10_000_000,
    "balanced brackets": lambda: b"[" * 5_000_000 + b"]" * 5_000_000,
    "empty arrays": lambda: b"[" + b"[]," * 3_333_330 + b"[]]",
    "empty objects": lambda: b"[" + b"{}," * 3_333_330 + b"{}]",
    "small numbers": lambda: b"[" + b"1," * 4_999_990 + b"1]",
    "larger numbers": lambda: b"[" + b"1000," * 1_999_990 + b"1]",
    "short strings": lambda: b"[" + b'"ab",' * 1_999_990 + b"1]",
    "densest members": lambda: b"{" + ",".join(f'"{n:05x}":1' for n in range(1_000_000)).encode() + b"}",
    "many members": lambda: b"{" + members(600_000).encode() + b"}",
    "many members and an equal key": lambda: b"{" + members(600_000).encode() + b',"0":1}',
    "fewer members and an equal key": lambda: b"{" + members(499_000).encode() + b',"0":1}',
    "one digit after another": lambda: b"1" * 10_000_000,
    "quotes without end": lambda: b'"' + b'\\"' * 5_000_000,
    "colons": lambda: b":" * 10_000_000,
}


@pytest.mark.parametrize("make_text", HOSTILE.values(), ids=HOSTILE.keys())
def test_ten_megabytes_of_anything_stay_within_200_mebibytes(
    make_text: Callable[[], bytes], tmp_path: Path
) -> None:
    path = tmp_path / "hostile.json"
    path.write_bytes(make_text())
    load = f"load_json(open({str(path)!r}, 'rb').read())"
    statement = f"from bufscan.formats.containers.strict_json import load_json; {load}"
    assert peak_mebibytes(statement) < 200


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


@settings(derandomize=True, deadline=None)
@given(documents, st.booleans(), st.sampled_from([None, 0, 2]))
def test_any_document_that_json_writes_is_read_back(
    document: object, ascii_only: bool, indent: int | None
) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only, indent=indent)
    assert _plain(document) == _plain(load_json(text.encode()))


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.text('{}[]",:\\u0dDe-.1 ntrfals', max_size=30))
def test_text_is_refused_wherever_a_strict_reading_of_the_standard_module_refuses_it(text: str) -> None:
    try:
        expected = _strict_standard(text)
    except (ValueError, RecursionError):
        with pytest.raises(UnreadableError):
            load_json(text.encode())
    else:
        assert _plain(expected) == _plain(load_json(text.encode()))


def _plain(value: object) -> object:
    """The value with floats by their text: 0.0 and -0.0 differ, 1 and 1.0 and True differ."""
    if isinstance(value, dict):
        return {key: _plain(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_plain(child) for child in value]
    return type(value), repr(value)


def _strict_standard(text: str) -> object:
    def refuse(digits: str) -> object:
        raise ValueError(digits)

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError(pairs)
        return found

    def finite(digits: str) -> float:
        return float(digits) if math.isfinite(float(digits)) else refuse(digits)

    value = json.loads(
        text,
        object_pairs_hook=unique,
        parse_constant=refuse,
        parse_float=finite,
        parse_int=lambda digits: refuse(digits) if digits == "-0" else int(digits),
    )
    json.dumps(value, ensure_ascii=False).encode()  # lone surrogates cannot be encoded
    return value
