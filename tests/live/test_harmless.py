"""What looks forgotten but is not: none of it may read like a finding."""

from __future__ import annotations

import copy
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import torch
from models import holding, moved_by_to, tensors, unregistered
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.nn.utils import spectral_norm as old_spectral_norm

from bufscan.inventory import HARMLESS_HOLDINGS
from bufscan.live.scanning import scan
from whole_modules import with_lists_of_what_is_registered, with_parent_link

if TYPE_CHECKING:
    from collections.abc import Callable


def old_weight_norm(module: nn.Module) -> nn.Module:
    with pytest.warns(FutureWarning):
        return nn.utils.weight_norm(module)


def compiled(module: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, while it imports its compiler
        return torch.compile(module)  # type: ignore[return-value]


def _lstm_with_old_weight_norm() -> nn.Module:
    with pytest.warns(FutureWarning):
        return nn.utils.weight_norm(nn.LSTM(2, 3), "weight_hh_l0")


def findings(model: nn.Module) -> dict[str, str | None]:
    return {name: held for name, held in unregistered(model).items() if held not in HARMLESS_HOLDINGS}


class Metric(nn.Module):
    """States that are plain attributes, moved by an `_apply` of its own: as torchmetrics does it."""

    def __init__(self) -> None:
        super().__init__()
        self.total = torch.zeros(2)
        self.defaults = {"total": torch.zeros(2)}

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Any:
        super()._apply(fn, recurse)
        self.total = fn(self.total)
        self.defaults = {name: fn(value) for name, value in self.defaults.items()}
        return self


class Optimizing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.optimizer = torch.optim.Adam(self.linear.parameters())
        self.linear(torch.ones(1, 2)).sum().backward()
        self.optimizer.step()


def _with_gradient() -> nn.Module:
    model = nn.Linear(2, 2)
    model(torch.ones(1, 2)).sum().backward()
    return holding(linear=model, grads=[model.weight.grad])


def _parametrized_with_cache() -> nn.Module:
    model = parametrizations.orthogonal(nn.Linear(3, 3))
    with parametrize.cached():
        model(torch.ones(1, 3))
    return model


def _after_a_pass(model: nn.Module) -> nn.Module:
    model(torch.ones(1, 2))
    return model


def _under_inference_mode() -> nn.Module:
    with torch.inference_mode():
        return nn.BatchNorm1d(2)


HARMLESS: dict[str, Callable[[], nn.Module]] = {
    "old weight_norm": lambda: old_weight_norm(nn.Linear(2, 3)),
    "old weight_norm of an LSTM": _lstm_with_old_weight_norm,
    "old spectral_norm": lambda: old_spectral_norm(nn.Linear(2, 3)),
    "old spectral_norm after a pass": lambda: _after_a_pass(old_spectral_norm(nn.Linear(2, 3))),
    "old spectral_norm, frozen": lambda: old_spectral_norm(nn.Linear(2, 3)).requires_grad_(False),
    "new weight_norm": lambda: parametrizations.weight_norm(nn.Linear(2, 3)),
    "new spectral_norm": lambda: parametrizations.spectral_norm(nn.Linear(2, 3)),
    "parametrization, cached once": _parametrized_with_cache,
    "pruned": lambda: prune.random_unstructured(nn.Linear(2, 3), "weight", 0.5),
    "pruned twice": lambda: prune.l1_unstructured(
        prune.random_unstructured(nn.Linear(4, 3), "weight", 0.5), "weight", 0.5
    ),
    "computed attribute": lambda: holding(attention=nn.Linear(2, 2)(torch.ones(1, 2))),
    "own _apply": Metric,
    "optimizer in the model": Optimizing,
    "gradients": _with_gradient,
    "parent link": with_parent_link,
    "list of registered parameters": with_lists_of_what_is_registered,
    "averaged model": lambda: torch.optim.swa_utils.AveragedModel(
        nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)),
        multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9),
    ),
    "DataParallel": lambda: nn.DataParallel(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))),
    "compiled": lambda: compiled(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))),
    "compiled, a module of torch itself": lambda: compiled(nn.BatchNorm1d(2)),
    "deep copy": lambda: copy.deepcopy(nn.LSTM(2, 3)),
    "parameter list and dict": lambda: nn.ModuleList(
        [nn.ParameterList([torch.ones(1)]), nn.ParameterDict({"a": torch.ones(1)})]
    ),
    "meta": lambda: nn.TransformerEncoderLayer(16, 2, 16, device="meta"),
    "lazy": lambda: nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d()),
    "inference tensor": _under_inference_mode,
    "data loader": lambda: holding(
        loader=torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(2)))
    ),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_nothing_of_it_reads_like_a_finding(name: str) -> None:
    assert {} == findings(HARMLESS[name]())


