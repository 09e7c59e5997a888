"""However elements are stored, they are compared; and where they cannot be, nothing is called identical."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING

import pytest
import torch
from stored import Holder, safetensors_file, sharded_bin, zip_file
from torch import nn

from bufscan.comparing.diffing import diff
from bufscan.comparing.number_pass import CHUNK
from bufscan.comparing.pieces import content_of
from bufscan.errors import TargetError, UnreadableError
from bufscan.inventory import Inventory, Part, Storage, Tensor
from bufscan.opening.artefact import Artefact
from bufscan.values import reading
from bufscan.values.storages import FileStorages, LiveStorages
from bufscan.values.strided import strided_of

if TYPE_CHECKING:
    from pathlib import Path

    from bufscan.comparing.difference import Difference

pytestmark = [
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage"),
    pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state"),
    pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly disabled"),
]


def compare(tmp_path: Path, old: object, new: object) -> Difference:
    torch.save({"w": old}, tmp_path / "old.pt")
    torch.save({"w": new}, tmp_path / "new.pt")
    return diff(str(tmp_path / "old.pt"), str(tmp_path / "new.pt"))


# Strides

BASE = torch.arange(2.0 * 3 * 40 * 5).view(2, 3, 40, 5)
LAYOUTS = {
    "contiguous": lambda t: t.contiguous(),
    "transposed": lambda t: t.transpose(1, 3).contiguous().transpose(1, 3),
    "channels last": lambda t: t.contiguous(memory_format=torch.channels_last),
    "part of a larger storage": lambda t: torch.cat([t, t], dim=3)[..., :5],
    "with an offset": lambda t: torch.cat([t[:1], t])[1:],
    "every other element": lambda t: t.repeat_interleave(2, dim=2)[:, :, ::2],
}


@pytest.mark.parametrize("one", LAYOUTS)
@pytest.mark.parametrize("other", LAYOUTS)
def test_strides_are_no_difference(tmp_path: Path, one: str, other: str) -> None:
    old, new = LAYOUTS[one](BASE), LAYOUTS[other](BASE)
    assert torch.equal(old, new)
    assert compare(tmp_path, old, new).identical


@pytest.mark.parametrize("one", LAYOUTS)
@pytest.mark.parametrize("other", LAYOUTS)
def test_a_change_is_found_where_it_is_whatever_the_strides(tmp_path: Path, one: str, other: str) -> None:
    changed = BASE.clone()
    changed[1, 2, 33, 4] = -1
    (entry,) = compare(tmp_path, LAYOUTS[one](BASE), LAYOUTS[other](changed)).entries
    assert entry.values is not None
    assert (1, (1, 2, 33, 4), 1170.0) == (entry.values.changed, entry.values.max_index, entry.values.max_abs)
    assert pytest.approx(float(BASE.double().norm())) == entry.values.l2 / (entry.values.rel_l2 or 0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128, torch.uint8, torch.bfloat16], ids=str)
def test_elements_of_every_width_are_gathered(tmp_path: Path, dtype: torch.dtype) -> None:
    old = torch.arange(60).to(dtype).view(6, 10)
    new = old.t().contiguous().t().clone()
    assert compare(tmp_path, old, new.t().contiguous().t()).identical
    new[3, 4] = 7
    (entry,) = compare(tmp_path, old, new.t().contiguous().t()).entries
    assert entry.values is not None
    assert (1, (3, 4)) == (entry.values.changed, entry.values.max_index)


def test_elements_that_do_not_begin_where_a_machine_would_like_are_gathered(tmp_path: Path) -> None:
    """The older format aligns nothing."""
    paths = []
    for name, tensor in (
        ("a", torch.arange(12.0).view(3, 4)),
        ("b", torch.arange(12.0).view(3, 4).t().contiguous().t()),
    ):
        paths.append(str(tmp_path / name))
        torch.save(
            {"x": torch.ones(1, dtype=torch.uint8), "w": tensor}, paths[-1], _use_new_zipfile_serialization=False
        )
    assert diff(*paths).identical


def test_a_strided_live_tensor_is_gathered(tmp_path: Path) -> None:
    model = Holder({})
    model.register_buffer("w", torch.arange(12.0).view(3, 4).t())
    assert diff(zip_file(tmp_path / "a.pt", {"w": model.w.contiguous()}), model).identical


@pytest.mark.parametrize("longest_span", [1, 1 << 20], ids=["far apart", "close together"])
def test_a_transposed_tensor_is_gathered_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, longest_span: int
) -> None:
    """Each row of the one side lies far apart on the other: more places than are read at once."""
    monkeypatch.setattr(reading, "_MOST_BLOCKS", 1 << 8)
    monkeypatch.setattr(reading, "_LONGEST_SPAN", longest_span)
    old = torch.arange(300 * 400, dtype=torch.int32).view(300, 400)
    new = old.t().contiguous().t()
    assert compare(tmp_path, old, new).identical
    changed = new.clone(memory_format=torch.preserve_format)
    changed[234, 345] += 1
    (entry,) = compare(tmp_path, old, changed).entries
    assert entry.values is not None
    assert (1, (234, 345), 1.0) == (entry.values.changed, entry.values.max_index, entry.values.max_abs)


def test_an_expanded_tensor_is_compared_without_being_written_out(tmp_path: Path) -> None:
    old = torch.arange(3.0).view(3, 1).expand(3, 1 << 50)
    new = torch.tensor([[0.0], [1.0], [2.5]]).expand(3, 1 << 50)
    assert compare(tmp_path, old, old).identical
    (entry,) = compare(tmp_path, old, new).entries
    assert entry.values is not None
    assert (3 << 50, 1 << 50, 0.5) == (entry.values.numel, entry.values.changed, entry.values.max_abs)
    assert pytest.approx(0.5 / 3) == entry.values.mean_abs


def test_an_expanded_tensor_equals_the_one_written_out(tmp_path: Path) -> None:
    expanded = torch.arange(3.0).view(3, 1).expand(3, 7)
    assert compare(tmp_path, expanded, expanded.clone()).identical


def test_what_shows_far_more_elements_than_are_stored_is_not_compared(tmp_path: Path) -> None:
    """In other dimensions on either side, so that there is no short way."""
    old = torch.ones(1 << 17, 1).expand(1 << 17, 1 << 17)
    new = torch.ones(1, 1 << 17).expand(1 << 17, 1 << 17)
    difference = compare(tmp_path, old, new)
    assert ["all tensors together show far more elements than are stored"] == [
        each.reason for each in difference.not_compared
    ]
    assert difference.identical is None


def test_many_views_of_one_storage_do_not_multiply_the_work(tmp_path: Path) -> None:
    base = torch.ones(1 << 20)
    views = {f"v{i}": base[i:] for i in range(2000)}
    old, new = (zip_file(tmp_path / f"{side}.pt", views) for side in "ab")
    reasons = {each.reason for each in diff(old, new).not_compared}
    assert {"all tensors together show far more elements than are stored"} == reasons


def test_tied_tensors_are_read_once_and_reported_each(tmp_path: Path) -> None:
    shared, other = torch.zeros(5), torch.tensor([0.0, 0, 2, 0, 0])
    old = zip_file(tmp_path / "a.pt", {"a": shared, "b": shared})
    new = zip_file(tmp_path / "b.pt", {"a": other, "b": other})
    entries = diff(old, new).entries
    assert ["a", "b"] == [entry.name for entry in entries]
    assert entries[0].values == entries[1].values


# Byte order and lazy operations


def big_endian(path: Path, dtype: torch.dtype, tensor: torch.Tensor) -> str:
    """What a big-endian machine would have written."""
    torch.save({"w": tensor}, path)
    width = tensor.element_size() // (2 if dtype.is_complex else 1)
    with zipfile.ZipFile(path) as archive:
        records = {record.filename: archive.read(record) for record in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in records.items():
            if name.endswith("/data/0"):
                data = b"".join(data[at : at + width][::-1] for at in range(0, len(data), width))  # noqa: PLW2901
            archive.writestr(name, b"big" if name.endswith("/byteorder") else data)
    return str(path)


@pytest.mark.parametrize("name", ["float32", "float64", "bfloat16", "int64", "int8", "complex64", "complex128"])
def test_byte_order_is_no_difference(tmp_path: Path, name: str) -> None:
    dtype = getattr(torch, name)
    tensor = torch.arange(3000).to(dtype)
    old = big_endian(tmp_path / "old.pt", dtype, tensor)
    new = zip_file(tmp_path / "new.pt", {"w": tensor})
    for sides in ((old, new), (new, old), (old, old)):
        assert diff(*sides).identical
    tensor[7] = 5
    (entry,) = diff(old, zip_file(tmp_path / "new.pt", {"w": tensor})).entries
    assert entry.values is not None
    assert (1, 2.0, (7,)) == (entry.values.changed, entry.values.max_abs, entry.values.max_index)


def test_a_conjugation_that_was_put_off_counts_as_done(tmp_path: Path) -> None:
    tensor = torch.randn(6, dtype=torch.complex64)
    assert tensor.conj().is_conj()
    assert compare(tmp_path, tensor.conj(), tensor.conj().resolve_conj()).identical
    assert compare(tmp_path, tensor.conj(), tensor.conj()).identical
    assert not compare(tmp_path, tensor, tensor.conj()).identical


def test_a_negation_that_was_put_off_counts_as_done(tmp_path: Path) -> None:
    negated = torch.randn(6, dtype=torch.complex64).conj().imag
    assert negated.is_neg()
    assert compare(tmp_path, negated, negated.resolve_neg()).identical
    model = Holder({})
    model.register_buffer("w", negated)
    assert diff(zip_file(tmp_path / "a.pt", {"w": negated.resolve_neg()}), model).identical


# Compound tensors


def sparse(*values: float, last: int | None = None) -> torch.Tensor:
    """Values at the first indices, the last of them at `last`."""
    indices = [*range(len(values) - 1), len(values) - 1 if last is None else last]
    return torch.sparse_coo_tensor([indices], list(values), (5,), check_invariants=True)


def compound(kind: str, last: float) -> torch.Tensor:
    match kind:
        case "sparse":
            return sparse(1, 2, last)
        case "compressed":
            return torch.diag(torch.tensor([1, 2, last])).to_sparse_csr()
        case _:
            return torch.nested.nested_tensor([torch.ones(2), torch.tensor([1, 2, last])])


@pytest.mark.parametrize("kind", ["sparse", "compressed", "nested"])
def test_compound_tensors_are_compared_by_their_parts(tmp_path: Path, kind: str) -> None:
    old, new = compound(kind, 3), compound(kind, 4)
    assert compare(tmp_path, old, old).identical
    (entry,) = compare(tmp_path, old, new).entries
    assert entry.values is not None
    stored = 5 if kind == "nested" else 3
    assert (stored, 1, 1.0, None) == (
        entry.values.numel,
        entry.values.changed,
        entry.values.max_abs,
        entry.values.max_index,
    )


@pytest.mark.parametrize(
    ("new", "remark"),
    [
        pytest.param(
            sparse(1, 2, 3, last=4),
            "what differs is where its values belong",
            id="moved",
        ),
        pytest.param(sparse(1, 2), "its `indices` has another shape or type", id="fewer"),
    ],
)
def test_values_in_other_places_are_a_difference_without_numbers(
    tmp_path: Path, new: torch.Tensor, remark: str
) -> None:
    (entry,) = compare(tmp_path, sparse(1, 2, 3), new).entries
    assert (remark, None) == (entry.remark, entry.values)


def coordinates(indices: list[list[int]], values: list[float]) -> torch.Tensor:
    return torch.sparse_coo_tensor(torch.tensor(indices), torch.tensor(values), (3, 5), check_invariants=True)


ENTRIES = coordinates([[0, 1, 2], [1, 4, 0]], [1.0, 2.0, 3.0])


def test_the_order_of_a_sparse_tensor_s_entries_is_no_difference(tmp_path: Path) -> None:
    other = coordinates([[2, 0, 1], [0, 1, 4]], [3.0, 1.0, 2.0])
    assert torch.equal(ENTRIES.to_dense(), other.to_dense())
    assert compare(tmp_path, ENTRIES, other).identical


@pytest.mark.parametrize(
    ("new", "remark"),
    [
        (coordinates([[2, 0, 1], [0, 1, 4]], [3.0, 1.0, 9.0]), "values differ, and are stored in another order"),
        (coordinates([[2, 0, 1], [0, 1, 3]], [3.0, 1.0, 2.0]), "what differs is where its values belong"),
    ],
    ids=["values", "places"],
)
def test_what_differs_beside_the_order_of_entries_is_said(tmp_path: Path, new: torch.Tensor, remark: str) -> None:
    (entry,) = compare(tmp_path, ENTRIES, new).entries
    assert remark == entry.remark


def test_entries_that_are_yet_to_be_summed_are_not_compared(tmp_path: Path) -> None:
    summed = coordinates([[0, 1, 1, 2], [1, 4, 4, 0]], [1.0, 0.5, 1.5, 3.0])
    difference = compare(tmp_path, ENTRIES, summed)
    assert [("w", "some of its indices occur more than once: their values stand for a sum")] == [
        (each.path, each.reason) for each in difference.not_compared
    ]
    assert difference.identical is None
    assert compare(tmp_path, summed, summed).identical


def test_indices_of_another_type_are_not_put_in_order(tmp_path: Path) -> None:
    """No writer makes them; the bytes differ all the same."""
    old = zip_file(tmp_path / "old.pt", {"w": ENTRIES})
    path = tmp_path / "new.pt"
    torch.save({"w": coordinates([[2, 0, 1], [0, 1, 4]], [3.0, 1.0, 2.0])}, path)
    path.write_bytes(path.read_bytes().replace(b"LongStorage", b"ByteStorage"))
    for sides in ((old, str(path)), (str(path), old)):
        assert diff(*sides).identical is not True


@pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly disabled")
def test_values_without_indices_are_compared_by_their_bytes(tmp_path: Path) -> None:
    """All of them belong to the one place there is, where they are summed."""
    once, twice = (
        torch.sparse_coo_tensor(torch.empty(0, count, dtype=torch.int64), torch.ones(count, 3), (3,))
        for count in (1, 2)
    )
    assert compare(tmp_path, once, twice).differs
    assert compare(tmp_path, once, once).identical


def test_sparse_values_of_another_type_are_not_said_to_be_in_another_order(tmp_path: Path) -> None:
    (entry,) = compare(tmp_path, ENTRIES, ENTRIES.double()).entries
    assert "its `values` has another shape or type" == entry.remark


def test_a_sparse_tensor_without_entries_differs_from_one_with_some(tmp_path: Path) -> None:
    nothing = torch.sparse_coo_tensor(torch.empty(2, 0, dtype=torch.int64), [], (3, 5))
    assert compare(tmp_path, nothing, nothing).identical
    assert compare(tmp_path, nothing, ENTRIES).differs


def test_another_layout_is_a_change_and_not_compared(tmp_path: Path) -> None:
    difference = compare(tmp_path, sparse(1, 2, 3), sparse(1, 2, 3).to_dense())
    assert [{"layout"}] == [entry.aspects for entry in difference.entries]
    assert ["sparse_coo on one side, strided on the other"] == [each.reason for each in difference.not_compared]


def test_a_live_sparse_buffer_equals_its_file(tmp_path: Path) -> None:
    model = Holder({})
    model.register_buffer("w", sparse(1, 2, 3))
    torch.save(model.state_dict(), tmp_path / "a.pt")
    assert diff(str(tmp_path / "a.pt"), model).identical


def test_pieces_of_a_tensor_are_compared_with_the_whole(tmp_path: Path) -> None:
    """As torch.distributed.checkpoint writes them: each file says where in the whole its piece belongs."""
    whole = torch.arange(40.0).view(8, 5)
    folder = tmp_path / "sharded"
    folder.mkdir()
    for number, begin in enumerate((0, 3), start=1):
        path = folder / f"model-0000{number}-of-00002.safetensors"
        safetensors_file(path, {"w": whole[begin : begin + (3 if begin == 0 else 5)].contiguous()})
        data = path.read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        header["__metadata__"] = {"DCP_SHARDING_INFO": json.dumps({"w": {"saved_offsets": [begin, 0]}})}
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    assert diff(str(folder), zip_file(tmp_path / "a.pt", {"w": whole})).identical
    changed = whole.clone()
    changed[6, 2] += 1
    (entry,) = diff(zip_file(tmp_path / "b.pt", {"w": changed}), str(folder)).entries
    assert entry.values is not None
    assert (1, (6, 2), 40) == (entry.values.changed, entry.values.max_index, entry.values.numel)


# What cannot be compared


def test_compressed_records_are_not_compared(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"w": torch.ones(100)}, path)
    with zipfile.ZipFile(path) as archive:
        records = {record.filename: archive.read(record) for record in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in records.items():
            archive.writestr(name, data)
    difference = diff(str(path), str(path))
    assert [("w", "its bytes are compressed in the file")] == [
        (each.path, each.reason) for each in difference.not_compared
    ]
    assert (None, None) == (difference.identical, difference.differs)


def test_values_that_were_never_written_are_not_compared(tmp_path: Path) -> None:
    with torch.serialization.skip_data():
        torch.save({"w": torch.ones(3)}, tmp_path / "a.pt")
    difference = diff(str(tmp_path / "a.pt"), zip_file(tmp_path / "b.pt", {"w": torch.zeros(3)}))
    assert ["its values were never written: the file was saved under skip_data"] == [
        each.reason for each in difference.not_compared
    ]
    assert difference.identical is None


def test_meta_tensors_are_not_compared() -> None:
    with torch.device("meta"):
        model = nn.Linear(2, 2)
    difference = diff(model, model)
    assert {"a meta tensor has no values"} == {each.reason for each in difference.not_compared}
    assert diff(model, model, values=False).differs is False


def test_lazy_parameters_have_nothing_to_compare() -> None:
    model = nn.LazyLinear(3)
    assert diff(model, model).identical


def test_a_shard_in_memory_is_not_taken_for_the_whole() -> None:
    shard = Tensor(name="w", shape=(4,), dtype="float32", storage="0", local_shape=(2,), placements=("Shard(0)",))
    side = Artefact(None, Inventory(target="model", format="live", tensors=(shard,)), LiveStorages({}))
    with pytest.raises(UnreadableError, match="only a shard of it is here"):
        content_of(shard, shard, (side, side))


def test_types_that_do_not_go_together_are_not_compared(tmp_path: Path) -> None:
    difference = compare(tmp_path, torch.ones(3), torch.ones(3, dtype=torch.complex64))
    assert ["elements of complex64 cannot be held against float32"] == [
        each.reason for each in difference.not_compared
    ]
    assert difference.differs


def test_a_broken_tensor_is_not_called_identical(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"w": torch.ones(3), "v": torch.ones(2)}, path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"K\x03\x85", b"K\x63\x85", 1))
    difference = diff(str(path), str(path))
    assert difference.identical is None
    assert difference.not_compared


def test_what_a_broken_part_may_hold_is_not_called_removed(tmp_path: Path) -> None:
    state = {"w": torch.ones(3), "v": torch.ones(2)}
    whole, broken = (sharded_bin(tmp_path / name, state) for name in ("whole", "broken"))
    path = tmp_path / "broken" / "pytorch_model-00002-of-00002.bin"
    path.write_bytes(path.read_bytes()[:-100])
    for sides, side in (((whole, broken), "new"), ((broken, whole), "old")):
        difference = diff(*sides)
        assert ((), None, True) == (difference.entries, difference.differs, difference.incomplete)
        assert ("v", f"not in what could be read of the {side} side") == (
            difference.not_compared[-1].path,
            difference.not_compared[-1].reason,
        )


@pytest.mark.parametrize("turned", [False, True], ids=["read in a run", "read here and there"])
def test_a_file_that_shrinks_meanwhile_is_said_to_have(tmp_path: Path, turned: bool) -> None:
    tensor = torch.zeros(CHUNK, 20)
    old = zip_file(tmp_path / "a.pt", {"w": tensor})
    new = zip_file(tmp_path / "b.pt", {"w": tensor.t().contiguous().t() if turned else tensor})

    def shrink(done: int, _total: int) -> None:
        if done == 0:
            with (tmp_path / "b.pt").open("r+b") as file:
                file.truncate(5000)

    with pytest.raises(TargetError, match="the file changed while it was read") as caught:
        diff(old, new, progress=shrink)
    assert str(new) == caught.value.target


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (Part(name="w", shape=(3,), dtype="float32", stride=(1,), storage="0"), "it reaches beyond the 8 bytes"),
        (Part(name="w", shape=(2,), dtype="float32", stride=(1,), storage="9"), "its storage is missing"),
        (Tensor(name="w", shape=None, dtype="float32", storage="0"), "it has no elements yet"),
        (Tensor(name="w", shape=(2,), dtype="float32", storage="0"), "its elements are not laid out"),
    ],
    ids=["too long", "missing", "no shape", "no stride"],
)
def test_what_does_not_fit_its_storage_cannot_be_read(record: Part | Tensor, reason: str, tmp_path: Path) -> None:
    reader = FileStorages(lambda _: pytest.fail(f"{tmp_path} is not opened"))
    storage = Storage(key="0", nbytes=8, offset=0)
    reader.require = lambda _: None  # type: ignore[method-assign]
    with pytest.raises(UnreadableError, match=reason):
        strided_of(record, {"0": storage}, reader)
