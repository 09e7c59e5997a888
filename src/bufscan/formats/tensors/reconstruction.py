"""What each of torch's reconstruction functions would build, told from its arguments. Nothing is called.

The functions and the order of their arguments are those of torch 2.13 (`torch/_utils.py`, `torch/_tensor.py`). A
function here answers None when it is given arguments that torch does not write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from bufscan.dtypes import DTYPES, DType
from bufscan.formats.listing import quoted
from bufscan.formats.pickle.pickle_values import Global, Instance, Pairs, elements_of, lookup, pairs_of
from bufscan.formats.tensors.sizes import is_count, read_counts, read_sizes
from bufscan.formats.tensors.storages import MalformedTensorError
from bufscan.inventory import Quantization, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bufscan.formats.tensors.rebuilding import Rebuilder

Builder: TypeAlias = "Callable[[Rebuilder, tuple[Any, ...], int], Tensor | None]"

_MAX_LAYOUT_NAME = 32
_MAX_DEVICE_NAME = 64
_MAX_PLACEMENT_NAME = 64
_MAX_MESH_DIMENSIONS = 16

_PLAIN_TYPES = {
    ("torch", "Tensor"),
    ("torch._tensor", "Tensor"),
    ("torch.nn.parameter", "Parameter"),
    ("torch.nn.parameter", "Buffer"),
}

_COMPRESSED_PARTS = {
    "sparse_csr": ("crow_indices", "col_indices", "values"),
    "sparse_bsr": ("crow_indices", "col_indices", "values"),
    "sparse_csc": ("ccol_indices", "row_indices", "values"),
    "sparse_bsc": ("ccol_indices", "row_indices", "values"),
}


def _strided(rebuilder: Rebuilder, args: tuple[Any, ...], _depth: int) -> Tensor | None:
    match args:
        case (storage, offset, size, stride, bool(grad), _):
            return rebuilder.view(rebuilder.storages.refer(storage), offset, size, stride, requires_grad=grad)
        case (storage, offset, size, stride):  # _rebuild_tensor, torch 0.3 and before
            return rebuilder.view(rebuilder.storages.refer(storage), offset, size, stride, requires_grad=None)
        case (storage, offset, size, stride, bool(grad), _, Pairs() as math_bits):
            reference = rebuilder.storages.refer(storage)
            return _with_pending(rebuilder.view(reference, offset, size, stride, requires_grad=grad), math_bits)
        case _:
            return None


def _strided_of_dtype(rebuilder: Rebuilder, args: tuple[Any, ...], _depth: int) -> Tensor | None:
    match args:
        case (storage, offset, size, stride, bool(grad), _, Global() as dtype, *math_bits):
            reference = rebuilder.storages.refer(storage).viewed_as(_dtype(dtype))
            view = rebuilder.view(reference, offset, size, stride, requires_grad=grad)
            return _with_pending(view, math_bits[0]) if math_bits else view
        case _:
            return None


def _with_pending(tensor: Tensor, math_bits: Any) -> Tensor:
    """The tensor with torch's "math bits": a conjugation or negation that was put off until it is read."""
    if type(math_bits) is not Pairs:
        return tensor
    conj, neg = (lookup(math_bits, name) is True for name in ("conj", "neg"))
    pending = (*("conj",) * conj, *("neg",) * neg)
    return msgspec.structs.replace(tensor, pending=pending) if pending else tensor


def _parameter(rebuilder: Rebuilder, args: tuple[Any, ...], depth: int) -> Tensor | None:
    match args:
        case (data,):
            return _parameter(rebuilder, (data, True), depth)
        case (data, bool(grad), *_):
            return msgspec.structs.replace(
                rebuilder.rebuild(data, depth + 1),
                role="parameter",
                certainty="exact",
                evidence="saved as nn.Parameter",
                declared="parameter",
                requires_grad=grad,
            )
        case _:
            return None


def _typed(rebuilder: Rebuilder, args: tuple[Any, ...], depth: int) -> Tensor | None:
    match args:
        case (Global() as func, Global() as tensor_type, tuple() as inner, state):
            if (func.module, func.name) == ("torch._utils", "_rebuild_wrapper_subclass"):
                tensor = _wrapper(rebuilder, inner, _states(state), depth)
            else:
                tensor = rebuilder.rebuild(Instance(func, inner), depth + 1)
            if tensor is None:
                return None
            return _with_attributes(tensor, tensor_type, _states(state))
        case _:
            return None


def _wrapper(rebuilder: Rebuilder, args: tuple[Any, ...], states: list[Pairs], depth: int) -> Tensor | None:
    """A tensor without elements of its own: `(class, dtype, size, stride, offset, layout, device, grad)`."""
    match args:
        case (_, Global() as dtype, size, stride, _, layout, device, bool(grad)):
            parts = rebuilder.parts_among(states, depth)
            local = next((part for part in parts if part.name == "_local_tensor"), None)
            return Tensor(
                name="",
                shape=read_sizes(size),
                dtype=_dtype(dtype).name,
                device=_device(device),
                layout=_layout(layout),
                stride=read_counts(stride),
                stored_bytes=rebuilder.stored_bytes(parts),
                requires_grad=grad,
                local_shape=None if local is None else local.shape,
                placements=_placements(states) if local is not None else (),
                parts=parts,
            )
        case _:
            return None


