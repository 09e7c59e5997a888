"""A small transformer that makes the classic mistakes, beside the same things done right.

Every tensor below is one of four things: a parameter, a buffer that the state_dict keeps, a buffer that it does
not keep, or nothing at all. What is nothing at all stays behind when the model moves to a GPU, and is missing when
its state_dict is loaded again.

`python model.py` writes `model.pt` again.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

VOCABULARY, WIDTH, CONTEXT, BLOCKS = 64, 16, 32, 2


def sinusoids(length: int, width: int) -> Tensor:
    """The positional encoding of "Attention Is All You Need", of shape (length, width)."""
    position = torch.arange(length).unsqueeze(1)
    frequency = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    table = torch.zeros(length, width)
    table[:, 0::2] = torch.sin(position * frequency)
    table[:, 1::2] = torch.cos(position * frequency)
    return table


class ForgetfulPositions(nn.Module):
    """Mistake: a plain attribute. `.to("cuda")` leaves it on the CPU, and no state_dict has it."""

    def __init__(self) -> None:
        super().__init__()
        self.pe = sinusoids(CONTEXT, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.pe[: x.shape[1]]


class Positions(nn.Module):
    """The same done right: a buffer. It need not be saved, since it can be computed again."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("pe", sinusoids(CONTEXT, WIDTH), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.pe[: x.shape[1]]


class Block(nn.Module):
    """Causal attention with one head, then a perceptron."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.up = nn.Linear(WIDTH, 2 * WIDTH, bias=False)
        self.down = nn.Linear(2 * WIDTH, WIDTH, bias=False)
        # Right: moves with the model, and is not worth saving.
        self.register_buffer("mask", torch.ones(CONTEXT, CONTEXT, dtype=torch.bool).triu(1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        query, key, value = self.qkv(self.norm(x)).chunk(3, dim=-1)
        scores = query @ key.transpose(1, 2) / math.sqrt(WIDTH)
        scores = scores.masked_fill(self.mask[:length, :length], float("-inf"))
        x = x + scores.softmax(dim=-1) @ value
        return x + self.down(torch.relu(self.up(x)))


class TinyTransformer(nn.Module):
    """Next-token scores of shape (batch, length, VOCABULARY) for tokens of shape (batch, length)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.source_positions = ForgetfulPositions()
        self.target_positions = Positions()
        self.stem = nn.BatchNorm1d(WIDTH)  # brings three buffers that have to be saved
        self.blocks = nn.ModuleList([Block() for _ in range(BLOCKS)])
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.head.weight = self.embed.weight  # tied: one parameter with two names
        # Mistake: tensors in a list. nn.ParameterList, or a buffer for each, would be seen.
        self.gates = [torch.ones(WIDTH) for _ in range(BLOCKS)]
        # Mistake: a module in a list. Its parameters reach no optimizer; nn.ModuleList would be seen.
        self.adapters = [nn.Linear(WIDTH, WIDTH)]
        # Mistake: a parameter in a dict. nn.ParameterDict would be seen.
        self.prompts = {"task": nn.Parameter(torch.zeros(WIDTH))}
        self.register_buffer("usage", torch.zeros(VOCABULARY))
        # Mistake: a second name for a buffer. `.to()` makes a new buffer and leaves this name with the old one.
        self.counts = self.usage

    def forward(self, tokens: Tensor) -> Tensor:
        self.counts.add_(torch.bincount(tokens.flatten(), minlength=VOCABULARY))
        x = self.target_positions(self.source_positions(self.embed(tokens)))
        x = self.stem(x.transpose(1, 2)).transpose(1, 2) + self.prompts["task"]
        for block, gate in zip(self.blocks, self.gates, strict=True):
            x = block(x) * gate
        return self.head(self.adapters[0](x))


if __name__ == "__main__":
    # Pickles name a class by its module, which must be `model` and not `__main__` for `torch.load` to find it.
    from model import TinyTransformer as Saved

    torch.manual_seed(0)
    torch.save(Saved(), "model.pt")
