"""What a training checkpoint says of its training: written by torch, read without it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

import bufscan
from bufscan.report import INSPECT_REPORTS
from bufscan.report.inspect.view import View
from bufscan.report.shared.display import Display
from command_line import bufscan as run

if TYPE_CHECKING:
    from pathlib import Path

    from bufscan.inventory import Inventory


def trained(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    for _ in range(2):
        model(torch.ones(4, 8)).sum().backward()
        optimizer.step()


def saved(path: Path, **content: Any) -> Inventory:
    torch.save(content, path)
    return bufscan.inspect(str(path))


KINDS = {
    "Adam": "Adam",
    "AdamW": "AdamW",
    "NAdam": "NAdam",
    "RAdam": "RAdam",
    "Adamax": "Adamax",
    "Adadelta": "Adadelta",
    "Adagrad": "Adagrad",
    "ASGD": "ASGD",
    "RMSprop": "RMSprop",
    "Rprop": "Rprop",
    "SGD": "SGD",
}


@pytest.mark.parametrize("name", KINDS)
def test_the_kind_of_an_optimizer_is_told_by_what_it_keeps(name: str, tmp_path: Path) -> None:
    model = nn.Linear(8, 2)
    optimizer = getattr(torch.optim, name)(model.parameters(), lr=0.01)
    trained(optimizer, model)
    found = saved(tmp_path / "a.pt", model=model.state_dict(), optimizer=optimizer.state_dict())
    (told,) = found.optimizers
    assert KINDS[name] == told.kind
    assert "0.01" == told.groups[0].settings["lr"]


def test_momentum_is_told(tmp_path: Path) -> None:
    model = nn.Linear(8, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    trained(optimizer, model)
    found = saved(tmp_path / "a.pt", model=model.state_dict(), optimizer=optimizer.state_dict())
    assert ["SGD with momentum"] == [each.kind for each in found.optimizers]
    assert "0.9" == found.optimizers[0].groups[0].settings["momentum"]


@pytest.fixture
def lightning(tmp_path: Path) -> Path:
    """As Lightning's `Trainer.save_checkpoint` lays it out (2.4)."""
    model = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4))
    groups = [{"params": [model[0].weight]}, {"params": [model[0].bias], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.1)
    trained(optimizer, model)
    scheduler.step()
    path = tmp_path / "last.ckpt"
    torch.save(
        {
            "epoch": 7,
            "global_step": 1234,
            "pytorch-lightning_version": "2.4.0",
            "state_dict": model.state_dict(),
            "optimizer_states": [optimizer.state_dict()],
            "lr_schedulers": [scheduler.state_dict()],
            "hyper_parameters": {"dim": 8, "name": "tiny", "betas": (0.9, 0.99)},
            "rng": torch.get_rng_state(),
        },
        path,
    )
    return path


def test_values_have_their_paths_and_exact_texts(lightning: Path) -> None:
    values = {each.path: each.text for each in bufscan.inspect(str(lightning)).training}
    assert ("7", "1234", "'2.4.0'") == (
        values["epoch"],
        values["global_step"],
        values["pytorch-lightning_version"],
    )
    assert ("8", "'tiny'", "0.99") == (
        values["hyper_parameters.dim"],
        values["hyper_parameters.name"],
        values["hyper_parameters.betas[1]"],
    )
    assert "1" == values["lr_schedulers[0].last_epoch"]
    assert not [path for path in values if path.startswith(("state_dict", "optimizer_states"))]


def test_the_text_tells_them_dict_by_dict(lightning: Path) -> None:
    report = INSPECT_REPORTS["text"](bufscan.inspect(str(lightning)), View(display=Display()))
    lines = [line.strip() for line in report.splitlines()]
    assert "training   epoch 7, global_step 1234, pytorch-lightning_version '2.4.0'" in lines
    assert "hyper_parameters: dim 8, name 'tiny', betas 0.9 0.99" in lines
    (optimizer,) = [line for line in lines if line.startswith("optimizer  ")]
    assert "AdamW, 2 parameters in 2 groups of 1, 1" in optimizer
    assert "lr 0.01, betas (0.9, 0.999), eps 1e-08, weight_decay 0.01 / 0" in optimizer
    (parts,) = [line for line in lines if line.startswith("parts  ")]
    assert ["state_dict", "optimizer_states[0]", "(top level)"] == [
        each.strip().rpartition(" ")[0].rpartition(" ")[0] for each in parts.removeprefix("parts").split(",")
    ]


def test_machines_get_the_same(lightning: Path) -> None:
    report = json.loads(run("inspect", str(lightning), "--format", "json").stdout)
    assert {"path": "epoch", "kind": "int", "text": "7"} in report["training"]
    assert "AdamW" == report["optimizers"][0]["kind"]
    assert ["0.01", "0.0"] == [group["weight_decay"] for group in report["optimizers"][0]["settings"]]
    sizes = {each["section"]: each["nbytes"] for each in report["sections"]}
    assert sum(sizes.values()) == sum(total["nbytes"] for total in report["totals"].values())


def test_a_bare_state_dict_has_no_training(tmp_path: Path) -> None:
    torch.save(nn.BatchNorm1d(4).state_dict(), tmp_path / "a.pt")
    assert () == bufscan.inspect(str(tmp_path / "a.pt")).training


def test_much_beside_the_tensors_is_told_in_part(tmp_path: Path) -> None:
    tokens = {f"token {number}": number for number in range(100_000)}
    found = saved(tmp_path / "a.pt", vocabulary=tokens, model=nn.Linear(2, 2).state_dict(), epoch=3)
    assert len(found.training) <= 300
    assert "epoch" == found.training[0].path
    assert "only the first are told" in "".join(found.notes)


def test_all_that_there_is_is_told_without_a_note(lightning: Path) -> None:
    assert () == bufscan.inspect(str(lightning)).notes
