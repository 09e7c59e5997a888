"""Recognising a tensor record at once makes exactly what its single opcodes make."""

from __future__ import annotations

import io
import random
import zipfile
from collections import OrderedDict
from struct import pack
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import torch

from bufscan.bytesource import MemorySource
from bufscan.errors import UnreadableError
from bufscan.formats.pickle.pickle_machine import BrokenPickleError, run_pickle
from bufscan.formats.pickle.pickle_values import Global, Instance, Pairs, PersistentId
from bufscan.formats.pickle.tensor_record import TensorRecords
from bufscan.formats.reading import read_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from bufscan.inventory import Inventory

MANY = 80  # tensors: enough memo entries for indices of four bytes, from which on records are recognised


def many(make: Callable[[int], torch.Tensor]) -> OrderedDict[str, torch.Tensor]:
    return OrderedDict((f"layer.{i}.weight", make(i)) for i in range(MANY))


def views_of_one_storage() -> OrderedDict[str, torch.Tensor]:
    base = torch.arange(90_000.0)
    return many(lambda i: base[i * 1000 : i * 1000 + 300 + i])


STATES: dict[str, Callable[[], Any]] = {
    "one storage each": lambda: many(lambda i: torch.ones(i + 1, 2)),
    "one shape": lambda: many(lambda _: torch.ones(3)),
    "views of one storage": views_of_one_storage,
    "scalars": lambda: many(torch.tensor),
    "no elements": lambda: many(lambda i: torch.ones(0, i)),
    "five dimensions": lambda: many(lambda i: torch.ones(1, 2, 1, i % 3 + 1, 1)),
    "twelve dimensions": lambda: many(lambda _: torch.ones([1] * 12)),
    "thirteen dimensions": lambda: many(lambda _: torch.ones([1] * 13)),
    "large numbers": lambda: many(lambda i: torch.zeros(1).expand(300 + i, 70_000, 1 << 30)),
    "transposed": lambda: many(lambda i: torch.ones(i + 2, 3).t()),
    "trained": lambda: many(lambda i: torch.ones(i + 1, requires_grad=True)),
    "parameters": lambda: many(lambda i: torch.nn.Parameter(torch.ones(i + 1, 2))),
    "conjugated": lambda: many(lambda i: torch.ones(i + 1, dtype=torch.complex64).conj()),
    "several types": lambda: many(lambda i: torch.ones(4, dtype=(torch.half, torch.int64, torch.bool)[i % 3])),
    "new types": lambda: many(lambda _: torch.ones(4).to(torch.float8_e4m3fn)),
    "with attributes": lambda: torch.nn.Sequential(*(torch.nn.BatchNorm1d(i + 1) for i in range(12))).state_dict(),
    "a module": lambda: torch.nn.Sequential(*(torch.nn.Linear(i + 1, 2) for i in range(MANY // 2))),
    "the same keys again": lambda: [many(lambda i: torch.ones(i + 1)), many(lambda i: torch.ones(i + 1))],
}


def saved(state: Any, *, protocol: int = 2, legacy: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save(state, file, pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def pickle_of(data: bytes) -> bytes:
    return zipfile.ZipFile(io.BytesIO(data)).read("archive/data.pkl")


@pytest.fixture
def single_opcodes(monkeypatch: pytest.MonkeyPatch) -> Callable[[], pytest.MonkeyPatch]:
    """Switches the recognition off."""

    def switch_off() -> pytest.MonkeyPatch:
        monkeypatch.setattr(TensorRecords, "match", lambda *_: None)
        return monkeypatch

    return switch_off


@pytest.fixture
def recognised(monkeypatch: pytest.MonkeyPatch) -> list[Instance]:
    """Collects the records that are recognised."""
    found: list[Instance] = []
    match = TensorRecords.match

    def noting(self: TensorRecords, position: int, rebuild: Global) -> tuple[Instance, int] | None:
        record = match(self, position, rebuild)
        if record is not None:
            found.append(record[0])
        return record

    monkeypatch.setattr(TensorRecords, "match", noting)
    return found


def same(first: Any, second: Any) -> bool:
    """Whether two described objects are alike in every part; either may hold itself."""
    left = [(first, second)]
    seen = set()
    while left:
        one, other = left.pop()
        if (id(one), id(other)) in seen:
            continue
        seen.add((id(one), id(other)))
        if type(one) is not type(other):
            return False
        match one:
            case Global():
                if one.qualified != other.qualified:
                    return False
            case PersistentId():
                left.append((one.value, other.value))
            case Instance():
                left += zip(msgspec.structs.astuple(one), msgspec.structs.astuple(other), strict=True)
            case Pairs() | list() | tuple():
                if len(one) != len(other):
                    return False
                left += zip(one, other, strict=True)
            case _:
                if one != other:
                    return False
    return True


def outcome(data: bytes) -> Any:
    """The object and everything told about it, or the message it breaks with."""
    try:
        pickled = run_pickle(data)
    except BrokenPickleError as error:
        return error.message, error.truncated, [name.qualified for name in error.globals]
    names = [name.qualified for name in pickled.globals]
    return pickled.value, pickled.end, names, [reference.value for reference in pickled.persistent_ids]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("make", STATES.values(), ids=STATES)
def test_both_ways_make_the_same_of_a_real_pickle(
    make: Callable[[], Any], protocol: int, single_opcodes: Callable[[], object]
) -> None:
    data = pickle_of(saved(make(), protocol=protocol))
    at_once = outcome(data)
    single_opcodes()
    assert same(outcome(data), at_once)


def read(data: bytes) -> Inventory:
    return read_file(MemorySource("model.pt", data), "model.pt")


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("make", STATES.values(), ids=STATES)
def test_both_ways_give_the_same_inventory(
    make: Callable[[], Any], legacy: bool, single_opcodes: Callable[[], object]
) -> None:
    data = saved(make(), legacy=legacy)
    at_once = read(data)
    single_opcodes()
    assert at_once.tensors
    assert read(data) == at_once


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "name",
    [name for name in STATES if name not in {"thirteen dimensions", "new types", "conjugated", "with attributes"}],
)
def test_most_records_of_a_checkpoint_are_recognised(name: str, legacy: bool, recognised: list[Instance]) -> None:
    """Else the tests above would compare a thing with itself, and large checkpoints would take long."""
    read(saved(STATES[name](), legacy=legacy))
    assert len(recognised) >= MANY // 3


def test_a_record_with_a_mistaken_length_of_its_key_is_left_to_the_opcodes(
    recognised: list[Instance], single_opcodes: Callable[[], object]
) -> None:
    data = pickle_of(saved(STATES["one storage each"]()))
    key = data.index(b"X\2\0\0\x0079r")
    data = data[: key + 1] + b"\1" + data[key + 2 :]
    at_once = outcome(data)
    assert all("79" != record.args[0].value[2] for record in recognised)
    single_opcodes()
    assert same(outcome(data), at_once)


def record_with_location(index: int) -> bytes:
    """One tensor whose device is fetched from that memo entry: 3 is one, 300 was never stored."""
    stored = [
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"U\x07storage",
        b"ctorch\nFloatStorage\n",
        b"U\x03cpu",
        b"ccollections\nOrderedDict\n",
    ]
    head = b"".join(opcode + b"q%c0" % position for position, opcode in enumerate(stored))
    gap = b"U\xff" + b"x" * 255 + b"U\xff" + b"y" * 255 + b"Nr" + pack("<I", 310) + b"0"
    put = [b"r" + pack("<I", position) for position in range(311, 316)]
    return (
        head
        + gap
        + b"h\x00((h\x01h\x02X"
        + pack("<I", 1)
        + b"0"
        + put[0]
        + b"j"
        + pack("<I", index)
        + b"K\x04t"
        + put[1]
        + b"QK\x00))\x89h\x04)R"
        + put[2]
        + b"t"
        + put[3]
        + b"R"
        + put[4]
        + b"."
    )


def test_a_record_that_fetches_what_was_stored_is_recognised(recognised: list[Instance]) -> None:
    assert run_pickle(record_with_location(3)).value is recognised[0]


def test_a_record_that_fetches_what_was_never_stored_breaks() -> None:
    with pytest.raises(BrokenPickleError, match="reads memo entry 300, which was never stored"):
        run_pickle(record_with_location(300))


def test_a_record_fetches_what_was_stored_last(recognised: list[Instance]) -> None:
    first = record_with_location(3).removesuffix(b".")
    second = first[first.index(b"h\x00((") :]
    for position in reversed(range(311, 316)):
        second = second.replace(b"r" + pack("<I", position), b"r" + pack("<I", position + 5))
    value = run_pickle(first + b"U\x04cudaq\x030" + second + b"\x86.").value
    assert list(value) == recognised
    assert ["cpu", "cuda"] == [record.args[0].value[3] for record in recognised]


def mutations(data: bytes, seed: int, count: int) -> list[bytes]:
    """The pickle with a few bytes changed, most of them in the middle of its records."""
    chance = random.Random(seed)  # noqa: S311 - for the same bytes at every run
    mutated = []
    for _ in range(count):
        broken = bytearray(data)
        for _ in range(chance.choice([1, 1, 2, 4])):
            position = chance.randrange(len(data) // 3, len(data))
            broken[position] = chance.choice([broken[position] ^ 1 << chance.randrange(8), chance.randrange(256)])
        mutated.append(bytes(broken))
    return mutated


@pytest.mark.parametrize("name", ["one storage each", "views of one storage", "five dimensions", "parameters"])
def test_both_ways_make_the_same_of_changed_bytes(name: str, single_opcodes: Callable[[], object]) -> None:
    pickles = mutations(pickle_of(saved(STATES[name]())), seed=len(name), count=400)
    at_once = [outcome(data) for data in pickles]
    single_opcodes()
    one_by_one = [outcome(data) for data in pickles]
    assert {True} == {same(one, other) for one, other in zip(one_by_one, at_once, strict=True)}
    assert {2, 3, 4} & {len(result) for result in at_once} == {3, 4}  # some broke, and some ran


def read_or_say_why(data: bytes) -> Inventory | str:
    try:
        return read(data)
    except UnreadableError as error:
        return error.message


def test_both_ways_read_the_same_of_changed_files(single_opcodes: Callable[[], object]) -> None:
    files = mutations(saved(STATES["one storage each"](), legacy=True), seed=1, count=400)
    at_once = [read_or_say_why(data) for data in files]
    single_opcodes()
    assert at_once == [read_or_say_why(data) for data in files]
