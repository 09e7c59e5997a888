"""Checking targets: which rules run, what a result says, in which order, and what is never clean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from bufscan.checking import check
from bufscan.config import BuildEntry, Config, IgnoreEntry
from bufscan.errors import UnreadableError, UsageError
from bufscan.inspecting import inspect
from bufscan.live.building.importing import import_source
from bufscan.report import CHECK_REPORTS
from bufscan.report.check.view import CheckView

if TYPE_CHECKING:
    from pathlib import Path

    from bufscan.checking.results import CheckResult

SOURCE = """
import torch
from torch import nn


class Good(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("pe", torch.zeros(4))


class Bad(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.pe = torch.zeros(width)
        self.scale = torch.tensor(1.0)


class Needs(nn.Module):
    def __init__(self, dim, *, depth, act="relu"):
        super().__init__()
        self.layers = [nn.Linear(dim, dim) for _ in range(depth)]


class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        raise RuntimeError("no weights here")
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "made.py").write_text(SOURCE)


def found(result: CheckResult) -> list[tuple[str, str, str]]:
    return [(target.target, each.code, each.tensor) for target in result.targets for each in target.findings]


def test_a_clean_model_exits_with_zero() -> None:
    result = check("made.py:Good")
    assert ([], 0) == (found(result), result.exit_code)


def test_findings_exit_with_one_and_are_ordered_by_path() -> None:
    result = check("made.py:Bad")
    expected = [("made.py:Bad", "BUF001", "pe"), ("made.py:Bad", "BUF001", "scale")]
    assert (expected, 1) == (found(result), result.exit_code)


def test_paths_are_ordered_as_people_count() -> None:
    model = nn.Module()
    model.tensors = [torch.ones(1) for _ in range(11)]
    tensors = [each.tensor for each in check(model).findings]
    assert [f"tensors[{index}]" for index in range(11)] == tensors


def test_a_number_too_long_for_python_is_ordered_all_the_same() -> None:
    names = [f"w{digits}" for digits in ("9" * 5000, "2", "10")]
    torch.save({name: torch.zeros(3, 4)[0] for name in names}, "model.pt")
    assert ["w2", "w10", names[0]] == [each.tensor for each in check("model.pt").findings]


@pytest.mark.parametrize(("fail_on", "code"), [("error", 0), ("warning", 0), ("note", 1)])
def test_the_threshold_decides_what_fails(fail_on: str, code: int) -> None:
    model = nn.Module()
    model.scale = torch.tensor(1.0)
    assert code == check(model, config=Config(fail_on=fail_on)).exit_code  # type: ignore[arg-type]


def test_what_cannot_be_checked_wins_over_findings_and_the_rest_is_still_reported() -> None:
    result = check("made.py:Bad", "made.py:Broken", "missing.pt", "made.py:Good")
    assert (2, 4) == (result.exit_code, len(result.targets))
    assert [("made.py:Bad", "BUF001", "pe"), ("made.py:Bad", "BUF001", "scale")] == found(result)
    broken, missing = [target.failure.message for target in result.targets if target.failure is not None]
    assert "no such file" == missing
    assert broken.startswith("`Broken()` raised RuntimeError: no weights here (")


def test_a_probe_that_raises_is_never_clean() -> None:
    class Broken(nn.Module):
        def state_dict(self, *_args: object, **_kwargs: object) -> dict[str, object]:
            raise RuntimeError("not today")

    assert 2 == check(Broken()).exit_code


def test_select_and_deselect_take_codes_and_beginnings() -> None:
    assert [] == found(check("made.py:Bad", config=Config(select=("BUF1", "BUF003"))))
    assert [] == found(check("made.py:Bad", config=Config(deselect=("BUF0",))))
    assert 2 == len(found(check("made.py:Bad", config=Config(select=("BUF0",), deselect=("BUF002",)))))


@pytest.mark.parametrize("where", ["select", "deselect", "ignore"])
def test_a_code_that_no_rule_has_is_a_mistake(where: str) -> None:
    codes = (IgnoreEntry(code="BUF9999", reason="why not"),) if where == "ignore" else ("BUF9999",)
    with pytest.raises(UsageError, match="no rule has the code `BUF9999`"):
        check("made.py:Good", config=Config(**{where: codes}))  # type: ignore[arg-type]


def test_no_target_at_all_is_a_mistake_with_a_hint() -> None:
    with pytest.raises(UsageError, match="no target") as failure:
        check()
    assert "targets" in str(failure.value.hint)


def test_the_targets_of_the_configuration_are_checked_when_none_is_named() -> None:
    result = check(config=Config(targets=("made.py:Good", "made.py:Bad")))
    assert ["made.py:Good", "made.py:Bad"] == [target.target for target in result.targets]


def test_files_are_read_before_any_code_runs(tmp_path: Path) -> None:
    (tmp_path / "vandal.py").write_text("import os\nos.remove('model.pt')\nfrom torch import nn\n")
    torch.save({"w": torch.ones(2)}, "model.pt")
    result = check("vandal.py:nn.ReLU", "model.pt")
    assert [None, None] == [target.failure for target in result.targets]
    assert not (tmp_path / "model.pt").exists()


def test_the_models_of_a_module_are_found_and_the_others_read_from_source() -> None:
    result = check("made.py")
    assert ["made.py", "made.py:Good", "made.py:Bad", "made.py:Broken"] == [t.target for t in result.targets]
    assert ((), 1) == (result.targets[0].skipped, len(result.targets[0].unbuilt))
    assert 2 == result.exit_code


def test_what_is_read_from_source_says_so_and_what_was_measured_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "mixed.py").write_text(
        "import torch\nfrom torch import nn\n"
        "class Base(nn.Module):\n def __init__(self):\n  super().__init__()\n  self.a = torch.ones(3)\n"
        "class Needs(Base):\n def __init__(self, x):\n  super().__init__()\n  self.b = torch.ones(3)\n"
    )
    result = check("mixed.py")
    found = [(t.target, each.tensor, each.certainty) for t in result.targets for each in t.findings]
    assert [("mixed.py", "Needs.b", "inferred"), ("mixed.py:Base", "a", "exact")] == found
    assert "1 class read from source" in CHECK_REPORTS["text"](result, CheckView())
    assert '"read_from_source": 1' in CHECK_REPORTS["json"](result, CheckView())
    assert [] == check("mixed.py", config=Config(select=("BUF002",))).findings


