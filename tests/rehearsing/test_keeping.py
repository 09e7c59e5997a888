"""A model, its inputs and the random states are after a rehearsal what they were before, whatever happened."""

from __future__ import annotations

import collections
import copy
import functools
import io
import random
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from models_that_move import CASES, Case
from torch import nn

from bufscan.rehearsing import rehearse


def frozen(model: nn.Module) -> bytes:
    """Everything that a pickle of the model holds, with gradients, which it leaves out."""
    buffer = io.BytesIO()
    grads = {name: parameter.grad for name, parameter in model.named_parameters()}
    torch.save((model.__dict__, grads, [module.training for module in model.modules()]), buffer)
    return buffer.getvalue()


def random_states() -> tuple[object, ...]:
    return random.getstate(), torch.get_rng_state().tolist(), str(np.random.get_state())  # noqa: NPY002


@pytest.mark.parametrize("train", [None, False, True])
@pytest.mark.parametrize(
    "case", [case for name, case in CASES.items() if name != "Hook"], ids=lambda case: case.make.__name__
)
def test_a_model_is_what_it_was(case: Case, train: bool | None) -> None:
    torch.manual_seed(0)
    model, inputs = case.make(), case.inputs()
    pointers = [tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers())]
    before, states, given = frozen(model), random_states(), copy.deepcopy(inputs)
    rehearse(model, inputs, train=train)
    assert before == frozen(model)
    assert states == random_states()
    assert all(map(torch.equal, given, inputs))
    assert pointers == [tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers())]


TABLE: dict[str, torch.Tensor] = {}
COUNT = 0


@functools.lru_cache
def doubled(n: int) -> torch.Tensor:
    return torch.ones(n) * 2


class Busy(nn.Module):
    """Changes everything that it can, and then fails."""

    calls = 0
    seen: ClassVar[collections.deque[int]] = collections.deque(maxlen=2)

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.queue = torch.zeros(4, 4)
        self.steps: list[int] = []
        self.helper = Helper()
        self.generator = torch.Generator().manual_seed(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        global COUNT  # noqa: PLW0603  # what a rehearsal must put back
        COUNT += 1
        type(self).calls += 1
        self.seen.append(1)
        TABLE["x"] = x
        doubled(4)
        self.steps.append(3)
        self.helper.table[0] += 1
        self.helper.names = {"new"}
        self.queue[0] = 7
        self.queue = self.queue + 1
        self.fc.weight.data.mul_(2)
        self.fc.weight.requires_grad_(False)
        self.fc.bias.note = "mine"
        self.extra = nn.Linear(2, 2)
        self.train()
        self.norm(x)
        random.random()  # noqa: S311  # it stands for an augmentation
        torch.rand(1)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.rand(1, generator=self.generator)
        raise KeyError("the end")


class Helper:
    __slots__ = ("names", "table")

    def __init__(self) -> None:
        self.table = torch.zeros(2)
        self.names = {"old"}


def test_what_a_failing_forward_changed_is_put_back() -> None:
    model = Busy()
    model.fc(torch.ones(1, 4)).sum().backward()
    model.eval()
    doubled.cache_clear()
    before, states, version = frozen_with_helper(model), random_states(), model.queue._version
    rehearsal = rehearse(model, (torch.ones(2, 4),))
    assert "not rehearsed" == rehearsal.verdict
    assert str(rehearsal.reason).startswith("`forward()` raised KeyError: the end (")
    assert before == frozen_with_helper(model)
    assert states == random_states()
    assert (0, 0, [], {}) == (COUNT, Busy.calls, list(Busy.seen), TABLE)
    assert 0 == doubled.cache_info().currsize
    assert ({"old"}, [0.0, 0.0]) == (model.helper.names, model.helper.table.tolist())
    assert (torch.float32, True) == (torch.get_default_dtype(), torch.is_grad_enabled())
    assert version == model.queue._version


def frozen_with_helper(model: Busy) -> dict[str, Any]:
    state = {name: (tensor.data_ptr(), tensor.tolist()) for name, tensor in model.state_dict().items()}
    state |= {f"grad of {name}": parameter.grad.tolist() for name, parameter in model.fc.named_parameters()}
    own = {name: str(value) for name, value in vars(model).items() if name != "generator"}
    weight, bias = model.fc.weight, model.fc.bias
    return (
        state
        | own
        | {
            "training": [module.training for module in model.modules()],
            "flags": (weight.requires_grad, vars(bias)),
            "generator": model.generator.get_state().tolist(),
        }
    )


def test_a_graph_that_waits_for_its_backward_pass_still_can() -> None:
    """A training loop is rehearsed between its forward and its backward pass."""
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    x = torch.randn(3, 4)
    expected = torch.autograd.grad(model(x).sum(), list(model.parameters()))
    loss = model(x).sum()
    rehearse(model, (x,), train=True)
    assert all(map(torch.equal, expected, torch.autograd.grad(loss, list(model.parameters()))))


def test_torch_is_what_it_was() -> None:
    available, init = torch.cuda.is_available, torch.autocast.__init__
    rehearse(nn.Linear(2, 2), (torch.ones(1, 2),))
    assert (available, init) == (torch.cuda.is_available, torch.autocast.__init__)
