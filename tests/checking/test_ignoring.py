"""Findings that are meant to be there: comments, configuration, baseline; and ignores that outlived theirs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from bufscan.checking import check
from bufscan.checking.baseline import known_findings, read_baseline, written_baseline
from bufscan.checking.comments import comments_in
from bufscan.checking.results import Known
from bufscan.config import Config, IgnoreEntry
from bufscan.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from bufscan.checking.results import CheckResult

HEAD = """\
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a cached file of the same second counts as current
    return tmp_path / "written.py"


def checked(file: Path, body: str, config: Config | None = None, **options: object) -> CheckResult:
    lines = "".join(f"        {line}\n" for line in body.splitlines())
    file.write_text(f"{HEAD}{lines}")
    sys.modules.pop("written", None)
    return check("written.py:Model", config=config, **options)  # type: ignore[arg-type]


def counted(result: CheckResult) -> list[str]:
    return [f"{each.code} {each.tensor}".rstrip() for each in result.findings]


IN_FORCE = {
    "on the line": "self.pe = torch.zeros(4)  # bufscan: ignore[BUF001] made anew",
    "without blanks": "self.pe = torch.zeros(4)  #bufscan:ignore[BUF001]made anew",
    "several codes": "self.pe = torch.zeros(4)  # bufscan: ignore[BUF004, BUF001] made anew",
    "beginning of codes": "self.pe = torch.zeros(4)  # bufscan: ignore[BUF0] made anew",
    "at the end of a long statement": "self.pe = torch.zeros(\n    4\n)  # bufscan: ignore[BUF001] made anew",
    "inside a long statement": "self.pe = torch.zeros(\n    4,  # bufscan: ignore[BUF001] made anew\n)",
}


@pytest.mark.parametrize("body", IN_FORCE.values(), ids=IN_FORCE)
def test_a_comment_on_the_assignment_ignores_its_finding_and_keeps_the_reason(write: Path, body: str) -> None:
    result = checked(write, body)
    assert ([], 0) == (counted(result), result.exit_code)
    (ignored,) = result.targets[0].ignored
    assert ("source", "made anew", "pe") == (ignored.by, ignored.reason, ignored.finding.tensor)


NOT_IN_FORCE = {
    "another code": ("self.pe = torch.zeros(4)  # bufscan: ignore[BUF002] why", "matches no finding"),
    "no reason": ("self.pe = torch.zeros(4)  # bufscan: ignore[BUF001]", "it gives no reason"),
    "no code": ("self.pe = torch.zeros(4)  # bufscan: ignore", "it names no code"),
    "empty code": ("self.pe = torch.zeros(4)  # bufscan: ignore[] why", "no rule has the code ``"),
    "unknown code": ("self.pe = torch.zeros(4)  # bufscan: ignore[BUF777] why", "no rule has the code `BUF777`"),
    "line above": ("# bufscan: ignore[BUF001] why\nself.pe = torch.zeros(4)", "matches no finding"),
}


@pytest.mark.parametrize(("body", "why"), NOT_IN_FORCE.values(), ids=NOT_IN_FORCE)
def test_a_comment_that_is_not_in_force_is_itself_reported(write: Path, body: str, why: str) -> None:
    result = checked(write, body)
    assert ["BUF001 pe", "BUF901"] == counted(result)
    assert why in result.findings[1].message
    assert result.findings[1].location is not None


def test_what_only_looks_like_a_comment_is_none(write: Path) -> None:
    result = checked(write, 'self.text = "# bufscan: ignore[BUF001] why"')
    assert [] == counted(result)


def test_an_idle_comment_of_another_class_is_not_judged(write: Path) -> None:
    file = HEAD + "        pass\n" + "\n\nclass Other(nn.Module):\n    x = 1  # bufscan: ignore[BUF001] why\n"
    write.write_text(file)
    sys.modules.pop("written", None)
    assert [] == counted(check("written.py:Model"))
    assert ["BUF901"] == counted(check("written.py"))


def test_an_idle_comment_is_not_judged_by_rules_that_did_not_run(write: Path) -> None:
    body = "self.x = 1  # bufscan: ignore[BUF001] why"
    assert [] == counted(checked(write, body, Config(select=("BUF1", "BUF901"))))
    assert [] == counted(checked(write, body, Config(deselect=("BUF901",))))
    assert ["BUF901"] == counted(checked(write, body))


