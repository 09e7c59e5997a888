"""Pickles written opcode by opcode, protocol 2, for files that no pickler would write."""

from __future__ import annotations

from struct import pack

PROTO = b"\x80\x02"
STOP = b"."


def text(value: str) -> bytes:
    """BINUNICODE."""
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + pack("<I", len(data)) + data


def integer(value: int) -> bytes:
    """The shortest of BININT1, BININT2, BININT and LONG1."""
    if 0 <= value < 1 << 8:
        return b"K" + pack("<B", value)
    if 0 <= value < 1 << 16:
        return b"M" + pack("<H", value)
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + pack("<i", value)
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + pack("<B", len(data)) + data


def name(module: str, qualname: str) -> bytes:
    """GLOBAL."""
    return f"c{module}\n{qualname}\n".encode()


def put(index: int) -> bytes:
    """LONG_BINPUT."""
    return b"r" + pack("<I", index)


def get(index: int) -> bytes:
    """BINGET where it reaches, else LONG_BINGET."""
    return b"h" + pack("<B", index) if index < 1 << 8 else b"j" + pack("<I", index)


def sequence(*items: bytes) -> bytes:
    """A tuple of any length."""
    return b"(" + b"".join(items) + b"t"


def listing(*items: bytes) -> bytes:
    """A list."""
    return b"](" + b"".join(items) + b"e"


def mapping(*pairs: bytes) -> bytes:
    """A dict of keys and values in turn."""
    return b"}(" + b"".join(pairs) + b"u"


def called(function: bytes, *args: bytes) -> bytes:
    """REDUCE."""
    return function + sequence(*args) + b"R"


def built(instance: bytes, state: bytes) -> bytes:
    """BUILD."""
    return instance + state + b"b"


def pickled(*parts: bytes) -> bytes:
    """A whole pickle."""
    return PROTO + b"".join(parts) + STOP


ORDERED_DICT = name("collections", "OrderedDict")
NO_HOOKS = ORDERED_DICT + b")R"


def storage(key: str = "0", numel: int = 4, device: str = "cpu", kind: str = "FloatStorage") -> bytes:
    """A storage's persistent id."""
    return sequence(text("storage"), name("torch", kind), text(key), text(device), integer(numel)) + b"Q"


def tensor(  # noqa: PLR0913 - a tensor has as many properties
    key: str = "0",
    size: tuple[int, ...] = (4,),
    *,
    stride: tuple[int, ...] = (1,),
    offset: int = 0,
    numel: int = 4,
    device: str = "cpu",
    kind: str = "FloatStorage",
) -> bytes:
    """A call of `_rebuild_tensor_v2`, without a memo."""
    return called(
        name("torch._utils", "_rebuild_tensor_v2"),
        storage(key, numel, device, kind),
        integer(offset),
        sequence(*map(integer, size)),
        sequence(*map(integer, stride)),
        b"\x89",
        NO_HOOKS,
    )
