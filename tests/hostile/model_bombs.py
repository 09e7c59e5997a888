"""Modules, optimizers and state_dicts that share one large part in very many places."""

from __future__ import annotations

from bomb_parts import (
    BIG,
    CLASS,
    DICT,
    EMPTY_MODULE,
    GROUPS,
    MODULE,
    MODULES,
    OPTIMIZER,
    PARAMETERS,
    SHORT_NAME,
    STATE,
    TENSOR,
    C,
    D,
    T,
    W,
    bomb,
    distinct,
    filled,
    many,
)
from crafted_pickles import get, integer, mapping, put, text


@bomb
def modules_that_share_modules() -> bytes:
    """Each of forty holds the one before twice: 2^40 names."""
    one = TENSOR + MODULE + C + b")\x81}(" + PARAMETERS + b"}" + W + T + b"s" + MODULES + b"}ub" + put(10) + b"0"
    doubled = b"".join(
        C + b")\x81}(" + PARAMETERS + b"}" + MODULES + mapping(text("a"), get(i), text("b"), get(i)) + b"ub"
        b"" + put(i + 1) + b"0"
        for i in range(10, 50)
    )
    return filled(SHORT_NAME, one, doubled, get(50))


@bomb
def modules_a_hundred_thousand_deep() -> bytes:
    count = 49_000  # two marks each
    nested = C + b")\x81}(" + PARAMETERS + b"}" + MODULES + b"}" + W
    return filled(MODULE + SHORT_NAME, nested * count, b"N", b"sub" * count)


@bomb
def a_module_of_a_hundred_thousand() -> bytes:
    members = (key + EMPTY_MODULE for key in distinct(200_000))
    return filled(MODULE, C + b")\x81}(" + PARAMETERS + b"}" + MODULES + b"}(", *members, b"uub")


@bomb
def a_list_of_modules() -> bytes:
    return many(EMPTY_MODULE, opcodes=10, memory=400, head=MODULE)


@bomb
def a_large_module_under_many_names() -> bytes:
    attributes = b"".join(key + T for key in distinct(30_000))
    large = C + b")\x81}(" + PARAMETERS + b"}" + MODULES + b"}" + attributes + b"ub" + put(9) + b"0"
    members = (key + BIG for key in distinct(400_000))
    return filled(TENSOR, MODULE, large, C + b")\x81}(" + PARAMETERS + b"}" + MODULES + b"}(", *members, b"uub")


@bomb
def modules_of_one_large_state() -> bytes:
    attributes = b"".join(key + b"N" for key in distinct(300_000))
    state = b"}(" + attributes + PARAMETERS + b"}" + MODULES + b"}u" + put(9) + b"0"
    return filled(MODULE, state, b"](", (C + b")\x81" + BIG + b"b") * 600_000, b"e")


@bomb
def calls_with_one_large_argument() -> bytes:
    return filled(CLASS, b"(" + b"N" * 1_500_000 + b"t", put(9), b"0](", (C + BIG + b"R") * 800_000, b"e")


@bomb
def dicts_made_of_one_large_list() -> bytes:
    items = b"](" + b"K\1K\2\x86" * 250_000 + b"e\x85"
    return filled(DICT, items, put(9), b"0](", (D + BIG + b"R") * 400_000, b"e")


@bomb
def state_dicts_of_one_large_metadata() -> bytes:
    metadata = b"}(" + b"".join(key + b"}" for key in distinct(150_000)) + b"u" + put(9) + b"0"
    state = b"}" + text("_metadata") + BIG + b"s" + put(10) + b"0"
    return filled(DICT, metadata, state, b"](", (D + b")Rh\x0ab") * 400_000, b"e")


@bomb
def many_small_state_dicts() -> bytes:
    metadata = text("_metadata") + put(9) + b"0"
    one = D + b")R" + W + T + b"s}" + BIG + b"}" + W + b"}ssb"
    return filled(TENSOR, SHORT_NAME, DICT, metadata, b"](", one * 180_000, b"e")


@bomb
def lists_of_buffer_names() -> bytes:
    listed = b"](" + b"".join(distinct(400_000)) + b"e" + put(9) + b"0"
    keys = text("buffer_names") + put(10) + b"0" + text("module") + put(11) + b"0"
    one = b"}(h\x0a" + BIG + b"h\x0b}" + W + T + b"su"
    return filled(TENSOR, SHORT_NAME, listed, keys, b"](", one * 150_000, b"e")


@bomb
def optimizers_of_one_large_state() -> bytes:
    moments = text("exp_avg") + put(9) + b"0"
    state = b"}(" + b"".join(integer(i) + b"}" + BIG + T + b"s" for i in range(150_000)) + b"u" + put(10) + b"0"
    one = b"}(" + STATE + b"h\x0a" + GROUPS + b"]u"
    return filled(TENSOR, OPTIMIZER, moments, state, b"](", one * 200_000, b"e")


@bomb
def parameter_groups_of_one_large_list() -> bytes:
    group = mapping(text("params"), b"](" + b"".join(map(integer, range(900_000))) + b"e") + put(9) + b"0"
    return filled(OPTIMIZER, group, b"}(" + STATE + b"}" + GROUPS + b"](" + BIG * 1_000_000 + b"eu")


@bomb
def indices_that_collide() -> bytes:
    """Integers whose hashes are all 0."""
    moments = text("exp_avg") + put(9) + b"0"
    indices = (((1 << 61) - 1) * (i + 1) for i in range(200_000))
    state = b"".join(b"\x8a\x0e" + i.to_bytes(14, "little") + b"}" + BIG + T + b"s" for i in indices)
    return filled(TENSOR, OPTIMIZER, moments, b"}(" + STATE + b"}(" + state + b"u" + GROUPS + b"]u")
