"""A torch tensor as the fields of an inventory record: shape, dtype, storage, parts. Reads no element."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from bufscan.dtypes import dtype_named
from bufscan.inventory import Part, Quantization, Storage

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import torch

# Sparse, opaque and uninitialised tensors, and fakes, have no storage to show; each says so in its own words.
_NO_STORAGE = (NotImplementedError, RuntimeError, ValueError, AttributeError)


class Elements(NamedTuple):
    """Which elements a strided tensor shows, comparable between tensors alive at the same time."""

    storage: int
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: object


class StorageTable:
    """Storages of the tensors described so far, numbered in the order they are met.

    Attributes:
        storages: their records by key.
        live: the storages themselves by key; held here, so that their identities stay distinct.
    """

    def __init__(self) -> None:
        self.storages: dict[str, Storage] = {}
        self.live: dict[str, torch.UntypedStorage] = {}
        self._keys: dict[int, str] = {}

    def key_of(self, storage: torch.UntypedStorage) -> str:
        """The storage's key in the inventory."""
        identity = storage._cdata  # noqa: SLF001  # the storage itself: a meta one has no address
        key = self._keys.get(identity)
        if key is None:
            key = self._keys[identity] = str(len(self._keys))
            self.live[key] = storage
            self.storages[key] = Storage(key=key, nbytes=storage.nbytes())
        return key


def subclasses_not_asked() -> AbstractContextManager[None]:
    """Read shapes and flags of tensor subclasses without their `__torch_function__`: it is the user's code."""
    import torch

    return torch._C.DisableTorchFunctionSubclass()  # noqa: SLF001  # the documented way has no public name


def describe(tensor: torch.Tensor, table: StorageTable) -> dict[str, Any]:
    """The fields of its record that the torch tensor itself decides; its storage is entered in `table`."""
    if is_uninitialised(tensor):
        return {"device": _text_of(tensor.device), "requires_grad": tensor.requires_grad}
    local = _local_of(tensor)
    own = storage_of(local if local is not None else tensor)
    strided = _is_plainly_strided(tensor) and not is_wrapper(tensor)
    allocated = own is not None and own.device.type != "meta"
    parts = () if strided else _parts_of(tensor, table)
    key = table.key_of(own) if own is not None and allocated and not parts else None
    keys = {name for name in (key, *(part.storage for part in parts)) if name is not None}
    quantization = _quantization_of(tensor)
    return {
        "shape": _shape_of(tensor),
        "dtype": _dtype_of(tensor),
        "device": _text_of(tensor.device),
        "layout": _text_of(tensor.layout).removeprefix("torch."),
        "stride": tuple(tensor.stride()) if strided else None,
        "storage": key,
        "storage_offset": int(tensor.storage_offset()) if strided else 0,
        "stored_bytes": sum(table.storages[name].nbytes for name in keys),
        "requires_grad": tensor.requires_grad,
        "type_name": _type_name(type(tensor)),
        "local_shape": None if local is None else tuple(local.shape),
        "placements": () if local is None else tuple(map(_placement, tensor.placements)),  # type: ignore[attr-defined]
        "parts": (*parts, *_channel_parts(tensor, quantization, table)),
        "quantization": quantization,
        "pending": _pending_of(tensor) if strided else (),
    }


# Of the devices, layouts and element types, of which a model has few.
_text_of = functools.lru_cache(maxsize=64)(str)


def storage_of(tensor: torch.Tensor) -> torch.UntypedStorage | None:
    """The tensor's storage; None for sparse, opaque and uninitialised tensors and for wrapping subclasses."""
    if is_wrapper(tensor):
        return None  # its own storage is a shell
    try:
        return tensor.untyped_storage()
    except _NO_STORAGE:
        return None


def elements_of(tensor: torch.Tensor) -> Elements | None:
    """Identity of the elements shown; None where the tensor has no storage of its own or no elements."""
    storage = storage_of(tensor)
    if storage is None or not _is_plainly_strided(tensor) or not tensor.numel():
        return None
    return Elements(
        storage._cdata,  # noqa: SLF001  # the storage itself: a meta one has no address
        int(tensor.storage_offset()),
        tuple(tensor.shape),
        tuple(tensor.stride()),
        tensor.dtype,
    )


