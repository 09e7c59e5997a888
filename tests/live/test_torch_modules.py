"""Every module class that torch.nn has: built, scanned, moved; none of them reads like a finding."""

from __future__ import annotations

import warnings

import pytest
from models import moved_by_to, tensors
from torch import nn

from bufscan.inventory import HARMLESS_HOLDINGS
from bufscan.live.scanning import scan
from torch_modules import build, classes


@pytest.mark.parametrize("cls", classes(), ids=lambda cls: cls.__name__)
def test_a_torch_module_holds_only_what_it_registers(cls: type[nn.Module]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations of single classes
        model = build(cls)
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
    "cls", [cls for cls in classes() if not cls.__name__.startswith("Lazy")], ids=lambda cls: cls.__name__
)
def test_a_torch_module_moves_what_the_scan_says(cls: type[nn.Module]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        said, did = moved_by_to(build(cls))
    assert did == said


@pytest.mark.parametrize("family", [nn.RNN, nn.LSTM, nn.GRU], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
def test_recurrent_layers_keep_their_flat_weights_in_step(family: type[nn.RNNBase], bidirectional: bool) -> None:
    model = family(3, 4, num_layers=2, bidirectional=bidirectional)
    flat = model._flat_weights
    found = tensors(model)
    assert flat is model._flat_weights
    assert set(model.state_dict()) == set(found)
