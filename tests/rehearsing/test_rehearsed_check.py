"""`check --rehearse`: what the findings say, where they stand, and what is never called clean."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from bufscan.checking import check
from bufscan.config import BuildEntry, Config, load_config
from bufscan.errors import UsageError
from bufscan.inspecting import inspect
from bufscan.library import InspectReport
from bufscan.rehearsal import Plan
from command_line import bufscan

if TYPE_CHECKING:
    from pathlib import Path

    from bufscan.checking.results import CheckResult

SOURCE = """\
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.embedding = nn.Embedding(16, width)
        self.pe = torch.zeros(16, width)
        self.scale = torch.ones(width)
        self.register_buffer("k", torch.ones(width))
        self.alias = self.k

    def forward(self, x):
        x = x * self.scale.to(x.device) + self.alias
        x = x + self.embedding(torch.arange(x.size(1)))
        return x + self.pe[: x.size(1)]

    def encode(self, x):
        return x + self.k

    def broken(self, x):
        raise ValueError("no")
"""
HELPED = """\
import torch
from torch import nn


def beside(x, tensors):
    return [tensor.to(x.device) for tensor in tensors]


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.scales = [torch.ones(2)]

    def forward(self, x):
        (scale,) = beside(x, self.scales)
        return self.fc(x) * scale
"""
INPUTS = "randn(2, 4, 8)"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(SOURCE)


def found(result: CheckResult) -> list[tuple[str, str, str, int]]:
    return [
        (each.code, each.severity, each.tensor, each.location.line if each.location else 0)
        for each in result.findings
    ]


def rehearsed(method: str = "forward", inputs: str = INPUTS, *, train: bool = False) -> CheckResult:
    return check("model.py:Model", rehearse=Plan(inputs=inputs, method=method, train=train))


def test_a_clash_is_told_with_the_tensor_and_the_line() -> None:
    assert [
        ("BUF202", "error", "", 16),
        ("BUF004", "error", "alias", 12),
        ("BUF202", "error", "alias", 15),
        ("BUF001", "error", "pe", 9),
        ("BUF202", "error", "pe", 17),
        ("BUF001", "warning", "scale", 10),
    ] == found(rehearsed())


def test_the_words_name_the_place_to_mend() -> None:
    made, alias, pe = [each for each in rehearsed().findings if each.code == "BUF202"]
    assert "torch.arange(x.size(1), device=x.device)" == made.suggestion
    assert (
        "`torch.arange(x.size(1))` makes a tensor on the CPU, wherever the model is: "
        "`embedding` takes tensors of one device only"
    ) == made.message
    assert (
        "`alias` stays on the CPU when the model moves (BUF004 at model.py:12): "
        "`add` takes tensors of one device only"
    ) == alias.message
    assert "(BUF001 at model.py:9)" in pe.message


def test_what_is_carried_over_by_hand_is_a_warning_that_says_what_remains() -> None:
    (scale,) = [each for each in rehearsed().findings if each.tensor == "scale"]
    words = "it is not saved (a buffer would move, and be cast with the model)"
    held = "is a plain attribute that the forward pass takes to a device at each use"
    assert f"`scale` {held}: {words}" == scale.message


def test_so_is_what_only_a_rehearsal_can_tell(tmp_path: Path) -> None:
    """A helper elsewhere carries it over, which no reading of the class shows."""
    (tmp_path / "helped.py").write_text(HELPED)
    (finding,) = check("helped.py:Model", rehearse=Plan(inputs="randn(1, 2)")).findings
    assert ("BUF001", "warning") == (finding.code, finding.severity)
    assert finding.message.endswith("it is not saved; the forward pass moves it by hand at each use")
    assert "error" == check("helped.py:Model").findings[0].severity


def test_another_method_is_another_verdict() -> None:
    assert {"BUF001", "BUF004"} == {each.code for each in rehearsed("encode").findings}


def test_what_cannot_be_rehearsed_is_no_finding_and_no_pass() -> None:
    result = rehearsed("broken")
    ((skipped,),) = [target.skipped for target in result.targets]
    assert "not rehearsed: `broken()` raised ValueError: no (model.py:23)" == skipped.reason
    assert "BUF202" not in {each.code for each in result.findings}
    assert 2 == result.exit_code


@pytest.mark.parametrize("inputs", ["auto", "nowhere.py:make", "f(", "randn(2, 4, 7)"])
def test_neither_is_a_model_without_inputs_that_fit(inputs: str) -> None:
    ((skipped,),) = [target.skipped for target in rehearsed(inputs=inputs).targets]
    assert skipped.reason.startswith("not rehearsed: ")
    assert skipped.failed


def test_the_configuration_says_how_to_rehearse_a_model(tmp_path: Path) -> None:
    (tmp_path / "bufscan.toml").write_text(
        '[[build]]\ntarget = "model:Model"\nkwargs = {width = 4}\nrehearse = "randn(2, 4, 4)"\nmethod = "encode"\n'
    )
    config = load_config(tmp_path)
    assert Plan(inputs="randn(2, 4, 4)", method="encode") == config.build[0].plan
    assert [] == [each.skipped for each in check("model:Model", config=config).targets if each.skipped]
    override = check("model:Model", config=config, rehearse=Plan(inputs="randn(2, 4, 4)"))
    assert "BUF202" in {each.code for each in override.findings}


def test_an_ignore_of_what_only_a_rehearsal_finds_is_idle_only_after_one() -> None:
    comment = "self.pe = torch.zeros(16, width)  # bufscan: ignore[BUF202] the CPU is all we have"
    with open("model.py", "w") as file:  # noqa: PTH123  # in the current folder
        file.write(SOURCE.replace("self.pe = torch.zeros(16, width)", comment))
    assert not [each for each in check("model.py:Model").findings if each.code == "BUF901"]


def test_a_model_that_is_handed_over_is_rehearsed_too() -> None:
    result = check(nn.Linear(2, 2), rehearse=Plan(inputs="randn(1, 2)"))
    assert (0, []) == (result.exit_code, result.findings)


def test_training_has_a_backward_pass() -> None:
    class OwnBackward(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def forward(self, x):  # noqa: ANN001, ANN202
            out = self.fc(x)
            out.register_hook(lambda grad: grad * torch.ones(2))
            return out

    assert [] == check(OwnBackward(), rehearse=Plan(inputs="randn(1, 2)")).findings
    (finding,) = check(OwnBackward(), rehearse=Plan(inputs="randn(1, 2)", train=True)).findings
    assert "BUF202" == finding.code


def test_the_command_line_rehearses() -> None:
    done = bufscan("check", "model.py:Model", "--rehearse", INPUTS, "--format", "json")
    assert 1 == done.returncode, done.stderr
    (target,) = json.loads(done.stdout)["targets"]
    assert 3 == sum(each["code"] == "BUF202" for each in target["findings"])


CHOOSES = """\
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.device = "cuda" if torch.cuda.{asks} else "cpu"

    def forward(self, x):
        return self.fc(x) + torch.ones(2, device=self.device)
