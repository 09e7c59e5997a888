"""Findings that are meant to be there: comments, configuration, baseline; and ignores that outlived theirs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
import torch

from bufscan.checking import check
from bufscan.checking.baseline import known_findings, read_baseline, written_baseline
from bufscan.checking.comments import comments_in
from bufscan.checking.results import Known
from bufscan.config import BuildEntry, Config, IgnoreEntry
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
    "after another comment": "self.pe = torch.zeros(4)  # noqa: E501  # bufscan: ignore[BUF001] made anew",
    "before another comment": "self.pe = torch.zeros(4)  # bufscan: ignore[BUF001] made anew  # type: ignore",
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
    "another comment for a reason": (
        "self.pe = torch.zeros(4)  # bufscan: ignore[BUF001]  # noqa: E501",
        "it gives no reason",
    ),
    "no code": ("self.pe = torch.zeros(4)  # bufscan: ignore", "it names no code"),
    "empty code": ("self.pe = torch.zeros(4)  # bufscan: ignore[] why", "it names no code"),
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


def test_a_comment_that_is_not_in_force_is_not_told_of_when_ignores_are_not_asked_about(write: Path) -> None:
    body = "self.pe = torch.zeros(4)  # bufscan: ignore[BUF001]"
    assert ["BUF001 pe"] == counted(checked(write, body, Config(select=("BUF0",))))
    assert ["BUF001 pe"] == counted(checked(write, body, Config(deselect=("BUF901",))))


def test_a_comment_on_several_rules_is_idle_only_where_all_of_them_ran(write: Path) -> None:
    body = "self.w = [nn.Parameter(torch.ones(4))]  # bufscan: ignore[BUF0] meant"
    assert [] == counted(checked(write, body, Config(select=("BUF001", "BUF901"))))


def test_a_comment_that_is_idle_only_here_can_be_ignored_by_itself(write: Path) -> None:
    result = checked(write, "self.x = 1  # bufscan: ignore[BUF001, BUF901] a tensor where there is a GPU")
    assert ([], ["source"]) == (counted(result), [each.by for each in result.targets[0].ignored])


SPELLINGS = {
    "of now": ("blocks.0.pe", "cols[('a', 1)]"),
    "of once": ("blocks[0].pe", "list(cols.values())[0]"),
}
NESTED = """\
self.blocks = nn.ModuleList([nn.ReLU(), nn.ReLU()])
self.blocks[0].pe = torch.zeros(4)
self.cols = {("a", 1): torch.zeros(4), "b": torch.zeros(4)}
"""


@pytest.mark.parametrize("known", SPELLINGS.values(), ids=SPELLINGS)
def test_a_baseline_holds_however_it_spells_its_names(write: Path, known: tuple[str, ...]) -> None:
    entries = frozenset(Known(target="written.py:Model", code="BUF001", tensor=tensor) for tensor in known)
    gone = Known(target="written.py:Model", code="BUF001", tensor="blocks[1].pe")
    result = checked(write, NESTED, baseline=entries | {gone})
    assert (["BUF001 cols['b']"], (gone,)) == (counted(result), result.fixed)
    now = {each.tensor for each in known_findings(result)}
    assert {"blocks.0.pe", "cols[('a', 1)]", "cols['b']"} == now


@pytest.mark.parametrize("known", SPELLINGS.values(), ids=SPELLINGS)
def test_an_ignore_holds_however_it_spells_its_names(write: Path, known: tuple[str, ...]) -> None:
    config = Config(ignore=tuple(IgnoreEntry(code="BUF001", tensor=tensor, reason="meant") for tensor in known))
    assert ["BUF001 cols['b']"] == counted(checked(write, NESTED, config))


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


@pytest.mark.parametrize("tensor", ["*", "p*", "caches['k'][0]", "caches*", "caches[*][0]", "caches['?'][?]"])
def test_an_entry_of_the_configuration_ignores_by_code_and_pattern(write: Path, tensor: str) -> None:
    result = checked(write, "self.pe = torch.ones(4)\nself.caches = {'k': [torch.ones(3)]}", entry(tensor))
    ignored = [each.finding.tensor for each in result.targets[0].ignored]
    assert {"*": 2}.get(tensor, 1) == len(ignored)
    assert 2 == len(ignored) + len(result.findings)


@pytest.mark.parametrize(
    ("listed", "named", "is_told"),
    [
        (("written.py:Model",), (), True),
        (("written.py:Model",), ("./written.py:Model",), True),
        (("written.py:Model",), ("torch.nn:ReLU", "written.py:Model"), True),
        (("written.py:Model", "torch.nn:ReLU"), ("written.py:Model",), False),
        (("written.py",), ("written.py:Model",), False),
        ((), ("written.py:Model",), True),
    ],
    ids=["listed", "another path", "more", "one of two", "a part", "none listed"],
)
def test_an_entry_that_matches_nothing_is_reported_where_all_that_is_listed_was_checked(
    write: Path, listed: tuple[str, ...], named: tuple[str, ...], is_told: bool
) -> None:
    checked(write, "self.x = 1")
    config = Config(targets=listed, ignore=entry("gone.*").ignore, file="pyproject.toml")
    result = check(*named, config=config)
    told = [each.message for target in result.targets for each in target.findings if target.target == config.file]
    assert (["the ignore of `BUF001` for `gone.*` matches no finding"] if is_told else []) == told


@pytest.mark.parametrize("code", ["BUF303", "BUF307", "BUF3"])
def test_an_entry_on_what_was_not_looked_at_is_not_idle(write: Path, code: str) -> None:
    checked(write, "pass")
    config = Config(targets=("written.py:Model",), ignore=entry(code=code).ignore, file="pyproject.toml")
    assert [] == counted(check(config=config))
    assert {"BUF307": ["BUF901"]}.get(code, []) == counted(check(config=config, values=True))


def test_an_entry_is_not_called_idle_when_a_target_could_not_be_checked(write: Path) -> None:
    checked(write, "raise ValueError")
    config = Config(targets=("written.py:Model",), ignore=entry().ignore, file="pyproject.toml")
    assert ([], 2) == (counted(check(config=config)), check(config=config).exit_code)
    assert [] == counted(check("written.py:Model", config=entry()))


def test_a_skip_that_no_model_needs_any_more_is_reported(write: Path) -> None:
    checked(write, "pass")
    skip = BuildEntry(target="written.py:Gone", skip="downloads")
    result = check(config=Config(targets=("written.py",), build=(skip,), file="pyproject.toml"))
    assert ["the skip of `written.py:Gone` matches no model"] == [each.message for each in result.findings]


def test_a_baseline_lets_known_findings_pass_wherever_their_lines_go(write: Path) -> None:
    before = checked(write, "self.pe = torch.ones(4)\nself.mask = torch.ones(4)")
    known = read_baseline(written_baseline(known_findings(before)).encode())
    assert {Known(target="written.py:Model", code="BUF001", tensor=name) for name in ("pe", "mask")} == known
    after = checked(write, "\n\nself.new = torch.ones(4)\nself.pe = torch.ones(4)", baseline=known)
    assert (["BUF001 new"], 1) == (counted(after), after.exit_code)
    assert ["baseline"] == [each.by for each in after.targets[0].ignored]
    assert (Known(target="written.py:Model", code="BUF001", tensor="mask"),) == after.fixed


@pytest.mark.parametrize("before", ["written.py", "./written.py", "{here}/written.py"])
@pytest.mark.parametrize("after", ["written.py", "sub/../written.py", "{here}/written.py"])
def test_a_baseline_knows_a_file_however_it_is_named(write: Path, before: str, after: str) -> None:
    (write.parent / "sub").mkdir()
    checked(write, "self.pe = torch.ones(4)\nself.mask = torch.ones(4)")
    before, after = (text.format(here=write.parent) for text in (before, after))
    text = written_baseline(known_findings(check(f"{before}:Model", before)))
    assert '"written.py:Model"' in text
    assert str(write.parent) not in text
    for old in (text, text.replace("written.py:Model", f"{before}:Model")):
        known = read_baseline(old.encode())
        assert [] == counted(check(f"{after}:Model", baseline=known))
        checked(write, "self.pe = torch.ones(4)")
        fixed = check(after, baseline=known).fixed
        assert [Known(target="written.py:Model", code="BUF001", tensor="mask")] == list(fixed)


def test_a_baseline_knows_idle_ignores_one_by_one(write: Path) -> None:
    body = "self.x = 1  # bufscan: ignore[BUF001] why"
    known = frozenset(known_findings(checked(write, body)))
    assert [("BUF901", "written.py: # bufscan: ignore[BUF001] why")] == [(k.code, k.tensor) for k in known]
    same = checked(write, f"\n\n{body}", baseline=known)
    assert ([], ()) == (counted(same), same.fixed)
    other = checked(write, f"{body}\nself.y = 1  # bufscan: ignore[BUF002] else", baseline=known)
    assert (["BUF901"], ()) == (counted(other), other.fixed)
    assert known == frozenset(checked(write, "pass", baseline=known).fixed)


def test_a_baseline_written_again_is_the_same_and_forgets_what_was_mended(write: Path) -> None:
    first = checked(write, "self.pe = torch.ones(4)\nself.mask = torch.ones(4)")
    text = written_baseline(known_findings(first))
    again = check("written.py:Model", baseline=read_baseline(text.encode()))
    assert text == written_baseline(known_findings(again))
    mended = checked(write, "self.pe = torch.ones(4)", baseline=read_baseline(text.encode()))
    assert ["pe"] == [known.tensor for known in known_findings(mended)]


def test_what_was_not_checked_is_not_called_fixed(write: Path) -> None:
    known = frozenset((Known(target="written.py:Model", code="BUF001", tensor="pe"),))
    skipped = BuildEntry(target="written.py:Model", skip="downloads")
    assert () == checked(write, "raise RuntimeError", baseline=known).fixed
    assert () == check("other.pt", baseline=known).fixed
    assert () == checked(write, "pass", Config(select=("BUF1",)), baseline=known).fixed
    assert () == checked(write, "pass", Config(build=(skipped,)), baseline=known).fixed
    assert 1 == len(checked(write, "pass", baseline=known).fixed)


def test_a_file_beside_the_target_is_not_called_fixed(write: Path) -> None:
    torch.save({"w": torch.ones(2)}, write.parent / "model")
    known = frozenset((Known(target="model.bak", code="BUF203", tensor="w"),))
    assert () == check("model", baseline=known).fixed


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
