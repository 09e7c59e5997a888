"""`bufscan check` and `bufscan explain` as a pipeline runs them."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from xml.etree import ElementTree as ET

import pytest
import torch

import bufscan as package
from bufscan.cli import main
from bufscan.rules import RULES
from command_line import bufscan

if TYPE_CHECKING:
    from collections.abc import Iterator

FAULTS = Path(__file__).parent / "checking" / "faults"
DEMO = Path(package.__file__).parent / "demo" / "files" / "model.pt"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("plain_attribute", "closure"):
        shutil.copy(FAULTS / f"{name}.py", tmp_path)
    (tmp_path / "clean.py").write_text("from torch import nn\nclass Model(nn.Linear):\n    pass\n")
    (tmp_path / "fine.py").write_text("from torch import nn\nclass Model(nn.PReLU):\n    pass\n")
    return tmp_path


class Run(Protocol):
    """Runs `bufscan check` in this process, which has torch already, and gives exit code and standard output."""

    def __call__(self, *arguments: str, **settings: str) -> tuple[int, str]: ...


@pytest.fixture
def out(folder: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Iterator[Run]:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a cached file of the same second counts as current
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE", "CI_PROJECT_DIR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str, **settings: str) -> tuple[int, str]:
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        code = main(["check", *arguments])
        return code, capfdbinary.readouterr().out.decode()

    before = set(sys.modules)
    yield run
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


def test_text_on_standard_output_is_the_one_beside_the_fault(out: Run) -> None:
    expected = (FAULTS / "plain_attribute.txt").read_text()
    assert (1, expected) == out("plain_attribute.py:Model")


def test_what_cannot_be_checked_is_said_on_standard_error_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert 2 == main(["check", "no-such.pt", "fine.py:Model", "fine.py:Modle", "--format", "json"])
    assert [
        "bufscan: no-such.pt: no such file",
        "bufscan: fine.py:Modle: `fine.py` has no `Modle`",
        "hint: did you mean `Model`?",
    ] == capfd.readouterr().err.splitlines()


def test_a_clean_model_is_zero_and_a_module_of_them_too(out: Run) -> None:
    assert (0, "fine.py:Model: no findings\n\nno findings in 1 target\n") == out("fine.py:Model")
    assert 0 == out("fine.py")[0]


def test_a_module_is_named_as_python_names_it(out: Run) -> None:
    code, text = out("closure")
    assert (1, "closure:Model: 1 error") == (code, text.splitlines()[0])


def test_what_cannot_be_checked_is_two_and_findings_are_still_told(out: Run) -> None:
    code, text = out("plain_attribute.py:Model", "missing.pt")
    assert code == 2
    assert "missing.pt: could not be checked\n  no such file\n" in text
    assert "`encoder.pe` is a plain attribute" in text


def test_exit_zero_forgives_findings_but_not_failures(out: Run) -> None:
    assert 0 == out("plain_attribute.py", "--exit-zero")[0]
    assert 2 == out("plain_attribute.py", "missing.pt", "--exit-zero")[0]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--select", "BUF1"), 0),
        (("--select", "BUF1", "--select", "BUF001"), 1),
        (("--ignore", "BUF0"), 0),
        (("--fail-on", "note"), 1),
    ],
)
def test_flags_choose_rules_and_threshold(out: Run, arguments: tuple[str, ...], code: int) -> None:
    assert code == out("plain_attribute.py", *arguments)[0]


MISTAKES = {
    "code": (("fine.py", "--select", "BUF9X"), "no rule has the code `BUF9X`"),
    "severity": (("fine.py", "--fail-on", "fatal"), "no such severity: `fatal`"),
    "format": (("fine.py", "--format", "xml"), "no such format: `xml`"),
    "two formats": (
        ("fine.py", "--format", "json", "--format", "sarif"),
        "json and sarif would both go to standard",
    ),
    "no target": ((), "no target"),
    "configuration": (("fine.py", "--config", "no.toml"), "no.toml cannot be read: no such file"),
    "baseline": (("fine.py", "--baseline", "no.json"), "no.json: cannot be read: no such file"),
    "two reports into one file": (
        ("fine.py", "--output", "a", "--format", "json", "--output", "a"),
        "two reports would go to `a`",
    ),
    "baseline and report": (
        ("fine.py", "--write-baseline", "known.json", "--format", "json"),
        "a baseline is written instead of a report",
    ),
    "output over source": (
        ("fine.py:Model", "--output", "fine.py"),
        "fine.py: was read, so it is not written to",
    ),
    "baseline over source": (
        ("fine.py:Model", "--write-baseline", "./fine.py"),
        "./fine.py: was read, so it is not written to",
    ),
    "model without checkpoint": (
        ("fine.py:Model", "--model", "fine.py:Model"),
        "a model is joined to a checkpoint",
    ),
    "bad baseline": (("fine.py", "--baseline", "fine.py"), "fine.py: no baseline"),
    "output over target": (("model.pt", "--output", "model.pt"), "model.pt: was read, so it is not written to"),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_two(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    shutil.copy(DEMO, folder / "model.pt")
    done = bufscan("check", *arguments, cwd=folder)
    lines = done.stderr.decode().splitlines()
    assert (2, b"") == (done.returncode, done.stdout)
    assert lines[0].startswith(f"bufscan: {message}")
    assert len(lines) <= 2


@pytest.mark.parametrize(
    "codes", [("--select", "BUF1,BUF001"), ("--select", "BUF1", "--select", "BUF001"), ("--ignore", "BUF9, BUF2")]
)
def test_codes_are_given_at_once_or_one_by_one(out: Run, codes: tuple[str, ...]) -> None:
    assert (1, "1 error in 1 target; 1 can be fixed with --fix\n") == out(
        "plain_attribute.py:Model", *codes, "--quiet"
    )


def test_several_formats_go_to_their_files_beside_the_text(folder: Path, out: Run) -> None:
    arguments = ("--format", "sarif", "--output", "a.sarif", "--format", "junit", "--output", "b.xml")
    code, text = out("plain_attribute.py:Model", *arguments)
    assert (1, (FAULTS / "plain_attribute.txt").read_text()) == (code, text)
    sarif = json.loads((folder / "a.sarif").read_text())
    assert package.__version__ == sarif["runs"][0]["tool"]["driver"]["version"]
    assert "testsuites" == ET.fromstring((folder / "b.xml").read_text()).tag  # noqa: S314 - what was just written


def test_a_format_without_a_file_takes_standard_output(folder: Path, out: Run) -> None:
    arguments = ("--format", "sarif", "--output", "a.sarif", "--format", "json")
    _, text = out("plain_attribute.py:Model", *arguments)
    assert "bufscan.check/1" == json.loads(text)["schema"]
    assert (folder / "a.sarif").exists()


def test_what_the_model_prints_stays_out_of_json(folder: Path, out: Run) -> None:
    (folder / "chatty.py").write_text("print('hello')\nfrom torch import nn\nclass Model(nn.ReLU): ...\n")
    _, text = out("chatty.py", "--format", "json")
    assert 1 == len(json.loads(text)["targets"])


def test_on_github_the_annotations_come_before_the_text_and_a_table_goes_to_the_summary(
    folder: Path, out: Run
) -> None:
    summary = folder / "summary.md"
    summary.write_text("before\n")
    settings = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}
    code, text = out("plain_attribute.py:Model", **settings)
    expected = (FAULTS / "plain_attribute.github").read_text() + (FAULTS / "plain_attribute.txt").read_text()
    assert (1, expected) == (code, text)
    assert summary.read_text().startswith(
        "before\n### bufscan: 1 error in 1 target; 1 can be fixed with --fix\n\n| severity |"
    )


@pytest.mark.parametrize("where", [{"GITHUB_STEP_SUMMARY": "no/such.md"}, {}], ids=["summary", "output"])
def test_a_file_that_cannot_be_written_is_two_and_keeps_nobody_from_reading(
    folder: Path, where: dict[str, str]
) -> None:
    arguments = ("plain_attribute.py:Model", *(() if where else ("--output", "no/such.md")))
    done = bufscan("check", *arguments, cwd=folder, **where)
    assert (2, (FAULTS / "plain_attribute.txt").read_text()) == (done.returncode, done.stdout.decode())
    assert b"bufscan: no/such.md: cannot be written: no such file or directory\n" == done.stderr


def test_on_github_files_are_named_from_the_root_of_the_repository(folder: Path, out: Run) -> None:
    workspace = {"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(folder.parent)}
    _, text = out("plain_attribute.py:Model", **workspace)
    assert f"file={folder.name}/plain_attribute.py,line=" in text
    _, text = out("plain_attribute.py:Model", "--format", "sarif", **workspace)
    place = json.loads(text)["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert f"{folder.name}/plain_attribute.py" == place["uri"]
    _, text = out("plain_attribute.py:Model", "--format", "json", **workspace)
    assert "plain_attribute.py" == json.loads(text)["targets"][0]["findings"][0]["location"]["file"]


def test_on_gitlab_files_are_named_from_the_root_of_the_repository(folder: Path, out: Run) -> None:
    _, text = out("plain_attribute.py:Model", "--format", "gitlab", CI_PROJECT_DIR=str(folder.parent))
    assert {f"{folder.name}/plain_attribute.py"} == {each["location"]["path"] for each in json.loads(text)}


def test_on_github_a_format_that_is_asked_for_stands_alone(out: Run) -> None:
    _, text = out("plain_attribute.py:Model", "--format", "json", GITHUB_ACTIONS="true")
    json.loads(text)


def test_a_baseline_is_written_and_then_lets_pass(folder: Path, out: Run) -> None:
    assert (0, "wrote known.json: 2 findings\n") == out("plain_attribute.py", "--write-baseline", "known.json")
    code, text = out("plain_attribute.py", "--baseline", "known.json")
    assert (0, "no findings in 2 targets; 2 ignored") == (code, text.splitlines()[-1])
    (folder / "plain_attribute.py").write_text((folder / "fine.py").read_text())
    sys.modules.pop("plain_attribute")
    code, text = out("plain_attribute.py", "--baseline", "known.json")
    fixed = [line for line in text.splitlines() if line.startswith("fixed: BUF001 ")]
    assert (0, 2) == (code, len(fixed))


def test_a_baseline_of_what_cannot_be_checked_is_two_and_says_why(out: Run) -> None:
    code, text = out("missing.pt", "plain_attribute.py", "--write-baseline", "known.json")
    assert (2, "missing.pt: could not be checked") == (code, text.splitlines()[0])
    assert text.endswith("wrote known.json: 2 findings\n")


def test_the_configuration_of_the_folder_holds_and_flags_come_before_it(folder: Path, out: Run) -> None:
    (folder / "pyproject.toml").write_text(
        '[tool.bufscan]\ntargets = ["plain_attribute.py"]\n'
        '[[tool.bufscan.ignore]]\ncode = "BUF001"\ntensor = "encoder.pe"\nreason = "legacy"\n'
        '[[tool.bufscan.build]]\ntarget = "plain_attribute.py:Encoder"\nskip = "part of Model"\n'
    )
    assert (0, "no findings in 2 targets; 1 ignored; 1 skipped") == _last(*out())
    assert 1 == out("plain_attribute.py:Model", "closure.py")[0]
    (folder / "other.toml").write_text('targets = ["fine.py"]\n')
    assert (0, "no findings in 1 target") == _last(*out("--config", "other.toml"))


@pytest.mark.parametrize(
    ("targets", "named", "last"),
    [
        ("['fine.py', 'clean.py']", (), "1 warning in 3 targets; none of them an error"),
        ("['fine.py', 'clean.py']", ("clean.py", "./fine.py"), "1 warning in 3 targets; none of them an error"),
        ("['fine.py', 'clean.py']", ("fine.py",), "no findings in 1 target"),
        ("[]", ("fine.py",), "1 warning in 2 targets; none of them an error"),
    ],
    ids=["all that are listed", "all that are listed by name", "one of them", "none listed"],
)
def test_an_entry_is_called_idle_where_nothing_is_left_that_it_could_be_for(
    folder: Path, out: Run, targets: str, named: tuple[str, ...], last: str
) -> None:
    (folder / "clean.py").write_text((folder / "fine.py").read_text())
    entry = '[[ignore]]\ncode = "BUF001"\ntensor = "gone"\nreason = "legacy"\n'
    (folder / "bufscan.toml").write_text(f"targets = {targets}\n{entry}")
    assert (0, last) == _last(*out(*named))


def test_an_ignore_that_is_not_in_force_breaks_no_report_that_leaves_it_out(folder: Path, out: Run) -> None:
    text = (folder / "plain_attribute.py").read_text()
    (folder / "plain_attribute.py").write_text(
        text.replace("__init__(self", "__init__(self  # bufscan: ignore\n", 1)
    )
    for name in ("sarif", "json", "github", "junit", "markdown", "text"):
        assert 1 == out("plain_attribute.py", "--select", "BUF001", "--format", name)[0]


@pytest.mark.parametrize("target", ["model.pt", "plain_attribute.py:Model", "commented.py:Model", "fine.py:Model"])
def test_inspect_has_the_findings_of_check_in_its_json(
    folder: Path, out: Run, target: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    shutil.copy(DEMO, folder / "model.pt")
    text = (folder / "plain_attribute.py").read_text()
    (folder / "commented.py").write_text(re.sub(r"(self\.pe = .*)", r"\1  # bufscan: ignore[BUF001] meant", text))
    _, checked = out(target, "--format", "json")
    (expected,) = json.loads(checked)["targets"]
    assert 0 == main(["inspect", target, "--format", "json"])
    inspected = json.loads(capfdbinary.readouterr().out)
    assert expected["findings"] == inspected["findings"]
    assert (target == "model.pt" or target.startswith("plain")) == bool(inspected["findings"])


def _last(code: int, text: str) -> tuple[int, str]:
    return code, text.splitlines()[-1]


def test_a_configuration_beside_the_target_is_nothing_to_us(folder: Path, out: Run) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "bufscan.toml").write_text('select = ["BUF9"]\n')
    shutil.copy(FAULTS / "closure.py", folder / "sub")
    assert 1 == out("sub/closure.py")[0]


def test_a_checkpoint_is_held_against_its_model(folder: Path, out: Run) -> None:
    torch.save({"weight": torch.ones(2, 2), "scale": torch.ones(2)}, folder / "model.pt")
    (folder / "linear.py").write_text(
        "from torch import nn\nclass Model(nn.Linear):\n    def __init__(self):\n        super().__init__(2, 2)\n"
    )
    code, text = out("model.pt", "--model", "linear.py:Model", "--format", "json")
    found = [(each["code"], each["tensor"]) for each in json.loads(text)["targets"][0]["findings"]]
    assert (1, [("BUF301", "bias"), ("BUF302", "scale")]) == (code, found)


@pytest.mark.parametrize("arguments", [("clean.py",), ("plain_attribute.py", "closure.py", "missing.pt")])
def test_two_runs_are_byte_identical(folder: Path, arguments: tuple[str, ...]) -> None:
    runs = [
        bufscan("check", *arguments, "--format", "json", cwd=folder, PYTHONHASHSEED=seed) for seed in ("1", "2")
    ]
    assert runs[0].stdout == runs[1].stdout != b""


def test_quiet_is_one_line(out: Run) -> None:
    assert (1, "1 error in 1 target; 1 can be fixed with --fix\n") == out("plain_attribute.py:Model", "--quiet")


def test_explain_lists_the_rules_and_explains_one(tmp_path: Path) -> None:
    listed = bufscan("explain", cwd=tmp_path).stdout.decode()
    assert [rule.code for rule in RULES] == [line.split()[0] for line in listed.splitlines()]
    whole = bufscan("explain", "buf001", cwd=tmp_path).stdout.decode()
    assert whole.startswith("BUF001: unregistered-tensor\n\nWhat it does\n")
    assert 'self.register_buffer("pe", torch.zeros(16, 4), persistent=False)' in whole
    assert "```" not in whole


def test_an_explanation_fills_its_paragraphs_and_breaks_no_link(tmp_path: Path) -> None:
    lines = bufscan("explain", "BUF004", cwd=tmp_path, COLUMNS="60").stdout.decode().splitlines()
    assert "place of every buffer. The other name keeps the old one: on" in lines
    assert lines[-1].startswith("- [torch.nn.Module.to](https://")
    assert lines[-1].endswith("#torch.nn.Module.to)")
    assert all(len(line) <= 60 for line in lines[:-1])


@pytest.mark.parametrize(
    ("code", "message"),
    [("BUF0", "several rules begin with `BUF0`"), ("BUF9X", "no rule has the code `BUF9X`")],
)
def test_explain_of_no_single_rule_is_two(tmp_path: Path, code: str, message: str) -> None:
    done = bufscan("explain", code, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.decode().startswith(f"bufscan: {message}\n")


def test_rules_go_by_name_as_well_as_by_code(tmp_path: Path) -> None:
    assert bufscan("explain", "BUF001").stdout == bufscan("explain", "Unregistered-Tensor").stdout
    assert 0 == bufscan("demo", "--write", str(tmp_path)).returncode
    by_name = bufscan("check", "model.pt", "--select", "unregistered-tensor", cwd=tmp_path)
    assert bufscan("check", "model.pt", "--select", "BUF001", cwd=tmp_path).stdout == by_name.stdout
    assert 1 == by_name.returncode