def _sparse(rebuilder: Rebuilder, args: tuple[Any, ...], depth: int) -> Tensor | None:
    match args:
        case (layout_value, (indices, values, size, *_)) if (layout := _layout(layout_value)) == "sparse_coo":
            parts = {"indices": indices, "values": values}
            return rebuilder.compound(parts, depth, shape=read_sizes(size), layout=layout, of="values")
        case (layout_value, (compressed, plain, values, size)) if names := _COMPRESSED_PARTS.get(
            layout := _layout(layout_value)
        ):
            parts = dict(zip(names, (compressed, plain, values), strict=True))
            return rebuilder.compound(parts, depth, shape=read_sizes(size), layout=layout, of="values")
        case _:
            return None


def _quantized(rebuilder: Rebuilder, args: tuple[Any, ...], depth: int) -> Tensor | None:
    match args:
        case (storage, offset, size, stride, (Global() as scheme, *parameters), bool(grad), _):
            reference = rebuilder.storages.refer(storage)
            tensor = rebuilder.view(reference, offset, size, stride, requires_grad=grad)
            if scheme.name == "per_tensor_affine":
                return msgspec.structs.replace(tensor, quantization=_quantization(parameters))
            names = ("scales", "zero_points")
            parts = [p for n, v in zip(names, parameters, strict=False) for p in rebuilder.parts_of(n, v, depth)]
            quantization = _quantization((None, None, *parameters[2:]))
            return msgspec.structs.replace(tensor, parts=tuple(parts), quantization=quantization)
        case _:
            return None


def _quantization(parameters: Sequence[Any]) -> Quantization:
    match parameters:
        case (float(scale), int(zero_point)):
            return Quantization(scale=scale, zero_point=zero_point)
        case (None, None, int(axis)):
            return Quantization(axis=axis)
        case _:
            raise MalformedTensorError("its scale and zero point are no numbers")


def _nested(rebuilder: Rebuilder, args: tuple[Any, ...], depth: int) -> Tensor | None:
    match args:
        case (buffer, sizes, strides, offsets):
            parts = {"buffer": buffer, "sizes": sizes, "strides": strides, "offsets": offsets}
            return rebuilder.compound(parts, depth, shape=None, layout="nested", of="buffer")
        case _:
            return None


def _jagged(rebuilder: Rebuilder, args: tuple[Any, ...], depth: int) -> Tensor | None:
    match args:
        case (Pairs() as state,):
            parts = {name: lookup(state, name) for name in ("values", "offsets", "lengths")}
            present = {name: value for name, value in parts.items() if value is not None}
            return rebuilder.compound(present, depth, shape=None, layout="jagged", of="values")
        case _:
            return None


def _meta(_rebuilder: Rebuilder, args: tuple[Any, ...], _depth: int) -> Tensor | None:
    match args:
        case (Global() as dtype, size, stride, bool(grad)):
            return Tensor(
                name="",
                shape=read_sizes(size),
                dtype=_dtype(dtype).name,
                device="meta",
                stride=read_counts(stride),
                requires_grad=grad,
            )
        case _:
            return None


_BARE_PARAMETER = Tensor(
    name="", role="parameter", certainty="exact", evidence="saved as nn.Parameter", declared="parameter"
)
_BARE_BUFFER = Tensor(
    name="", role="persistent_buffer", certainty="exact", evidence="saved as nn.Buffer", declared="buffer"
)


def _uninitialized(bare: Tensor) -> Builder:
    """A lazy Parameter or Buffer: its call says what it is, and has no more than whether it requires grad."""

    def build(_rebuilder: Rebuilder, args: tuple[Any, ...], _depth: int) -> Tensor | None:
        match args:
            case (bool(grad), *_):
                return msgspec.structs.replace(bare, requires_grad=grad)
            case _:
                return None

    return build


def _device_tensor(rebuilder: Rebuilder, args: tuple[Any, ...], depth: int) -> Tensor | None:
    """A tensor of an accelerator that torch saves through its copy on the CPU."""
    match args:
        case (Instance() as copy, Global() as dtype, device, bool(grad)):
            tensor = rebuilder.rebuild(copy, depth + 1)
            return msgspec.structs.replace(
                tensor, dtype=_dtype(dtype).name, device=_device(device), requires_grad=grad
            )
        case _:
            return None


