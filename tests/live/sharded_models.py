"""Models that several processes hold together; torchrun starts bufscan on them."""

from __future__ import annotations

import os

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(10, 10)
        self.norm = nn.BatchNorm1d(10)
        self.head = nn.Linear(10, 3)


def sharded() -> nn.Module:
    """In a default group that torch makes by itself."""
    net = Net()
    return fully_shard(net, mesh=init_device_mesh("cpu", (int(os.environ["WORLD_SIZE"]),)))


def in_own_group() -> nn.Module:
    distributed.init_process_group("gloo")
    net = sharded()
    distributed.destroy_process_group()
    return net


def unlike() -> nn.Module:
    net = sharded()
    if os.environ["RANK"] == "1":
        net.head = nn.Linear(10, 4)
        net.register_buffer("only_here", torch.zeros(2))
    return net


def with_nan() -> nn.Module:
    net = sharded()
    if os.environ["RANK"] == "1":
        with torch.no_grad():
            net.body.weight.to_local()[0, 0] = torch.nan
    return net


def broken() -> nn.Module:
    if os.environ["RANK"] == "1":
        raise ValueError("no GPU here")
    return sharded()
