"""A tensor that belongs to the class."""

import torch
from torch import nn


class Model(nn.Module):
    mean = torch.tensor([0.485, 0.456, 0.406])

    def forward(self, x):
        return x - self.mean
