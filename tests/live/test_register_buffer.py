"""Each promise of register_buffer, on the same tensor: registered, registered without saving, not at all."""

from __future__ import annotations

import math

import pytest
import torch
from models import facts, moved_by_to, tensors, unregistered
from torch import nn


class PositionalEncoding(nn.Module):
    """Sines and cosines, as in the PyTorch tutorial; `how` says what is done with the table."""

    def __init__(self, how: str, dim: int = 8, length: int = 16) -> None:
        super().__init__()
        position = torch.arange(length).unsqueeze(1)
        step = torch.exp(torch.arange(0, dim, 2) * (-math.log(10000.0) / dim))
        pe = torch.zeros(1, length, dim)
        pe[0, :, 0::2] = torch.sin(position * step)
        pe[0, :, 1::2] = torch.cos(position * step)
        match how:
            case "plain":
                self.pe = pe
            case "buffer":
                self.register_buffer("pe", pe)
            case "transient":
                self.register_buffer("pe", pe, persistent=False)
            case "nn.Buffer":
                self.pe = nn.Buffer(pe)
            case "parameter":
                self.pe = nn.Parameter(pe)
            case "frozen":
                self.pe = nn.Parameter(pe, requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.pe[:, : x.size(1)]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("plain", ("unregistered", False, False, False)),
        ("buffer", ("persistent_buffer", True, True, False)),
        ("nn.Buffer", ("persistent_buffer", True, True, False)),
        ("transient", ("non_persistent_buffer", False, True, False)),
        ("parameter", ("parameter", True, True, True)),
        ("frozen", ("parameter", True, True, False)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_role_and_facts_follow_the_registration(
    how: str, expected: tuple[str, bool | None, bool | None, bool | None]
) -> None:
    assert expected == facts(tensors(PositionalEncoding(how))["pe"])


@pytest.mark.parametrize("how", ["plain", "buffer", "transient", "nn.Buffer", "parameter", "frozen"])
def test_saved_is_what_comes_back_from_a_checkpoint(how: str) -> None:
    trained, fresh = PositionalEncoding(how), PositionalEncoding(how)
    with torch.no_grad():
        trained.pe.add_(1)
    fresh.load_state_dict(trained.state_dict())
    came_back = torch.equal(trained.pe, fresh.pe)
    assert came_back == tensors(trained)["pe"].saved


@pytest.mark.parametrize("how", ["plain", "buffer", "transient", "nn.Buffer", "parameter", "frozen"])
def test_moves_is_what_a_real_move_does(how: str) -> None:
    said, did = moved_by_to(PositionalEncoding(how))
    assert did == said


@pytest.mark.parametrize("how", ["plain", "buffer", "transient", "nn.Buffer", "parameter", "frozen"])
def test_trains_is_what_an_optimizer_step_changes(how: str) -> None:
    model = PositionalEncoding(how)
    before = model.pe.detach().clone()
    optimizer = torch.optim.SGD([*model.parameters(), nn.Parameter(torch.zeros(1))], lr=1.0)
    out = model(torch.zeros(1, 16, 8)).sum()
    if out.requires_grad:
        out.backward()
    optimizer.step()
    changed = not torch.equal(before, model.pe)
    assert changed == tensors(model)["pe"].trains


def test_batch_norm_keeps_running_statistics_as_buffers_and_trains_its_weights() -> None:
    found = tensors(nn.BatchNorm1d(3))
    expected = {
        "weight": "parameter",
        "bias": "parameter",
        "running_mean": "persistent_buffer",
        "running_var": "persistent_buffer",
        "num_batches_tracked": "persistent_buffer",
    }
    assert expected == {name: tensor.role for name, tensor in found.items()}


def test_batch_norm_without_running_statistics_has_none_and_says_so() -> None:
    from bufscan.live.scanning import scan

    inventory = scan(nn.BatchNorm1d(3, track_running_stats=False), "bn")
    assert ["weight", "bias"] == [tensor.name for tensor in inventory.tensors]
    assert inventory.notes[0].startswith("registered as None, with no tensor yet: 3 buffers (`running_mean`")


def test_a_mask_and_a_constant_are_told_apart_from_their_registered_twins() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mask", torch.ones(4, 4, dtype=torch.bool).tril(), persistent=False)
            self.plain_mask = torch.ones(4, 4, dtype=torch.bool).tril()
            self.scale = torch.tensor(0.5)

    found = tensors(Attention())
    assert {"plain_mask": "attribute", "scale": "attribute"} == unregistered(Attention())
    assert (4, 4) == found["plain_mask"].shape
    assert () == found["scale"].shape


def test_a_buffer_that_requires_grad_shows_it_and_does_not_train() -> None:
    class Temperature(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("temperature", torch.ones(1, requires_grad=True))

    found = tensors(Temperature())["temperature"]
    assert ("persistent_buffer", True, True, False) == facts(found)
    assert found.requires_grad
    assert found.declared is None


def test_a_parameter_given_to_register_buffer_is_a_buffer_declared_as_parameter() -> None:
    class Misused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scale", nn.Parameter(torch.ones(1)))

    found = tensors(Misused())["scale"]
    assert ("persistent_buffer", True, True, False) == facts(found)
    assert found.declared == "parameter"
