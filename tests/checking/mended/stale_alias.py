"""Another name for a buffer, looked up each time."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("usage", torch.zeros(8))

    @property
    def counts(self):
        return self.usage

    def forward(self, x):
        self.counts.add_(1)
        return x
