"""The pickle machine describes what pickle would make, calls nothing, and fails in one way only."""

from __future__ import annotations

import io
import pickle
import pickletools
import random
import zipfile
from collections import Counter, OrderedDict, defaultdict, deque
from functools import partial
from struct import pack
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from bufscan.formats.pickle.pickle_machine import BrokenPickleError, Pickled, run_pickle
from bufscan.formats.pickle.pickle_values import (
    Global,
    Instance,
    Pairs,
    PersistentId,
    elements_of,
    lookup,
    named_class,
    pairs_of,
)

PROTOCOLS = range(6)


def run(*parts: bytes) -> Any:
    """The value of the pickle with these opcodes."""
    return run_pickle(b"".join(parts) + b".").value


def text(value: str) -> bytes:
    return b"X" + pack("<I", len(value.encode())) + value.encode()


def describes(value: Any, expected: Any) -> bool:
    """Whether the machine's value stands for the plain Python object, containers and all."""
    kind = type(expected)
    if kind in (list, tuple):
        same_kind = type(value) is kind and len(value) == len(expected)
        return same_kind and all(map(describes, value, expected))
    if kind is dict:
        pairs = pairs_of(value)
        return pairs is not None and describes(list(pairs), [part for item in expected.items() for part in item])
    if kind in (set, frozenset):
        elements = elements_of(value)
        return elements is not None and len(elements) == len(expected) and set(elements) == expected
    if kind in (bytes, bytearray):
        return (bytes_of(value) if type(value) is Instance else value) == expected
    return type(value) is kind and repr(value) == repr(expected)


def bytes_of(value: Instance) -> bytes:
    """What protocols before 3 make of bytes: a text to encode."""
    if value.is_call_of("_codecs", "encode"):
        encoded: bytes = value.args[0].encode(value.args[1])
        return encoded
    if type(value.func) is Global and value.func.name == "bytearray" and value.args:
        inner = value.args[0]
        return bytes_of(inner) if type(inner) is Instance else inner
    return b""


scalars = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**520), max_value=2**520)
    | st.floats()
    | st.text()
    | st.text(alphabet="\n\\\r\x1a\0'\"éŁ\ud800\U0001f600")
    | st.binary()
    | st.builds(bytearray, st.binary(min_size=1))
)
hashable = st.integers() | st.text()
plain = st.recursive(
    scalars | st.sets(hashable) | st.frozensets(hashable),
    lambda inner: (
        st.lists(inner) | st.lists(inner, max_size=5).map(tuple) | st.dictionaries(hashable, inner, max_size=5)
    ),
    max_leaves=30,
)


@given(value=plain, protocol=st.sampled_from(PROTOCOLS))
@example(value=list(range(3000)), protocol=0)
@example(value={str(i): i for i in range(3000)}, protocol=4)
@example(value="x" * 70_000, protocol=4)
@example(value=[10**400, -(10**400), 2**31, -(2**31), 2**63], protocol=0)
def test_plain_values_are_those_that_pickle_makes(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    pickled = run_pickle(data)
    assert describes(pickled.value, value)
    assert len(data) == pickled.end


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_object_shared_or_holding_itself_stays_one_object(protocol: int) -> None:
    shared: list[Any] = []
    shared.append(shared)
    value = run_pickle(pickle.dumps([shared, shared, (shared,)], protocol)).value
    assert value[0] is value[0][0] is value[1] is value[2][0]


class Custom:
    def __init__(self) -> None:
        self.weight = 3


class Slotted:
    __slots__ = ("bias",)

    def __init__(self) -> None:
        self.bias = 4


class Reduced(list[int]):
    def __reduce__(self) -> Any:
        return partial, (print, 1), {"a": 2}, iter([5, 6]), iter([("k", "v")])


@pytest.mark.parametrize("protocol", PROTOCOLS[2:])
def test_an_instance_keeps_its_class_and_its_state(protocol: int) -> None:
    value = run_pickle(pickle.dumps(Custom(), protocol)).value
    assert (Custom.__module__, "Custom") == (value.func.module, value.func.name)
    assert describes(value.state, {"weight": 3})


@pytest.mark.parametrize("protocol", PROTOCOLS[2:])
def test_slots_are_a_part_of_the_state(protocol: int) -> None:
    value = run_pickle(pickle.dumps(Slotted(), protocol)).value
    assert describes(value.state, (None, {"bias": 4}))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_reduced_object_keeps_arguments_state_elements_and_items(protocol: int) -> None:
    value = run_pickle(pickle.dumps(Reduced(), protocol)).value
    assert value.is_call_of("functools", "partial")
    assert value.args[0].qualified.endswith("print")
    assert describes([value.state, value.elements, list(value.items)], [{"a": 2}, [5, 6], ["k", "v"]])


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "value",
    [OrderedDict(a=1, b=2), defaultdict(list, a=1, b=2), Counter(a=1, b=2)],
    ids=lambda v: type(v).__name__,
)
def test_dicts_of_the_standard_library_are_dicts(value: dict[str, int], protocol: int) -> None:
    pairs = pairs_of(run_pickle(pickle.dumps(value, protocol)).value)
    assert ["a", 1, "b", 2] == pairs


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("value", [{1, 2}, frozenset({1, 2}), deque([1, 2]), torch.Size([1, 2])])
def test_collections_show_their_elements(value: Any, protocol: int) -> None:
    found = elements_of(run_pickle(pickle.dumps(value, protocol)).value)
    assert found is not None
    assert [1, 2] == sorted(found)


