"""What hides a registered tensor or module, and what may hide one and may not."""

from __future__ import annotations

import sys
import textwrap
from functools import cached_property
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn
from written_source import expected, load

from bufscan.live.scanning import scan

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _forget_made_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "modules", sys.modules.copy())


HIDDEN = {
    "method": ("self._buffers['scale'] = torch.ones(2)", "def scale(self): raise SystemExit  # here", "scale"),
    "static method": (
        "self._buffers['scale'] = torch.ones(2)",
        "@staticmethod\ndef scale(): raise SystemExit  # here",
        "scale",
    ),
    "method over a module": (
        "self.scale = nn.Linear(2, 2)",
        "def scale(self): raise SystemExit  # here",
        "scale.weight",
    ),
    "class attribute": ("self._buffers['scale'] = torch.ones(2)", "scale = 1.0  # here", "scale"),
    "class attribute over a module": ("self.scale = nn.Linear(2, 2)", "scale = None  # here", "scale.bias"),
    "class attribute over a module with modules": (
        "self.scale = nn.Sequential(nn.Linear(2, 2))",
        "scale = None  # here",
        "scale.0.bias",
    ),
    "instance attribute over a module": (
        "self.scale = nn.Linear(2, 2)\nself.__dict__['scale'] = None  # here",
        "",
        "scale.weight",
    ),
    "instance attribute, set past super()": (
        "super().__setattr__('scale', nn.Linear(2, 2))\nobject.__setattr__(self, 'scale', 3)  # here",
        "",
        "scale.weight",
    ),
}


@pytest.mark.parametrize(("init", "in_class", "tensor"), HIDDEN.values(), ids=HIDDEN)
def test_what_hides_a_registered_name_is_found_with_its_line(
    tmp_path: Path, init: str, in_class: str, tensor: str
) -> None:
    body = f"def __init__(self):\n    super().__init__()\n{textwrap.indent(init, '    ')}\n{in_class}\n"
    text = "import torch\nfrom torch import nn\nclass Model(nn.Module):\n" + textwrap.indent(body, "    ")
    inventory = scan(load(tmp_path, text).Model(), "test")
    found = {each.name: each for each in inventory.tensors}[tensor]
    by = "shadowed_by_class" if in_class else "shadowed_by_instance"
    assert (by, expected(tmp_path, text)) == (found.holding, found.origin)
    assert ("scale" if "." in tensor else None) == found.holder
    assert () == inventory.skipped


def test_a_hidden_module_hides_all_that_is_in_it_and_nothing_beside_it() -> None:
    class Inner(nn.Module):
        norm = None

        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.Sequential(nn.BatchNorm1d(2))
            self.other = nn.Linear(2, 2)

    inventory = scan(nn.ModuleList([Inner()]), "test")
    assert {"0.norm.0": "0.norm", "0.other": None} == {
        each.name.rpartition(".")[0]: each.holder for each in inventory.tensors
    }


class Asking(nn.Module):
    @property
    def scale(self) -> torch.Tensor:
        raise SystemExit("called")

    @cached_property
    def table(self) -> torch.Tensor:
        raise SystemExit("called")

    @property
    def net(self) -> nn.Module:
        raise SystemExit("called")

    def __init__(self) -> None:
        super().__init__()
        self._buffers["scale"] = torch.ones(2)
        self._parameters["table"] = nn.Parameter(torch.ones(2))
        self._modules["net"] = nn.Linear(2, 2)


def test_a_property_is_not_called_and_what_it_gives_is_left_open() -> None:
    inventory = scan(nn.Sequential(Asking()), "test")
    assert {None} == {each.holding for each in inventory.tensors}
    assert ["0.net", "0.table", "0.scale"] == [each.what for each in inventory.skipped]
    assert {False} == {each.failed for each in inventory.skipped}


def test_a_property_of_a_module_with_two_names_is_named_once() -> None:
    asking = Asking()
    assert 3 == len(scan(nn.Sequential(asking, asking), "test").skipped)


def test_a_class_is_not_asked_whether_its_objects_are_descriptors() -> None:
    class Refusing(type):
        def __getattr__(cls, name: str) -> object:
            raise SystemExit(name)

    class Value(metaclass=Refusing):
        pass

    class Model(nn.Module):
        scale = Value()

        def __init__(self) -> None:
            super().__init__()
            self._buffers["scale"] = torch.ones(2)

    assert ["shadowed_by_class"] == [each.holding for each in scan(Model(), "test").tensors]


PLACES = {
    "its own plain tensor": "self.held = [Positions()]  # here",
    "beside a module of that name": """self.held = nn.Linear(2, 2)
        self.__dict__['held'] = Positions()  # here""",
    "set past __setattr__": "self.held = None\n        object.__setattr__(self, 'held', [Positions()])  # here",
}


@pytest.mark.parametrize("line", PLACES.values(), ids=PLACES)
def test_a_hidden_module_is_placed_where_it_is_put(tmp_path: Path, line: str) -> None:
    text = f"""
import torch
from torch import nn
class Positions(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.zeros(3)
        self.weight = nn.Parameter(torch.zeros(3))
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        {line}
"""
    found = scan(load(tmp_path, text).Model(), "test").tensors
    hidden = [each for each in found if each.holding == "hidden_module"]
    assert {expected(tmp_path, text)} == {each.origin for each in hidden}
    assert 2 == len(hidden)