def test_a_state_that_an_own_apply_moves_is_unregistered_and_moves() -> None:
    found = tensors(Metric())
    assert {"total": "moved_by_apply", "defaults['total']": "moved_by_apply"} == unregistered(Metric())
    assert (False, True, False) == (found["total"].saved, found["total"].moves, found["total"].trains)
    said, did = moved_by_to(Metric())
    assert did == said


def test_an_optimizer_in_the_model_is_skipped_with_a_reason() -> None:
    skipped = scan(Optimizing(), "test").skipped
    assert ["optimizer"] == [entry.what for entry in skipped]
    assert "training state" in skipped[0].reason


class Sampling(nn.Module):
    """Asks where it is moved to and makes its tensors anew there, as kornia's generators do."""

    def __init__(self) -> None:
        super().__init__()
        self.make(torch.zeros(()))
        self.table = torch.ones(3)

    def make(self, like: torch.Tensor) -> None:
        self.sampler = torch.distributions.Uniform(like, like + 1)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Any:
        super()._apply(fn, recurse)
        like = fn(torch.zeros(()))
        if (like.dtype, like.device) != (self.sampler.low.dtype, self.sampler.low.device):
            self.make(like)
        return self


def test_what_an_own_apply_may_make_anew_is_left_open() -> None:
    found = tensors(nn.Sequential(Sampling(), holding(pe=torch.ones(1))))
    sampler = found["0.sampler.low"]
    assert ("moved_by_apply", None) == (sampler.holding, sampler.moves)
    assert "may make it anew" in sampler.evidence
    assert (False, "attribute") == (found["0.table"].moves, found["0.table"].holding)
    assert False is found["1.pe"].moves


def test_a_class_that_lists_its_instances_drags_no_other_model_in() -> None:
    class Neuron(nn.Module):
        instances: list[nn.Module] = []  # noqa: RUF012  # as snntorch does

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("threshold", torch.ones(1))
            self.instances.append(self)

    other, model = Neuron(), Neuron()
    inventory = scan(model, "test")
    assert ["threshold"] == [tensor.name for tensor in inventory.tensors]
    assert ["Neuron.instances"] == [entry.what for entry in inventory.skipped]
    assert other is not model


def test_a_recomputed_weight_says_by_whom() -> None:
    found = tensors(old_spectral_norm(nn.Linear(2, 3)))["weight"]
    assert ("unregistered", "recomputed", False) == (found.role, found.holding, found.moves)


def test_the_same_attribute_without_its_hook_is_a_finding() -> None:
    """The exemption is for the hook, not for the name."""
    model = old_spectral_norm(nn.Linear(2, 3))
    model._forward_pre_hooks.clear()
    assert {"weight": "stale_alias"} == findings(model)


def test_what_was_computed_from_a_parameter_alone_is_that_parameter_lost() -> None:
    weight = nn.Parameter(torch.ones(3))
    lost = nn.Parameter(torch.ones(3)).to(torch.float64)
    both = nn.Parameter(torch.ones(3)) * nn.Parameter(torch.ones(3))
    model = holding(weight=weight, twice=weight * 2, lost=lost, viewed=lost[:2] * 0.1, both=both)
    model.bare = [kept := nn.Parameter(torch.ones(3)), kept.double()]
    loose = {"weight": "attribute", "bare[0]": "container"}
    assert loose | {"lost": "lost_parameter", "viewed": "lost_parameter"} == findings(model)
    assert {"computed"} == {tensors(model)[name].holding for name in ("twice", "both", "bare[1]")}


def test_what_forward_computed_from_a_parameter_that_was_replaced_is_no_lost_parameter() -> None:
    class Prompting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.prompt = nn.Parameter(torch.ones(1, 3))

        def forward(self) -> None:
            self.last = self.prompt.expand(2, 3)

    model = Prompting()
    model()
    model.load_state_dict(model.state_dict(), assign=True)
    assert "computed" == tensors(model)["last"].holding


def test_what_forward_assigns_anew_is_a_cache() -> None:
    class Rotary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cos = torch.ones(4)
            self.table = torch.ones(4)
            self.anchors = [torch.ones(4)]

        def update(self, x: torch.Tensor) -> None:
            self.cos = torch.ones(len(x), device=x.device)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.update(x)
            self.anchors = [anchor.to(x.device) for anchor in self.anchors]
            return x * self.cos * self.table

    assert {"cos": "cache", "table": "attribute", "anchors[0]": "cache"} == unregistered(Rotary())
