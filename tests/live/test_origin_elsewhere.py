"""Origins that are not there, in odd source, of globals and functions; the line to find ends in `# here`."""

from __future__ import annotations

import functools
import importlib
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from written_source import expected, load

from bufscan.inventory import Location
from bufscan.live.reach.origin import (
    find_function_origin,
    find_global_origin,
    find_origin,
    origin_of,
)
from bufscan.live.scanning import scan


@pytest.fixture(autouse=True)
def _forget_made_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "modules", sys.modules.copy())


ABSENT = {
    "never assigned": "class Model:\n    def __init__(self):\n        self.y = 1\n",
    "only read": "class Model:\n    def forward(self):\n        return self.x\n",
    "only deleted": "class Model:\n    def forward(self):\n        del self.x\n",
    "only annotated inside another class": "class Model:\n    class Inner:\n        x: int = 0\n",
    "made by type()": "def init(self):\n    self.x = 1\nModel = type('Model', (), {'__init__': init})\n",
    "executed text": "exec('class Model:\\n    def __init__(self):\\n        self.x = 1')\n",
    "computed from a bare underscore": "class Model:\n    def set(self, n):\n        setattr(self, f'_{n}', 1)\n",
    "set by name": "class Model:\n    def __init__(self, name='x'):\n        setattr(self, name, 1)\n",
}


@pytest.mark.parametrize("text", ABSENT.values(), ids=ABSENT)
def test_what_the_source_does_not_show_is_none(tmp_path: Path, text: str) -> None:
    module = load(tmp_path, text)
    assert find_origin(module.Model, "x") is None
    assert find_origin(module.Model, "_x") is None


@pytest.mark.parametrize("owner", [int, dict, functools.partial, torch.Tensor, torch.Generator])
def test_classes_without_python_source_are_none(owner: type) -> None:
    assert find_origin(owner, "x") is None


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b"class Model(:\n", id="syntax error"),
        pytest.param(b"\xff\xfe\x00 not utf-8", id="not UTF-8"),
        pytest.param(b"# coding: no-such-codec\n", id="unknown codec"),
        pytest.param(b"", id="empty"),
        pytest.param(b"x = " + b"-" * 100_000 + b"1\n", id="nested deeper than the parser goes"),
        pytest.param(b"class Other:\n    pass\n", id="another class"),
        pytest.param(b"class Model:\n    x: int\n    0[...]\n    def f(*a, **k): 0\n", id="no first parameter"),
    ],
)
def test_source_that_no_longer_fits_never_raises(tmp_path: Path, broken: bytes) -> None:
    module = load(tmp_path, "class Model:\n    def __init__(self):\n        self.q = 1\n")
    (tmp_path / "made_model.py").write_bytes(broken)
    assert find_origin(module.Model, "q") is None


def test_a_file_that_is_gone_is_none(tmp_path: Path) -> None:
    module = load(tmp_path, "class Model:\n    def __init__(self):\n        self.x = 1\n")
    (tmp_path / "made_model.py").unlink()
    assert find_origin(module.Model, "x") is None


def test_an_edited_file_is_read_again(tmp_path: Path) -> None:
    module = load(tmp_path, "class Model:\n    def __init__(self):\n        self.x = 1\n")
    assert find_origin(module.Model, "x") is not None
    text = "class Model:\n    def __init__(self, more):\n\n\n        self.x = 1  # here\n"
    (tmp_path / "made_model.py").write_text(text)
    assert expected(tmp_path, text) == find_origin(module.Model, "x")


def test_a_class_that_claims_another_module_is_found_by_its_code(tmp_path: Path) -> None:
    text = """
        class Model:
            def __init__(self):
                self.x = 1  # here
        Model.__module__ = "torch.nn"
    """
    module = load(tmp_path, text)
    assert expected(tmp_path, text) == find_origin(module.Model, "x")


def test_a_class_whose_module_was_never_listed_is_found(tmp_path: Path) -> None:
    text = "class Model:\n    def __init__(self):\n        self.x = 1  # here\n"
    module = load(tmp_path, text)
    del sys.modules["made_model"]
    assert expected(tmp_path, text) == find_origin(module.Model, "x")


def test_source_inside_a_zip_archive_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "class Model:\n    def __init__(self):\n        self.x = 1  # here\n"
    with zipfile.ZipFile(tmp_path / "code.zip", "w") as archive:
        archive.writestr("zipped_model.py", text)
    monkeypatch.syspath_prepend(str(tmp_path / "code.zip"))
    module = importlib.import_module("zipped_model")
    assert expected(tmp_path / "code.zip", text, "zipped_model") == find_origin(module.Model, "x")


def test_the_path_is_relative_inside_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    module = load(tmp_path / "models", "class Model:\n    def __init__(self):\n        self.x = 1\n")
    monkeypatch.chdir(tmp_path)
    assert Location(file="models/made_model.py", line=3) == find_origin(module.Model, "x")


def test_a_metaclass_that_answers_for_its_class_is_not_asked(tmp_path: Path) -> None:
    text = """
        class Liar(type):
            def __getattribute__(cls, name):
                raise RuntimeError("user code was called")
        class Model(metaclass=Liar):
            def __init__(self):
                self.x = 1  # here
    """
    module = load(tmp_path, text)
    assert expected(tmp_path, text) == find_origin(module.Model, "x")


