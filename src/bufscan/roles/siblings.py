"""Siblings: entries of one module that betray together which torch module it is.

Each pattern is what a class of torch 2.13 registers: names, and the shapes they have to each other.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from bufscan.dtypes import DTYPES

if TYPE_CHECKING:
    from bufscan.roles.section import Checkpoint, Section

BATCH_NORM = "BatchNorm statistics"
BATCH_NORM_VERSION = "BatchNorm version 2"
BESIDE_BATCH_NORM = "beside BatchNorm statistics"
FAKE_QUANTIZE = "fake quantisation"
OBSERVER = "quantisation observer"
SPECTRAL_NORM = "spectral norm"
PRUNING = "pruning mask"

Entries = dict[str, int]  # leaf name -> position, of one module


def claim_by_siblings(checkpoint: Checkpoint) -> None:
    """Settle the entries of modules that are recognised."""
    for section in checkpoint.sections:
        for owner, entries in section.modules.items():
            for mark, claim in _PATTERNS.items():
                if mark in entries:
                    claim(section, owner, entries)
            if any(leaf.endswith("_orig") for leaf in entries):
                _claim_reparametrized(section, entries)


def _claim_batch_norm(section: Section, owner: str, entries: Entries) -> None:
    """`_NormBase`: BatchNorm, SyncBatchNorm, and InstanceNorm with statistics; weight and bias if affine.

    Without `num_batches_tracked` it may be a frozen copy, whose weight and bias are buffers too.
    """
    mean, var = entries["running_mean"], entries.get("running_var")
    if var is None or not _is_vector(section, mean) or _shape(section, mean) != _shape(section, var):
        return
    counter = entries.get("num_batches_tracked")
    counted = counter is not None and _shape(section, counter) == () and _is_integer(section, counter)
    versioned = counted and section.tree is not None and section.tree.get(owner) == 2  # noqa: PLR2004 (its _version)
    evidence = BATCH_NORM_VERSION if versioned else BATCH_NORM
    section.claim(mean, "persistent_buffer", evidence)
    section.claim(var, "persistent_buffer", evidence)
    if counter is None or not counted:
        return
    section.claim(counter, "persistent_buffer", evidence)
    for leaf in ("weight", "bias"):
        position = entries.get(leaf)
        if position is None or _shape(section, position) != _shape(section, mean):
            continue
        # Parameters precede buffers: what follows the statistics was registered by somebody else.
        if position < mean or not section.in_module_order:
            section.claim(position, "parameter", BESIDE_BATCH_NORM)


def _claim_fake_quantize(section: Section, _owner: str, entries: Entries) -> None:
    """`FakeQuantize` holds scale and zero point as buffers; `_LearnableFakeQuantize` trains them."""
    for leaf in ("fake_quant_enabled", "observer_enabled", "static_enabled", "learning_enabled"):
        if leaf in entries:
            section.claim(entries[leaf], "persistent_buffer", FAKE_QUANTIZE)
    learnable = "learning_enabled" in entries
    if learnable or "observer_enabled" in entries:
        for leaf in ("scale", "zero_point"):
            if leaf in entries:
                section.claim(entries[leaf], "parameter" if learnable else "persistent_buffer", FAKE_QUANTIZE)
    if learnable and "eps" in entries:
        section.claim(entries["eps"], "persistent_buffer", FAKE_QUANTIZE)


def _claim_observer(section: Section, _owner: str, entries: Entries) -> None:
    """`MinMaxObserver` and its kin."""
    if "max_val" in entries and _shape(section, entries["min_val"]) == _shape(section, entries["max_val"]):
        for leaf in ("min_val", "max_val", "histogram", "eps"):
            if leaf in entries:
                section.claim(entries[leaf], "persistent_buffer", OBSERVER)


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
            section.claim(original, "parameter", PRUNING)
            section.claim(mask, "persistent_buffer", PRUNING)


def _claim_factors(section: Section, original: int, u: int, v: int) -> None:
    """The vectors are singular vectors of the weight as a matrix, so their lengths multiply to its size."""
    shape = _shape(section, original)
    vectors = _shape(section, u), _shape(section, v)
    if shape is not None and all(vector is not None and len(vector) == 1 for vector in vectors):
        rows, columns = (prod(vector or ()) for vector in vectors)
        if rows * columns == prod(shape) and rows in shape:
            section.claim(original, "parameter", SPECTRAL_NORM)
            section.claim(u, "persistent_buffer", SPECTRAL_NORM)
            section.claim(v, "persistent_buffer", SPECTRAL_NORM)


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
}