def test_comments_know_the_statement_they_stand_in() -> None:
    text = "a = 1\nb = f(\n    1,  # bufscan: ignore[BUF001] r\n)\n# bufscan: ignore[BUF001] alone\nc = 2\n"
    inside, alone = comments_in(text)
    assert (3, range(2, 5)) == (inside.line, inside.covered)
    assert (5, range(5, 6)) == (alone.line, alone.covered)


@pytest.mark.parametrize("text", ["\0 # bufscan:", "if x:\n# bufscan: ignore\n  y\n z\n"])
def test_what_is_no_python_has_no_comments(text: str) -> None:
    assert () == comments_in(text)


def entry(tensor: str = "*", code: str = "BUF001") -> Config:
    return Config(ignore=(IgnoreEntry(code=code, tensor=tensor, reason="legacy"),), file="pyproject.toml")


@pytest.mark.parametrize("tensor", ["*", "p*", "caches['k'][0]", "caches*"])
def test_an_entry_of_the_configuration_ignores_by_code_and_pattern(write: Path, tensor: str) -> None:
    result = checked(write, "self.pe = torch.ones(4)\nself.caches = {'k': [torch.ones(3)]}", entry(tensor))
    ignored = [each.finding.tensor for each in result.targets[0].ignored]
    assert {"*": 2}.get(tensor, 1) == len(ignored)
    assert 2 == len(ignored) + len(result.findings)


def test_an_entry_that_matches_nothing_is_reported_when_all_its_targets_were_checked(write: Path) -> None:
    config = entry("gone.*")
    assert [] == counted(checked(write, "self.x = 1", config))  # one target of perhaps many
    config = Config(targets=("written.py:Model",), ignore=config.ignore, file="pyproject.toml")
    result = check(config=config)
    assert (["BUF901"], "pyproject.toml") == (counted(result), result.targets[1].target)
    assert "the ignore of `BUF001` for `gone.*` matches no finding" == result.findings[0].message


def test_a_baseline_lets_known_findings_pass_wherever_their_lines_go(write: Path) -> None:
    before = checked(write, "self.pe = torch.ones(4)\nself.mask = torch.ones(4)")
    known = read_baseline(written_baseline(known_findings(before)).encode())
    assert {Known(target="written.py:Model", code="BUF001", tensor=name) for name in ("pe", "mask")} == known
    after = checked(write, "\n\nself.new = torch.ones(4)\nself.pe = torch.ones(4)", baseline=known)
    assert (["BUF001 new"], 1) == (counted(after), after.exit_code)
    assert ["baseline"] == [each.by for each in after.targets[0].ignored]
    assert (Known(target="written.py:Model", code="BUF001", tensor="mask"),) == after.fixed


def test_a_baseline_written_again_is_the_same_and_forgets_what_was_mended(write: Path) -> None:
    first = checked(write, "self.pe = torch.ones(4)\nself.mask = torch.ones(4)")
    text = written_baseline(known_findings(first))
    again = check("written.py:Model", baseline=read_baseline(text.encode()))
    assert text == written_baseline(known_findings(again))
    mended = checked(write, "self.pe = torch.ones(4)", baseline=read_baseline(text.encode()))
    assert ["pe"] == [known.tensor for known in known_findings(mended)]


def test_what_was_not_checked_is_not_called_fixed(write: Path) -> None:
    known = frozenset((Known(target="written.py:Model", code="BUF001", tensor="pe"),))
    assert () == checked(write, "raise RuntimeError", baseline=known).fixed
    assert () == check("other.pt", baseline=known).fixed


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"schema": "bufscan.baseline/9", "findings": []}', b"\xff", b"[" * 100_000]
)
def test_what_is_no_baseline_is_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(UsageError, match="no baseline") as failure:
        read_baseline(data)
    assert "\n" not in failure.value.message


def test_an_empty_baseline_is_one(write: Path) -> None:
    clean = checked(write, "pass")
    assert frozenset() == read_baseline(written_baseline(known_findings(clean)).encode())
