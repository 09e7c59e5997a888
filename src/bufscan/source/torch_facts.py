"""What is known of names outside the project: which make tensors, modules or Parameters, and what methods give."""

from __future__ import annotations

import re
from typing import Literal

from bufscan.source.torch_names import EITHER, ONE, SEVERAL

Result = Literal["tensor", "tensors", "either"]

_ALSO_ONE = frozenset(("norm", "cdist", "block_diag", "tensordot", "chain_matmul", "atleast_1d", "atleast_2d"))
_ALSO_SEVERAL = frozenset(("meshgrid", "broadcast_tensors"))
"""Functions of torch that are written in Python without annotations."""

TENSOR_CLASSES = frozenset(
    f"{kind}Tensor"
    for kind in ("", "Float", "Double", "Half", "BFloat16", "Byte", "Char", "Short", "Int", "Long", "Bool")
)

PARAMETERS = frozenset(
    (
        *("torch.nn.Parameter", "torch.nn.parameter.Parameter"),
        *("torch.nn.UninitializedParameter", "torch.nn.parameter.UninitializedParameter"),
    )
)
BUFFERS = frozenset(
    (
        *("torch.nn.Buffer", "torch.nn.parameter.Buffer"),
        *("torch.nn.UninitializedBuffer", "torch.nn.parameter.UninitializedBuffer"),
    )
)

_NO_MODULES = frozenset(("Parameter", "Buffer", "UninitializedParameter", "UninitializedBuffer", "DataParallel"))

MODULE_BASES = frozenset(
    (
        "torch.nn.Module",
        "torch.nn.modules.module.Module",
        "torch.nn.modules.Module",
        "torch.jit.ScriptModule",
        "lightning.LightningModule",
        "lightning.pytorch.LightningModule",
        "lightning.pytorch.core.LightningModule",
        "lightning.pytorch.core.module.LightningModule",
        "pytorch_lightning.LightningModule",
        "pytorch_lightning.core.LightningModule",
        "pytorch_lightning.core.lightning.LightningModule",
        "transformers.PreTrainedModel",
        "transformers.modeling_utils.PreTrainedModel",
        "diffusers.ModelMixin",
        "diffusers.models.modeling_utils.ModelMixin",
        "torchmetrics.Metric",
        "torchmetrics.metric.Metric",
        "torch_geometric.nn.MessagePassing",
        "torch_geometric.nn.conv.MessagePassing",
        "gpytorch.Module",
        "gpytorch.module.Module",
        "gpytorch.kernels.Kernel",
        "gpytorch.models.ExactGP",
        "gpytorch.models.ApproximateGP",
        "gpytorch.likelihoods.Likelihood",
        "kornia.core.Module",
        "mmengine.model.BaseModule",
        "mmengine.model.BaseModel",
        "mmcv.runner.BaseModule",
        "fairseq.models.BaseFairseqModel",
        "fairseq.models.FairseqEncoder",
        "fairseq.models.FairseqDecoder",
        "pyro.nn.PyroModule",
        "sentence_transformers.models.Module",
    )
)
"""Classes of other packages that are modules. Those of `torch.nn` are known by their place."""

MOVED_BY_THEIR_BASE = frozenset(("torchmetrics.Metric", "torchmetrics.metric.Metric"))
"""Bases whose `add_state` makes states that an overridden `_apply` moves."""

DISTRIBUTIONS = "torch.distributions."

OF_NUMBERS = frozenset(
    (
        *(
            "Bernoulli",
            "Beta",
            "Cauchy",
            "Exponential",
            "Gamma",
            "Geometric",
            "Gumbel",
            "HalfCauchy",
            "HalfNormal",
        ),
        *("Laplace", "LogNormal", "Normal", "Pareto", "Poisson", "StudentT", "Uniform", "Weibull"),
    )
)
"""Distributions that make 0-dim tensors of plain numbers."""

VIEWS = frozenset(
    (
        *("view", "view_as", "narrow", "select", "transpose", "t", "permute", "unsqueeze", "squeeze", "expand"),
        *("expand_as", "detach", "detach_", "diagonal", "movedim", "moveaxis", "swapaxes", "swapdims", "unfold"),
        *("adjoint", "real", "imag", "data", "T", "mT", "H", "mH", "unbind", "chunk", "split", "tensor_split"),
        *("requires_grad_", "share_memory_", "ravel", "reshape", "flatten", "contiguous"),
    )
)
"""Methods and attributes that show the elements of their tensor again, or may."""

SURE_VIEWS = VIEWS - {"ravel", "reshape", "flatten", "contiguous"}

TENSOR_ATTRIBUTES = frozenset(("T", "mT", "H", "mH", "data", "grad", "real", "imag"))

