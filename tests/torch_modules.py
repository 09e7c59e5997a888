"""Every module class of torch.nn, built small."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

# Arguments of the classes that need others than nothing, or a row of small sizes.
ARGUMENTS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "AdaptiveLogSoftmaxWithLoss": ((8, 10, [2, 5]), {}),
    "Flatten": ((), {}),
    "Fold": ((4, 2), {}),
    "FractionalMaxPool2d": ((2,), {"output_size": 2, "_random_samples": torch.rand(1, 1, 2)}),
    "FractionalMaxPool3d": ((2,), {"output_size": 2, "_random_samples": torch.rand(1, 1, 3)}),
    "GroupNorm": ((2, 4), {}),
    "MultiheadAttention": ((8, 2), {"add_bias_kv": True}),
    "Transformer": ((16, 2, 1, 1, 16), {}),
    "TransformerEncoder": ((nn.TransformerEncoderLayer(8, 2, 8), 2), {"enable_nested_tensor": False}),
    "TransformerDecoder": ((nn.TransformerDecoderLayer(8, 2, 8), 2), {}),
    "TransformerEncoderLayer": ((8, 2, 8), {}),
    "TransformerDecoderLayer": ((8, 2, 8), {}),
    "TripletMarginWithDistanceLoss": ((), {"distance_function": nn.PairwiseDistance()}),
    "Unflatten": ((1, (2, 2)), {}),
    "Bilinear": ((2, 3, 4), {}),
    "RNN": ((2, 3), {}),
    "LSTM": ((2, 3), {}),
    "GRU": ((2, 3), {}),
    "BCEWithLogitsLoss": ((), {"weight": torch.ones(2), "pos_weight": torch.ones(2)}),
    "CrossEntropyLoss": ((torch.ones(3),), {}),
    "DataParallel": ((nn.BatchNorm1d(2),), {}),
    "Container": ((), {}),
}
ABSTRACT = {"Module", "Container", "RNNBase"}


def classes() -> list[type[nn.Module]]:
    """Those that stand for themselves."""
    found = [cls for _, cls in inspect.getmembers(nn, inspect.isclass) if issubclass(cls, nn.Module)]
    assert len(found) > 150
    return [cls for cls in found if cls.__name__ not in ABSTRACT]


def build(cls: type[nn.Module]) -> nn.Module:
    """One of the class."""
    args, kwargs = ARGUMENTS.get(cls.__name__, ((), {}))
    if args or kwargs:
        return cls(*args, **kwargs)
    needed = [
        parameter
        for parameter in inspect.signature(cls).parameters.values()
        if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    return cls(*[2] * len(needed))