def test_a_dict_is_made_of_its_contents_when_it_is_called() -> None:
    """Later changes to the argument do not show in the dict, as they would not in torch."""
    items = b"](" + text("a") + b"K\x01\x86eq\x00"
    value = run(b"(ccollections\nOrderedDict\n", items, b"\x85Rh\x00", text("b"), b"K\x02\x86at")
    assert ["a", 1] == pairs_of(value[0])
    assert 2 == len(value[1])


def test_a_dict_made_of_another_dict_is_a_copy() -> None:
    value = run(b"(ccollections\nCounter\n}q\x00", text("a"), b"K\x01s\x85Rh\x00", text("b"), b"K\x02st")
    assert ["a", 1] == pairs_of(value[0])


def test_a_dict_cannot_be_made_of_what_is_no_pair() -> None:
    with pytest.raises(BrokenPickleError, match="no pair"):
        run(b"ccollections\nOrderedDict\n]K\x01a\x85R")


# Every opcode, and what it makes. Those above come from real picklers, these from the text of pickletools.
OPCODES: dict[str, tuple[bytes, Any]] = {
    "INT": (b"I-12\n", -12),
    "INT true": (b"I01\n", True),
    "INT false": (b"I00\n", False),
    "LONG": (b"L12345678901234567890L\n", 12345678901234567890),
    "BININT": (b"J\xff\xff\xff\xff", -1),
    "BININT1": (b"K\xff", 255),
    "BININT2": (b"M\xff\xff", 65535),
    "LONG1": (b"\x8a\x02\x00\xff", -256),
    "LONG1 empty": (b"\x8a\x00", 0),
    "LONG4": (b"\x8b\x01\x00\x00\x00\x07", 7),
    "STRING": (b"S'abc'\n", "abc"),
    "BINSTRING": (b"T\x02\0\0\0ab", "ab"),
    "SHORT_BINSTRING": (b"U\x02ab", "ab"),
    "SHORT_BINSTRING in UTF-8": (b"U\x02\xc3\xa9", "é"),
    "SHORT_BINSTRING in Latin-1": (b"U\x01\xe9", "é"),
    "NONE": (b"N", None),
    "NEWTRUE": (b"\x88", True),
    "NEWFALSE": (b"\x89", False),
    "UNICODE": (b"V\\u00e9\n", "é"),
    "SHORT_BINUNICODE": (b"\x8c\x02\xc3\xa9", "é"),
    "BINUNICODE": (b"X\x02\0\0\0\xc3\xa9", "é"),
    "BINUNICODE8": (b"\x8d\x02\0\0\0\0\0\0\0\xc3\xa9", "é"),
    "FLOAT": (b"F1.5\n", 1.5),
    "BINFLOAT": (b"G?\xf8\0\0\0\0\0\0", 1.5),
    "SHORT_BINBYTES": (b"C\x01a", b"a"),
    "BINBYTES": (b"B\x01\0\0\0a", b"a"),
    "BINBYTES8": (b"\x8e\x01\0\0\0\0\0\0\0a", b"a"),
    "BYTEARRAY8": (b"\x96\x01\0\0\0\0\0\0\0a", b"a"),
    "EMPTY_LIST": (b"]", []),
    "APPEND": (b"]Na", [None]),
    "APPENDS": (b"](NNe", [None, None]),
    "LIST": (b"(NNl", [None, None]),
    "EMPTY_TUPLE": (b")", ()),
    "TUPLE": (b"(NNt", (None, None)),
    "TUPLE1": (b"N\x85", (None,)),
    "TUPLE2": (b"NN\x86", (None, None)),
    "TUPLE3": (b"NNN\x87", (None, None, None)),
    "EMPTY_DICT": (b"}", {}),
    "DICT": (b"(K\x01Nd", {1: None}),
    "SETITEM": (b"}K\x01Ns", {1: None}),
    "SETITEMS": (b"}(K\x01NK\x02Nu", {1: None, 2: None}),
    "EMPTY_SET": (b"\x8f", set()),
    "ADDITEMS": (b"\x8f(K\x01K\x02\x90", {1, 2}),
    "FROZENSET": (b"(K\x01K\x02\x91", frozenset({1, 2})),
    "POP": (b"NK\x010", None),
    "POP of a mark": (b"N(0", None),
    "DUP": (b"K\x012\x86", (1, 1)),
    "MARK and POP_MARK": (b"N(NNN1", None),
    "PUT and GET": (b"K\x07p2\n0g2\n", 7),
    "BINPUT and BINGET": (b"K\x07q\x000h\x00", 7),
    "LONG_BINPUT and LONG_BINGET": (b"K\x07r\0\0\0\x000j\0\0\0\x00", 7),
    "MEMOIZE": (b"K\x07\x940h\x00", 7),
    "PROTO": (b"\x80\x05N", None),
    "FRAME": (b"\x80\x04\x95\x02\0\0\0\0\0\0\0N", None),
}


