"""The names that torch itself writes into a pickle, and those that other libraries are known to write.

The first are what `torch.save` of tensors, Parameters, state_dicts and optimizers was seen to refer to (torch 2.13
and files of older releases), not a list of names somebody thinks harmless. Nothing on any list is ever called.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from bufscan.dtypes import DTYPES, STORAGE_CLASSES

if TYPE_CHECKING:
    from bufscan.formats.pickle.pickle_values import Global

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
    """Whether torch itself writes this name for tensors and what holds them."""
    return name.module is not None and name.name in _TORCH_NAMES.get(name.module, ())


class _Written(NamedTuple):
    """Names that a library is known to write.

    Attributes:
        module, name: regular expressions for the whole of each.
        uses: how they may be used. Whatever may be `called` was looked up one by one, or is a class that only
            keeps its arguments; `made` and `named` ask for no more than that the library is there.
    """

    library: str
    module: str
    name: str
    uses: tuple[Literal["called", "made", "named"], ...] = ("made", "named")


_CLASS = r"_?[A-Z]\w*(?:\.[A-Z]\w*)*"
_ANY: tuple[Literal["called", "made", "named"], ...] = ("called", "made", "named")

_WRITTEN = (
    # torch: whole modules and optimizers, distributed tensors, the metadata of torch.distributed.checkpoint.
    _Written("torch", r"torch\.(?:nn|ao\.nn|optim|quantization|ao\.quantization)\.[\w.]+", _CLASS),
    _Written("torch", r"torch\.nn\.functional|torch\._C\._nn", r"[a-z]\w*", ("named",)),
    _Written("torch", r"torch\.optim\.lr_scheduler", _CLASS),
    _Written("torch", r"torch\._dynamo\.decorators", r"_DimRange"),
    _Written("torch", r"torch\._dynamo\.eval_frame", r"OptimizedModule", _ANY),
    _Written("torch", r"torch\.distributions\.\w+", _CLASS),
    _Written("torch", r"torch\.distributed\.(?:_?tensor|device_mesh|_mesh_layout|_shard|fsdp)(?:\.\w+)*", _CLASS),
    _Written("torch", r"torch\.distributed\._?tensor(?:\.\w+)*", r"_?(?:Strided)?Shard|Replicate|_?Partial", _ANY),
    _Written("torch", r"torch\.distributed\.checkpoint\.(?:metadata|filesystem|planner)", _CLASS),
    _Written("torch", r"torch\.distributed\.algorithms\._checkpoint\.\w+", _CLASS),
    _Written("torch", r"torch\.(?:amp|cuda\.amp)\.grad_scaler", _CLASS + r"|_refresh_per_optimizer_state"),
    _Written("torch", r"torch\.jit\._pickle", r"build_\w+list|restore_type_tag", _ANY),
    _Written("torch", r"torch\.torch_version", r"TorchVersion", _ANY),
    _Written("torch", r"torch\.return_types", r"[a-z]\w*", _ANY),
    _Written("torch", r"torch", r"(?:strided|sparse_\w+|\w+_format|layout|dtype|Generator)", ("named",)),
    _Written("torch", r"torch\.serialization", r"_get_layout", _ANY),
    _Written("torch", r"torch\.distributed\.checkpoint\.metadata", r"_MEM_FORMAT_ENCODING", _ANY),
    _Written("Python", r"argparse", r"Namespace", _ANY),
    _Written("Python", r"pathlib(?:\._local)?", r"(?:Pure)?(?:Posix|Windows)?Path", _ANY),
    _Written("Python", r"datetime", r"datetime|date|time|timedelta|timezone", _ANY),
    _Written("Python", r"decimal|fractions|uuid", r"Decimal|Fraction|UUID|SafeUUID", _ANY),
    _Written("Python", r"collections", r"deque", _ANY),
    _Written("Python", r"types", r"SimpleNamespace", _ANY),
    _Written("Python", r"copyreg|copy_reg", r"_reconstructor", _ANY),
    _Written("Python", r"builtins|__builtin__", r"(?:object|int|float|bool|str|tuple|slice|range)", _ANY),
    _Written("Python", r"builtins|__builtin__", r"(?:type|NoneType|ellipsis)", ("named",)),
    _Written("Python", r"_codecs", r"encode", _ANY),
    _Written("Python", r"_io|io", r"BytesIO", _ANY),
    _Written("Python", r"functools", r"partial", _ANY),
    _Written("Python", r"array", r"array|_array_reconstructor", _ANY),
    _Written("Python", r"typing", _CLASS, ("named",)),
    _Written("NumPy", r"numpy\.(?:_core|core)\.multiarray", r"_reconstruct|scalar", _ANY),
    _Written("NumPy", r"numpy", r"ndarray|dtype|generic|bool_?|str_|bytes_|(?:u?int|float|complex)\d*_?", _ANY),
    _Written("NumPy", r"numpy\.dtypes", r"\w+DType", _ANY),
    _Written("NumPy", r"numpy\.ma\.core", r"MaskedArray|_mareconstruct", _ANY),
    _Written("NumPy", r"numpy\.random\._pickle", r"__\w+_ctor", _ANY),
    _Written("NumPy", r"numpy\.random\._\w+", r"MT19937|PCG64(?:DXSM)?|Philox|SFC64"),
    _Written("transformers", r"transformers\.training_args(?:_seq2seq)?", r"OptimizerNames|ParallelMode", _ANY),
    _Written("transformers", r"transformers\.training_args(?:_seq2seq)?", _CLASS),
    _Written("transformers", r"transformers\.trainer_utils", r"\w+(?:Strategy|Type|Option)", _ANY),
    _Written("transformers", r"transformers\.debug_utils", r"DebugOption", _ANY),
    _Written("transformers", r"transformers\.(?:trainer_utils|trainer_pt_utils)", _CLASS),
    _Written("transformers", r"transformers\.(?:generation\.)?configuration_utils", _CLASS),
    _Written("transformers", r"transformers\.models\.[\w.]+", _CLASS),
    _Written("transformers", r"transformers\.(?:activations|modeling_\w+|tokenization_\w+|optimization)", _CLASS),
    _Written("transformers", r"transformers\.(?:utils|integrations)(?:\.\w+)*", _CLASS),
    _Written("accelerate", r"accelerate\.utils\.dataclasses", r"\w+(?:Type|Backend|Strategy|Policy|Kwargs)", _ANY),
    _Written("accelerate", r"accelerate\.(?:state|utils\.\w+)", _CLASS),
    _Written("trl", r"trl\.[\w.]+", _CLASS),
    _Written("peft", r"peft\.[\w.]+", _CLASS),
    _Written("peft", r"peft\.utils\.peft_types", r"PeftType|TaskType", _ANY),
    _Written("deepspeed", r"deepspeed\.runtime\.zero\.config", r"ZeroStageEnum", _ANY),
    _Written("deepspeed", r"deepspeed\.runtime\.(?:fp16\.)?loss_scaler", r"\w*LossScaler", _ANY),
    _Written("deepspeed", r"deepspeed\.utils\.tensor_fragment", r"fragment_address|tensor_fragment", _ANY),
    _Written("deepspeed", r"deepspeed\.[\w.]+", _CLASS),
    _Written("Lightning", r"(?:pytorch_lightning|lightning|lightning_fabric)(?:\.\w+)+", _CLASS),
    _Written("Lightning", r"(?:pytorch_lightning|lightning)\.[\w.]+", r"\w*(?:Enum|Stage|State\w*|Fn)", _ANY),
    _Written("OmegaConf", r"omegaconf\.\w+", _CLASS),
    _Written("Megatron", r"megatron(?:\.\w+)+", _CLASS),
    _Written("Megatron", r"megatron\.(?:core\.)?(?:enums|model\.enums|transformer\.enums)", _CLASS, _ANY),
    _Written("torchao", r"torchao\.quantization\.quant_primitives", r"\w+(?:Type|Domain|DType)", _ANY),
    _Written("torchao", r"torchao(?:\.\w+)+", _CLASS),
    _Written("bitsandbytes", r"bitsandbytes\.(?:nn|optim)(?:\.\w+)*", _CLASS),
    *(
        _Written(library, rf"{library}\.[\w.]+", _CLASS)
        for library in (
            *("torchvision", "torchaudio", "timm", "torchmetrics", "diffusers", "monai", "ultralytics", "kornia"),
            *("mmengine", "mmcv", "mmdet", "mmseg", "detectron2", "fvcore", "fairseq", "espnet2", "nemo"),
            *("sentence_transformers", "speechbrain", "flair", "gpytorch", "botorch", "pyro", "dgl", "gym"),
            *("torch_geometric", "stable_baselines3", "open_clip", "pytorch_forecasting", "optimum", "gymnasium"),
        )
    ),
)  # fmt: skip


@cache
def _patterns() -> list[tuple[_Written, re.Pattern[str]]]:
    # The two are matched together: a module's name has no line break.
    return [(each, re.compile(rf"(?:{each.module})\n(?:{each.name})", re.ASCII)) for each in _WRITTEN]


def library_of(name: Global, use: Literal["called", "made", "named"]) -> str | None:
    """The library that is known to write the name and to use it so; None for any other name."""
    if name.module is None:
        return None
    text = f"{name.module}\n{name.name}"
    return next(
        (each.library for each, pattern in _patterns() if use in each.uses and pattern.fullmatch(text)), None
    )
