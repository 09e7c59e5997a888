"""Fixes: what they make of the text, that they mend it, and that they leave alone what they do not surely mend."""

from __future__ import annotations

import importlib.util
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import torch

from bufscan.checking import check
from bufscan.checking.fixing import changes_for, diff_of, write
from bufscan.checking.linting import lint
from bufscan.source.edits import applied
from command_line import bufscan

if TYPE_CHECKING:
    from pathlib import Path

HEAD = """import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, flag=False):
        super().__init__()
"""


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "modules", sys.modules.copy())


def model(body: str, rest: str = "") -> str:
    lines = textwrap.indent(textwrap.dedent(body).strip("\n"), "        ")
    return f"{HEAD}{lines}\n{textwrap.indent(textwrap.dedent(rest), '    ')}"


def fixed(folder: Path, source: str, *, unsafe: bool = False) -> str:
    (folder / "model.py").write_text(source)
    (change,) = changes_for(lint("model.py"), unsafe=unsafe)
    return change.after


SAFE = {
    "a plain attribute": (
        "self.t = torch.zeros(3)",
        'self.register_buffer("t", torch.zeros(3), persistent=False)',
    ),
    "with a comment and an annotation": (
        "self.t: torch.Tensor = torch.zeros(3)  # of é",
        'self.register_buffer("t", torch.zeros(3), persistent=False)  # of é',
    ),
    "over several lines": (
        "self.t = torch.zeros(\n    3,  # wide\n)",
        'self.register_buffer("t", torch.zeros(\n    3,  # wide\n), persistent=False)',
    ),
    "in parentheses": (
        "self.t = (\n    torch.zeros(3)\n    + 1\n)",
        'self.register_buffer("t", (\n    torch.zeros(3)\n    + 1\n), persistent=False)',
    ),
    "behind a text that is not ASCII": (
        "s = 'é'; self.t = torch.zeros(len(s))",
        "s = 'é'; self.register_buffer(\"t\", torch.zeros(len(s)), persistent=False)",
    ),
    "under a private name": (
        "self.__t = torch.zeros(3)",
        'self.register_buffer("_Model__t", torch.zeros(3), persistent=False)',
    ),
    "in a branch": (
        "if flag: self.t = torch.ones(3)\nelse: self.t = None",
        'if flag: self.register_buffer("t", torch.ones(3), persistent=False)\nelse: self.t = None',
    ),
    "in both branches": (
        "if flag:\n    self.t = torch.ones(3)\nelse:\n    self.t = torch.zeros(3)",
        (
            'if flag:\n    self.register_buffer("t", torch.ones(3), persistent=False)\n'
            'else:\n    self.register_buffer("t", torch.zeros(3), persistent=False)'
        ),
    ),
    "first nothing, then a tensor": (
        "self.t = None\nif not flag:\n    self.t = torch.ones(3)",
        'self.register_buffer("t", None, persistent=False)\nif not flag:\n    self.t = torch.ones(3)',
    ),
    "by setattr in a loop": (
        'for i in range(3):\n    setattr(self, f"m{i}", torch.ones(i + 1))',
        'for i in range(3):\n    self.register_buffer(f"m{i}", torch.ones(i + 1), persistent=False)',
    ),
    "as the file has it": (
        "self.a = nn.Buffer(torch.ones(1))\nself.t = torch.zeros(3)",
        "self.a = nn.Buffer(torch.ones(1))\nself.t = nn.Buffer(torch.zeros(3), persistent=False)",
    ),
    "two of them": (
        "self.a = torch.zeros(3)\nself.b = torch.ones(3)",
        (
            'self.register_buffer("a", torch.zeros(3), persistent=False)\n'
            'self.register_buffer("b", torch.ones(3), persistent=False)'
        ),
    ),
}

