"""Rehearsals of models that run on GPUs every day: no false alarm, and every buffer that is taken away is missed.

`pytest -m zoo tests/zoo/test_rehearsed_transformers.py`
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from tiny_transformers import ASK_FOR_A_GPU, MODELS, Tiny

from bufscan.rehearsing import rehearse

if TYPE_CHECKING:
    from torch import nn

pytest.importorskip("transformers")
pytestmark = [pytest.mark.zoo, pytest.mark.filterwarnings("ignore")]  # what transformers deprecates is not ours

each_model = pytest.mark.parametrize("tiny", MODELS, ids=lambda tiny: tiny.config)


@each_model
@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
def test_it_passes(tiny: Tiny, train: bool) -> None:
    model, inputs = tiny.build()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    rehearsal = rehearse(model, (), inputs, train=train)
    if tiny.config in ASK_FOR_A_GPU:
        assert str(rehearsal.reason).endswith("it asks for a real GPU")
        assert "not rehearsed" == rehearsal.verdict
    else:
        assert ("passes", None, ()) == (rehearsal.verdict, rehearsal.reason, rehearsal.clashes)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@each_model
def test_a_buffer_that_no_longer_moves_is_missed(tiny: Tiny) -> None:
    """Found, carried over by forward, 0-dim, an index in brackets, or else of no effect on what comes out."""
    model, inputs = tiny.build()
    taken = deregister_buffers(model)
    rehearsal = rehearse(model, (), inputs)
    blamed = {clash.tensor for clash in rehearsal.clashes}
    silent = [tensor for name, tensor in taken.items() if name not in blamed and name not in rehearsal.carried]
    suspicious = [tensor for tensor in silent if tensor.dim() and tensor.is_floating_point()]
    expected = outputs(model, inputs)
    for tensor in suspicious:
        tensor.fill_(torch.nan)
    assert all(map(torch.equal, expected, outputs(model, inputs)))


def deregister_buffers(model: nn.Module) -> dict[str, torch.Tensor]:
    """Make a plain attribute of every buffer."""
    taken: dict[str, torch.Tensor] = {}
    for prefix, module in model.named_modules():
        for name, buffer in list(module._buffers.items()):
            if buffer is not None:
                delattr(module, name)
                object.__setattr__(module, name, buffer)
                taken[f"{prefix}.{name}".removeprefix(".")] = buffer
    return taken


def outputs(model: nn.Module, inputs: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    torch.manual_seed(0)
    with torch.no_grad():
        found = model(**inputs)
    return [each for each in found.values() if isinstance(each, torch.Tensor)]
