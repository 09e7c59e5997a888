"""Models whose roles are known, for measuring what is inferred from their files.

The ones written here are the awkward cases: equal shapes everywhere, buffers that look like parameters, parameters
that look like buffers, and state_dicts that hooks have touched. The others come from packages, where installed.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import random
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LARGEST_MODEL = 4_000_000  # elements; larger ones say nothing new and take long to save


class Named(NamedTuple):
    name: str
    build: Callable[[], nn.Module]


def batch_norm_net(widths: list[int], norm: type[nn.Module] = nn.BatchNorm1d, **options: Any) -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), norm(after, **options), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 3))


def conv_net(width: int, *, bias: bool, norm: type[nn.Module] = nn.BatchNorm2d, **options: Any) -> nn.Module:
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, width, 3, bias=bias), norm(width, **options), nn.ReLU()),
        nn.Sequential(nn.Conv2d(width, width, 1, bias=bias), norm(width, **options)),
        nn.Conv2d(width, width, 3, groups=width),
    )


class PositionalEncoding(nn.Module):
    def __init__(self, length: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("pe", torch.zeros(length, 1, dim))


class MaskedAttention(nn.Module):
    """A mask of the very shape of the weights, and one of bools."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones(dim, dim))
        self.register_buffer("causal", torch.ones(dim, dim, dtype=torch.bool))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.scale = nn.Parameter(torch.ones(dim, dim))


class TinyTransformer(nn.Module):
    def __init__(self, dim: int = 16, *, tied: bool = True) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, dim)
        self.positions = PositionalEncoding(20, dim)
        self.blocks = nn.ModuleList(
            nn.Sequential(MaskedAttention(dim), nn.LayerNorm(dim), nn.Linear(dim, dim)) for _ in range(3)
        )
        self.encoder = nn.TransformerEncoderLayer(dim, 2, 32, batch_first=True)
        self.head = nn.Linear(dim, 20, bias=False)
        if tied:
            self.head.weight = self.embed.weight


class FrozenBatchNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.ones(width))


