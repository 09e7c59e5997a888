"""A buffer that wants to be a parameter."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("temperature", torch.ones(4, requires_grad=True))

    def forward(self, x):
        return x / self.temperature
