"""`bufscan lint` as a user runs it: what is read, what is let pass, what comes out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bufscan.checking.linting import lint
from command_line import bufscan

FAULTS = Path(__file__).parent / "checking" / "faults"
MENDED = Path(__file__).parent / "checking" / "mended"

MODEL = """import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.pe = torch.zeros(3)
"""

EXPECTED = {
    "class_attribute": ["BUF005 Model.mean"],
    "closure": ["BUF001 Model.shifted"],
    "dict_of_parameters": ["BUF002 Model.prompts[…]"],
    "distribution": ["BUF001 Model.prior.latent[…]"],
    "global_in_forward": ["BUF005 FREQUENCIES"],
    "list_of_modules": ["BUF003 Model.layers[…]"],
    "list_of_tensors": ["BUF001 Model.scales[…]"],
    "plain_attribute": ["BUF001 Encoder.pe"],
    "shadowed_buffer": ["BUF006 Model.scale"],
    "stale_alias": ["BUF004 Model.counts"],
    "trainable_buffer": ["BUF101 Model.temperature"],
}


@pytest.mark.parametrize("fault", sorted(path.stem for path in FAULTS.glob("*.py")))
def test_the_classic_faults_are_found_in_source(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FAULTS)
    result = lint(f"{fault}.py")
    assert EXPECTED[fault] == [f"{each.code} {each.tensor}" for each in result.findings]
    assert result.exit_code == 1


def test_the_mended_models_are_clean() -> None:
    result = lint(str(MENDED))
    assert ([], 0) == (result.findings, result.exit_code)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.py").write_text(MODEL)
    return tmp_path


def test_the_current_folder_is_read(folder: Path) -> None:
    done = bufscan("lint", cwd=folder)
    assert done.returncode == 1
    shown = done.stdout.decode()
    assert shown.startswith(
        "model.py: 1 error\n\n"
        "model.py:8: error BUF001 unregistered-tensor\n"
        "    `Model.pe` is a plain attribute, made by `torch.zeros(3)`: "
        "it is not saved and does not move with the model\n"
    )
    assert '    fix | self.register_buffer("pe", torch.zeros(3), persistent=False)\n' in shown
    assert shown.endswith("\n\n1 error in 1 file with 1 class of modules; 1 can be fixed with --fix\n")


def test_json_has_the_schema_of_check(folder: Path) -> None:
    found = json.loads(bufscan("lint", "--format", "json", cwd=folder).stdout)
    (target,) = found["targets"]
    assert ("bufscan.check/1", "model.py") == (found["schema"], target["target"])
    (finding,) = target["findings"]
    assert finding["tensor"] == "Model.pe"
    assert finding["location"] == {"file": "model.py", "line": 8}
    assert finding["certainty"] == "inferred"
    assert (1, 1, 1) == tuple(found["summary"][key] for key in ("findings", "files", "classes"))


@pytest.mark.parametrize("report", ["sarif", "github", "junit", "markdown"])
def test_every_report_names_the_line(report: str, folder: Path) -> None:
    done = bufscan("lint", "--format", report, cwd=folder)
    assert done.returncode == 1
    assert "model.py" in done.stdout.decode()
    assert "BUF001" in done.stdout.decode()


def test_a_file_that_does_not_parse_is_a_failure_and_the_others_are_read(folder: Path) -> None:
    (folder / "broken.py").write_text("def f(:\n")
    done = bufscan("lint", cwd=folder)
    assert done.returncode == 2
    assert "broken.py: could not be checked" in done.stdout.decode()
    assert "does not parse: line 1: invalid syntax" in done.stdout.decode()
    assert "BUF001" in done.stdout.decode()
    assert "1 error in 2 files with 1 class of modules" in done.stdout.decode()
    assert done.stdout.decode().endswith("; 1 file could not be read\n")


def test_standard_input_goes_by_the_name_it_is_given(folder: Path) -> None:
    done = bufscan("lint", "-", "--stdin-filename", "package/piped.py", cwd=folder, stdin=MODEL.encode())
    assert done.returncode == 1
    assert "package/piped.py:8: error BUF001" in done.stdout.decode()
    assert "model.py" not in done.stdout.decode()


def test_a_comment_lets_a_finding_pass_in_standard_input_too(folder: Path) -> None:
    text = MODEL.rstrip("\n") + "  # bufscan: ignore[BUF001] only a test\n"
    done = bufscan("lint", "-", "--stdin-filename", "other.py", cwd=folder, stdin=text.encode())
    assert done.returncode == 0
    assert "no findings in 1 file with 1 class of modules; 1 ignored" in done.stdout.decode()


def test_a_comment_lets_a_finding_pass(folder: Path) -> None:
    (folder / "model.py").write_text(MODEL.rstrip("\n") + "  # bufscan: ignore[BUF001] only a test\n")
    assert bufscan("lint", cwd=folder).returncode == 0


def test_a_baseline_lets_pass_what_was_there(folder: Path) -> None:
    assert bufscan("lint", "--write-baseline", "known.json", cwd=folder).returncode == 0
    assert bufscan("lint", "--baseline", "known.json", cwd=folder).returncode == 0
    (folder / "model.py").write_text(MODEL.replace("pe", "other"))
    done = bufscan("lint", "--baseline", "known.json", cwd=folder)
    assert done.returncode == 1
    assert "fixed: BUF001 `Model.pe` of model.py no longer occurs" in done.stdout.decode()


def test_the_configuration_counts(folder: Path) -> None:
    (folder / "bufscan.toml").write_text('[[ignore]]\ncode = "BUF001"\ntensor = "*.pe"\nreason = "a test"\n')
    assert bufscan("lint", cwd=folder).returncode == 0
    (folder / "bufscan.toml").write_text('exclude = ["mod*.py"]\n')
    done = bufscan("lint", "model.py", cwd=folder)
    assert (0, b"no findings in 0 files with 0 classes of modules\n") == (done.returncode, done.stdout)


def test_flags_select_and_exclude(folder: Path) -> None:
    assert bufscan("lint", "--select", "BUF002", cwd=folder).returncode == 0
    assert bufscan("lint", "--ignore", "BUF001", cwd=folder).returncode == 0
    assert bufscan("lint", "--exclude", "model.py", cwd=folder).returncode == 0
    assert bufscan("lint", "--exit-zero", cwd=folder).returncode == 0


def test_what_git_ignores_and_what_others_made_is_left_out(folder: Path) -> None:
    for name in ("made/a.py", "made/kept.py", ".venv/b.py", "other/lib/c.py", "build/d.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(MODEL)
    (folder / "other" / "pyvenv.cfg").touch()
    (folder / ".gitignore").write_text("made/*\n!made/kept.py\n")
    assert ["made/kept.py", "model.py"] == sorted(read_in(folder))
    assert ["a.py"] == read_in(folder / "made", "a.py")  # who names a file means it


def read_in(folder: Path, *paths: str) -> list[str]:
    found = json.loads(bufscan("lint", *paths, "--format", "json", cwd=folder).stdout)
    return [target["target"] for target in found["targets"]]


def test_a_gitignore_above_counts_up_to_the_repository(folder: Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".gitignore").write_text("generated_*.py\n")
    (folder / "package").mkdir()
    for name in ("generated_a.py", "b.py"):
        (folder / "package" / name).write_text(MODEL)
    assert ["b.py"] == read_in(folder / "package")


def test_a_path_that_names_nothing_is_an_error(folder: Path) -> None:
    done = bufscan("lint", "nothing.py", cwd=folder)
    assert (2, b"") == (done.returncode, done.stdout)
    assert done.stderr.decode() == "bufscan: nothing.py: there is no such file or folder\n"


def test_many_files_are_read_by_several_processes_as_by_one(folder: Path) -> None:
    base = MODEL.replace("Model", "Base")
    (folder / "base.py").write_text(base)
    for number in range(300):
        (folder / f"m{number:03}.py").write_text("from base import Base\n\n\nclass Model(Base):\n    pass\n")
    found = json.loads(bufscan("lint", "--format", "json", cwd=folder).stdout)
    assert ["base.py", "model.py"] == [target["target"] for target in found["targets"]]
    assert [1, 1] == [len(target["findings"]) for target in found["targets"]]
    assert found["summary"]["classes"] == 302


def test_the_configured_targets_that_are_source_are_read(folder: Path) -> None:
    for name in ("a.py", "package/__init__.py", "package/models.py", "src/other/__init__.py", "src/other/b.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(MODEL)
    (folder / "bufscan.toml").write_text('targets = ["a.py:Model", "package.models", "other", "weights.pt"]\n')
    assert ["a.py", "package/models.py", "src/other/__init__.py", "src/other/b.py"] == read_in(folder)


def test_no_report_overwrites_source_that_was_read(folder: Path) -> None:
    (folder / "clean.py").write_text("x = 1\n")
    done = bufscan("lint", "--format", "json", "--output", "clean.py", cwd=folder)
    assert done.returncode == 2
    assert "x = 1\n" == (folder / "clean.py").read_text()


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_any_number_of_processes_finds_the_same(jobs: str, tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"model{number}.py").write_text(MODEL if number in (7, 290) else "x = 1\n")
    done = bufscan("lint", "-j", jobs, "--quiet", cwd=tmp_path)
    assert (1, b"") == (done.returncode, done.stderr)
    assert done.stdout.startswith(b"2 errors in 300 files")


def test_a_number_of_processes_that_is_none_is_told(tmp_path: Path) -> None:
    done = bufscan("lint", "--jobs", "many", cwd=tmp_path)
    assert (2, b"") == (done.returncode, done.stdout)
    assert b"no number of processes: `many`" in done.stderr


def test_what_was_not_read_fails_whatever_findings_may_do(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MODEL)
    assert 0 == bufscan("lint", "--diff", "--exit-zero", cwd=tmp_path).returncode
    (tmp_path / "broken.py").write_text("def")
    assert 2 == bufscan("lint", "--diff", "--exit-zero", cwd=tmp_path).returncode


HINDERED = {
    "a subclass keeps a list there": (
        "class Other(Model):\n    def __init__(self):\n        super().__init__()\n        self.pe = [1.0]\n"
    ),
    "its own dict is read": "    def forward(self, x):\n        return x + vars(self)['pe']\n",
    "it leaves torch": "    def freeze(self):\n        self.pe = self.pe.numpy()\n",
}


@pytest.mark.parametrize("more", HINDERED.values(), ids=HINDERED)
def test_what_would_break_the_class_is_no_fix(more: str, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MODEL + more)
    done = bufscan("lint", "--fix", "--unsafe-fixes", cwd=tmp_path)
    assert 1 == done.returncode
    assert b"BUF001" in done.stdout
    assert MODEL + more == (tmp_path / "model.py").read_text()


def test_a_link_does_not_lead_a_fix_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "project" / "linked.py").symlink_to(tmp_path / "model.py")
    assert 1 == bufscan("lint", ".", "--fix", cwd=tmp_path / "project").returncode
    assert MODEL == (tmp_path / "model.py").read_text()
    assert 0 == bufscan("lint", "linked.py", "--fix", cwd=tmp_path / "project").returncode
    assert MODEL != (tmp_path / "model.py").read_text()
