"""Tensors in a list."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.scales = [torch.ones(4) for _ in range(3)]

    def forward(self, x):
        for scale in self.scales:
            x = x * scale
        return x