"""


def test_a_device_that_was_chosen_without_a_gpu_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "chooses.py").write_text(CHOOSES.format(asks="is_available()"))
    (result,) = check("chooses.py:Model", rehearse=Plan(inputs="randn(1, 2)")).targets
    assert () == result.findings
    reason = "takes the device that the model chose when it was built, with no GPU there"
    assert [f"not rehearsed: `torch.ones(2, device=self.device)` {reason}"] == [
        each.reason for each in result.skipped
    ]


def test_a_device_that_was_given_is_one(tmp_path: Path) -> None:
    (tmp_path / "given.py").write_text(CHOOSES.format(asks="__doc__ is None"))
    (finding,) = check("given.py:Model", rehearse=Plan(inputs="randn(1, 2)")).findings
    assert ("BUF202", "torch.ones(2, device=x.device)") == (finding.code, finding.suggestion)


def test_inspect_shows_what_moves_by_hand_and_how_it_went() -> None:
    done = bufscan("inspect", "model.py:Model", "--rehearse", INPUTS)
    assert 0 == done.returncode, done.stderr
    text = done.stdout.decode()
    assert re.search(r"^moves +scale: by hand in forward$", text, re.MULTILINE)
    assert (
        "rehearsed: `forward()` would fail on another device, for tensors that stay behind: `alias`, `pe`," in text
    )
    encoded = inspect("model.py:Model", rehearse=Plan(inputs=INPUTS, method="encode"))
    assert ("rehearsed: `encode()` would run on another device",) == encoded.notes


def test_inspect_has_the_findings_of_check() -> None:
    done = bufscan("inspect", "model.py:Model", "--rehearse", INPUTS, "--format", "json")
    shown = json.loads(done.stdout)["findings"]
    checked = json.loads(
        bufscan("check", "model.py:Model", "--rehearse", INPUTS, "--format", "json").stdout
    )["targets"][0]["findings"]  # fmt: skip
    assert shown == checked
    assert 3 == sum(each["code"] == "BUF202" for each in shown)
    report = InspectReport.of(inspect("model.py:Model", rehearse=Plan(inputs=INPUTS)))
    assert [each["code"] for each in checked] == [each.code for each in report.findings]


def test_a_checkpoint_cannot_be_rehearsed(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "model.pt")
    with pytest.raises(UsageError, match="only a model can be rehearsed"):
        inspect("model.pt", rehearse=Plan(inputs=INPUTS))


def test_a_method_without_inputs_is_a_mistake() -> None:
    done = bufscan("check", "model.py:Model", "--method", "encode")
    assert (2, b"bufscan: `--method` is for a rehearsal\n") == (done.returncode, done.stderr.splitlines(True)[0])


def test_every_entry_has_a_plan_or_none() -> None:
    assert None is BuildEntry(target="m:M").plan
    assert Config().build == ()
