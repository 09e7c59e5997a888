"""`check --fix`: edits for what was measured on live models, proven by building the model that they make."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from wrong_models import HEADER, WRONG

import bufscan as library
from bufscan.checking import check
from bufscan.checking.fixing import changes_for, without_mended, write
from bufscan.checking.linting import lint
from bufscan.inspecting import inspect
from command_line import bufscan

if TYPE_CHECKING:
    from bufscan.checking.results import CheckResult

FAULTS = sorted((Path(__file__).parent / "faults").glob("*.py"))
SAFE = {"plain_attribute"}
UNSAFE = {"dict_of_parameters", "list_of_modules", "shadowed_buffer", "stale_alias", "trainable_buffer"}
"""Of the faults, those that an edit mends; the others get a sentence."""


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "modules", sys.modules.copy())
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


def checked(file: str) -> CheckResult:
    made = "make" if "def make(" in Path(file).read_text() else "Model"
    result = check(f"{file}:{made}")
    assert [] == [target.failure for target in result.targets if target.failure is not None]
    return result


def built(file: str) -> nn.Module:
    name = Path(file).stem
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    torch.manual_seed(0)
    model: nn.Module = module.Model()
    return model


def fixed(result: CheckResult, *, unsafe: bool, name: str = "after.py") -> bool:
    """Whether there was anything to fix; what the fixes make goes to another file."""
    changes = list(changes_for(result, unsafe=unsafe))
    for change in changes:
        Path(name).write_text(change.after)
    return bool(changes)


# Every way of holding something wrongly.


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_what_is_offered_mends_and_what_is_not_comes_with_a_sentence(text: str) -> None:
    Path("before.py").write_text(HEADER + textwrap.dedent(text))
    result = checked("before.py")
    assert result.findings
    for finding in result.findings:
        assert finding.suggestion_note
        assert finding.suggestion is None or finding.edits is not None
    for unsafe in (False, True):
        name = f"after_{unsafe}.py"
        if not fixed(result, unsafe=unsafe, name=name):
            continue
        left = without_mended(result, list(changes_for(result, unsafe=unsafe)))
        assert [(each.code, each.tensor) for each in left.findings] == [
            (each.code, each.tensor) for each in checked(name).findings
        ]
        if not unsafe:
            before, after = built("before.py"), built(name)
            after.load_state_dict(before.state_dict(), strict=True)


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_what_check_suggests_is_what_lint_suggests(text: str) -> None:
    Path("model.py").write_text(HEADER + textwrap.dedent(text))
    read = {(each.code, each.tensor.partition(".")[2].rstrip("[…]")): each for each in lint("model.py").findings}
    for finding in checked("model.py").findings:
        same = read.get((finding.code, finding.tensor.partition("[")[0]))
        if same is not None and same.edits is not None:
            assert (same.suggestion, same.edits, same.is_safe) == (
                finding.suggestion,
                finding.edits,
                finding.is_safe,
            )


# The classic faults: files with a forward pass.


def test_the_faults_that_edits_mend_are_known() -> None:
    assert {path.stem for path in FAULTS} >= SAFE | UNSAFE


@pytest.mark.parametrize("path", FAULTS, ids=lambda path: path.stem)
def test_a_fixed_fault_is_gone_and_the_model_computes_the_same(path: Path) -> None:
    shutil.copy(path, "before.py")
    result = checked("before.py")
    assert (path.stem in SAFE) == fixed(result, unsafe=False)
    assert (path.stem in SAFE | UNSAFE) == fixed(result, unsafe=True)
    if path.stem not in SAFE | UNSAFE:
        return
    assert [] == checked("after.py").findings
    before, after = built("before.py").eval(), built("after.py").eval()
    x = torch.arange(64.0).reshape(16, 4)
    for _ in range(2):  # state, too
        assert torch.equal(before(x), after(x))
    if path.stem in SAFE:
        after.load_state_dict(before.state_dict(), strict=True)
        assert torch.equal(before(x), after(x))
    assert {torch.float64} == {
        tensor.dtype for tensor in [*after.to(torch.float64).parameters(), *after.buffers()]
    }


# What only a built model shows.

HEAD = "import torch\nfrom torch import nn\n\n\n"
SHOWN = {
    "made by what source does not follow": (
        "self.t = eval('torch.ones(3)')",
        "self.register_buffer(\"t\", eval('torch.ones(3)'), persistent=False)",
    ),
    "a cache that is None at first": (
        "self.t = None\nself()",
        'self.register_buffer("t", None, persistent=False)',
    ),
    "modules by a function that source does not follow": (
        "self.t = [eval('nn.Linear(2, 2)')]",
        "self.t = nn.ModuleList([eval('nn.Linear(2, 2)')])",
    ),
    "one branch": (
        "if masked:\n    self.t = torch.ones(3)\nelse:\n    self.t = None",
        'self.register_buffer("t", torch.ones(3), persistent=False)',
    ),
    "names in a loop": (
        'for i in range(2):\n    setattr(self, f"m{i}", torch.ones(i + 1))',
        'self.register_buffer(f"m{i}", torch.ones(i + 1), persistent=False)',
    ),
}


def a_model(body: str, rest: str = "") -> str:
    lines = textwrap.indent(body, "        ")
    begin = "class Model(nn.Module):\n    def __init__(self, masked=True):\n        super().__init__()\n"
    return f"{HEAD}{begin}{lines}\n{textwrap.indent(rest, '    ')}"


@pytest.mark.parametrize("case", SHOWN)
def test_what_a_model_shows_is_enough_for_an_edit(case: str) -> None:
    body, line = SHOWN[case]
    rest = "def forward(self):\n    if self.t is None:\n        self.t = torch.ones(3)\n"
    Path("before.py").write_text(a_model(body, rest))
    result = checked("before.py")
    assert {line} == {finding.suggestion for finding in result.findings}
    assert fixed(result, unsafe=True)
    assert [] == checked("after.py").findings


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("self.half = torch.ones(3)", "register it as a buffer"),
        ("self.t = torch.ones(3)\nself.t = 3 if masked is None else self.t", "register it as a buffer"),
        ("self.d = torch.distributions.Normal(torch.zeros(3), torch.ones(3))", "make the object a module"),
    ],
    ids=["a name that is taken", "sometimes a number", "in an object"],
)
def test_advice_that_would_fail_is_never_given(body: str, sentence: str) -> None:
    Path("model.py").write_text(a_model(body))
    for finding in checked("model.py").findings:
        assert (None, None) == (finding.suggestion, finding.edits)
        assert (finding.suggestion_note or "").startswith(sentence)


def test_what_a_rehearsal_proves_to_be_lost_is_saved_by_the_fix() -> None:
    from bufscan.rehearsal import Plan

    Path("model.py").write_text(
        a_model("self.t = torch.randn(3)", "def forward(self, x):\n    return x + self.t\n")
    )
    (finding,) = check("model.py:Model", rehearse=Plan(loads=("reload",))).findings
    assert 'self.register_buffer("t", torch.randn(3))' == finding.suggestion
    assert not finding.is_safe


# Which files are edited.

PLAIN = a_model("self.t = torch.zeros(3)")


def test_an_installed_package_is_never_edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "env" / "site-packages"
    installed.mkdir(parents=True)
    (installed / "installed_model.py").write_text(PLAIN)
    monkeypatch.syspath_prepend(installed)
    for target in ("installed_model:Model", str(installed / "installed_model.py:Model")):
        result = check(target)
        (finding,) = result.findings
        assert (None, None, None) == (finding.suggestion, finding.edits, finding.suggestion_note)
        assert [] == list(changes_for(result, unsafe=True))


def test_nobody_is_sent_to_edit_what_a_class_inherits_from_an_installed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "site-packages"
    installed.mkdir()
    (installed / "framework_base.py").write_text(
        a_model("self.theirs = torch.zeros(3)\nself.held = [nn.Linear(2, 2)]")
    )
    (tmp_path / "own.py").write_text(
        "import torch\nfrom framework_base import Model as Base\n\n\nclass Model(Base):\n"
        "    def __init__(self):\n        super().__init__()\n        self.mine = torch.zeros(3)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(installed)
    said = {each.tensor: each.suggestion_note or "" for each in check("own.py:Model").findings}
    assert ["held[0]", "mine", "theirs"] == sorted(said)
    assert ("", True, "") == (said["held[0]"], said["mine"].startswith("register it"), said["theirs"])
    shown = {each.path: each.suggestion_note for each in inspect("own.py:Model").tensors}
    assert (said["mine"], None) == (shown["mine"], shown["theirs"])


def test_only_what_is_below_the_folder_or_named_is_edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "there_model.py").write_text(PLAIN)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.syspath_prepend(tmp_path / "there")
    for named in ("../there/there_model.py:Model", "there_model:Model"):
        (change,) = changes_for(check(named), unsafe=True)
        assert str(tmp_path / "there" / "there_model.py") == change.file
    Path("model.py").write_text("from there_model import Model\n")
    result = check("model.py:Model")
    (finding,) = result.findings
    assert finding.suggestion is not None
    assert [] == list(changes_for(result, unsafe=True))


def test_a_file_that_changed_since_is_left_alone() -> None:
    Path("model.py").write_text(PLAIN)
    result = checked("model.py")
    Path("model.py").write_text(f"# new\n{PLAIN}")
    assert [] == list(changes_for(result, unsafe=True))


def test_two_models_of_one_file_are_mended_together_and_what_is_left_moves_with_its_lines() -> None:
    body = 'self.register_buffer("a", torch.ones(3))\nself.b = self.a\nself.c = [torch.ones(3)]'
    other = a_model(body).removeprefix(HEAD).replace("Model", "Other")
    Path("model.py").write_text(f"{PLAIN}\n\n{other}")
    result = check("model.py")
    changes = list(changes_for(result, unsafe=True))
    left = without_mended(result, changes)
    write(changes)
    ((finding,), lines) = left.findings, Path("model.py").read_text().splitlines()
    assert (2, "c[0]") == (left.mended, finding.tensor)
    assert finding.location is not None
    assert "self.c = [torch.ones(3)]" == lines[finding.location.line - 1].strip()
    shutil.copy("model.py", "again.py")
    assert ["c[0]"] == [each.tensor for each in check("again.py").findings]


def test_the_command_fixes_shows_and_counts(tmp_path: Path) -> None:
    source = a_model("self.t = torch.zeros(3)\nself.m = [nn.Linear(3, 3)]")
    (tmp_path / "model.py").write_text(source)
    shown = bufscan("check", "model.py:Model", "--diff", cwd=tmp_path)
    assert 1 == shown.returncode
    assert shown.stdout.decode().splitlines()[-3:] == [
        "-        self.t = torch.zeros(3)",
        '+        self.register_buffer("t", torch.zeros(3), persistent=False)',
        "         self.m = [nn.Linear(3, 3)]",
    ]
    assert source == (tmp_path / "model.py").read_text()
    done = bufscan("check", "model.py:Model", "--fix", "--quiet", cwd=tmp_path)
    assert (1, b"1 error in 1 target; 1 fixed\n") == (done.returncode, done.stdout)
    done = bufscan("check", "model.py:Model", "--fix", "--unsafe-fixes", "--quiet", cwd=tmp_path)
    assert (0, b"no findings in 1 target; 1 fixed\n") == (done.returncode, done.stdout)
    assert (0, b"no findings in 1 target\n") == (
        (again := bufscan("check", "model.py:Model", "--quiet", cwd=tmp_path)).returncode,
        again.stdout,
    )
    assert 2 == bufscan("check", "model.py:Model", "--unsafe-fixes", cwd=tmp_path).returncode


def test_machine_output_has_the_edits_and_run_prints_the_same_line(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(f"{PLAIN}\n\nif __name__ == '__main__':\n    Model()\n")
    found = json.loads(bufscan("check", "model.py:Model", "--format", "json", cwd=tmp_path).stdout)
    read = json.loads(bufscan("lint", "model.py", "--format", "json", cwd=tmp_path).stdout)
    ((one,), (other,)) = found["targets"][0]["findings"], read["targets"][0]["findings"]
    assert (other["fix"], other["suggestion"]) == (one["fix"], one["suggestion"])
    ran = bufscan("run", "model.py", cwd=tmp_path)
    assert f"fix | {one['suggestion']}" in ran.stderr.decode()
    assert "--fix" not in ran.stderr.decode()


def test_inspect_suggests_the_same() -> None:
    Path("model.py").write_text(PLAIN)
    (finding,) = checked("model.py").findings
    (tensor,) = library.inspect("model.py:Model").tensors
    assert (finding.suggestion, finding.suggestion_note) == (tensor.suggestion, tensor.suggestion_note)
