"""Tensor records that lie: about sizes, strides, storages and types. Nothing is believed, nothing allocated."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
from crafted_pickles import (
    NO_HOOKS,
    called,
    get,
    integer,
    listing,
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
from hostile_reading import anomalies, failures, is_clean, names, read
from torch_verdict import loads

from bufscan.checking import check

if TYPE_CHECKING:
    from pathlib import Path

REBUILD = name("torch._utils", "_rebuild_tensor_v2")
PERSISTENT = b"Q"


def rebuilt(  # noqa: PLR0913 - a tensor has as many properties
    *,
    source: bytes | None = None,
    offset: bytes = b"K\0",
    size: bytes = b"K\4\x85",
    stride: bytes = b"K\1\x85",
    grad: bytes = b"\x89",
    hooks: bytes = NO_HOOKS,
) -> bytes:
    """A call of `_rebuild_tensor_v2`, each of whose arguments may be anything."""
    return called(REBUILD, storage() if source is None else source, offset, size, stride, grad, hooks)


def persistent(*fields: bytes) -> bytes:
    return sequence(*fields) + PERSISTENT


def nested_parameters(count: int) -> bytes:
    value = tensor()
    for _ in range(count):
        value = called(name("torch.nn.parameter", "Parameter"), value, b"\x88")
    return value


def one(value: bytes) -> bytes:
    """A checkpoint with one sound tensor and the value; its storage `0` has four floats."""
    return checkpoint(pickled(mapping(text("x"), value, text("sound"), tensor())))


class Lie(NamedTuple):
    """What it is, what bufscan says of it, and whether torch loads it all the same."""

    value: bytes
    says: str
    torch_loads: bool = False


FLOATS = name("torch", "FloatStorage")
TRUE = b"\x88"

LIES = {
    "a negative size": Lie(rebuilt(size=sequence(integer(-4))), "not integers that torch could hold"),
    "a negative stride": Lie(rebuilt(stride=sequence(integer(-1))), "not integers that torch could hold"),
    "a negative offset": Lie(rebuilt(offset=integer(-1)), "do not fit together"),
    "a size that is a float": Lie(rebuilt(size=b"G" + bytes(8) + b"\x85"), "not integers that torch could hold"),
    "a size that is a bool": Lie(rebuilt(size=TRUE + b"\x85"), "not integers that torch could hold"),
    "a size that is text": Lie(rebuilt(size=text("4") + b"\x85"), "not integers that torch could hold"),
    "a size that is no tuple": Lie(rebuilt(size=b"K\4"), "not integers that torch could hold"),
    "a size of 2^63": Lie(rebuilt(size=sequence(integer(1 << 63))), "not integers that torch could hold"),
    "a size of 2^4000": Lie(rebuilt(size=sequence(integer(1 << 1000))), "not integers that torch could hold"),
    "sizes that overflow": Lie(
        rebuilt(size=sequence(*[integer(1 << 40)] * 2), stride=b"K\0K\0\x86"), "more elements than torch can count"
    ),
    "a hundred dimensions": Lie(
        rebuilt(size=sequence(*[b"K\1"] * 100), stride=sequence(*[b"K\1"] * 100)),
        "not integers that torch could hold",
        torch_loads=True,
    ),
    "more strides than sizes": Lie(rebuilt(stride=b"K\1K\1\x86"), "do not fit together"),
    "a size beyond the storage": Lie(rebuilt(size=b"K\5\x85"), "it reaches element 4 of a storage of 4"),
    "a stride beyond the storage": Lie(rebuilt(stride=b"K\2\x85"), "it reaches element 6 of a storage of 4"),
    "an offset beyond the storage": Lie(rebuilt(offset=b"K\1"), "it reaches element 4 of a storage of 4"),
    "a requires_grad that is a number": Lie(rebuilt(grad=b"K\1"), "arguments that torch does not write"),
    "too few arguments": Lie(called(REBUILD, storage()), "arguments that torch does not write"),
    "arguments that are no tuple": Lie(
        REBUILD + listing(storage()) + b"R", "not a call of a reconstruction function"
    ),
    "no storage": Lie(rebuilt(source=b"N"), "its storage is no persistent id"),
    "a storage that is a tensor": Lie(rebuilt(source=tensor()), "its storage is no persistent id"),
    "a persistent id that is text": Lie(rebuilt(source=text("storage") + PERSISTENT), "not described as torch"),
    "a persistent id of another kind": Lie(
        rebuilt(source=persistent(text("pickle"), FLOATS, text("0"), text("cpu"), b"K\4")),
        "not described as torch",
    ),
    "a storage without a class": Lie(
        rebuilt(source=persistent(text("storage"), text("float"), text("0"), text("cpu"), b"K\4")),
        "not described as torch",
    ),
    "a storage of an unknown class": Lie(
        rebuilt(source=persistent(text("storage"), name("torch", "Generator"), text("0"), text("cpu"), b"K\4")),
        "not described as torch",
    ),
    "a storage of negative length": Lie(
        rebuilt(source=persistent(text("storage"), FLOATS, text("0"), text("cpu"), integer(-4))),
        "not described as torch",
    ),
    "a storage on a device with a huge name": Lie(
        rebuilt(source=persistent(text("storage"), FLOATS, text("0"), text("c" * 1000), b"K\4")),
        "not described as torch",
    ),
    "a storage with a huge key": Lie(
        rebuilt(source=persistent(text("storage"), FLOATS, text("0" * 1000), text("cpu"), b"K\4")),
        "not described as torch",
    ),
    "a dtype that is none": Lie(
        called(
            name("torch._utils", "_rebuild_tensor_v3"),
            storage(kind="UntypedStorage", numel=16),
            b"K\0",
            b"K\4\x85",
            b"K\1\x85",
            b"\x89",
            NO_HOOKS,
            name("torch", "float7"),
        ),
        "`torch.float7` is no dtype",
    ),
    "a parameter of a parameter of a parameter": Lie(
        nested_parameters(20), "tensors are nested in it without end", torch_loads=True
    ),
    "a sparse tensor of an unknown layout": Lie(
        called(
            name("torch._utils", "_rebuild_sparse_tensor"),
            called(name("torch.serialization", "_get_layout"), text("torch." + "x" * 100)),
            sequence(tensor(), tensor(), sequence(b"K\4")),
        ),
        "its layout is not named as torch names one",
    ),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_tensor_that_torch_did_not_write_is_said_to_be_left_out(lie: Lie) -> None:
    """Some of them torch loads: these most of all must not go unsaid."""
    inventory = read(one(lie.value))
    assert ["sound"] == names(inventory)
    assert lie.says in failures(inventory)
    assert lie.torch_loads == loads(one(lie.value))


ENDLESS = mapping(text("x"), tensor(numel=1 << 62, size=(1 << 62,)))
STORAGE_LIES = {
    "two sizes": (
        mapping(text("x"), tensor(), text("y"), tensor(numel=2, size=(2,))),
        "storage 0: it has 16 bytes in the file where 8 are announced, so torch cannot load `x`, `y`",
    ),
    "more than the record": (mapping(text("x"), tensor(numel=8)), "16 bytes in the file where 32 are announced"),
    "less than the record": (
        mapping(text("x"), tensor(size=(2,), numel=2)),
        "16 bytes in the file where 8 are announced",
    ),
    "2^62 elements": (ENDLESS, "where 18,446,744,073,709,551,616 are announced"),
    "no record": (
        mapping(text("x"), tensor(key="7"), text("y"), tensor()),
        "storage 7: the file does not hold it, so torch cannot load `x`",
    ),
    "a key that is a path": (
        mapping(text("x"), tensor(key="../version"), text("y"), tensor()),
        "storage ../version: the file does not hold it, so torch cannot load `x`",
    ),
}


@pytest.mark.parametrize(("value", "says"), STORAGE_LIES.values(), ids=STORAGE_LIES)
def test_a_storage_that_is_not_as_announced_is_said_to_be_unread(value: bytes, says: str) -> None:
    inventory = read(checkpoint(pickled(value)))
    assert says in failures(inventory)
    assert "x" in names(inventory)


@pytest.mark.parametrize(
    ("value", "nbytes"),
    [(ENDLESS, 16), (mapping(text("x"), tensor(key="7")), 0)],
    ids=["more than the record", "no record"],
)
def test_a_tensor_takes_no_more_bytes_than_the_file_has(value: bytes, nbytes: int) -> None:
    inventory = read(checkpoint(pickled(value)))
    assert (nbytes, nbytes) == (inventory.tensors[0].stored_bytes, inventory.stored_bytes)


@pytest.mark.parametrize("value", [ENDLESS, mapping(text("x"), tensor(key="7"))], ids=["short", "none"])
def test_a_checkpoint_whose_values_cannot_be_read_is_never_clean(value: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(checkpoint(pickled(value)))
    assert 2 == check(str(path)).exit_code


def test_a_record_for_nothing_is_told() -> None:
    assert {"unused_storage"} == anomalies(read(checkpoint(pickled(mapping()))))


def test_torch_refuses_a_storage_that_is_not_as_long_as_its_record() -> None:
    assert not loads(checkpoint(pickled(mapping(text("x"), tensor(numel=8)))))


def test_missing_storages_are_told_a_few_times_and_then_counted() -> None:
    many = [part for i in range(100) for part in (text(f"t{i}"), tensor(key=str(i + 1)))]
    inventory = read(checkpoint(pickled(mapping(*many, text("y"), tensor()))))
    assert (21, "80 more storages") == (len(inventory.skipped), inventory.skipped[-1].what)


def test_an_expanded_tensor_shows_both_what_it_is_and_what_it_takes() -> None:
    (found,) = read(checkpoint(pickled(mapping(text("x"), tensor(size=(1 << 50,), stride=(0,)))))).tensors
    assert (1 << 52, 16) == (found.nbytes, found.stored_bytes)


def test_an_empty_tensor_may_claim_any_offset() -> None:
    """So does torch: no element of it is ever read."""
    data = checkpoint(pickled(mapping(text("x"), tensor(size=(0, 5), stride=(5, 1), offset=4))))
    assert is_clean(read(data))
    assert loads(data)


def test_what_a_call_would_allocate_is_never_allocated() -> None:
    """`bytearray(2**60)`: the machine only notes that it is called."""
    data = one(called(name("builtins", "bytearray"), integer(1 << 60)))
    assert ("builtins.bytearray",) == read(data).globals


@pytest.mark.parametrize("key", [integer(0), text("0")], ids=["int", "text"])
def test_a_key_may_be_a_number_or_text(key: bytes) -> None:
    source = persistent(text("storage"), FLOATS, key, text("cpu"), b"K\4")
    (found,) = read(checkpoint(pickled(mapping(text("x"), rebuilt(source=source))))).tensors
    assert "0" == found.storage


def test_the_text_that_many_tensors_share_is_bounded() -> None:
    """One key of a megabyte, as the name of a thousand sections."""
    section = mapping(*(part for i in range(9) for part in (text(f"{i}"), get(1))))
    sections = b"](" + b"".join(b"}" + get(0) + section + b"s" for _ in range(1000)) + b"e"
    head = text("k" * 1_000_000) + put(0) + b"0" + tensor() + put(1) + b"0"
    inventory = read(checkpoint(pickled(head, sections)))
    assert sum(len(found.path) for found in inventory.tensors) < 3_000_000


def test_a_distributed_tensor_names_few_placements_shortly() -> None:
    shard = called(name("torch.distributed.tensor", "Shard" * 100), integer(1 << 1000))
    spec = called(name("m", "Spec")) + mapping(text("placements"), sequence(*[shard] * 100)) + b"b"
    layout = called(name("torch.serialization", "_get_layout"), text("torch.strided"))
    size = sequence(b"K\4"), sequence(b"K\1")
    value = called(
        name("torch._tensor", "_rebuild_from_type_v2"),
        name("torch._utils", "_rebuild_wrapper_subclass"),
        name("m", "DTensor"),
        sequence(name("m", "DTensor"), name("torch", "float32"), *size, b"K\0", layout, text("cpu"), b"\x89"),
        mapping(text("_local_tensor"), tensor(), text("_spec"), spec),
    )
    (found,) = read(checkpoint(pickled(mapping(text("x"), value)))).tensors
    assert 16 == len(found.placements)
    assert {66} == set(map(len, found.placements))