DETACHING = frozenset(("detach", "detach_", "data"))

SAME_OR_MOVED = frozenset(
    (
        *("to", "cuda", "cpu", "xpu", "float", "double", "half", "bfloat16", "int", "long", "bool", "short"),
        *("type", "type_as", "contiguous", "requires_grad_", "pin_memory", "share_memory_", "detach", "clone"),
    )
)
"""Methods that keep the shape, 0-dim or not."""

REDUCTIONS = frozenset(
    ("sum", "mean", "max", "min", "prod", "norm", "std", "var", "median", "numel", "all", "any")
)

SIZED = frozenset(("zeros", "ones", "empty", "full", "rand", "randn"))
"""Functions whose tensor is 0-dim only where they are asked for the size `()`."""

CREATING = frozenset(
    (
        *("zeros", "ones", "empty", "full", "rand", "randn", "randint", "arange", "linspace", "logspace", "eye"),
        *(
            "range",
            "randperm",
            "tensor",
            "scalar_tensor",
            "from_numpy",
            "frombuffer",
            "from_file",
            "empty_strided",
        ),
        *("zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "randint_like"),
        *(
            "hann_window",
            "hamming_window",
            "kaiser_window",
            "bartlett_window",
            "blackman_window",
            "empty_permuted",
        ),
        *("tril_indices", "triu_indices", "sparse_coo_tensor", "sparse_csr_tensor", "fftfreq", "rfftfreq"),
        *("one_hot", "asarray", "bincount", "histc"),
        *TENSOR_CLASSES,
    )
)
"""Functions whose tensor autograd does not lead back to their arguments."""

NEVER_SCALAR = frozenset(
    (
        *("arange", "linspace", "logspace", "eye", "range", "randperm", "cat", "stack", "concat", "concatenate"),
        *("hstack", "vstack", "dstack", "outer", "from_numpy", "cartesian_prod", "combinations", "tril", "triu"),
        *(
            "hann_window",
            "hamming_window",
            "kaiser_window",
            "bartlett_window",
            "blackman_window",
            "diag",
            "unsqueeze",
        ),
        *("tril_indices", "triu_indices", "block_diag", "vander"),
    )
)


def function_result(dotted: str) -> Result | None:
    """What a function outside the project returns; None for no tensor, or unknown."""
    namespace, _, name = dotted.rpartition(".")
    if namespace == "torch" and name in TENSOR_CLASSES:
        return "tensor"
    if (namespace == "torch" and name in _ALSO_ONE) or dotted == "torch.autograd.Variable":
        return "tensor"
    if namespace == "torch" and name in _ALSO_SEVERAL:
        return "tensors"
    return _in_tables(namespace, name)


def method_result(name: str) -> Result | None:
    """What a method of a tensor returns; None for no tensor."""
    return _in_tables("torch.Tensor", name)


def _in_tables(namespace: str, name: str) -> Result | None:
    if name in ONE.get(namespace, ()):
        return "tensor"
    if name in SEVERAL.get(namespace, ()):
        return "tensors"
    return "either" if name in EITHER.get(namespace, ()) else None


def is_module_class(dotted: str) -> bool:
    """Whether a name outside the project is known to be a class of modules."""
    if dotted in MODULE_BASES:
        return True
    namespace, _, name = dotted.rpartition(".")
    return (
        (namespace == "torch.nn" or namespace.startswith(("torch.nn.modules", "torch.ao.nn")))
        and name[:1].isupper()
        and name not in _NO_MODULES
    )


def is_tensor_class(dotted: str) -> bool:
    """Whether an annotation of this name says that a value is a tensor."""
    namespace, _, name = dotted.rpartition(".")
    return namespace == "torch" and name in TENSOR_CLASSES


_NO_TENSORS = re.compile(
    r"(?:Identity|.*Dropout.*|(?:Leaky|R)?ReLU6?|Sigmoid|Tanh|GELU|SiLU|Mish|Softmax.*|LogSoftmax|Softplus|Softsign|[SC]?ELU"
    r"|GLU|Hard\w+|LogSigmoid|Threshold|\w*Pool\dd|\w*Pad\dd|Flatten|Unflatten|Upsampl\w+|Pixel\w+|Fold|Unfold"
    r"|CosineSimilarity|PairwiseDistance|ChannelShuffle|Tanhshrink|\w*shrink|\w+Loss)"
)


def has_no_tensors(call: str) -> bool:
    """Whether a quoted call (`nn.ReLU()`) makes a module of torch that has nothing to save or move."""
    return _NO_TENSORS.fullmatch(call.strip("`").partition("(")[0].rpartition(".")[2]) is not None
