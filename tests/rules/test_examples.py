"""The examples in the rules' explanations, really run: the bad one fires its rule and no other, the good one none.

An example that defines `Model` is about that model, one that writes `model.pt` about that file, and one that does
both about the file joined to the model.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from bufscan.checking import check
from bufscan.checking.linting import LINTED, lint
from bufscan.rehearsal import Plan
from bufscan.rules import RULES

if TYPE_CHECKING:
    from pathlib import Path

    from bufscan.findings import Rule


BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def examples_of(rule: Rule) -> tuple[str, str]:
    """The bad example and the good one."""
    bad, good = BLOCK.findall(rule.section("Example"))
    return bad, good


def codes_found(example: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Run the example in `folder` as a script of its own and check what it leaves."""
    monkeypatch.chdir(folder)
    (folder / "example.py").write_text(example)
    saves = "torch.save(" in example
    if saves:
        with monkeypatch.context() as patch:
            pretend_a_gpu(patch)
            exec(compile(example, "example.py", "exec"), {"__name__": "example"})  # noqa: S102  # it is ours
        # What is checked is imported too, and must not be written to once more meanwhile.
        (folder / "example.py").write_text(re.sub(r"^torch\.save\(.*$", "", example, flags=re.MULTILINE))
    spec = "example.py:Model" if "class Model" in example else None
    with FakeTensorMode() if "cuda" in example and not saves else contextlib.nullcontext():
        result = check(
            "model.pt" if saves else "example.py:Model",
            model=spec if saves else None,
            device="meta" if "inv_freq" in example else None,
            values="nan" in example,
            rehearse=Plan(inputs="randn(2, 3, 4)") if "arange" in example else None,
        )
    assert [None] == [each.failure for each in result.targets]
    return {finding.code for finding in result.findings}


def pretend_a_gpu(patch: pytest.MonkeyPatch) -> None:
    """Have modules "moved" to one saved as if they were there; a file records no more than the name."""
    moved: set[int] = set()

    def to(module: nn.Module, device: str) -> nn.Module:
        if device == "cuda":
            moved.update(tensor.untyped_storage()._cdata for tensor in module.parameters())
        return module

    patch.setattr(nn.Module, "to", to)
    patch.setattr(torch.serialization, "location_tag", lambda found: "cuda:0" if found._cdata in moved else "cpu")


def codes_read(example: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What the source of the example says by itself."""
    monkeypatch.chdir(folder)
    (folder / "example.py").write_text(example)
    return {finding.code for finding in lint("example.py").findings}


# The example of BUF204 says too little without its project, that of BUF006 reaches into the module's own dicts.
READ = [rule for rule in RULES if rule.code in LINTED and rule.code not in ("BUF006", "BUF204")]

BUILT = [rule for rule in RULES if rule.needs != "source"]


@pytest.mark.parametrize("rule", READ, ids=[rule.code for rule in READ])
def test_source_says_so_too(rule: Rule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = examples_of(rule)
    assert {rule.code} == codes_read(bad, tmp_path, monkeypatch)
    assert set() == codes_read(good, tmp_path, monkeypatch)


@pytest.mark.parametrize("rule", BUILT, ids=[rule.code for rule in BUILT])
def test_the_bad_example_fires_this_rule_alone(
    rule: Rule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, _ = examples_of(rule)
    assert {rule.code} == codes_found(bad, tmp_path, monkeypatch)


@pytest.mark.parametrize("rule", BUILT, ids=[rule.code for rule in BUILT])
def test_the_good_example_is_clean(rule: Rule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, good = examples_of(rule)
    assert set() == codes_found(good, tmp_path, monkeypatch)


@pytest.mark.parametrize("rule", RULES, ids=[rule.code for rule in RULES])
def test_examples_are_whole_programs(rule: Rule, tmp_path: Path) -> None:
    """Every name that an example uses is one that it imports or defines."""
    for position, example in enumerate(examples_of(rule)):
        (tmp_path / f"example_{position}.py").write_text(example)
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F", "--quiet", str(tmp_path)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
