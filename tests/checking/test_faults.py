"""The classic faults, each in a small file with its reports beside it, and the same files mended.

`UPDATE_EXPECTED=1 pytest tests/checking` writes the reports anew.
"""

from __future__ import annotations

import json
import linecache
import os
from pathlib import Path

import pytest

from bufscan.checking import check
from bufscan.report import CHECK_REPORTS
from bufscan.report.check.view import CheckView

HERE = Path(__file__).parent
FAULTS = sorted(path.stem for path in (HERE / "faults").glob("*.py"))
SUFFIXES = {"text": "txt", "json": "json", "sarif": "sarif", "github": "github"}


@pytest.mark.parametrize("report", SUFFIXES)
@pytest.mark.parametrize("fault", FAULTS)
def test_the_report_of_a_fault_is_the_one_beside_it(
    fault: str, report: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(HERE / "faults")
    text = CHECK_REPORTS[report](
        check(f"{fault}.py:Model"), CheckView(version="0.0.0", source_line=linecache.getline)
    )
    path = HERE / "faults" / f"{fault}.{SUFFIXES[report]}"
    if os.environ.get("UPDATE_EXPECTED"):
        path.write_text(text)
    assert path.read_text() == text


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_fails_and_two_runs_are_identical(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE / "faults")
    first, second = check(f"{fault}.py:Model"), check(f"{fault}.py:Model")
    assert first.exit_code == 1
    assert CHECK_REPORTS["json"](first, CheckView()) == CHECK_REPORTS["json"](second, CheckView())


@pytest.mark.parametrize("fault", FAULTS)
def test_the_mended_model_is_clean(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE / "mended")
    result = check(f"{fault}.py:Model")
    assert ([], 0) == (result.findings, result.exit_code)


def test_every_fault_has_a_mended_twin_and_nothing_is_left_over() -> None:
    assert FAULTS == sorted(path.stem for path in (HERE / "mended").glob("*.py"))
    suffixes = {"py", *SUFFIXES.values()}
    files = {path.name for path in (HERE / "faults").iterdir() if path.is_file()}
    assert files == {f"{fault}.{suffix}" for fault in FAULTS for suffix in suffixes}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_rows_of_a_report_add_up_to_its_summary(fault: str) -> None:
    found = json.loads((HERE / "faults" / f"{fault}.json").read_text())
    for key in ("findings", "ignored", "skipped"):
        assert found["summary"][key] == sum(len(target[key]) for target in found["targets"])