@pytest.mark.parametrize(("opcodes", "expected"), OPCODES.values(), ids=OPCODES)
def test_an_opcode_makes_what_pickle_makes_of_it(opcodes: bytes, expected: Any) -> None:
    assert describes(run(opcodes), expected)
    encoding = "latin-1" if b"\xe9" in opcodes else "utf-8"
    assert expected == pickle.loads(opcodes + b".", encoding=encoding)


@pytest.mark.parametrize(
    "opcodes",
    [
        b"cbuiltins\nlen\n",
        text("builtins") + text("len") + b"\x93",
        b"(ibuiltins\nlen\n",
        b"(cbuiltins\nlen\no",
        b"cbuiltins\nlen\n)\x81",
        b"cbuiltins\nlen\n)}\x92",
        b"cbuiltins\nlen\n)R",
    ],
    ids=["GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "REDUCE"],
)
def test_a_name_is_noted_and_never_resolved(opcodes: bytes) -> None:
    pickled = run_pickle(opcodes + b".")
    assert ["builtins.len"] == [name.qualified for name in pickled.globals]
    value = pickled.value
    assert "builtins.len" == (value if type(value) is Global else value.func).qualified
    assert type(value) is Global or value.args == ()


def test_a_name_that_is_computed_is_said_to_be() -> None:
    (name,) = run_pickle(b"N" + text("len") + b"\x93.").globals
    assert "a name computed at run time" == name.qualified


@pytest.mark.parametrize("opcodes", [b"P0\n", text("0") + b"Q"], ids=["PERSID", "BINPERSID"])
def test_a_persistent_id_is_noted(opcodes: bytes) -> None:
    pickled = run_pickle(opcodes + b".")
    assert ["0"] == [reference.value for reference in pickled.persistent_ids]
    assert pickled.value is pickled.persistent_ids[0]


def test_keyword_arguments_are_kept_for_the_tensors_among_them() -> None:
    value = run(b"cm\nf\n", b"K\x01\x85", b"}", text("k"), b"K\x02s\x92")
    assert describes([value.args[0], value.args[1]], [(1,), {"k": 2}])


def test_a_state_is_kept() -> None:
    assert describes(run(b"cm\nC\n)\x81}", text("k"), b"K\x02sb").state, {"k": 2})


def test_the_last_of_equal_keys_counts() -> None:
    pairs = run(b"}(", text("k"), b"K\x01", text("k"), b"K\x02u")
    assert 2 == lookup(pairs, "k")


def test_the_last_of_equal_keys_counts_in_a_large_dict_too() -> None:
    items = b"".join(text(f"{i}") + b"N" for i in range(100))
    pairs = run(b"}(", text("k"), b"K\x01", items, text("k"), b"K\x02u")
    assert (2, 2, None) == (lookup(pairs, "k"), lookup(pairs, "k"), lookup(pairs, "absent"))


def test_a_class_is_named_by_itself_or_with_its_source() -> None:
    plain_class, with_source = run(b"(cm\nC\n(", text("module"), b"cm\nC\nNNtQt")
    assert named_class(plain_class) is named_class(with_source)
    assert named_class(PersistentId(("storage",))) is None


def test_every_opcode_of_pickle_is_either_run_or_refused() -> None:
    """None is left out: each runs, breaks for want of an argument, or says why it is refused."""
    for opcode in pickletools.opcodes:
        with pytest.raises(BrokenPickleError) as caught:
            run_pickle(opcode.code.encode("latin-1"))
        assert "no pickle opcode" not in caught.value.message, opcode.name


@pytest.mark.parametrize("code", [c for c in range(256) if chr(c) not in {o.code for o in pickletools.opcodes}])
def test_a_byte_that_is_no_opcode_is_refused(code: int) -> None:
    with pytest.raises(BrokenPickleError, match=f"no pickle opcode has the code {code:#04x}"):
        run(b"N", bytes([code]))


@pytest.mark.parametrize(
    ("opcodes", "message"),
    [
        (b"\x82\x01", "EXT1 reaches into the running interpreter"),
        (b"\x83\x01\0", "EXT2 reaches into the running interpreter"),
        (b"\x84\x01\0\0\0", "EXT4 reaches into the running interpreter"),
        (b"\x97", "NEXT_BUFFER needs data from outside"),
        (b"N\x98", "READONLY_BUFFER needs data from outside"),
        (b"\x80\x06", "pickle protocol 6 does not exist"),
        (b"\x95\x00\x01\0\0\0\0\0\0N", "a frame of 256 bytes is longer"),
        (b"]1", "a mark is missing"),
        (b"t", "a mark is missing"),
        (b"0", "takes more than there is on the stack"),
        (b"N(00", "ends with nothing on the stack"),
        (b"N(R", "takes more than there is on the stack"),
        (b"N(\x85", "takes more than there is on the stack"),
        (b"](K\x01a", "takes more than there is on the stack"),
        (b"", "ends with nothing on the stack"),
        (b"N(", "ends with nothing on the stack"),
        (b"2", "takes more than there is on the stack"),
        (b"q\0", "takes more than there is on the stack"),
        (b"\x94", "takes more than there is on the stack"),
        (b"(o", "an object without a class"),
        (b"NNa", "appends to something that is no list"),
        (b"N(Ne", "appends to something that is no list"),
        (b"}NNa", "appends to something that is no list"),
        (b"]NNs", "sets items of something that is no dict"),
        (b"}(Nu", "a dict's last key has no value"),
        (b"(Nd", "a dict's last key has no value"),
        (b"]}b", "sets the state of something that is no object"),
        (b"cm\nC\n}b", "sets the state of something that is no object"),
        (b"cm\nC\n)\x81}b}b", "sets the state of one object twice"),
        (b"h\0", "reads memo entry 0, which was never stored"),
        (b"Nq\x02h\0", "stores memo entry 2 within its first 3 bytes"),
        (b"NNNNNNq\x030h\x02", "reads memo entry 2, which was never stored"),
        (b"g-1\n", "a memo index that is no number"),
        (b"Np12345678901\n", "a memo index that is no number"),
        (b"Nr\xff\xff\xff\xff", "stores memo entry 4294967295"),
        (b"\x8b\xff\xff\xff\xff", "an integer of 4294967295 bytes"),
        (b"I--5\n", "an integer in text that is none"),
        (b"I-\n", "an integer in text that is none"),
        (b"I\n", "an integer in text that is none"),
        (b"I1 \n", "an integer in text that is none"),
        (b"L5LL\n", "an integer in text that is none"),
        (b"I" + b"9" * 5000 + b"\n", "an integer in text that is none"),
        (b"Fabc\n", "a float in text that is none"),
        (b"Sabc\n", "a string in text without its quotes"),
        (b"S'\n", "a string in text without its quotes"),
        (b"S'\\x41'\n", "a string in text with escapes"),
        (b"V\\u12\n", "a string in text with a broken escape"),
        (b"X\x01\0\0\0\xff", "a string that is not UTF-8"),
        (b"N" * 10 + b"c" + b"m" * 999 + b"\nab\n", "a name of 1001 characters"),
    ],
)
def test_what_no_pickler_writes_is_named(opcodes: bytes, message: str) -> None:
    with pytest.raises(BrokenPickleError, match=message) as caught:
        run(opcodes)
    assert len(caught.value.message) < 150


@pytest.mark.parametrize("opcode", [b"X", b"T", b"B", b"\x8d", b"\x8e", b"\x96"], ids=lambda o: f"{o[0]:#04x}")
def test_a_length_is_compared_with_the_bytes_that_are_left(opcode: bytes) -> None:
    with pytest.raises(BrokenPickleError, match="are left") as caught:
        run_pickle(opcode + b"\xff\xff\xff\x7f\0\0\0\0")
    assert caught.value.truncated


def test_a_text_argument_without_end_is_not_searched_for_ever() -> None:
    with pytest.raises(BrokenPickleError, match="a text argument has no end"):
        run_pickle(b"V" + b"a" * 100_000)


def test_names_are_counted() -> None:
    with pytest.raises(BrokenPickleError, match="more than 10000 names"):
        run(*(b"cm\n%d\n0" % i for i in range(10_001)))


def test_a_broken_pickle_keeps_the_names_it_mentioned_before() -> None:
    with pytest.raises(BrokenPickleError) as caught:
        run_pickle(b"cos\nsystem\n\xff")
    assert ["os.system"] == [name.qualified for name in caught.value.globals]
    assert not caught.value.truncated


def test_a_run_starts_and_ends_where_it_is_told() -> None:
    data = b"junkK\x05.K\x06."
    first = run_pickle(data, 4)
    assert (5, 7) == (first.value, first.end)
    assert 6 == run_pickle(data, first.end).value


def test_a_message_gives_the_place_in_the_file() -> None:
    with pytest.raises(BrokenPickleError, match="at byte 1006"):
        run_pickle(b"junkN\xff", 4, origin=1000)


# Broken bytes of a real checkpoint.


def checkpoint_pickle(protocol: int = 2) -> bytes:
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    file = io.BytesIO()
    state = {"model": module.state_dict(), "optimizer": optimizer.state_dict(), "whole": module}
    torch.save(state, file, pickle_protocol=protocol)
    return zipfile.ZipFile(file).read("archive/data.pkl")


def run_or_break(data: bytes) -> Pickled | BrokenPickleError:
    """Nothing else may come out."""
    try:
        return run_pickle(data)
    except BrokenPickleError as error:
        return error


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_cut_anywhere_is_truncated(protocol: int) -> None:
    data = checkpoint_pickle(protocol)
    for length in range(len(data)):
        with pytest.raises(BrokenPickleError) as caught:
            run_pickle(data[:length])
        assert caught.value.truncated, (length, caught.value.message)


@pytest.mark.parametrize("protocol", [2, 4])
def test_bytes_that_are_changed_break_it_in_one_way_only(protocol: int) -> None:
    data = checkpoint_pickle(protocol)
    chance = random.Random(protocol)  # noqa: S311 - for the same bytes at every run
    outcomes = set()
    for _ in range(3000):
        broken = bytearray(data)
        for _ in range(chance.choice([1, 1, 1, 2, 8])):
            broken[chance.randrange(len(data))] = chance.randrange(256)
        outcomes.add(type(run_or_break(bytes(broken))))
    assert {Pickled, BrokenPickleError} == outcomes


@given(st.binary(max_size=300))
def test_any_bytes_run_or_break(data: bytes) -> None:
    run_or_break(data)


opcode_bytes = st.sampled_from([opcode.code.encode("latin-1") for opcode in pickletools.opcodes])
arguments = st.sampled_from([b"", b"\0", b"\1", b"\2\0\0\0", b"0\n", b"a\nb\n", b"'s'\n", b"\1\0\0\0x"])


@given(st.lists(st.tuples(opcode_bytes, arguments), max_size=60))
def test_any_opcodes_run_or_break(program: list[tuple[bytes, bytes]]) -> None:
    run_or_break(b"N" * 3 + b"".join(opcode + argument for opcode, argument in program) + b".")


def test_pairs_come_again_as_often_as_they_were_set() -> None:
    pairs = run(b"}(K\x01K\x02K\x01K\x03u")
    assert type(pairs) is Pairs
    assert [(1, 2), (1, 3)] == list(pairs.entries())