def test_what_can_neither_be_built_nor_read_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "made_by_code.py").write_text(
        "from torch import nn\ndef init(self, x): nn.Module.__init__(self)\n"
        "Needs = type('Needs', (nn.Module,), {'__init__': init, '__module__': __name__})\n"
    )
    (skipped,) = check("made_by_code.py").targets[0].skipped
    assert ("made_by_code.py:Needs", "it cannot be built without x") == (skipped.what, skipped.reason)


def _failing(result: CheckResult) -> tuple[list[str], int]:
    failures = [target.failure.message for target in result.targets if target.failure is not None]
    return failures, result.exit_code


def test_skipping_alone_does_not_fail_where_something_else_was_checked(tmp_path: Path) -> None:
    (tmp_path / "needs.py").write_text(
        "from torch import nn\ndef init(self, x): nn.Module.__init__(self)\n"
        "Needs = type('Needs', (nn.Module,), {'__init__': init, '__module__': __name__})\n"
    )
    result = check("needs.py", "made.py:Good")
    assert (1, 0) == (len(result.targets[0].skipped), result.exit_code)
    alone = check("needs.py")
    assert (["no model in it can be built without arguments"], 2) == _failing(alone)
    skip = (BuildEntry(target="needs.py:Needs", skip="needs a download"),)
    assert 0 == check("needs.py", config=Config(build=skip)).exit_code


@pytest.mark.parametrize("target", ["json", "no_models", "no_models.py"])
def test_a_check_of_no_model_at_all_is_never_clean(tmp_path: Path, target: str) -> None:
    (tmp_path / "no_models.py").write_text("x = 1\n")
    result = check(target)
    assert (["no model found in it"], 2) == _failing(result)


