"""Every module class that torch.nn has: built, scanned, moved; none of them reads like a finding."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import pytest
import torch
from models import moved_by_to, tensors
from torch import nn

from bufscan.inventory import HARMLESS_HOLDINGS
from bufscan.live.scanning import scan

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


def _classes() -> list[type[nn.Module]]:
    found = [cls for _, cls in inspect.getmembers(nn, inspect.isclass) if issubclass(cls, nn.Module)]
    assert len(found) > 150
    return [cls for cls in found if cls.__name__ not in ABSTRACT]


def _build(cls: type[nn.Module]) -> nn.Module:
    args, kwargs = ARGUMENTS.get(cls.__name__, ((), {}))
    if args or kwargs:
        return cls(*args, **kwargs)
    needed = [
        parameter
        for parameter in inspect.signature(cls).parameters.values()
        if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    return cls(*[2] * len(needed))


@pytest.mark.parametrize("cls", _classes(), ids=lambda cls: cls.__name__)
def test_a_torch_module_holds_only_what_it_registers(cls: type[nn.Module]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations of single classes
        model = _build(cls)
    inventory = scan(model, cls.__name__)
    assert () == inventory.skipped
    odd = {tensor.name for tensor in inventory.tensors if tensor.role == "unregistered"}
    assert set() == {name for name in odd if tensors(model)[name].holding not in HARMLESS_HOLDINGS}
    names = [*dict(model.named_parameters()), *dict(model.named_buffers())]
    assert set(names) == {tensor.name for tensor in inventory.tensors} - odd
    assert set(model.state_dict()) == {tensor.name for tensor in inventory.tensors if tensor.saved}
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {
        tensor.name for tensor in inventory.tensors if tensor.trains
    }


@pytest.mark.parametrize(
    "cls", [cls for cls in _classes() if not cls.__name__.startswith("Lazy")], ids=lambda cls: cls.__name__
)
def test_a_torch_module_moves_what_the_scan_says(cls: type[nn.Module]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        said, did = moved_by_to(_build(cls))
    assert did == said


@pytest.mark.parametrize("family", [nn.RNN, nn.LSTM, nn.GRU], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
def test_recurrent_layers_keep_their_flat_weights_in_step(family: type[nn.RNNBase], bidirectional: bool) -> None:
    model = family(3, 4, num_layers=2, bidirectional=bidirectional)
    flat = model._flat_weights
    found = tensors(model)
    assert flat is model._flat_weights
    assert set(model.state_dict()) == set(found)