class Places:
    """Where the tensors of one model lie: each is asked once, and kept, so that no other gets its id."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[torch.Tensor, Elements | None]] = {}

    def elements_of(self, tensor: torch.Tensor) -> Elements | None:
        """Identity of the elements shown, as the function of that name."""
        known = self._known.get(id(tensor))
        if known is None:
            known = self._known[id(tensor)] = (tensor, elements_of(tensor))
        return known[1]

    def byte_range(self, tensor: torch.Tensor) -> tuple[int, range] | None:
        """Identity of the storage and the bytes of it between the first and the last element; None without any."""
        elements = self.elements_of(tensor)
        if elements is None:
            return None
        width = tensor.element_size()
        last = sum([(size - 1) * step for size, step in zip(elements.shape, elements.stride, strict=True)])
        return elements.storage, range(elements.offset * width, (elements.offset + last + 1) * width)


def is_uninitialised(tensor: torch.Tensor) -> bool:
    """Whether a lazy module has yet to give it a shape."""
    return _traits_of(type(tensor)).uninitialised


def is_wrapper(tensor: torch.Tensor) -> bool:
    """Whether the tensor is a shell around others (DTensor, torchao's quantised tensors)."""
    return _traits_of(type(tensor)).wrapper


class _Traits(NamedTuple):
    """What the class of a tensor decides; a model has thousands of tensors of two classes."""

    uninitialised: bool
    wrapper: bool


@functools.cache
def _traits_of(cls: type) -> _Traits:
    from torch.nn.parameter import UninitializedTensorMixin  # type: ignore[attr-defined]  # not in its __all__

    # The protocol by which torch itself knows such classes (torch/utils/_python_dispatch.py).
    wrapper = hasattr(cls, "__tensor_flatten__") and hasattr(cls, "__tensor_unflatten__")
    return _Traits(issubclass(cls, UninitializedTensorMixin), wrapper)


def _local_of(tensor: torch.Tensor) -> torch.Tensor | None:
    """This process's shard of a DTensor."""
    if type(tensor).__name__ != "DTensor":
        return None
    local: torch.Tensor | None = getattr(tensor, "_local_tensor", None)
    return local


def _placement(placement: object) -> str:
    """`Shard(0)`, `Replicate()`: as a file states it."""
    dimension = getattr(placement, "dim", None)
    return f"{type(placement).__name__}({dimension if isinstance(dimension, int) else ''})"


def brief(tensor: torch.Tensor) -> str:
    """Type and shape, for telling tensors apart that have no names."""
    if is_uninitialised(tensor):
        return "uninitialised"
    return f"{_dtype_of(tensor)} {_shape_of(tensor)}"


def _is_plainly_strided(tensor: torch.Tensor) -> bool:
    import torch

    return tensor.layout is torch.strided and not tensor.is_nested


def _shape_of(tensor: torch.Tensor) -> tuple[int, ...] | None:
    """None for a ragged tensor: its symbolic sizes are no numbers."""
    return None if tensor.is_nested else tuple(map(int, tensor.shape))


def _dtype_of(tensor: torch.Tensor) -> str | None:
    found = dtype_named(_text_of(tensor.dtype).removeprefix("torch."))
    return found.name if found else None


def _type_name(cls: type) -> str | None:
    import torch

    if cls in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer):
        return None
    return f"{cls.__module__}.{cls.__qualname__}"


def _parts_of(tensor: torch.Tensor, table: StorageTable) -> tuple[Part, ...]:
    """The strided tensors behind a sparse, nested or wrapping one, by the names torch gives them."""
    import torch

    compressed = {
        torch.sparse_csr: ("crow_indices", "col_indices", "values"),
        torch.sparse_bsr: ("crow_indices", "col_indices", "values"),
        torch.sparse_csc: ("ccol_indices", "row_indices", "values"),
        torch.sparse_bsc: ("ccol_indices", "row_indices", "values"),
        torch.sparse_coo: ("_indices", "_values"),
    }
    local = _local_of(tensor)
    inner: dict[str, torch.Tensor]
    if local is not None:
        inner = {"_local_tensor": local}
    elif is_wrapper(tensor):
        names = tensor.__tensor_flatten__()[0]  # type: ignore[attr-defined]  # what makes it a wrapper
        inner = {name: getattr(tensor, name) for name in names}
    else:
        names = compressed.get(tensor.layout, ())
        inner = {name.removeprefix("_"): getattr(tensor.detach(), name)() for name in names}
    return tuple(_part(name, part, table) for name, part in inner.items() if _is_plainly_strided(part))


def _pending_of(tensor: torch.Tensor) -> tuple[Literal["conj", "neg"], ...]:
    both: tuple[Literal["conj"], Literal["neg"]] = ("conj", "neg")
    return both[not tensor.is_conj() : 1 + tensor.is_neg()]


def _quantization_of(tensor: torch.Tensor) -> Quantization | None:
    """How torch's own quantised tensors map codes to values; None for every other tensor."""
    import torch

    if not tensor.is_quantized:
        return None
    if tensor.qscheme() == torch.per_tensor_affine:
        return Quantization(scale=tensor.q_scale(), zero_point=tensor.q_zero_point())
    return Quantization(axis=tensor.q_per_channel_axis())


def _channel_parts(
    tensor: torch.Tensor, quantization: Quantization | None, table: StorageTable
) -> tuple[Part, ...]:
    """Scale and zero point of every channel; copies, so they are kept alive with the storages."""
    if quantization is None or quantization.axis is None:
        return ()
    inner = {"scales": tensor.q_per_channel_scales(), "zero_points": tensor.q_per_channel_zero_points()}
    return tuple(_part(name, part, table) for name, part in inner.items())


def _part(name: str, tensor: torch.Tensor, table: StorageTable) -> Part:
    storage = storage_of(tensor)
    return Part(
        name=name,
        shape=tuple(tensor.shape),
        dtype=_text_of(tensor.dtype).removeprefix("torch."),
        stride=tuple(tensor.stride()),
        storage=None if storage is None or storage.device.type == "meta" else table.key_of(storage),
        storage_offset=int(tensor.storage_offset()),
        device=_text_of(tensor.device),
    )
