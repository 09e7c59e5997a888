"""Modules to be pickled whole: correct ones, and ones with faults."""

from __future__ import annotations

import collections
import copy
import functools
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import utils
from torch.nn.utils import prune

if TYPE_CHECKING:
    from collections.abc import Callable

    Makers = dict[str, Callable[[], nn.Module]]


def _pruned_globally() -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    prune.global_unstructured([(model[0], "weight"), (model[1], "weight")], prune.L1Unstructured, amount=2)
    return model


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.plain = torch.zeros(2)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.fc = nn.Linear(4, 4)


class Optimizing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.optimizer = torch.optim.Adam(self.linear.parameters())
        self.schedule = torch.optim.lr_scheduler.StepLR(self.optimizer, 1)
        self.linear(torch.ones(1, 2)).sum().backward()
        self.optimizer.step()


class Helper:
    def __init__(self) -> None:
        self.weight = torch.zeros(4)
        self.inner = nn.Linear(2, 2)

    def __call__(self, *_: Any) -> None:
        return None


class Slotted:
    __slots__ = ("table", "tables")

    def __init__(self) -> None:
        self.table = torch.zeros(3)
        self.tables = [torch.ones(2)]


@dataclass
class Record:
    table: torch.Tensor
    size: int = 3


class TorchMetric(nn.Module):
    """Laid out as torchmetrics' Metric is; `table` is no state of it."""

    def __init__(self, table: torch.Tensor | None = None) -> None:
        super().__init__()
        self.table = table
        self._defaults = {"total": torch.zeros(2)}
        self._persistent = {"total": False}
        self._reductions = {"total": None}
        self.total = torch.zeros(2)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Any:
        super()._apply(fn, recurse)
        self.total = fn(self.total)
        self._defaults = {name: fn(value) for name, value in self._defaults.items()}
        return self


def watch(_table: torch.Tensor, *_: Any) -> None:
    """A hook, with an argument before those that torch gives."""


def holding(**attributes: Any) -> nn.Module:
    """A module with one Linear and the given attributes."""
    module = nn.Module()
    module.linear = nn.Linear(2, 2)
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


def after_a_pass(module: nn.Module, *shape: int) -> nn.Module:
    module(torch.ones(shape))
    return module


def convolutional() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(18, 2)).eval()


def quantized_statically() -> nn.Module:
    from torch.ao import quantization

    model = quantization.QuantWrapper(quantization.fuse_modules(convolutional(), [["0", "1", "2"]]))
    model.qconfig = quantization.get_default_qconfig("fbgemm")
    return quantization.convert(after_a_pass(quantization.prepare(model), 1, 2, 3, 3))


def quantized_in_a_graph() -> nn.Module:
    from torch.ao.quantization import get_default_qconfig_mapping, quantize_fx

    mapping, inputs = get_default_qconfig_mapping("fbgemm"), (torch.ones(1, 2, 3, 3),)
    return quantize_fx.convert_fx(
        after_a_pass(quantize_fx.prepare_fx(convolutional(), mapping, inputs), 1, 2, 3, 3)
    )


def quantized_dynamically(*layers: nn.Module, **options: Any) -> nn.Module:
    kinds = {type(each) for each in layers}
    return torch.ao.quantization.quantize_dynamic(nn.Sequential(*layers), kinds, **options)


def with_parent_link() -> nn.Module:
    model = nn.Sequential(nn.Linear(2, 2))
    object.__setattr__(model[0], "parent", model)
    model[0].parents = [model]
    return model


def with_lists_of_what_is_registered() -> nn.Module:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model.decayed = [model[0].weight]
    model.by_name = dict(model.named_parameters())
    model.layers_again = [model[0], model[1]]
    return model


def with_distribution_of_parameters() -> nn.Module:
    model = holding(loc=nn.Parameter(torch.zeros(2)), scale=nn.Parameter(torch.ones(2)))
    model.prior = torch.distributions.Normal(model.loc, model.scale)
    return model


def holding_itself() -> nn.Module:
    model = holding(rest=[])
    model.__dict__["me"] = model
    model.rest.append(model.rest)
    return model


def averaged() -> nn.Module:
    return torch.optim.swa_utils.AveragedModel(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))


