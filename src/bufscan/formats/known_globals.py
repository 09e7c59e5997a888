"""The names that torch itself writes into a pickle; anything else is worth telling the user about.

This is what `torch.save` of tensors, Parameters, state_dicts and optimizers was seen to refer to (torch 2.13 and
files of older releases), not a list of names somebody thinks harmless. Nothing on it is ever called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.dtypes import DTYPES, STORAGE_CLASSES

if TYPE_CHECKING:
    from bufscan.formats.pickle_values import Global

_QUANTIZATION_SCHEMES = (
    "per_tensor_affine",
    "per_channel_affine",
    "per_channel_affine_float_qparams",
    "per_tensor_symmetric",
    "per_channel_symmetric",
)

# Tensors named their type until torch 0.4.
_TENSOR_CLASSES = tuple(
    f"{kind}Tensor"
    for kind in ("", "Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
)

_TORCH_NAMES: dict[str, frozenset[str]] = {
    "torch": frozenset({*STORAGE_CLASSES, *DTYPES, *_QUANTIZATION_SCHEMES, *_TENSOR_CLASSES, "Size", "device"}),
    "torch.cuda": frozenset({*STORAGE_CLASSES, *_TENSOR_CLASSES}),
    "torch.storage": frozenset({"UntypedStorage", "TypedStorage"}),
    "torch.serialization": frozenset({"_get_layout"}),
    "torch._tensor": frozenset({"Tensor", "_rebuild_from_type", "_rebuild_from_type_v2"}),
    "torch._utils": frozenset(
        {
            "_rebuild_tensor",
            "_rebuild_tensor_v2",
            "_rebuild_tensor_v3",
            "_rebuild_parameter",
            "_rebuild_parameter_with_state",
            "_rebuild_sparse_tensor",
            "_rebuild_sparse_csr_tensor",
            "_rebuild_qtensor",
            "_rebuild_nested_tensor",
            "_rebuild_meta_tensor_no_storage",
            "_rebuild_wrapper_subclass",
            "_rebuild_device_tensor_from_cpu_tensor",
            "_rebuild_device_tensor_from_numpy",
        }
    ),
    "torch.nn.parameter": frozenset({"Parameter", "Buffer", "UninitializedParameter", "UninitializedBuffer"}),
    "torch.nested._internal.nested_tensor": frozenset({"_rebuild_njt", "NestedTensor"}),
    "collections": frozenset({"OrderedDict", "defaultdict", "Counter"}),
    "builtins": frozenset({"set", "frozenset", "dict", "list", "complex"}),
    "__builtin__": frozenset({"set", "frozenset", "dict", "list", "complex"}),
}


def is_known(name: Global) -> bool:
    """Whether torch itself writes this name."""
    return name.module is not None and name.name in _TORCH_NAMES.get(name.module, ())
