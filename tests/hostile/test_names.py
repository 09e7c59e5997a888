"""Names in a pickle: every one is told, none is resolved, and what was seen before a fault is kept."""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING

import pytest
from crafted_pickles import NO_HOOKS, called, get, mapping, name, pickled, put, sequence, storage, tensor, text
from crafted_streams import MAGIC, PROTOCOL, SYSTEM, legacy
from crafted_zip import checkpoint
from hostile_reading import anomalies, failures, names, read, refusal

if TYPE_CHECKING:
    from pathlib import Path

SYSTEM_CALL = name("os", "system")
COMMAND = text("echo owned > owned")

WAYS = {
    "REDUCE": SYSTEM_CALL + COMMAND + b"\x85R",
    "STACK_GLOBAL": text("os") + text("system") + b"\x93" + COMMAND + b"\x85R",
    "INST": b"(" + COMMAND + b"ios\nsystem\n",
    "OBJ": b"(" + SYSTEM_CALL + COMMAND + b"o",
    "NEWOBJ": SYSTEM_CALL + COMMAND + b"\x85\x81",
    "NEWOBJ_EX": SYSTEM_CALL + b")" + mapping(text("command"), COMMAND) + b"\x92",
    "BUILD": SYSTEM_CALL + b")R" + COMMAND + b"b",
    "a mere mention": SYSTEM_CALL,
    "popped": SYSTEM_CALL + COMMAND + b"\x85R0N",
    "a persistent id": SYSTEM_CALL + COMMAND + b"\x85RQ",
    "a key": b"}" + SYSTEM_CALL + COMMAND + b"\x85RNs",
    "an argument of a tensor": called(
        name("torch._utils", "_rebuild_tensor_v2"), storage(), b"K\0", b"K\4\x85", b"K\1\x85", b"\x89",
        SYSTEM_CALL + COMMAND + b"\x85R",
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_name_that_torch_does_not_write_is_told_once(way: bytes) -> None:
    inventory = read(checkpoint(pickled(mapping(text("w"), tensor(), text("x"), way, text("y"), way))))
    assert "w" in names(inventory)
    assert ("os.system",) == inventory.globals


@pytest.mark.parametrize(
    "harmless", ["builtins.print", "numpy.dtype", "my_module.Net", "torch.load", "torch.serialization.load"]
)
def test_there_is_no_list_of_bad_names(harmless: str) -> None:
    """A list would never be long enough: whatever torch itself does not write is told."""
    module, _, attribute = harmless.rpartition(".")
    assert (harmless,) == read(checkpoint(pickled(name(module, attribute)))).globals


def test_names_that_torch_writes_are_not_told() -> None:
    assert () == read(checkpoint(pickled(mapping(text("w"), tensor())))).globals


def test_a_name_with_dots_stays_as_it_is() -> None:
    assert ("os.path.join.__globals__",) == read(checkpoint(pickled(name("os.path", "join.__globals__")))).globals


def test_a_name_that_is_computed_is_told() -> None:
    computed = called(name("builtins", "str"), text("os")) + text("system") + b"\x93"
    assert "a name computed at run time" in read(checkpoint(pickled(computed))).globals


def test_nothing_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bait.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert ("bait.Net",) == read(checkpoint(pickled(called(name("bait", "Net"))))).globals
    assert "bait" not in sys.modules


def test_an_extension_code_is_refused() -> None:
    """It would bypass every look at names: a code can stand for anything in copyreg's cache."""
    assert "EXT1" in refusal(checkpoint(pickled(b"\x82\x01")))


def test_the_names_before_a_fault_are_kept() -> None:
    broken = read(checkpoint(b"\x80\x02" + WAYS["REDUCE"] + b"garbage"))
    assert ("os.system",) == broken.globals
    assert "broken pickle" in failures(broken)


def test_a_broken_pickle_without_such_names_is_refused() -> None:
    assert "broken pickle" in refusal(checkpoint(b"\x80\x02" + name("numpy", "dtype") + b"garbage"))


@pytest.mark.parametrize(
    "appended", [b"garbage", pickle.dumps([1]), WAYS["REDUCE"] + b"."], ids=["garbage", "a pickle", "a call"]
)
def test_what_comes_after_the_end_of_the_pickle_is_told(appended: bytes) -> None:
    inventory = read(checkpoint(pickled(mapping(text("w"), tensor())) + appended))
    assert ["w"] == names(inventory)
    assert {"trailing_bytes"} == anomalies(inventory)


def test_a_pickle_inside_a_string_of_bytes_is_no_more_than_bytes() -> None:
    inner = pickled(WAYS["REDUCE"])
    inventory = read(checkpoint(pickled(called(name("pickle", "loads"), b"C" + bytes([len(inner)]) + inner))))
    assert ("pickle.loads",) == inventory.globals


def test_a_thousand_names_of_a_kind_are_told_shortly() -> None:
    many = b"".join(name("m", f"f{i}") + b"0" for i in range(10_000))
    assert "more than 10000 names" in failures(read(checkpoint(pickled(many, name("m", "g")))))


def test_a_huge_name_is_refused() -> None:
    assert "a name of 50001 characters" in refusal(checkpoint(pickled(name("m", "f" * 50_000))))


# The other formats run several pickles, and torch would run every one.

CALL = WAYS["REDUCE"]


@pytest.mark.parametrize(
    "data",
    [
        legacy(pickled(CALL), keys=(), stored=b""),
        MAGIC + pickled(CALL, b"0", b"M\xe9\x03") + SYSTEM + pickled(b"}]") + pickled(b"]"),
        MAGIC + PROTOCOL + pickled(CALL, b"0}") + pickled(b"}") + pickled(b"]"),
        MAGIC + PROTOCOL + SYSTEM + pickled(b"}") + pickled(CALL, b"0]"),
    ],
    ids=["object", "protocol", "system", "keys"],
)
def test_every_pickle_of_a_legacy_stream_is_searched(data: bytes) -> None:
    assert ("os.system",) == read(data).globals


def test_the_magic_number_of_a_legacy_stream_is_a_literal() -> None:
    """A first pickle that runs something, and then gives the magic number, is not torch's: it is never clean."""
    found = read(MAGIC[:-1] + CALL + b"0" + legacy(pickled(b"}"))[len(MAGIC) - 1 :])
    assert ("pickle", ("os.system",)) == (found.format, found.globals)
    assert ["trailing_bytes"] == [anomaly.kind for anomaly in found.anomalies]
    assert [True] == [skipped.failed for skipped in found.skipped]


# Tensors in hiding: torch would make them, so they must be seen or said not to be.

IN_HIDING = {
    "an argument of a partial function": called(name("functools", "partial"), name("f", "g"), tensor()),
    "the state of a partial function": called(name("functools", "partial"), name("f", "g"))
    + sequence(name("f", "g"), sequence(tensor()), mapping(), b"N")
    + b"b",
    "a keyword argument": name("m", "C") + b")" + mapping(text("k"), tensor()) + b"\x92",
    "a state that is a tuple": called(name("m", "C")) + sequence(sequence(tensor())) + b"b",
    "a state that is a list": called(name("m", "C")) + b"](" + tensor() + b"eb",
    "a slot": called(name("m", "C")) + sequence(b"N", mapping(text("k"), tensor())) + b"b",
    "a key of a dict": mapping(tensor(), b"N"),
    "a key of a dict inside a tuple": mapping(sequence(tensor()), b"N"),
    "a set": called(name("builtins", "set"), b"](" + tensor() + b"e"),
    "a frozenset": b"(" + tensor() + b"\x91",
    "an appended element": called(name("m", "C")) + tensor() + b"a",
    "an item that is set": called(name("m", "C")) + text("k") + tensor() + b"s",
    "the function that is called": called(called(name("m", "maker"), tensor())),
    "contents given to a dict": called(
        name("collections", "OrderedDict"), b"](" + sequence(text("k"), sequence(tensor())) + b"e"
    ),
    "a storage by itself": b"](" + storage() + b"e",
}


@pytest.mark.parametrize("hidden", IN_HIDING.values(), ids=IN_HIDING)
def test_a_tensor_is_found_wherever_it_is_held(hidden: bytes) -> None:
    inventory = read(checkpoint(pickled(mapping(text("x"), b"](" + hidden + b"e"))))
    assert ["0"] == [found.storage for found in inventory.tensors]
    assert "" == failures(inventory)


def test_entries_whose_keys_are_no_text_are_all_kept() -> None:
    keys = [b"K\1", b"K\2", b"G" + bytes(8), b"N", b"\x88", sequence(b"K\1"), sequence(b"K\2"), NO_HOOKS]
    inventory = read(checkpoint(pickled(mapping(*(part for key in keys for part in (key, tensor()))))))
    assert len(keys) == len(inventory.tensors)


def test_of_entries_with_one_name_the_last_counts_as_in_a_dict() -> None:
    inventory = read(checkpoint(pickled(mapping(text("w"), tensor(size=(2,)), text("w"), tensor(size=(3,))))))
    assert [(3,)] == [found.shape for found in inventory.tensors]


def test_a_state_that_is_set_twice_is_refused() -> None:
    """torch would merge the two; the first could hide what the second does not show."""
    twice = called(name("m", "C")) + mapping(text("k"), tensor()) + b"b" + mapping() + b"b"
    assert "the state of one object twice" in failures(read(checkpoint(pickled(twice))))


@pytest.mark.parametrize(
    "filled",
    [
        tensor() + sequence(storage("1", 8), b"K\0", b"K\x08\x85", b"K\1\x85") + b"b",
        called(name("torch", "Tensor"), b"K\2", b"K\3"),
        called(name("torch", "FloatTensor")),
    ],
    ids=["a tensor with another storage", "a tensor made by its size", "an empty tensor"],
)
def test_a_tensor_that_torch_would_make_in_another_way_is_not_passed_over(filled: bytes) -> None:
    inventory = read(checkpoint(pickled(mapping(text("x"), filled)), {"0": bytes(16), "1": bytes(32)}))
    assert () == inventory.tensors
    assert "tensor x" in failures(inventory)


def test_a_tensor_of_the_oldest_streams_is_filled_after_it_is_made() -> None:
    old = name("torch", "FloatTensor") + b")\x81" + sequence(storage(), b"K\1", b"K\2\x85", b"K\1\x85") + b"b"
    (found,) = read(checkpoint(pickled(mapping(text("x"), old)))).tensors
    assert ((2,), 1, "0") == (found.shape, found.storage_offset, found.storage)


def test_a_parameter_of_torch_0_3_is_filled_after_it_is_made() -> None:
    old = called(name("torch.nn.parameter", "Parameter"), tensor()) + sequence(b"\x88", b"\x89", NO_HOOKS) + b"b"
    (found,) = read(checkpoint(pickled(mapping(text("x"), old)))).tensors
    assert ("parameter", "exact", True) == (found.role, found.certainty, found.requires_grad)


def test_a_class_kept_with_its_source_is_no_tensor() -> None:
    """Older whole-module files hold the classes of modules in this way, as attributes too."""
    kept = sequence(text("module"), name("m", "Net"), text("net.py"), text("class Net: ...")) + b"Q"
    inventory = read(checkpoint(pickled(mapping(text("layer"), b"](" + kept + b"e"))))
    assert ((), "") == (inventory.tensors, failures(inventory))


def test_a_memo_entry_is_shared_and_not_repeated() -> None:
    shared = b"](" + tensor() + b"e" + put(0)
    inventory = read(checkpoint(pickled(mapping(text("a"), shared, text("b"), get(0)))))
    assert ["a[0]"] == names(inventory)
