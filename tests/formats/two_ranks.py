"""Saves a model under FSDP2 with its optimizer from two ranks: `python two_ranks.py FOLDER`.

A program of its own, for it forks: threads that a test left in torch would not live on in the ranks.
"""

from __future__ import annotations

import multiprocessing
import sys

import torch
import torch.distributed.checkpoint as dcp
from torch import distributed, nn
from torch.distributed.checkpoint.state_dict import get_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

RANKS = 2


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 7)
        self.norm = nn.BatchNorm1d(7)
        self.last = nn.Linear(7, 3, bias=False)
        self.register_buffer("table", torch.arange(6.0).reshape(2, 3))
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.norm(self.first(x))) + self.frozen


def save(rank: int, folder: str) -> None:
    """What one rank does."""
    distributed.init_process_group("gloo", init_method=f"file://{folder}.init", rank=rank, world_size=RANKS)
    torch.manual_seed(0)
    model = Model()
    fully_shard(model, mesh=init_device_mesh("cpu", (RANKS,)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    model(torch.randn(5, 4)).sum().backward()
    optimizer.step()
    state, of_optimizer = get_state_dict(model, optimizer)
    dcp.save({"model": state, "optim": of_optimizer, "epoch": 3, "tags": ["a", 1]}, checkpoint_id=folder)
    distributed.destroy_process_group()


if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    ranks = [context.Process(target=save, args=(rank, sys.argv[1])) for rank in range(RANKS)]
    for each in ranks:
        each.start()
    for each in ranks:
        each.join()
    sys.exit(max(each.exitcode or 0 for each in ranks))
