"""A real pair: a small transformer before and after ten steps of training, and its copy in bfloat16."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from stored import zip_file
from torch import nn

from bufscan.comparing.diffing import diff

if TYPE_CHECKING:
    from pathlib import Path

    from stored import State

STEPS = 10
RATE = 1e-2


class Encoder(nn.Module):
    """Two blocks of torch's own."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        block = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.blocks = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.blocks(self.embed(tokens))
        return hidden @ self.embed.weight.t()


class GPT2(nn.Module):
    """Two blocks of transformers' GPT-2."""

    def __init__(self) -> None:
        super().__init__()
        transformers = pytest.importorskip("transformers")
        config = transformers.GPT2Config(n_layer=2, n_embd=16, n_head=2, vocab_size=50, n_positions=32)
        self.inner = transformers.GPT2LMHeadModel(config)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.inner(input_ids=tokens).logits
        return logits


@pytest.fixture(params=[Encoder, GPT2], ids=["torch", "transformers"])
def trained(request: pytest.FixtureRequest) -> tuple[State, State, set[str]]:
    """Before, after, and the names that the optimizer had no part in."""
    torch.manual_seed(0)
    model: nn.Module = request.param()
    model.eval()  # without dropout
    names = [name for name, _ in model.named_parameters()]
    frozen = names[3]
    model.get_parameter(frozen).requires_grad_(requires_grad=False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=RATE)
    tokens = torch.randint(0, 50, (4, 12))
    for _ in range(STEPS):
        optimizer.zero_grad()
        logits = model(tokens)[:, :-1]
        nn.functional.cross_entropy(logits.reshape(-1, 50), tokens[:, 1:].reshape(-1)).backward()
        optimizer.step()
    return before, {name: tensor.clone() for name, tensor in model.state_dict().items()}, {frozen}


def test_training_changed_what_the_optimizer_trained_and_by_how_much(
    tmp_path: Path, trained: tuple[State, State, set[str]]
) -> None:
    before, after, frozen = trained
    difference = diff(zip_file(tmp_path / "before.pt", before), zip_file(tmp_path / "after.pt", after))
    assert frozen == before.keys() - {entry.name for entry in difference.entries}
    assert (len(frozen), (), ()) == (difference.unchanged, difference.not_compared, difference.notes)
    for entry in difference.entries:
        old, new = before[entry.name].double(), after[entry.name].double()
        values = entry.values
        assert ("changed", ()) == (entry.status, entry.changes)
        assert values is not None
        assert int((old != new).sum()) == values.changed
        assert float((new - old).abs().max()) == values.max_abs
        assert pytest.approx(float((new - old).norm())) == values.l2
        assert 0 < (values.max_abs or 0) <= 2 * STEPS * RATE
        if old.any():
            assert pytest.approx(float((new - old).norm() / old.norm())) == values.rel_l2
            assert pytest.approx(float(torch.cosine_similarity(old.flatten(), new.flatten(), 0))) == values.cosine


def test_a_copy_in_bfloat16_is_only_rounded(tmp_path: Path, trained: tuple[State, State, set[str]]) -> None:
    _, after, _ = trained
    copy = {name: tensor.bfloat16() for name, tensor in after.items()}
    difference = diff(zip_file(tmp_path / "fp32.pt", after), zip_file(tmp_path / "bf16.pt", copy))
    assert len(after) == len(difference.entries)
    for entry in difference.entries:
        assert {"dtype"} == entry.aspects
        assert entry.values is not None
        assert entry.values.rounding in {"rounded", "exact"}
