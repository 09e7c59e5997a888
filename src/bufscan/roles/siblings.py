"""Siblings: entries of one module that betray together which torch module it is.

Each pattern is what a class of torch 2.13 registers: names, and the shapes they have to each other.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from bufscan.dtypes import DTYPES
from bufscan.roles.section import Claim

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bufscan.roles.section import Checkpoint, Section

STATISTICS = Claim("persistent_buffer", "BatchNorm statistics")
STATISTICS_OF_VERSION_2 = Claim("persistent_buffer", "BatchNorm version 2")
BESIDE_STATISTICS = Claim("parameter", "beside BatchNorm statistics")
FAKE_QUANTIZE = Claim("persistent_buffer", "fake quantisation")
TRAINED_FAKE_QUANTIZE = Claim("parameter", "fake quantisation")
OBSERVER = Claim("persistent_buffer", "quantisation observer")
SPECTRAL_NORM = Claim("parameter", "spectral norm")
SINGULAR_VECTOR = Claim("persistent_buffer", "spectral norm")
PRUNED = Claim("parameter", "pruning mask")
PRUNING_MASK = Claim("persistent_buffer", "pruning mask")

MOVING_AVERAGES = Claim("persistent_buffer", "moving averages of a BatchNorm")
CAUSAL_MASK = Claim("persistent_buffer", "causal mask of attention")
DIFFUSION_SCHEDULE = Claim("persistent_buffer", "schedule of a diffusion model")
LOSS_WEIGHT = Claim("persistent_buffer", "class weights of a loss")
EMA_COPY = Claim("persistent_buffer", "copy that LitEma registers")

PACKED = Claim("unregistered", "beside packed parameters", holding="packed_params")

_BATCH_NORM_VERSION = 2  # `_NormBase._version` since it counts batches

Entries = dict[str, int]  # leaf name -> position, of one module


def claim_by_siblings(checkpoint: Checkpoint) -> None:
    """Settle the entries of modules that are recognised."""
    for section in checkpoint.sections:
        leaves = set(section.leaves)
        patterns = [(mark, claim) for mark, claim in _PATTERNS.items() if mark in leaves]
        reparametrized = any(leaf.endswith("_orig") for leaf in leaves)
        if "weight" in leaves:
            _claim_loss_weights(section)
        if not patterns and not reparametrized:
            continue  # some models have very many modules
        for owner, entries in section.modules.items():
            for mark, claim in patterns:
                if mark in entries:
                    claim(section, owner, entries)
            if reparametrized:
                _claim_reparametrized(section, entries)


def _claim_batch_norm(section: Section, owner: str, entries: Entries) -> None:
    """`_NormBase`: BatchNorm, SyncBatchNorm, and InstanceNorm with statistics; weight and bias if affine.

    Without `num_batches_tracked` it may be a frozen copy, whose weight and bias are buffers too.
    """
    mean, var = entries["running_mean"], entries.get("running_var")
    if var is None or not _is_vector(section, mean) or _shape(section, mean) != _shape(section, var):
        return
    counter = entries.get("num_batches_tracked")
    if counter is None or _shape(section, counter) != () or not _is_integer(section, counter):
        section.settle((mean, var), STATISTICS)
        return
    versioned = section.tree is not None and section.tree.get(owner) == _BATCH_NORM_VERSION
    section.settle((mean, var, counter), STATISTICS_OF_VERSION_2 if versioned else STATISTICS)
    section.settle(
        [
            position
            for position in _among(entries, ("weight", "bias"))
            # Parameters precede buffers: what follows the statistics was registered by somebody else.
            if _shape(section, position) == _shape(section, mean)
            and (position < mean or not section.in_module_order)
        ],
        BESIDE_STATISTICS,
    )


def _claim_moving_averages(section: Section, _owner: str, entries: Entries) -> None:
    """BatchNorm as ports from TensorFlow name it."""
    mean, variance = entries["moving_mean"], entries.get("moving_variance", entries.get("moving_var"))
    if variance is not None and _is_vector(section, mean) and _shape(section, mean) == _shape(section, variance):
        section.settle((mean, variance), MOVING_AVERAGES)


def _claim_causal_mask(section: Section, _owner: str, entries: Entries) -> None:
    """GPT-2 and GPT-Neo of transformers before 5: `bias`, a square for all heads, and what is put in its place."""
    value, mask = entries["masked_bias"], entries.get("bias")
    if _shape(section, value) == ():
        section.settle([value], CAUSAL_MASK)
        if mask is not None and _is_square_for_all_heads(section, mask):
            section.settle([mask], CAUSAL_MASK)


def _claim_square_bias(section: Section, _owner: str, entries: Entries) -> None:
    """The same mask where its companion was left out: a bias of bools or bytes is none that is added."""
    dtype = section.tensors[entries["bias"]].dtype
    if dtype in ("uint8", "bool") and _is_square_for_all_heads(section, entries["bias"]):
        section.settle([entries["bias"]], CAUSAL_MASK)


def _is_square_for_all_heads(section: Section, position: int) -> bool:
    shape = _shape(section, position)
    return shape is not None and shape[:2] == (1, 1) and len(shape) == 4 and shape[2] == shape[3]  # noqa: PLR2004


def _claim_diffusion_schedule(section: Section, _owner: str, entries: Entries) -> None:
    """`register_schedule` of CompVis/latent-diffusion, ldm/models/diffusion/ddpm.py."""
    length = _shape(section, entries["alphas_cumprod"])
    if length is not None and len(length) == 1:
        alike = [at for at in _among(entries, _SCHEDULE) if _shape(section, at) == length]
        section.settle(alike, DIFFUSION_SCHEDULE)


def _claim_loss_weights(section: Section) -> None:
    """`_WeightedLoss` of torch/nn/modules/loss.py: a weight for each class, and nothing that it would train."""
    for owner in {owner for owner in section.owners if "loss" in owner or "criterion" in owner}:
        name, entries = owner.rpartition(".")[2], section.modules[owner]
        is_loss = name.startswith(("criterion", "loss")) or name.endswith(("criterion", "loss", "loss_fn"))
        if is_loss and entries.keys() == {"weight"} and _is_vector(section, entries["weight"]):
            section.settle(entries.values(), LOSS_WEIGHT)


def _claim_ema_copies(section: Section, _owner: str, entries: Entries) -> None:
    """`LitEma` of CompVis/latent-diffusion, ldm/modules/ema.py: all it holds are buffers, with dotless names."""
    decay = entries.get("decay")
    if decay is not None and _shape(section, decay) == () == _shape(section, entries["num_updates"]):
        section.settle(entries.values(), EMA_COPY)


_SCHEDULE = (
    *("betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod"),
    *("log_one_minus_alphas_cumprod", "sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod"),
    *("posterior_variance", "posterior_log_variance_clipped", "posterior_mean_coef1", "posterior_mean_coef2"),
    "lvlb_weights",
)


def _claim_fake_quantize(section: Section, _owner: str, entries: Entries) -> None:
    """`FakeQuantize` holds scale and zero point as buffers; `_LearnableFakeQuantize` trains them."""
    flags = ("fake_quant_enabled", "observer_enabled", "static_enabled", "learning_enabled")
    section.settle(_among(entries, flags), FAKE_QUANTIZE)
    if "learning_enabled" in entries:
        section.settle(_among(entries, ("scale", "zero_point")), TRAINED_FAKE_QUANTIZE)
        section.settle(_among(entries, ("eps",)), FAKE_QUANTIZE)
    elif "observer_enabled" in entries:
        section.settle(_among(entries, ("scale", "zero_point")), FAKE_QUANTIZE)


def _claim_observer(section: Section, _owner: str, entries: Entries) -> None:
    """`MinMaxObserver` and its kin."""
    if "max_val" in entries and _shape(section, entries["min_val"]) == _shape(section, entries["max_val"]):
        section.settle(_among(entries, ("min_val", "max_val", "histogram", "eps")), OBSERVER)


def _claim_packed(section: Section, owner: str, entries: Entries) -> None:
    """Quantised `Linear` saves what it packed as a tuple, and its output's scale and zero point as tensors."""
    packed = f"{owner}._packed_params._packed_params[0]".removeprefix(".")
    if packed in section.positions:
        section.settle(_among(entries, ("scale", "zero_point")), PACKED)


