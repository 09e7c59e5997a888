"""Pickles of too many values, too many tensors, and one long name everywhere."""

from __future__ import annotations

from struct import pack

from bomb_parts import (
    EMPTY_MODULE,
    LONG,
    LONG_NAME,
    MEMORY,
    MODULE,
    MODULES,
    OPCODES,
    PARAMETERS,
    SHORT_NAME,
    SIZE,
    TENSOR,
    C,
    T,
    W,
    bomb,
    distinct,
    filled,
    many,
)
from crafted_pickles import (
    ORDERED_DICT,
    called,
    get,
    integer,
    mapping,
    name,
    pickled,
    put,
    sequence,
    storage,
    tensor,
    text,
)
from crafted_zip import checkpoint

# Opcodes and values.


@bomb
def empty_lists() -> bytes:
    return many(b"]", opcodes=1, memory=64)


@bomb
def dicts_of_nothing() -> bytes:
    return many(b"}NNs", opcodes=4, memory=64 + 64)


@bomb
def tuples_of_nothing() -> bytes:
    return many(b"N\x85", opcodes=2, memory=72)


@bomb
def frozensets() -> bytes:
    return many(b"(\x91", opcodes=2, memory=80 + 128)


@bomb
def instances_with_everything() -> bytes:
    return many(b"N)RNaNNs", opcodes=8, memory=80 + 128 + 120)