CORRECT: Makers = {
    "old weight_norm": lambda: utils.weight_norm(nn.Linear(3, 3)),
    "old weight_norm of an LSTM": lambda: utils.weight_norm(nn.LSTM(2, 3), "weight_hh_l0"),
    "old weight_norm, nested": lambda: nn.Sequential(nn.Sequential(utils.weight_norm(nn.Conv1d(2, 2, 1)))),
    "old spectral_norm": lambda: utils.spectral_norm(nn.Linear(3, 3)),
    "old spectral_norm after a pass": lambda: after_a_pass(utils.spectral_norm(nn.Linear(3, 3)), 1, 3),
    "old spectral_norm, frozen": lambda: utils.spectral_norm(nn.Linear(3, 3)).requires_grad_(False),
    "pruned": lambda: prune.l1_unstructured(nn.Linear(3, 3), "weight", 1),
    "pruned twice": lambda: prune.l1_unstructured(
        prune.random_unstructured(nn.Linear(4, 3), "weight", 0.5), "weight", 0.5
    ),
    "pruned, both": lambda: prune.random_unstructured(
        prune.l1_unstructured(nn.Linear(3, 3), "weight", 1), "bias", 0.5
    ),
    "pruned globally": _pruned_globally,
    "pruned by channel": lambda: prune.ln_structured(nn.Conv2d(3, 3, 3), "weight", 0.5, 2, 0),
    "pruned LSTM": lambda: prune.l1_unstructured(nn.LSTM(2, 3), "weight_hh_l0", 0.5),
    "quantised dynamically": lambda: quantized_dynamically(nn.Linear(3, 3)),
    "quantised dynamically, half": lambda: quantized_dynamically(nn.Linear(3, 3), dtype=torch.float16),
    "quantised LSTM": lambda: quantized_dynamically(nn.LSTM(3, 3)),
    "quantised GRU": lambda: quantized_dynamically(nn.GRU(3, 3)),
    "quantised statically": quantized_statically,
    "quantised in a graph": quantized_in_a_graph,
    "traced": lambda: torch.fx.symbolic_trace(convolutional()),
    "averaged": averaged,
    "DataParallel": lambda: nn.DataParallel(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))),
    "compiled": lambda: torch.compile(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))),
    "compiled inside": lambda: nn.ModuleDict({"net": torch.compile(nn.Linear(2, 2))}),
    "lazy": lambda: nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d(), nn.LazyConv2d(2, 1)),
    "meta": lambda: nn.TransformerEncoderLayer(16, 2, 16, device="meta"),
    "recurrent": lambda: nn.Sequential(nn.LSTM(2, 3, 2, bidirectional=True, proj_size=1), nn.GRU(2, 2)),
    "deep copy": lambda: copy.deepcopy(nn.LSTM(2, 3)),
    "parameter list and dict": lambda: nn.ModuleList(
        [nn.ParameterList([torch.ones(1), "text"]), nn.ParameterDict({"a": torch.ones(1)})]
    ),
    "optimizer and schedule": Optimizing,
    "data loader": lambda: holding(
        loader=torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(2)))
    ),
    "gradient scaler": lambda: holding(scaler=torch.amp.GradScaler("cpu")),
    "torch's own objects": lambda: holding(device=torch.device("cpu"), size=torch.Size([1]), dtype=torch.int8),
    "parent link": with_parent_link,
    "lists of what is registered": with_lists_of_what_is_registered,
    "distribution of parameters": with_distribution_of_parameters,
    "holding itself": holding_itself,
    "known own _apply": TorchMetric,
    "nn.Buffer": lambda: holding(seen=nn.Buffer(torch.ones(2)), mask=nn.Buffer(torch.ones(2), persistent=False)),
}


def with_list(model: nn.Module) -> nn.Module:
    model.rest = [torch.ones(2)]
    return model


def twice_registered() -> nn.Module:
    model = nn.Module()
    model.first = Plain()
    model.second = model.first
    return model


def with_aliases() -> nn.Module:
    model = holding()
    model.register_buffer("usage", torch.ones(3))
    model.counts = model.usage
    model.head = model.usage[:2]
    model.frozen = model.linear.weight.data
    model.detached = model.linear.weight.detach()[0]
    model.weight = model.linear.weight
    return model


def with_halves_of_one_storage() -> nn.Module:
    base, model = torch.zeros(6), holding()
    model.register_buffer("first", base[:3])
    model.second = base[3:]
    return model


def with_hooks() -> nn.Module:
    model = nn.Linear(2, 2)
    model.register_forward_hook(Helper())
    model.register_forward_pre_hook(functools.partial(watch, torch.zeros(3)))
    return model


