"""Whatever torch.load gives is what the inventory says: names, shapes, dtypes, strides, sharing and bytes."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from bufscan.bytesource import FileSource
from bufscan.errors import UnreadableError
from bufscan.formats.reading import read_file

if TYPE_CHECKING:
    from pathlib import Path

    from bufscan.inventory import Inventory, Part, Tensor


class Subclass(torch.Tensor):
    """A tensor subclass that keeps its elements in the ordinary way."""


class Wrapper(torch.Tensor):
    """A tensor subclass without elements of its own, as quantisation libraries write them."""

    @staticmethod
    def __new__(cls: type[Wrapper], codes: torch.Tensor, scales: torch.Tensor) -> Wrapper:  # noqa: PYI034
        return torch.Tensor._make_wrapper_subclass(cls, codes.shape, dtype=torch.float32, device=codes.device)

    def __init__(self, codes: torch.Tensor, scales: torch.Tensor) -> None:
        self.codes = codes
        self.scales = scales

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["codes", "scales"], None

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.detach.default:
            return cls(args[0].codes, args[0].scales)
        raise NotImplementedError(str(func))


def strided_tensors() -> dict[str, torch.Tensor]:
    """One tensor for each way of looking at a storage and each dtype that torch can save."""
    torch.manual_seed(0)
    base = torch.arange(100.0)
    tensors = {
        "whole": base,
        "slice": base[10:20],
        "column": base.view(10, 10)[:, 3],
        "transposed": torch.randn(3, 4).t(),
        "expanded": torch.ones(1).expand(1000),
        "zero-dim": torch.tensor(3),
        "empty": torch.zeros(0, 4),
        "six-dim": torch.randn(2, 1, 2, 1, 2, 3),
        "conjugated": torch.randn(3, dtype=torch.complex64).conj(),
        "negated": torch.randn(3, dtype=torch.complex64).conj().imag,
        "gradient": torch.randn(2).requires_grad_(),
    }
    tensors["tied"] = tensors["whole"].detach()
    for name in [
        "float64",
        "float32",
        "float16",
        "bfloat16",
        "complex64",
        "complex128",
        "complex32",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "bool",
        "float8_e4m3fn",
        "float8_e5m2",
        "float8_e4m3fnuz",
        "float8_e5m2fnuz",
        "float8_e8m0fnu",
        "float4_e2m1fn_x2",
    ]:
        dtype = getattr(torch, name)
        tensors[name] = torch.randint(0, 2, (8 * dtype.itemsize,), dtype=torch.uint8).view(dtype)
    return tensors


def tensors_for(container: str) -> dict[str, torch.Tensor]:
    """The legacy format loses the dtypes without a storage class: torch writes them but cannot load them."""
    tensors = strided_tensors()
    if container == "legacy":
        tensors = {n: t for n, t in tensors.items() if f"{str(t.dtype).removeprefix('torch.')}" in LEGACY_DTYPES}
    return tensors


def saved(obj: Any, path: Path, **options: Any) -> Path:
    torch.save(obj, path, **options)
    return path


def inventory_of(path: Path) -> Inventory:
    with FileSource(path) as source:
        return read_file(source, path.name)


def loaded(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.load warns about old formats and big endian
        return torch.load(path, weights_only=False)


def values_in_file(path: Path, inventory: Inventory, tensor: Tensor | Part) -> torch.Tensor:
    """The tensor built from the bytes at the place that the inventory names, byte for byte."""
    storage = inventory.storages[tensor.storage or ""]
    assert storage.offset is not None
    with path.open("rb") as file:
        file.seek(storage.offset)
        data = bytearray(file.read(storage.nbytes))
    dtype = getattr(torch, tensor.dtype or "")
    if not data:
        return torch.empty(tensor.shape or (), dtype=dtype)
    flat = torch.frombuffer(data, dtype=torch.uint8).view(dtype)
    return flat.as_strided(tensor.shape or (), tensor.stride or (), tensor.storage_offset)


def same_bytes(first: torch.Tensor, second: torch.Tensor) -> bool:
    def raw(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.detach().resolve_conj().resolve_neg().flatten().contiguous().view(torch.uint8)

    return (
        first.dtype == second.dtype and first.shape == second.shape and bool(torch.equal(raw(first), raw(second)))
    )


def plain(tensor: torch.Tensor) -> torch.Tensor:
    """The elements as they lie in the storage: without the lazy conjugate and negative bits."""
    if tensor.is_conj():
        return tensor.conj()
    return tensor.data._neg_view() if tensor.is_neg() else tensor


LEGACY_DTYPES = {
    "float64",
    "float32",
    "float16",
    "bfloat16",
    "complex64",
    "complex128",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "bool",
}

CONTAINERS: dict[str, dict[str, Any]] = {
    "zip": {},
    "legacy": {"_use_new_zipfile_serialization": False},
    "zip-protocol-3": {"pickle_protocol": 3},
    "zip-protocol-5": {"pickle_protocol": 5},
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_strided_tensor_is_described_as_torch_loads_it(tmp_path: Path, container: str) -> None:
    path = saved(tensors_for(container), tmp_path / "tensors.pt", **CONTAINERS[container])
    expected, inventory = loaded(path), inventory_of(path)
    assert list(expected) == [tensor.name for tensor in inventory.tensors]
    assert inventory.anomalies == ()
    for tensor in inventory.tensors:
        truth = expected[tensor.name]
        assert truth.shape == tensor.shape, tensor.name
        assert truth.stride() == tensor.stride, tensor.name
        assert truth.storage_offset() == tensor.storage_offset, tensor.name
        assert str(truth.dtype) == f"torch.{tensor.dtype}", tensor.name
        assert str(truth.device) == tensor.device, tensor.name
        assert truth.numel() == tensor.numel, tensor.name
        assert truth.untyped_storage().nbytes() == tensor.stored_bytes, tensor.name
        assert same_bytes(plain(truth), values_in_file(path, inventory, tensor)), tensor.name


@pytest.mark.parametrize("container", CONTAINERS)
def test_tensors_share_a_storage_exactly_where_torch_shares_it(tmp_path: Path, container: str) -> None:
    path = saved(tensors_for(container), tmp_path / "tensors.pt", **CONTAINERS[container])
    expected, inventory = loaded(path), inventory_of(path)

    def groups(key_of: dict[str, Any]) -> set[frozenset[str]]:
        by_key: dict[Any, set[str]] = {}
        for name, key in key_of.items():
            by_key.setdefault(key, set()).add(name)
        return {frozenset(names) for names in by_key.values() if len(names) > 1}

    pointers = {name: tensor.untyped_storage().data_ptr() for name, tensor in expected.items() if tensor.numel()}
    assert groups(pointers) == groups({t.name: t.storage for t in inventory.tensors if t.numel})
    assert {"tied": "whole"} == {t.name: t.alias_of for t in inventory.tensors if t.alias_of}
    distinct = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in expected.values()
    }
    assert sum(distinct.values()) == inventory.stored_bytes


def with_byteorder(path: Path, word: bytes) -> Path:
    """The same checkpoint with another word in its record `byteorder`."""
    changed = path.with_name(f"{word.decode()}.pt")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(changed, "w") as new:
        for record in old.infolist():
            new.writestr(record.filename, word if record.filename.endswith("byteorder") else old.read(record))
    return changed


def test_big_endian_storages_are_marked_as_such(tmp_path: Path) -> None:
    path = with_byteorder(saved({"x": torch.arange(3)}, tmp_path / "x.pt"), b"big")
    inventory = inventory_of(path)
    assert "big" == inventory.storages["0"].byteorder
    swapped = values_in_file(path, inventory, inventory.tensors[0]).view(torch.uint8).view(3, 8).flip(1)
    assert same_bytes(loaded(path)["x"], swapped.contiguous().view(torch.int64).view(3))


def test_an_unknown_byte_order_is_refused_as_torch_refuses_it(tmp_path: Path) -> None:
    path = with_byteorder(saved({"x": torch.arange(3)}, tmp_path / "x.pt"), b"middle")
    with pytest.raises(ValueError, match="endianness"):
        loaded(path)
    with pytest.raises(UnreadableError, match="neither little nor big"):
        inventory_of(path)


def sparse_tensors() -> dict[str, torch.Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sparse CSR is in beta state
        eye = torch.eye(4)
        return {
            "coo": torch.sparse_coo_tensor([[0, 1], [1, 0]], [1.0, 2.0], (2, 3)),
            "csr": eye.to_sparse_csr(),
            "csc": eye.to_sparse_csc(),
            "bsr": eye.to_sparse_bsr((2, 2)),
            "bsc": eye.to_sparse_bsc((2, 2)),
        }


PART_METHODS = {
    "indices": lambda t: t._indices(),
    "values": lambda t: t._values() if t.layout is torch.sparse_coo else t.values(),
    "crow_indices": torch.Tensor.crow_indices,
    "col_indices": torch.Tensor.col_indices,
    "ccol_indices": torch.Tensor.ccol_indices,
    "row_indices": torch.Tensor.row_indices,
}


def test_sparse_tensors_are_described_with_their_parts(tmp_path: Path) -> None:
    path = saved(sparse_tensors(), tmp_path / "sparse.pt")
    expected, inventory = loaded(path), inventory_of(path)
    assert list(expected) == [tensor.name for tensor in inventory.tensors]
    for tensor in inventory.tensors:
        truth = expected[tensor.name]
        assert str(truth.layout) == f"torch.{tensor.layout}"
        assert truth.shape == tensor.shape
        assert str(truth.dtype) == f"torch.{tensor.dtype}"
        assert tensor.parts
        for part in tensor.parts:
            assert same_bytes(PART_METHODS[part.name](truth), values_in_file(path, inventory, part)), tensor.name


def test_quantized_tensors_are_described_with_their_scales(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces the end of quantised tensors
        scales = torch.tensor([0.1, 0.2])
        path = saved(
            {
                "per_tensor": torch.quantize_per_tensor(torch.randn(2, 3), 0.1, 10, torch.quint8),
                "per_channel": torch.quantize_per_channel(
                    torch.randn(2, 3), scales, torch.tensor([0, 1]), 0, torch.qint8
                ),
            },
            tmp_path / "quantized.pt",
        )
        expected = loaded(path)
        inventory = inventory_of(path)
        assert ["per_tensor", "per_channel"] == [tensor.name for tensor in inventory.tensors]
        for tensor in inventory.tensors:
            assert expected[tensor.name].shape == tensor.shape
            assert str(expected[tensor.name].dtype) == f"torch.{tensor.dtype}"
        per_channel = inventory.tensors[1]
        assert ["scales", "zero_points"] == [part.name for part in per_channel.parts]
        assert same_bytes(
            expected["per_channel"].q_per_channel_scales(),
            values_in_file(path, inventory, per_channel.parts[0]),
        )


def test_ragged_tensors_have_no_shape_but_their_values(tmp_path: Path) -> None:
    rows = [torch.randn(2, 3), torch.randn(4, 3)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nested tensors are a prototype
        path = saved(
            {
                "nested": torch.nested.nested_tensor(rows),
                "jagged": torch.nested.nested_tensor(rows, layout=torch.jagged),
            },
            tmp_path / "ragged.pt",
        )
    inventory = inventory_of(path)
    assert [("nested", None), ("jagged", None)] == [(t.name, t.shape) for t in inventory.tensors]
    nested, jagged = inventory.tensors
    flat = torch.cat([row.flatten() for row in rows])
    assert same_bytes(flat, values_in_file(path, inventory, nested.parts[0]))
    assert same_bytes(torch.cat(rows), values_in_file(path, inventory, jagged.parts[0]))


def test_tensors_without_a_storage_keep_what_is_known_of_them(tmp_path: Path) -> None:
    path = saved(
        {
            "meta": torch.zeros(3, 5, device="meta"),
            "lazy_parameter": nn.UninitializedParameter(),
            "lazy_buffer": nn.parameter.UninitializedBuffer(),
        },
        tmp_path / "bare.pt",
    )
    meta, parameter, buffer = inventory_of(path).tensors
    assert ((3, 5), "float32", "meta", None, 0) == (
        meta.shape,
        meta.dtype,
        meta.device,
        meta.storage,
        meta.stored_bytes,
    )
    assert ("parameter", "exact", None) == (parameter.role, parameter.certainty, parameter.shape)
    assert ("persistent_buffer", "exact", None) == (buffer.role, buffer.certainty, buffer.shape)


def test_bare_storages_are_shown_as_what_they_are(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TypedStorage is deprecated
        path = saved(
            {"untyped": torch.zeros(3).untyped_storage(), "typed": torch.FloatStorage(3)}, tmp_path / "storage.pt"
        )
    untyped, typed = inventory_of(path).tensors
    assert ("storage", (12,), "uint8") == (untyped.layout, untyped.shape, untyped.dtype)
    assert ("storage", (3,), "float32") == (typed.layout, typed.shape, typed.dtype)


def test_subclasses_and_attributes_do_not_hide_the_tensor(tmp_path: Path) -> None:
    tagged = torch.ones(3)
    tagged.tag = "x"  # type: ignore[attr-defined]
    noted = nn.Parameter(torch.zeros(2))
    noted.note = "y"  # type: ignore[attr-defined]
    path = saved(
        {"sub": torch.zeros(3).as_subclass(Subclass), "tagged": tagged, "noted": noted}, tmp_path / "sub.pt"
    )
    inventory = inventory_of(path)
    assert [f"{__name__}.Subclass", None, None] == [tensor.type_name for tensor in inventory.tensors]
    assert [None, None, "parameter"] == [tensor.declared for tensor in inventory.tensors]
    assert (f"{__name__}.Subclass",) == inventory.globals


def test_a_wrapper_subclass_is_described_with_its_inner_tensors(tmp_path: Path) -> None:
    wrapper = Wrapper(torch.arange(6, dtype=torch.int8).view(2, 3), torch.ones(2))
    path = saved(
        {"plain": wrapper, "parameter": nn.Parameter(wrapper, requires_grad=False)}, tmp_path / "wrapper.pt"
    )
    inventory = inventory_of(path)
    first, second = inventory.tensors
    assert ((2, 3), "float32", 6 + 8) == (first.shape, first.dtype, first.stored_bytes)
    assert ["codes", "scales"] == [part.name for part in first.parts]
    assert same_bytes(wrapper.codes, values_in_file(path, inventory, first.parts[0]))
    assert ("assumed", "exact") == (first.certainty, second.certainty)
    assert 6 + 8 == inventory.stored_bytes


def test_parameters_and_buffers_that_say_so_have_exact_roles(tmp_path: Path) -> None:
    path = saved(
        {
            "trained": nn.Parameter(torch.zeros(2)),
            "frozen": nn.Parameter(torch.zeros(2), requires_grad=False),
            "persistent": nn.Buffer(torch.ones(2)),
            "passing": nn.Buffer(torch.ones(2), persistent=False),
        },
        tmp_path / "roles.pt",
    )
    assert [
        ("trained", "parameter", "exact", True, True, True),
        ("frozen", "parameter", "exact", True, True, False),
        ("persistent", "persistent_buffer", "exact", True, True, False),
        ("passing", "non_persistent_buffer", "exact", False, True, False),
    ] == [(t.name, t.role, t.certainty, t.saved, t.moves, t.trains) for t in inventory_of(path).tensors]


def test_checksums_switched_off_change_nothing(tmp_path: Path) -> None:
    state = OrderedDict(a=torch.randn(3), b=torch.randn(4))
    torch.serialization.set_crc32_options(False)
    try:
        path = saved(state, tmp_path / "nocrc.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    inventory = inventory_of(path)
    assert inventory.anomalies == ()
    assert same_bytes(state["b"], values_in_file(path, inventory, inventory.tensors[1]))


def test_a_file_saved_without_its_values_says_so(tmp_path: Path) -> None:
    path = tmp_path / "skip.pt"
    with torch.serialization.skip_data():
        torch.save({"a": torch.randn(3)}, path)
    assert ["no_values"] == [anomaly.kind for anomaly in inventory_of(path).anomalies]


def test_another_storage_alignment_moves_the_bytes_and_nothing_else(tmp_path: Path) -> None:
    state = {"a": torch.randn(3), "b": torch.randn(4)}
    with torch.utils.serialization.config.patch("save.storage_alignment", 4096):
        path = saved(state, tmp_path / "aligned.pt")
    inventory = inventory_of(path)
    for name, storage in zip("ab", inventory.storages.values(), strict=True):
        assert storage.offset is not None
        assert 0 == storage.offset % 4096, name
    assert same_bytes(state["b"], values_in_file(path, inventory, inventory.tensors[1]))


def test_a_checkpoint_saved_to_a_file_object_reads_the_same(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"a": torch.ones(2)}, buffer)
    path = tmp_path / "archive.pt"
    path.write_bytes(buffer.getvalue())
    assert ["a"] == [tensor.name for tensor in inventory_of(path).tensors]