class BatchNormWithoutCounter(nn.Module):
    """Statistics of a norm that trains its weight and counts no batches, as older synchronised ones do."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.ones(width))
        self.register_buffer("running_mean", torch.ones(width))
        self.register_buffer("running_var", torch.ones(width))


class Codebook(nn.Module):
    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("inited", torch.zeros(1))
        self.register_buffer("cluster_size", torch.zeros(size))
        self.register_buffer("embed", torch.zeros(size, dim))
        self.register_buffer("embed_avg", torch.zeros(size, dim))
        self.project = nn.Linear(dim, dim)


class LearnedCodebook(nn.Module):
    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("cluster_size", torch.zeros(size))
        self.register_buffer("embed_avg", torch.zeros(size, dim))
        self.embed = nn.Parameter(torch.zeros(size, dim))


class Normalised(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, 3, 1, 1))
        self.register_buffer("std", torch.ones(1, 3, 1, 1))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.register_buffer("temperature", torch.ones(()))
        self.logit_scale = nn.Parameter(torch.ones(()))
        self.gamma = nn.Parameter(torch.ones(1, 3, 1, 1))
        self.net = conv_net(4, bias=False)


class WindowAttention(nn.Module):
    def __init__(self, window: int = 4, heads: int = 2) -> None:
        super().__init__()
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.register_buffer("relative_position_index", torch.zeros(window**2, window**2, dtype=torch.int64))
        self.register_buffer("attn_mask", torch.zeros(4, window**2, window**2))
        self.qkv = nn.Linear(8, 24)


class IntegerWeights(nn.Module):
    """Quantised weights as libraries keep them: Parameters of integers that require no grad, and their scales."""

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.weight = frozen(torch.zeros(dim, dim, dtype=torch.int8))
        self.weight_scale = nn.Parameter(torch.ones(dim, 1))
        self.weight_shape = frozen(torch.tensor([dim, dim]))
        self.register_buffer("zero_point", torch.zeros(dim, dtype=torch.int32))
        self.bias = nn.Parameter(torch.zeros(dim))


class PackedWeights(nn.Module):
    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        for name in ("qweight", "qzeros", "g_idx"):
            self.register_buffer(name, torch.zeros(dim, dim, dtype=torch.int32))
        self.register_buffer("scales", torch.zeros(dim, dim, dtype=torch.float16))
        self.register_buffer("bias", torch.zeros(dim, dtype=torch.float16))


class HookedWeights(nn.Module):
    """Adds to its state_dict what belongs to no module, as 4-bit linear layers do."""

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.fc = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.register_state_dict_post_hook(add_quantisation_state)


def add_quantisation_state(_module: nn.Module, state: dict[str, Any], prefix: str, _local: Any) -> None:
    state[f"{prefix}fc.weight.absmax"] = torch.ones(4)
    state[f"{prefix}fc.weight.quant_map"] = torch.ones(16)
    state[f"{prefix}calibration.range"] = torch.ones(2)


class ExtraState(nn.Module):
    def __init__(self, state: Any) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.state = [state]

    def get_extra_state(self) -> Any:
        return self.state[0]

    def set_extra_state(self, state: Any) -> None:
        self.state = [state]


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], **options: Any) -> None:
        super().__init__()
        self.rnn = kind(8, 8, num_layers=2, **options)
        self.register_buffer("initial", torch.zeros(2, 8))
        self.out = nn.Linear(8, 8)


class Collections(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scales = nn.ParameterList([nn.Parameter(torch.ones(4)) for _ in range(3)])
        self.by_name = nn.ParameterDict({"a": nn.Parameter(torch.ones(4)), "b": nn.Parameter(torch.ones(2, 2))})
        self.register_buffer("floor", torch.ones(4))
        self.spectrum = nn.Parameter(torch.ones(3, dtype=torch.complex64))
        self.norm = nn.BatchNorm1d(4)


def frozen(data: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(data, requires_grad=False)


def with_norm(apply: Callable[[nn.Module], nn.Module]) -> nn.Module:
    return nn.Sequential(apply(nn.Linear(6, 8)), apply(nn.Conv2d(3, 4, 3)), nn.Linear(8, 8))


def pruned(module: nn.Module) -> nn.Module:
    from torch.nn.utils import prune

    return prune.random_unstructured(module, "weight", 0.5)


def observed() -> nn.Module:
    from torch.ao import quantization as ao
    from torch.ao.quantization._learnable_fake_quantize import _LearnableFakeQuantize

    return nn.Sequential(
        nn.Linear(4, 4),
        ao.FakeQuantize(),
        ao.HistogramObserver(),
        ao.PerChannelMinMaxObserver(),
        ao.FusedMovingAvgObsFakeQuantize(),
        _LearnableFakeQuantize(ao.MovingAverageMinMaxObserver, 0, 255),
        nn.BatchNorm1d(4),
    )


def random_model(seed: int) -> nn.Module:
    """A tree of modules with parameters and buffers of a few shapes only, so that everything is ambiguous."""
    rng = random.Random(seed)  # noqa: S311 (reproducible, not secret)
    shapes = [(4,), (4, 4), (), (1, 4)][: rng.randint(1, 4)]

    def fill(module: nn.Module, depth: int) -> nn.Module:
        for index in range(rng.randint(0, 4)):
            data = torch.zeros(rng.choice(shapes))
            if rng.random() < 0.6:
                module.register_parameter(f"{rng.choice('abcde')}{index}", nn.Parameter(data))
            else:
                data = data.to(rng.choice([torch.float32, torch.float32, torch.int64, torch.bool]))
                module.register_buffer(f"{rng.choice('abcde')}{index}", data)
        for index in range(rng.randint(0, 3) if depth else 0):
            child = nn.BatchNorm1d(4) if rng.random() < 0.2 else fill(nn.Module(), depth - 1)
            module.add_module(f"{rng.choice('abcde')}_{index}", child)
        return module

    return fill(nn.Sequential(nn.Linear(4, 4)), 3)


def torch_models() -> Iterator[Named]:
    from torch.nn import utils

    for depth in (1, 2, 5, 20):
        yield Named(f"batch norm, {depth} equal widths", lambda depth=depth: batch_norm_net([8] * (depth + 1)))
    yield Named("batch norm, other widths", lambda: batch_norm_net([3, 8, 5, 7]))
    yield Named("batch norm, not affine", lambda: batch_norm_net([8] * 4, affine=False))
    yield Named("batch norm, no statistics", lambda: batch_norm_net([8] * 4, track_running_stats=False))
    yield Named("synchronised batch norm", lambda: batch_norm_net([8] * 4, nn.SyncBatchNorm))
    yield Named("frozen batch norm", lambda: batch_norm_net([8] * 4, FrozenBatchNorm))
    yield Named("batch norm without counter", lambda: batch_norm_net([8] * 4, BatchNormWithoutCounter))
    yield Named("layer norm", lambda: batch_norm_net([8] * 4, nn.LayerNorm))
    for bias in (True, False):
        yield Named(f"convolutions, bias {bias}", lambda bias=bias: conv_net(8, bias=bias))
        yield Named(
            f"instance norm with statistics, affine {bias}",
            lambda bias=bias: conv_net(
                4, bias=bias, norm=nn.InstanceNorm2d, track_running_stats=True, affine=bias
            ),
        )
    yield Named("group norm", lambda: conv_net(4, bias=True, norm=lambda width: nn.GroupNorm(2, width)))
    for kind in (nn.LSTM, nn.GRU, nn.RNN):
        yield Named(kind.__name__, lambda kind=kind: Recurrent(kind, bidirectional=True))
    yield Named("LSTM with projections", lambda: Recurrent(nn.LSTM, proj_size=4))
    yield Named("transformer, tied", TinyTransformer)
    yield Named("transformer, not tied", lambda: TinyTransformer(tied=False))
    yield Named("nn.Transformer", lambda: nn.Transformer(8, 2, 1, 1, 16, batch_first=True))
    yield Named("codebook", lambda: nn.Sequential(Codebook(6, 4), LearnedCodebook(6, 4), nn.Linear(4, 4)))
    yield Named("normalised", Normalised)
    yield Named("window attention", lambda: nn.Sequential(WindowAttention(), nn.LayerNorm(8), WindowAttention()))
    yield Named("integer weights", lambda: nn.Sequential(IntegerWeights(), nn.Linear(8, 8), IntegerWeights()))
    yield Named("packed weights", lambda: nn.Sequential(PackedWeights(), nn.Linear(8, 8)))
    yield Named("hooked weights", lambda: nn.Sequential(batch_norm_net([8] * 4), HookedWeights()))
    yield Named("extra state, a tensor", lambda: nn.Sequential(ExtraState(torch.ones(3))))
    yield Named("extra state, a dict", lambda: nn.Sequential(ExtraState({"scale": torch.ones(3)})))
    yield Named("collections", Collections)
    yield Named("old weight norm", lambda: with_norm(utils.weight_norm))
    yield Named("weight norm", lambda: with_norm(utils.parametrizations.weight_norm))
    yield Named("old spectral norm", lambda: with_norm(utils.spectral_norm))
    yield Named("spectral norm", lambda: with_norm(utils.parametrizations.spectral_norm))
    yield Named("orthogonal", lambda: with_norm(utils.parametrizations.orthogonal))
    yield Named("pruned", lambda: with_norm(pruned))
    yield Named("observers", observed)


def random_models(count: int) -> Iterator[Named]:
    for seed in range(count):
        yield Named(f"random {seed}", lambda seed=seed: random_model(seed))


SMALL = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "embed_dim", "hidden_dim", "width"), 32),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "d_ff", "n_inner"), 64),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads"), 4),
    **dict.fromkeys(("decoder_attention_heads", "num_key_value_heads", "attention_heads"), 4),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers"), 2),
    **dict.fromkeys(("decoder_layers", "num_encoder_layers", "num_decoder_layers"), 2),
    **dict.fromkeys(("vocab_size", "max_position_embeddings", "n_positions"), 96),
}


def transformers_models(count: int) -> Iterator[Named]:
    """Base models of transformers, as small as their configurations allow; what stays large is passed over."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    transformers.logging.set_verbosity_error()
    for kind, names in MODEL_MAPPING_NAMES.items():
        name = names if isinstance(names, str) else names[0]

        def build(kind: str = kind, name: str = name) -> nn.Module:
            config = transformers.CONFIG_MAPPING[kind]()
            shrink(config)
            return getattr(transformers, name)(config)

        if count and is_small(build):
            count -= 1
            yield Named(f"transformers {name}", build)


def shrink(config: Any) -> None:
    import transformers

    for key, value in list(vars(config).items()):
        if isinstance(value, transformers.PretrainedConfig):
            shrink(value)
        elif key in SMALL and isinstance(value, int) and value > SMALL[key]:
            setattr(config, key, SMALL[key])
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:2]


def timm_models(count: int) -> Iterator[Named]:
    """timm's small models, spread over its list."""
    import timm

    names = timm.list_models()
    random.Random(0).shuffle(names)  # noqa: S311 (reproducible, not secret)
    for name in names:
        build = lambda name=name: timm.create_model(name)  # noqa: E731 (one of many)
        if count and is_small(build):
            count -= 1
            yield Named(f"timm {name}", build)


def is_small(build: Callable[[], nn.Module]) -> bool:
    """Whether a model can be built at all, and is small enough to be saved many times."""
    try:
        with quiet(), torch.device("meta"):
            model = build()
    except Exception:  # noqa: BLE001 (packages fail in every way; such a model is not measured)
        return False
    return sum(p.numel() for p in (*model.parameters(), *model.buffers())) <= LARGEST_MODEL


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    silent = io.StringIO()
    with contextlib.redirect_stderr(silent), contextlib.redirect_stdout(silent), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