UNSAFE = {
    "modules in a list": ("self.m = [nn.Linear(3, 3)]", "self.m = nn.ModuleList([nn.Linear(3, 3)])"),
    "modules in a dict": ("self.m = {'a': nn.Linear(3, 3)}", "self.m = nn.ModuleDict({'a': nn.Linear(3, 3)})"),
    "an empty list that is filled": (
        "self.m = []\nfor _ in range(3):\n    self.m.append(nn.Linear(3, 3))",
        "self.m = nn.ModuleList([])\nfor _ in range(3):\n    self.m.append(nn.Linear(3, 3))",
    ),
    "Parameters in a list": (
        "self.p = [nn.Parameter(torch.ones(3)) for _ in range(2)]",
        "self.p = nn.ParameterList([nn.Parameter(torch.ones(3)) for _ in range(2)])",
    ),
    "a Parameter as a buffer": (
        'self.register_buffer("p", nn.Parameter(torch.ones(3)))',
        "self.p = nn.Parameter(torch.ones(3))",
    ),
}

NOT_OFFERED = {
    "sometimes a number": "self.t = 1\nself.t = torch.ones(3)\nif flag:\n    self.t = 2",
    "two names at once": "self.a = self.b = torch.ones(3)",
    "in a tuple": "self.a, self.b = torch.ones(3), torch.ones(3)",
    "a list of tensors": "self.t = [torch.ones(3)]",
}