def with_odd_buffers() -> nn.Module:
    model = holding()
    model.register_buffer("trained", torch.ones(2, requires_grad=True))
    model.register_buffer("parameter", nn.Parameter(torch.ones(2)))
    return model


def with_shadowed_buffer() -> nn.Module:
    model = holding()
    model._buffers["scale"] = torch.ones(2)
    model.__dict__["scale"] = torch.zeros(2)
    return model


def sharing(**held: Any) -> nn.Module:
    return nn.Sequential(holding(**held), holding(**held))


def with_keys() -> dict[Any, torch.Tensor]:
    return {key: torch.zeros(1) for key in ("k", 3, (1, 2), None, True, 1.5)}


FAULTY: Makers = {
    "attribute": Plain,
    "registered twice": twice_registered,
    "in lists and dicts": lambda: holding(
        rows=[torch.zeros(2), [torch.zeros(3), (torch.zeros(4),)]], table={"n": {"m": torch.zeros(6)}}
    ),
    "under keys of all kinds": lambda: holding(
        cols={("a", "to", "b"): torch.zeros(2), ("b", 1, None): {(True,): torch.zeros(3)}},
        others={0: torch.zeros(1), 0.5: torch.zeros(1), None: torch.zeros(1), "k" * 90: torch.zeros(1)},
    ),
    "below registered modules": lambda: nn.ModuleDict(
        {
            "a b": nn.Sequential(holding(pe=torch.zeros(2)), holding(heads=[nn.Sequential(nn.Linear(2, 2))])),
        }
    ),
    "in other containers": lambda: holding(
        ordered=collections.OrderedDict(a=torch.zeros(2)),
        made=collections.defaultdict(list, {"z": [torch.zeros(1)]}),
        queue=collections.deque([torch.zeros(3)]),
        chosen={torch.zeros(1)},
        user=collections.UserDict(a=torch.zeros(1)),
    ),
    "under keys of every type": lambda: holding(table=with_keys()),
    "in objects": lambda: holding(helper=Helper(), slots=Slotted(), record=Record(torch.zeros(9))),
    "in a namespace": lambda: holding(space=types.SimpleNamespace(v=torch.ones(2))),
    "in a partial": lambda: holding(
        scaled=functools.partial(torch.add, torch.zeros(8), alpha=torch.ones(2)),
        made=functools.partial(nn.Linear(2, 2)),
    ),
    "behind a method": lambda: holding(callback=Helper().__call__),
    "in distributions": lambda: holding(
        prior=torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2), torch.ones(2)), 1),
        choice=torch.distributions.Categorical(torch.ones(3)),
    ),
    "hidden modules": lambda: holding(
        rows=[nn.Linear(2, 2), Plain(), nn.Sequential(nn.Linear(2, 2))], named={"x": nn.BatchNorm1d(2)}
    ),
    "far down": lambda: nn.Sequential(
        holding(rows=[nn.Linear(2, 2)]),
        Plain(),
        nn.ModuleDict({"a": Plain(), "b b": Plain()}),
        nn.ModuleList([nn.ModuleList([Plain()])]),
    ),
    "aliases": with_aliases,
    "halves of one storage": with_halves_of_one_storage,
    "one tensor in two places": lambda: sharing(table=torch.zeros(2)),
    "one container in two modules": lambda: sharing(rows=[torch.zeros(2)]),
    "one hidden module in two": lambda: sharing(layers=[nn.Linear(2, 2)]),
    "hooks": with_hooks,
    "odd buffers": with_odd_buffers,
    "shadowed buffer": with_shadowed_buffer,
    "parameters in containers": lambda: holding(
        rows=[nn.Parameter(torch.zeros(5))], named={"a": nn.Parameter(torch.zeros(2), requires_grad=False)}
    ),
    "0-dim and empty": lambda: holding(step=torch.tensor(1.0), nothing=torch.empty(0)),
    "sparse": lambda: holding(coo=torch.eye(3).to_sparse(), csr=torch.eye(3).to_sparse_csr()),
    "quantised cells": lambda: quantized_dynamically(nn.LSTMCell(3, 3), nn.GRUCell(3, 3), nn.RNNCell(3, 3)),
    "in a list of a quantised layer": lambda: with_list(quantized_dynamically(nn.Linear(2, 2))[0]),
    "compiled, with a fault": lambda: torch.compile(nn.Sequential(Plain())),
    "beside a known own _apply": lambda: TorchMetric(torch.ones(2)),
}