@bomb
def texts_of_two_bytes() -> bytes:
    texts = b"".join(b"U\x02" + pack("<H", number % 65536) for number in range(MEMORY // 72))
    return filled(b"](", texts, b"e")


@bomb
def numbers_of_two_bytes() -> bytes:
    return filled(b"](", b"".join(b"M" + pack("<H", number % 65000 + 300) for number in range(3_000_000)), b"e")


@bomb
def memo_entries() -> bytes:
    return filled(b"N", b"\x94" * OPCODES)


@bomb
def a_gap_in_the_memo() -> bytes:
    return checkpoint(pickled(b"X" + pack("<I", SIZE - 3000) + b"a" * (SIZE - 3000), put(SIZE // 2 - 2000)))


@bomb
def one_list_in_millions_of_places() -> bytes:
    return filled(b"]Na", put(0), b"0](", b"h\0" * OPCODES, b"e")


@bomb
def references() -> bytes:
    return many(b"P\n", opcodes=1, memory=64)


@bomb
def one_name_a_million_times() -> bytes:
    return filled(b"](", b"ca\nb\n" * 1_650_000, b"e")


@bomb
def huge_numbers_as_keys() -> bytes:
    number = b"\x8b" + pack("<I", 1024)
    entries = (number + pack("<H", i) + b"\x7f" * 1022 + T for i in range(9500))
    return checkpoint(pickled(TENSOR, b"}(", *entries, b"u"))


@bomb
def a_tuple_doubled_sixty_times_as_a_key() -> bytes:
    doubled = (get(i) * 2 + b"\x86" + put(i + 1) + b"0" for i in range(60))
    return checkpoint(pickled(b"N" + put(0) + b"0", *doubled, b"}" + get(60) + b"Ns"))


@bomb
def a_list_doubled_without_end() -> bytes:
    doubled = (b"](" + get(i) * 2 + b"e" + put(i + 1) + b"0" for i in range(380_000))
    return filled(b"]" + put(0) + b"0", *doubled, get(380_000))


# Tensors.


@bomb
def one_tensor_under_a_million_names() -> bytes:
    return checkpoint(pickled(TENSOR, b"}(", *(key + T for key in distinct(1_200_000)), b"u"))


@bomb
def one_tensor_in_a_list_of_millions() -> bytes:
    return filled(TENSOR, b"](", T * OPCODES, b"e")


@bomb
def one_storage_in_a_list_of_millions() -> bytes:
    return filled(storage() + put(0) + b"0](", T * OPCODES, b"e")


@bomb
def one_tensor_in_a_million_dicts() -> bytes:
    return many(b"}" + W + T + b"s", opcodes=4, memory=64 + 64, head=TENSOR + SHORT_NAME)


@bomb
def many_tensors() -> bytes:
    """As small as a tensor can be that is recognised at once."""
    memo = [text("storage"), name("torch", "FloatStorage"), text("cpu"), ORDERED_DICT]
    memo += [name("torch._utils", "_rebuild_tensor_v2"), text("0"), *[b"N"] * 300]
    head = b"".join(value + put(index) + b"0" for index, value in enumerate(memo))
    first = len(memo)
    records = []
    for index in range(first, first + 4 * 110_000, 4):
        called_with = b"h\4((h\0h\1h\5h\2K\4t" + put(index) + b"QK\0))\x89h\3)R" + put(index + 1)
        records.append(called_with + b"t" + put(index + 2) + b"R" + put(index + 3))
    return checkpoint(pickled(head, b"](", *records, b"e"))


@bomb
def tensors_without_their_storages() -> bytes:
    rebuild = name("torch._utils", "_rebuild_tensor_v2") + put(1) + b"0" + text("storage") + put(2) + b"0"
    rebuild += name("torch", "FloatStorage") + put(3) + b"0" + text("cpu") + put(4) + b"0"
    rebuild += ORDERED_DICT + b")R" + put(5) + b"0"
    keys = (b"h\1((h\2h\3U\6%06dh\4K\4tQK\0K\4\x85K\1\x85\x89h\5tR" % i for i in range(100_000))
    return checkpoint(pickled(rebuild, b"](", *keys, b"e"))


@bomb
def calls_that_make_no_tensor() -> bytes:
    return many(b"h\0)R", opcodes=3, memory=80, head=name("torch._utils", "_rebuild_tensor_v2") + put(0) + b"0")


def wrapped(state: bytes) -> bytes:
    """A tensor of a subclass that keeps its tensors in its state."""
    layout = called(name("torch.serialization", "_get_layout"), text("torch.strided"))
    fields = (
        name("x", "Y"),
        name("torch", "float32"),
        b"K\4\x85",
        b"K\1\x85",
        b"K\0",
        layout,
        text("cpu"),
        b"\x89",
    )
    rebuild = name("torch._utils", "_rebuild_wrapper_subclass")
    return called(
        name("torch._tensor", "_rebuild_from_type_v2"), rebuild, name("x", "Y"), sequence(*fields), state
    )


@bomb
def wrappers_that_multiply() -> bytes:
    """Thirty references to the one before, eight times over."""
    layers = (wrapped(mapping(*(text(f"k{j}") + get(i) for j in range(30)))) + put(i + 1) + b"0" for i in range(8))
    names = (integer(i) + get(8) for i in range(100_000))
    return filled(TENSOR, *layers, b"}(", *names, b"u")


@bomb
def distributed_tensors_of_many_placements() -> bytes:
    shard = called(name("s", "Shard" * 100)) + put(20)
    spec = called(name("s", "S")) + mapping(text("placements"), b"(" + shard + b"h\x14" * 500_000 + b"t") + b"b"
    one = wrapped(mapping(text("_local_tensor"), tensor(), text("_spec"), spec)) + put(21)
    return filled(b"](", one, b"h\x15" * 1_000_000, b"e")


# Long names.


@bomb
def one_long_name_for_every_entry() -> bytes:
    return filled(TENSOR + LONG_NAME, b"](", (b"}" + LONG + T + b"s") * 400_000, b"e")


@bomb
def one_long_name_a_hundred_levels_deep() -> bytes:
    return filled(TENSOR + LONG_NAME, (b"}" + LONG) * 97, b"](", T * 1_000_000, b"e", b"s" * 97)


@bomb
def one_long_name_too_deep() -> bytes:
    return filled(LONG_NAME, (b"}" + LONG) * 99, b"](", b"]]a" * 500_000, b"e", b"s" * 99)


@bomb
def one_long_name_for_every_section() -> bytes:
    section = b"}" + LONG + b"}" + W + T + b"ss"
    return many(section, opcodes=7, memory=256, head=TENSOR + LONG_NAME + SHORT_NAME)


@bomb
def one_long_name_for_every_module() -> bytes:
    nested = C + b")\x81}(" + PARAMETERS + b"}" + MODULES + b"}" + LONG
    leaves = b"".join(key + EMPTY_MODULE for key in distinct(50_000))
    tail = C + b")\x81}(" + PARAMETERS + b"}" + MODULES + b"}(" + leaves + b"uub"
    return filled(MODULE + LONG_NAME, nested * 95, tail, b"sub" * 95)
