"""A buffer for each of several tensors."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        for i in range(3):
            self.register_buffer(f"scale_{i}", torch.ones(4))

    def forward(self, x):
        for i in range(3):
            x = x * self.get_buffer(f"scale_{i}")
        return x
