"""`--rehearse reload` and `--rehearse meta`: what another instance lacks once it has loaded the state_dict."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from bufscan.checking import check
from bufscan.errors import UsageError
from bufscan.inspecting import inspect
from bufscan.rehearsal import Plan, plan_for

if TYPE_CHECKING:
    from pathlib import Path

    from bufscan.findings import Finding

SOURCE = """\
import torch
from torch import nn


class Random(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 8)
        self.noise = torch.randn(8)
        self.table = torch.ones(8)

    def forward(self, x):
        return self.fc(x) + self.noise.to(x) + self.table.to(x)


class Clashes(Random):
    def forward(self, x):
        return self.fc(x) + self.noise + self.table


class Unused(Random):
    def forward(self, x):
        return self.fc(x)


class Unsteady(Random):
    def forward(self, x):
        self.noise = self.noise + torch.randn(8)
        self.count = getattr(self, "count", 0) + 1
        return self.fc(x) + self.noise.to(x)


class Tables(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 8)
        self.norm = nn.BatchNorm1d(8)
        self.register_buffer("forgotten", torch.arange(8.0), persistent=False)
        self.register_buffer("reset", torch.arange(8.0), persistent=False)
        self.register_buffer("by_forward", torch.arange(8.0), persistent=False)

    def reset_parameters(self):
        self.reset.copy_(torch.arange(8.0))

    def forward(self, x):
        self.by_forward = torch.arange(8.0)
        return self.fc(x)


class Refuses(Tables):
    def load_state_dict(self, *args, **kwargs):
        raise RuntimeError("not today")
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(SOURCE)


def findings(name: str, *words: str) -> dict[str, Finding]:
    return {each.tensor: each for each in check(f"model.py:{name}", rehearse=plan_for(words)).findings}


def notes(name: str, *words: str) -> tuple[str, ...]:
    return inspect(f"model.py:{name}", rehearse=plan_for(words)).notes


def test_a_tensor_that_a_fresh_model_draws_anew_is_proven_lost() -> None:
    found = findings("Random", "reload", "randn(2, 8)")
    assert ("error", "warning") == (found["noise"].severity, found["table"].severity)
    assert "a fresh model that loads the state_dict was seen to have other values" in found["noise"].message
    assert "other values" not in found["table"].message


def test_then_the_advice_is_to_save_it() -> None:
    found = findings("Clashes", "reload")
    assert 'self.register_buffer("noise", torch.randn(8))' == found["noise"].suggestion
    assert 'self.register_buffer("table", torch.ones(8), persistent=False)' == found["table"].suggestion


@pytest.mark.parametrize(
    ("name", "words", "ending"),
    [
        ("Random", ("reload",), "differs in `noise`"),
        ("Random", ("reload", "randn(2, 8)"), "differs in `noise`; so does what it computes"),
        ("Unused", ("reload", "randn(2, 8)"), "differs in `noise`; what it computes is the same"),
    ],
)
def test_the_output_is_compared_where_there_are_inputs(name: str, words: tuple[str, ...], ending: str) -> None:
    (note,) = [each for each in notes(name, *words) if each.startswith("reloaded: ")]
    assert note.endswith(ending)


def test_what_nobody_writes_to_after_meta_is_garbage() -> None:
    assert {"forgotten", "by_forward"} == set(findings("Tables", "meta"))
    found = findings("Tables", "meta", "randn(2, 8)")
    assert {"forgotten"} == {name for name, each in found.items() if each.code == "BUF204"}


def test_a_model_that_does_not_load_is_not_rehearsed() -> None:
    (result,) = check("model.py:Refuses", rehearse=Plan(loads=("reload",))).targets
    (skipped,) = result.skipped
    assert skipped.reason.startswith(
        "not rehearsed: `load_state_dict()` raised RuntimeError: not today (model.py:"
    )
    assert not result.is_complete


def test_nor_is_one_that_cannot_be_built_again() -> None:
    (result,) = check(nn.Linear(1, 1), rehearse=Plan(loads=("meta",))).targets
    assert ["not rehearsed: a model that is handed over cannot be built again"] == [
        each.reason for each in result.skipped
    ]


def test_loading_alone_says_nothing_of_a_move() -> None:
    assert not any(note.startswith("rehearsed: ") for note in notes("Random", "reload"))


def test_random_states_stay() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    check("model.py:Tables", rehearse=plan_for(["reload", "meta", "randn(2, 8)"]))
    assert torch.equal(before, torch.get_rng_state())


def test_inputs_are_given_once() -> None:
    assert Plan(inputs="randn(2)", loads=("reload", "meta")) == plan_for(["meta", "randn(2)", "reload"])
    with pytest.raises(UsageError, match="a rehearsal calls the model once"):
        plan_for(["randn(2)", "randn(3)"])
