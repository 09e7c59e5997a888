"""Which models a Python module defines; nothing in it is called to find out."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from torch import nn

from bufscan.errors import UnreadableError
from bufscan.live.building.discovering import classes_of, discover
from bufscan.live.building.importing import import_source

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = """\
import abc
from collections import OrderedDict
from torch import nn
from torch.nn import Linear

raise_if_called = []


class Plain(nn.Module): ...


class Needs(nn.Module):
    def __init__(self, dim, *sizes, depth=2, heads, **options):
        super().__init__()


class _Private(nn.Module): ...


class Abstract(nn.Module, abc.ABC):
    @abc.abstractmethod
    def encode(self): ...


class NoModule: ...


Alias = Plain
instance = Plain()


def called():
    raise AssertionError("nobody asked for this")


def annotated() -> Plain:
    called()


def annotated_in_quotes() -> "nn.Module":
    called()


def returns_a_call():
    called()
    return Plain()


def returns_a_name():
    called()
    model = nn.Sequential(Plain())
    return model


def returns_something_else():
    return OrderedDict()


def needs_arguments(dim) -> Plain:
    called()


def returns_what_it_is_given(model=None):
    return model


def _private() -> Plain:
    called()
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "modules", sys.modules.copy())


def test_classes_and_evident_factories_are_found_in_the_order_of_the_source(tmp_path: Path) -> None:
    (tmp_path / "zoo.py").write_text(SOURCE)
    found = [(each.name, each.missing) for each in discover("zoo.py").candidates]
    assert found == [
        ("Plain", ()),
        ("Needs", ("dim", "heads")),
        ("_Private", ()),
        ("annotated", ()),
        ("annotated_in_quotes", ()),
        ("returns_a_call", ()),
        ("returns_a_name", ()),
    ]


def test_an_abstract_class_is_skipped_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "zoo.py").write_text(SOURCE)
    assert [("zoo.py:Abstract", False)] == [(each.what, each.failed) for each in discover("zoo.py").skipped]


def test_a_package_is_searched_with_its_submodules_and_what_it_imports_is_not_its_own(tmp_path: Path) -> None:
    for name, text in {
        "pack/__init__.py": "from pack.a import A\nfrom torch.nn import Linear\n",
        "pack/a.py": "from torch import nn\nclass A(nn.Module): ...\n",
        "pack/sub/__init__.py": "",
        "pack/sub/b.py": "from torch import nn\nfrom pack.a import A\nclass B(A): ...\n",
        "pack/__main__.py": "raise AssertionError\n",
        "pack/broken.py": "import no_such_module\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    discovery = discover("pack")
    assert [("pack.a", "A"), ("pack.sub.b", "B")] == [(each.source, each.name) for each in discovery.candidates]
    assert [("pack.broken", True)] == [(each.what, each.failed) for each in discovery.skipped]


def test_a_module_that_cannot_be_imported_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import no_such_module\n")
    with pytest.raises(UnreadableError, match="no_such_module"):
        discover("broken.py")
    with pytest.raises(UnreadableError, match="no module named `nowhere`"):
        discover("nowhere")


def test_the_lines_of_the_users_classes_are_told_and_torchs_are_not(tmp_path: Path) -> None:
    text = "from torch import nn\n\n\nclass A(nn.Module):\n    x = 1\n\n\nclass B(A):\n    y = 2\n"
    (tmp_path / "lined.py").write_text(text)
    model = nn.Sequential(import_source("lined.py").B(), nn.Linear(1, 1))
    assert [("lined.py", range(8, 10)), ("lined.py", range(4, 6))] == [tuple(each) for each in classes_of(model)]


def test_a_module_that_never_initialises_its_base_class_has_lines_too(tmp_path: Path) -> None:
    text = "from torch import nn\nclass A(nn.Module):\n    def __init__(self): pass\n"
    (tmp_path / "bare.py").write_text(text)
    assert [("bare.py", range(2, 4))] == [tuple(each) for each in classes_of(import_source("bare.py").A())]