def test_a_name_without_a_model_is_a_mistake_and_a_file_may_be_one_of_many(tmp_path: Path) -> None:
    (tmp_path / "no_models.py").write_text("x = 1\n")
    assert (["no model found in it"], 2) == _failing(check("made.py:Good", "no_models"))
    result = check("made.py:Good", "no_models.py")
    assert ([], 0) == _failing(result)
    assert ["it defines no nn.Module and no factory of one"] == [each.reason for each in result.targets[1].skipped]


def test_a_signature_that_takes_anything_may_still_need_something(tmp_path: Path) -> None:
    (tmp_path / "hidden_needs.py").write_text(
        "from torch import nn\n"
        "class Base(nn.Module):\n    def __init__(self, dim): super().__init__()\n"
        "class Child(Base):\n    def __init__(self, *args): super().__init__(*args)\n"
    )
    result = check("hidden_needs.py")
    assert (2, ()) == (len(result.targets[0].unbuilt), result.targets[0].skipped)


def test_the_configuration_builds_what_needs_arguments_and_leaves_out_what_it_says() -> None:
    entries = (
        BuildEntry(target="made.py:Needs", kwargs={"dim": 2, "depth": 1}),
        BuildEntry(target="made.py:Needs", kwargs={"dim": 3, "depth": 2, "act": "gelu"}),
        BuildEntry(target="made.py:Broken", skip="needs a download"),
    )
    result = check("made.py", config=Config(build=entries, select=("BUF003",)))
    small, large = "made.py:Needs(dim=2, depth=1)", "made.py:Needs(dim=3, depth=2, act='gelu')"
    expected = [(small, "BUF003", "layers[0]"), (large, "BUF003", "layers[0]"), (large, "BUF003", "layers[1]")]
    assert (expected, 1) == (found(result), result.exit_code)
    assert ["needs a download"] == [each.reason for target in result.targets for each in target.skipped]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package in the current folder, with another in it."""
    inner = tmp_path / "in_folder" / "inner"
    inner.mkdir(parents=True)
    (inner.parent / "__init__.py").touch()
    (inner / "__init__.py").write_text("from torch import nn\nclass Fine(nn.ReLU): ...\n")
    return inner.parent


@pytest.mark.parametrize("text", ["in_folder", "in_folder.inner"])
@pytest.mark.usefixtures("package")
def test_a_package_is_one_although_it_is_a_folder_too(text: str) -> None:
    assert ["in_folder.inner:Fine"] == [each.target for each in check(text).targets]


@pytest.mark.parametrize("text", ["in_folder/", "./in_folder", "in_folder/inner", "absolute"])
def test_nothing_in_a_folder_that_is_named_by_its_path_is_run(package: Path, text: str) -> None:
    (package / "__init__.py").write_text("raise SystemExit")
    (target,) = check(str(package) if text == "absolute" else text).targets
    assert "a Python package, not a checkpoint" == (target.failure and target.failure.message)


@pytest.mark.parametrize("weights", ["model.safetensors", "model-1.safetensors.index.json", "w.pt", "config.json"])
def test_nothing_beside_a_checkpoint_is_run(package: Path, weights: str) -> None:
    (package / "__init__.py").write_text("raise SystemExit")
    (package / weights).touch()
    (target,) = check("in_folder").targets
    assert target.failure is not None
    assert "SystemExit" not in target.failure.message


def test_a_package_that_is_a_folder_too_is_no_checkpoint_to_inspect(package: Path) -> None:
    with pytest.raises(UnreadableError, match="a folder without a checkpoint"):
        inspect(str(package))


def test_what_is_neither_a_file_nor_a_module_is_said_to_be_neither() -> None:
    (target,) = check("no_such_package.models").targets
    assert "no such file, and no module named `no_such_package`" == (target.failure and target.failure.message)


def test_an_entry_may_name_the_model_by_the_package_that_passes_it_on(tmp_path: Path) -> None:
    package = tmp_path / "passing_on"
    package.mkdir()
    (package / "__init__.py").write_text("from passing_on.needs import Needs\n")
    (package / "needs.py").write_text(SOURCE)
    build = (BuildEntry(target="passing_on:Needs", kwargs={"dim": 2, "depth": 1}),)
    config = Config(targets=("passing_on.needs:Good", "passing_on.needs"), build=build, file="bufscan.toml")
    result = check(config=config)
    assert "passing_on.needs:Needs(dim=2, depth=1)" in [each.target for each in result.targets]
    assert "bufscan.toml" not in [each.target for each in result.targets]


def test_an_entry_whose_model_is_not_there_is_never_clean() -> None:
    build = (BuildEntry(target="made.py:Encodre", kwargs={"dim": 2}),)
    result = check(config=Config(targets=("made.py:Good",), build=build, file="bufscan.toml"))
    assert ("bufscan.toml", 2) == (result.targets[-1].target, result.exit_code)
    assert ["`made.py:Encodre`"] == [each.what for each in result.targets[-1].skipped]
    assert 0 == check("made.py:Good", config=Config(build=build, file="bufscan.toml")).exit_code


def test_a_model_named_outright_takes_the_arguments_of_the_configuration() -> None:
    entries = (BuildEntry(target="made.py:Needs", kwargs={"dim": 2, "depth": 1}),)
    assert 1 == len(found(check("made.py:Needs", config=Config(build=entries))))


def test_a_checkpoint_with_its_model_is_held_against_it_and_the_model_checked_too() -> None:
    torch.save({"pe": torch.zeros(5)}, "model.pt")
    result = check("model.pt", model="made.py:Good")
    assert [("model.pt", "BUF303", "pe")] == found(result)
    torch.save({}, "empty.pt")
    (target,) = check("model.pt", model="made.py:Bad").targets
    assert {"BUF001"} <= {each.code for each in target.findings}  # what the model loses on save


def test_a_fault_of_a_pickled_module_and_of_its_model_is_one_finding_with_its_line() -> None:
    torch.save(import_source("made.py").Bad(), "module.pt")
    result = check("module.pt", model="made.py:Bad")
    assert [("module.pt", "BUF401", ""), ("module.pt", "BUF001", "pe"), ("module.pt", "BUF001", "scale")] == found(
        result
    )
    assert all(finding.location is not None for finding in result.findings if finding.code == "BUF001")


def test_a_model_that_fails_to_build_leaves_its_checkpoint_unchecked_but_read() -> None:
    torch.save({"row": torch.zeros(1000, 1000)[0]}, "model.pt")
    result = check("model.pt", model="made.py:Broken")
    assert ([("model.pt", "BUF305", "row")], 2) == (found(result), result.exit_code)
    assert "no weights here" in str(result.targets[0].failure)


@pytest.mark.parametrize("options", [{"model": "made.py:Good"}, {"from_config": True}], ids=["model", "config"])
def test_a_model_without_a_checkpoint_to_join_is_a_mistake(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="every target is a model itself"):
        check("made.py:Good", **options)  # type: ignore[arg-type]


def test_a_checkpoint_has_one_model() -> None:
    with pytest.raises(UsageError, match="`--model` names the model and `--build` makes another"):
        check("model.pt", model="made.py:Good", from_config=True)


def test_a_constructor_that_reads_values_is_held_against_its_checkpoint_too(tmp_path: Path) -> None:
    (tmp_path / "reading.py").write_text(
        "import torch\nfrom torch import nn\nclass Reading(nn.Linear):\n"
        "    def __init__(self):\n        super().__init__(torch.ones(2).sum().int().item(), 2)\n"
    )
    torch.save(nn.Linear(2, 2).state_dict(), "model.pt")
    result = check("model.pt", model="reading.py:Reading")
    assert ([], 0) == (found(result), result.exit_code)


def test_a_model_option_that_names_a_module_is_a_failure_with_a_hint() -> None:
    torch.save({"w": torch.zeros(5)}, "model.pt")
    (target,) = check("model.pt", model="made.py").targets
    assert target.failure is not None
    assert "names no model" in target.failure.message