@pytest.mark.parametrize(
    ("owner", "attribute"),
    [
        pytest.param(nn.Linear, "weight", id="Linear.weight"),
        pytest.param(nn.Linear, "bias", id="Linear.bias"),
        pytest.param(nn.BatchNorm2d, "running_mean", id="BatchNorm2d.running_mean"),
        pytest.param(nn.LSTM, "_flat_weights", id="LSTM._flat_weights"),
        pytest.param(nn.MultiheadAttention, "in_proj_weight", id="MultiheadAttention.in_proj_weight"),
        pytest.param(nn.CrossEntropyLoss, "weight", id="CrossEntropyLoss.weight"),
        pytest.param(torch.distributions.Normal, "loc", id="Normal.loc"),
    ],
)
def test_origins_in_torch_itself_name_the_attribute(owner: type, attribute: str) -> None:
    found = find_origin(owner, attribute, "registration" if issubclass(owner, nn.Module) else "value")
    assert found is not None
    lines = Path(found.file).read_text().splitlines()
    assert attribute in "".join(lines[found.line - 1 : found.line + 1])  # a call's argument may be on the next


GLOBALS = {
    "plain": "T = torch.ones(2)  # here",
    "annotated": "T: torch.Tensor = torch.ones(2)  # here",
    "after None": "T = None\nT = torch.ones(2)  # here",
    "tuple": "S, T = torch.ones(2, 3)  # here",
    "in a branch": "if True:\n    T = torch.ones(2)  # here",
    "walrus": "(T := torch.ones(2))  # here",
    "declared global": "T = None\ndef fill():\n    global T\n    T = torch.ones(2)  # here\ndef g():\n    T = 1",
    "globals()": "globals()['T'] = torch.ones(2)  # here",
    "for": "for T in torch.ones(2, 3):  # here\n    pass",
    "not a function's own": "def other():\n    T = torch.zeros(1)\nT = torch.ones(2)  # here",
    "not a comprehension's own": "L = [T for T in range(3)]\nT = torch.ones(2)  # here",
}


@pytest.mark.parametrize("text", GLOBALS.values(), ids=GLOBALS)
def test_globals_are_found(tmp_path: Path, text: str) -> None:
    text = f"import torch\n{text}\ndef forward(x):\n    return x * T\n"
    module = load(tmp_path, text)
    assert expected(tmp_path, text) == find_global_origin(module.forward, "T")
    assert expected(tmp_path, text) == find_global_origin(module, "T")


@pytest.mark.parametrize(
    "line",
    ["from .tables import TABLE as T", "from made_package.tables import TABLE as T", "from .stars import *"],
)
def test_an_imported_global_is_followed_to_the_module_that_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    package = tmp_path / "made_package"
    package.mkdir()
    text = "import torch\n\nTABLE = torch.ones(2)  # here\n"
    (package / "__init__.py").write_text("")
    (package / "tables.py").write_text(text)
    (package / "stars.py").write_text("from made_package.tables import TABLE as T\n")
    (package / "model.py").write_text(f"{line}\ndef forward(x):\n    return x * T\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    model = importlib.import_module("made_package.model")
    assert expected(package, text, "tables") == find_global_origin(model.forward, "T")


@pytest.mark.parametrize(
    ("named", "text"),
    [
        ("tables.TABLE", "import torch\n\nTABLE = torch.ones(2)  # here\n"),
        ("tables.Tables.rows[0]", "import torch\nclass Tables:\n    rows = (torch.ones(2),)  # here\n"),
    ],
)
def test_what_forward_takes_from_another_module_is_found_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, text: str
) -> None:
    model = f"""if True:
        from torch import nn
        from told_package import tables
        class Model(nn.Module):
            def forward(self, x):
                return x * {named}
    """
    package = tmp_path / "told_package"
    package.mkdir()
    for name, source in {"__init__": "", "tables": text, "model": model}.items():
        (package / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = scan(importlib.import_module("told_package.model").Model(), "test").tensors
    assert [expected(package, text, "tables")] == [tensor.origin for tensor in found]


def test_a_global_from_a_module_without_source_is_the_import(tmp_path: Path) -> None:
    text = "from math import pi as T  # here\n"
    assert expected(tmp_path, text) == find_global_origin(load(tmp_path, text), "T")


def test_an_unknown_global_is_none(tmp_path: Path) -> None:
    assert find_global_origin(load(tmp_path, "T = 1\n"), "U") is None


FUNCTIONS = {
    "def": "def f(x, scale=1):  # here\n    return x",
    "decorated": "@functools.cache\n@staticmethod\ndef f(x):  # here\n    return x\nf = f.__wrapped__.__func__",
    "lambda": "f = lambda x: x  # here",
    "closure": "def outer(t):\n    def f(x):  # here\n        return x * t\n    return f\nf = outer(1)",
}


@pytest.mark.parametrize("text", FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions_are_found_at_their_def(tmp_path: Path, text: str) -> None:
    text = f"import functools\n{text}\n"
    module = load(tmp_path, text)
    assert expected(tmp_path, text) == find_function_origin(module.f)


def test_a_function_from_executed_text_is_none() -> None:
    space: dict[str, Any] = {}
    exec("def f(x): return x", space)  # noqa: S102 - the case to be tested
    assert find_function_origin(space["f"]) is None
    assert find_global_origin(space["f"], "x") is None


def test_a_place_is_told_with_its_class_and_whether_construction_runs_it(tmp_path: Path) -> None:
    text = """
        class Base:
            def __init__(self):
                self.early = 1

        class Model(Base):
            def forward(self):
                self.late = 2
    """
    module = load(tmp_path, text)
    for name, owner, in_init in (("early", "Base", True), ("late", "Model", False)):
        found = origin_of(module.Model, name)
        assert found is not None
        assert (str(tmp_path / "made_model.py"), owner, in_init) == (found.file, found.owner, found.in_init)