def load(folder: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def tensors_of(built: Any) -> dict[str, torch.Tensor]:
    return {
        name: value
        for name in dir(built)
        if name[0] != "_" and name != "T_destination" and isinstance(value := getattr(built, name), torch.Tensor)
    }


@pytest.mark.parametrize("case", SAFE)
def test_a_safe_fix_registers_and_changes_nothing_else(tmp_path: Path, case: str) -> None:
    before, after = SAFE[case]
    source = model(before)
    assert model(after) == fixed(tmp_path, source)
    (tmp_path / "before.py").write_text(source)
    (tmp_path / "after.py").write_text(model(after))
    assert [] == lint("after.py").findings
    assert [] == check("after.py:Model").findings
    old, new = load(tmp_path, "before"), load(tmp_path, "after")
    for flag in (False, True):
        first, second = old.Model(flag), new.Model(flag)
        assert list(first.state_dict()) == list(second.state_dict())
        second.load_state_dict(first.state_dict(), strict=True)
        one, other = tensors_of(first), tensors_of(second)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("case", UNSAFE)
def test_an_unsafe_fix_is_made_only_when_asked_for(tmp_path: Path, case: str) -> None:
    before, after = UNSAFE[case]
    (tmp_path / "model.py").write_text(model(before))
    result = lint("model.py")
    assert [] == list(changes_for(result, unsafe=False))
    (change,) = changes_for(result, unsafe=True)
    assert model(after) == change.after
    (tmp_path / "model.py").write_text(change.after)
    assert [] == lint("model.py").findings
    assert [] == check("model.py:Model").findings


@pytest.mark.parametrize("case", NOT_OFFERED)
def test_where_no_edit_surely_mends_there_is_a_sentence(tmp_path: Path, case: str) -> None:
    (tmp_path / "model.py").write_text(model(NOT_OFFERED[case]))
    findings = lint("model.py").findings
    assert findings
    assert all(finding.edits is None and finding.suggestion is None for finding in findings)
    assert all(finding.suggestion_note for finding in findings)


def test_state_is_saved_by_a_fix_that_is_not_safe(tmp_path: Path) -> None:
    source = model("self.t = torch.zeros(3)", "\ndef forward(self, x):\n    self.t = self.t * 0.9 + x\n")
    after = model(
        'self.register_buffer("t", torch.zeros(3))', "\ndef forward(self, x):\n    self.t = self.t * 0.9 + x\n"
    )
    assert after == fixed(tmp_path, source, unsafe=True)
    assert [] == list(changes_for(lint("model.py"), unsafe=False))


def test_an_attribute_set_before_the_module_is_initialised_has_no_fix(tmp_path: Path) -> None:
    source = HEAD.replace(
        "        super().__init__()\n", "        self.t = torch.ones(3)\n        super().__init__()\n"
    )
    (tmp_path / "model.py").write_text(source)
    (finding,) = lint("model.py").findings
    assert finding.edits is None


def test_line_ends_and_encoding_stay(tmp_path: Path) -> None:
    source = "# -*- coding: latin-1 -*-\n# é\n" + model("self.t = torch.zeros(3)")
    (tmp_path / "model.py").write_bytes(source.replace("\n", "\r\n").encode("latin-1"))
    (change,) = changes_for(lint("model.py"), unsafe=False)
    write([change])
    after = source.replace(
        "self.t = torch.zeros(3)", 'self.register_buffer("t", torch.zeros(3), persistent=False)'
    )
    assert after.replace("\n", "\r\n").encode("latin-1") == (tmp_path / "model.py").read_bytes()


def test_a_file_that_changed_since_it_was_read_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(model("self.t = torch.zeros(3)"))
    result = lint("model.py")
    (tmp_path / "model.py").write_text("\n" + model("self.t = torch.zeros(3)"))
    assert [] == list(changes_for(result, unsafe=True))


def test_edits_of_the_same_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(model("self.t = torch.zeros(3)"))
    (finding,) = lint("model.py").findings
    assert finding.edits is not None
    other = msgspec.structs.replace(finding.edits[0], text="other")
    with pytest.raises(ValueError, match="the same text"):
        applied((tmp_path / "model.py").read_text(), [*finding.edits, other])


def test_the_command_fixes_shows_and_counts(tmp_path: Path) -> None:
    source = model("self.t = torch.zeros(3)\nself.m = [nn.Linear(3, 3)]")
    (tmp_path / "model.py").write_text(source)
    shown = bufscan("lint", "--diff", cwd=tmp_path)
    assert shown.returncode == 1
    assert shown.stdout.decode().splitlines()[-4:] == [
        "         super().__init__()",
        "-        self.t = torch.zeros(3)",
        '+        self.register_buffer("t", torch.zeros(3), persistent=False)',
        "         self.m = [nn.Linear(3, 3)]",
    ]
    assert source == (tmp_path / "model.py").read_text()
    last = bufscan("lint", "--quiet", cwd=tmp_path).stdout.decode()
    assert last == (
        "2 errors in 1 file with 1 class of modules; 1 can be fixed with --fix; 1 with --unsafe-fixes\n"
    )
    done = bufscan("lint", "--fix", "--quiet", cwd=tmp_path)
    assert done.stdout.decode() == "1 error in 1 file with 1 class of modules; 1 fixed; 1 with --unsafe-fixes\n"
    assert done.returncode == 1
    done = bufscan("lint", "--fix", "--unsafe-fixes", cwd=tmp_path)
    assert (0, "no findings in 1 file with 1 class of modules; 1 fixed\n") == (
        done.returncode,
        done.stdout.decode(),
    )


def test_what_is_piped_in_is_piped_out_fixed(tmp_path: Path) -> None:
    source = model("self.t = torch.zeros(3)")
    done = bufscan("lint", "-", "--fix", cwd=tmp_path, stdin=source.encode())
    assert done.returncode == 0
    assert done.stdout.decode() == model('self.register_buffer("t", torch.zeros(3), persistent=False)')


def test_an_ignored_finding_is_not_fixed(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(model("self.t = torch.zeros(3)  # bufscan: ignore[BUF001] a test"))
    assert [] == list(changes_for(lint("model.py"), unsafe=True))


def test_a_diff_says_where_the_last_line_has_no_end(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(model("self.t = torch.zeros(3)").rstrip("\n"))
    (change,) = changes_for(lint("model.py"), unsafe=False)
    assert diff_of(change).endswith("\n\\ No newline at end of file\n")
