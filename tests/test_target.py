"""What the text of a target means."""

from __future__ import annotations

from pathlib import Path

import pytest

from bufscan.checking import check
from bufscan.target import (
    FileTarget,
    ModuleTarget,
    ObjectTarget,
    named_from_here,
    parse_code_or_target,
    parse_target,
)

SOURCE = "from torch import nn\nclass Model(nn.ReLU): ...\n"

ODD_FOLDERS = ["job@2", "c++", "x=3", "a (copy)", "a,b", "50%", "it's", "a:b", "näher", "v1.py:x"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("absolute", [False, True], ids=["relative", "absolute"])
@pytest.mark.parametrize("name", ODD_FOLDERS)
def test_a_python_file_may_lie_anywhere(folder: Path, name: str, absolute: bool) -> None:
    (folder / name).mkdir()
    file = folder / name / "models.py" if absolute else Path(name) / "models.py"
    file.write_text(SOURCE)
    assert ObjectTarget(str(file), "Model(p='a.py:b')") == parse_target(f"{file}:Model(p='a.py:b')")
    assert ModuleTarget(str(file)) == parse_code_or_target(str(file))
    assert 0 == check(f"{file}:Model").exit_code


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("package.models:Model", ObjectTarget("package.models", "Model")),
        ("package:Model('x.py:y')", ObjectTarget("package", "Model('x.py:y')")),
        ("pakét:Modèle", ObjectTarget("pakét", "Modèle")),
        ("no@file.py:Model", ObjectTarget("no@file.py", "Model")),
        ("models.py:3", FileTarget(Path("models.py:3"))),
        ("a+b:Model", FileTarget(Path("a+b:Model"))),
    ],
)
def test_what_does_not_exist_is_told_by_its_form(text: str, expected: object) -> None:
    assert expected == parse_target(text)


def test_an_existing_file_wins_over_every_other_reading(folder: Path) -> None:
    (folder / "models.py:Model").touch()
    assert FileTarget(Path("models.py:Model")) == parse_target("models.py:Model")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("m.py:A", "m.py:A"),
        ("./m.py:A", "m.py:A"),
        ("sub/../m.py:A(path='./x')", "m.py:A(path='./x')"),
        ("{here}/sub/m.py:A", "sub/m.py:A"),
        ("{link}/sub/m.py:A", "sub/m.py:A"),
        ("../other/m.py:A", "../other/m.py:A"),
        ("{here}/../other/m.py:A", "../other/m.py:A"),
        (".//model.pt", "model.pt"),
        ("./sub/", "sub"),
        ("linked/model.pt", "linked/model.pt"),
        ("package.models:A(path='./x')", "package.models:A(path='./x')"),
        ("package.models", "package.models"),
        ("make.<locals>.Model", "make.<locals>.Model"),
        ("hf://org/../repo", "hf://org/../repo"),
        ("a\0/../b", "a\0/../b"),
        ("-", "-"),
        ("", ""),
    ],
)
def test_a_path_is_named_from_here_and_what_is_none_stays(
    tmp_path_factory: pytest.TempPathFactory, folder: Path, text: str, expected: str
) -> None:
    (folder / "sub").mkdir()
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (folder / "linked").symlink_to(elsewhere)
    (elsewhere / "here").symlink_to(folder)
    assert expected == named_from_here(text.format(here=folder, link=elsewhere / "here"))
