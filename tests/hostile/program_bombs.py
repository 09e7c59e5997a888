"""Archives of programs and of arrays that have something read again and again, or very much of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bomb_parts import SIZE, bomb
from crafted_pickles import pickled
from crafted_zip import DEFLATED, Archive, Entry, checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = b'{"graph_module":{"signature":{"input_specs":[%s]}}}'
BIG = checkpoint(pickled(b"](", b"]" * 1_000_000, b"e"))


def exported(*entries: Entry, program: bytes = PROGRAM % b"", method: int = 0) -> bytes:
    return Archive((Entry("p/models/m.json", program, method), *entries)).to_bytes()


def config(name: str, count: int) -> Entry:
    places = {f"w{number}": {"path_name": name, "use_pickle": True} for number in range(count)}
    return Entry("p/data/weights/m_weights_config.json", json.dumps({"config": places}).encode())


@bomb
def programs_in_programs() -> bytes:
    inner = b""
    for _ in range(2000):
        inner = exported(Entry("p/data/weights/m.pt", inner))
    return inner


@bomb
def many_entries_of_one_file() -> bytes:
    return exported(Entry("p/data/weights/w", BIG), config("w", 50_000))


@bomb
def many_entries_of_one_broken_file() -> bytes:
    return exported(Entry("p/data/weights/w", BIG.replace(b"e.", b"e\xff")), config("w", 50_000))


@bomb
def many_programs_of_one_file() -> bytes:
    programs = (Entry(f"p/models/{number}/m.json", PROGRAM % b"") for number in range(20_000))
    return exported(Entry("serialized_state_dict.pt", BIG), Entry("m.pt", BIG), *programs)


@bomb
def many_files_that_each_use_all_that_is_allowed() -> bytes:
    """Lists of lists, each the one before twice: 2^40 places to look at."""
    doubled = b"".join(b"](h%ch%ceq%c0" % (number, number, number + 1) for number in range(40))
    small = checkpoint(pickled(b"]q\x000", doubled, b"h\x28"))
    inputs = (Entry(f"p/data/sample_inputs/{number}.pt", small) for number in range(5000))
    return exported(*inputs)


@bomb
def a_signature_of_nothing() -> bytes:
    return exported(program=PROGRAM % b",".join([b"{}"] * 3_000_000), method=DEFLATED)


@bomb
def a_signature_of_long_nothing() -> bytes:
    return exported(program=PROGRAM % (b"{}," * 40_000_000 + b"{}"), method=DEFLATED)


def scripted(code: bytes, method: int = DEFLATED) -> bytes:
    text = b"class M(Module):\n  __parameters__ = [" + code + b"]\n"
    value = pickled(b"c__torch__\nM\n)\x81}b")
    entries = (Entry("a/data.pkl", value), Entry("a/constants.pkl", pickled(b")")), Entry("a/version", b"3\n"))
    return Archive((*entries, Entry("a/code/__torch__.py", text, method))).to_bytes()


@bomb
def code_with_very_many_names() -> bytes:
    return scripted(b"".join(b'"%06x",' % number for number in range(1_400_000)))


@bomb
def code_with_as_many_names_as_there_is_room_for() -> bytes:
    return scripted(b"".join(b'"%05x",' % number for number in range((SIZE - 300_000) // 9)), method=0)


@bomb
def code_with_a_name_that_does_not_end() -> bytes:
    return scripted(b'"' + b'\\"' * 4_000_000)


def _headers() -> Iterator[Entry]:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"1," * 4900 + b")}"
    member = b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header
    return (Entry(f"{number}.npy", member, DEFLATED) for number in range(20_000))


@bomb
def arrays_of_very_many_dimensions() -> bytes:
    return Archive(tuple(_headers())).to_bytes()