def _claim_spectral_parametrization(section: Section, owner: str, entries: Entries) -> None:
    """`torch.nn.utils.parametrizations.spectral_norm`: `parametrizations.weight.0._u` beside `….original`."""
    original = section.positions.get(f"{owner.rpartition('.')[0]}.original")
    if original is not None and "parametrizations." in owner and "_v" in entries:
        _claim_factors(section, original, entries["_u"], entries["_v"])


def _claim_reparametrized(section: Section, entries: Entries) -> None:
    """Old `spectral_norm` and `prune`: the parameter `weight` becomes `weight_orig`, with buffers beside it."""
    for leaf, original in entries.items():
        if not leaf.endswith("_orig"):
            continue
        stem = leaf.removesuffix("_orig")
        u, v, mask = (entries.get(f"{stem}{suffix}") for suffix in ("_u", "_v", "_mask"))
        if u is not None and v is not None:
            _claim_factors(section, original, u, v)
        elif mask is not None and _shape(section, mask) == _shape(section, original):
            section.settle([original], PRUNED)
            section.settle([mask], PRUNING_MASK)


def _claim_factors(section: Section, original: int, u: int, v: int) -> None:
    """The vectors are singular vectors of the weight as a matrix, so their lengths multiply to its size."""
    shape = _shape(section, original)
    vectors = _shape(section, u), _shape(section, v)
    if shape is not None and all(vector is not None and len(vector) == 1 for vector in vectors):
        rows, columns = (prod(vector or ()) for vector in vectors)
        if rows * columns == prod(shape) and rows in shape:
            section.settle([original], SPECTRAL_NORM)
            section.settle([u, v], SINGULAR_VECTOR)


def _among(entries: Entries, leaves: Sequence[str]) -> list[int]:
    return [entries[leaf] for leaf in leaves if leaf in entries]


def _shape(section: Section, position: int) -> tuple[int, ...] | None:
    return section.tensors[position].shape


def _is_vector(section: Section, position: int) -> bool:
    shape = _shape(section, position)
    return shape is not None and len(shape) == 1


def _is_integer(section: Section, position: int) -> bool:
    dtype = section.tensors[position].dtype
    return dtype is not None and DTYPES[dtype].kind == "integer"


# A pattern is looked at only where its mark is among the leaf names.
_PATTERNS = {
    "running_mean": _claim_batch_norm,
    "fake_quant_enabled": _claim_fake_quantize,
    "min_val": _claim_observer,
    "_u": _claim_spectral_parametrization,
    "zero_point": _claim_packed,
    "moving_mean": _claim_moving_averages,
    "masked_bias": _claim_causal_mask,
    "bias": _claim_square_bias,
    "alphas_cumprod": _claim_diffusion_schedule,
    "num_updates": _claim_ema_copies,
}