_TENSOR_CLASSES = [
    (module, f"{kind}Tensor")
    for module in ("torch", "torch.cuda")
    for kind in ("", "Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
]

BUILDERS: dict[tuple[str | None, str], Builder] = {
    ("torch._utils", "_rebuild_tensor"): _strided,
    ("torch._utils", "_rebuild_tensor_v2"): _strided,
    ("torch._utils", "_rebuild_tensor_v3"): _strided_of_dtype,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("torch.nn.parameter", "Parameter"): _parameter,
    ("torch._tensor", "_rebuild_from_type"): _typed,
    ("torch._tensor", "_rebuild_from_type_v2"): _typed,
    ("torch._utils", "_rebuild_sparse_tensor"): _sparse,
    ("torch._utils", "_rebuild_sparse_csr_tensor"): _sparse,
    ("torch._utils", "_rebuild_qtensor"): _quantized,
    ("torch._utils", "_rebuild_nested_tensor"): _nested,
    ("torch.nested._internal.nested_tensor", "_rebuild_njt"): _jagged,
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): _meta,
    ("torch.nn.parameter", "UninitializedParameter"): _uninitialized(_BARE_PARAMETER),
    ("torch.nn.parameter", "UninitializedBuffer"): _uninitialized(_BARE_BUFFER),
    ("torch._utils", "_rebuild_device_tensor_from_cpu_tensor"): _device_tensor,
    # Tensors of torch 0.1, which were filled after they were made.
    **dict.fromkeys(_TENSOR_CLASSES, _strided),
}


def arguments_with_state(call: Instance) -> tuple[Any, ...]:
    """The arguments that would make at once what the call and `Tensor.__setstate__` after it make.

    Raises:
        MalformedTensorError: torch sets no such state.
    """
    key = (call.func.module, call.func.name)
    match call.args, call.state:
        case (), (_, _, _, _) if key in _TENSOR_CLASSES:
            state: tuple[Any, ...] = call.state
            return state
        case (data,), (bool(grad), _, _) if key == ("torch.nn.parameter", "Parameter"):  # until torch 0.3
            return data, grad
        case _:
            raise MalformedTensorError("it is filled with something else after it is made")


def _dtype(value: Global) -> DType:
    dtype = DTYPES.get(value.name) if value.module == "torch" else None
    if dtype is None:
        raise MalformedTensorError(f"{quoted(value.qualified)} is no dtype")
    return dtype


def _layout(value: Any) -> str:
    """`torch.serialization._get_layout("torch.sparse_coo")`: the layout's name without `torch.`."""
    if type(value) is Instance and value.is_call_of("torch.serialization", "_get_layout"):
        match value.args:
            case (str(name),) if name.startswith("torch.") and len(name) <= _MAX_LAYOUT_NAME:
                return name.removeprefix("torch.")
            case _:
                pass
    raise MalformedTensorError("its layout is not named as torch names one")


def _device(value: Any) -> str | None:
    """`torch.device("cuda", 1)`, or the text itself."""
    if type(value) is Instance and value.is_call_of("torch", "device"):
        match value.args:
            case (str(kind),):
                value = kind
            case (str(kind), int(index)) if is_count(index):
                value = f"{kind}:{index}"
            case _:
                pass
    return value if type(value) is str and len(value) <= _MAX_DEVICE_NAME else None


def _states(state: Any) -> list[Pairs]:
    """An object's attributes: its dict, or the pair of its dict and its slots."""
    candidates = state if type(state) is tuple else (state,)
    return [candidate for candidate in candidates if type(candidate) is Pairs]


def _with_attributes(tensor: Tensor, tensor_type: Global, states: list[Pairs]) -> Tensor:
    """What a tensor's type and attributes add: nn.Buffer's marks, a Parameter of a subclass, its class."""
    changes: dict[str, Any] = {}
    for state in states:
        if lookup(state, "_is_buffer") is True:
            persistent = lookup(state, "persistent") is not False
            changes["role"] = "persistent_buffer" if persistent else "non_persistent_buffer"
            changes |= {"certainty": "exact", "evidence": "saved as nn.Buffer", "declared": "buffer"}
        if lookup(state, "_is_param") is True:
            changes |= {"role": "parameter", "certainty": "exact", "evidence": "saved as nn.Parameter"}
            changes["declared"] = "parameter"
    if (tensor_type.module, tensor_type.name) not in _PLAIN_TYPES:
        changes["type_name"] = tensor_type.qualified
    return msgspec.structs.replace(tensor, **changes) if changes else tensor


def _placements(states: list[Pairs]) -> tuple[str, ...]:
    """How a DTensor is cut, one word for each mesh dimension: `Shard(0)`, `Replicate()`."""
    for state in states:
        spec = lookup(state, "_spec")
        attributes = pairs_of(spec.state) if type(spec) is Instance else None
        placements = elements_of(lookup(attributes, "placements")) if attributes is not None else None
        if placements is not None:
            return tuple(_placement(value) for value in placements[:_MAX_MESH_DIMENSIONS])
    return ()


def _placement(value: Any) -> str:
    if type(value) is not Instance or type(value.func) is not Global:
        return "?"
    found = _states(value.state)
    dimension = lookup(found[0], "dim") if found else None
    if dimension is None and type(value.args) is tuple and value.args:
        dimension = value.args[0]
    return f"{value.func.name[:_MAX_PLACEMENT_NAME]}({dimension if is_count(dimension) else ''})"
