"""Origins in real source files: the line that must be found is the one that ends in `# here`."""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
from written_source import expected, load

from bufscan.live.reach.origin import (
    find_origin,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _forget_made_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "modules", sys.modules.copy())


IN_INIT = {
    "plain": "self.x = torch.ones(2)  # here",
    "annotated": "self.x: torch.Tensor = torch.ones(2)  # here",
    "augmented": "self.x = 0\n        self.x += torch.ones(2)  # here",
    "tuple target": "self.y, self.x = torch.ones(2), torch.ones(3)  # here",
    "tuple over lines": "(\n            self.y,\n            self.x,  # here\n        ) = torch.ones(2, 3)",
    "list target": "[self.y, self.x] = torch.ones(2, 3)  # here",
    "starred target": "self.y, *self.x = torch.ones(4)  # here",
    "nested target": "self.y, (self.z, self.x) = 1, (2, torch.ones(3))  # here",
    "chained": "self.y = self.x = torch.ones(2)  # here",
    "walrus on the right": "self.x = (y := torch.ones(2))  # here",
    "for target": "for self.x in torch.ones(2, 3):  # here\n            pass",
    "with target": "with contextlib.nullcontext(torch.ones(2)) as self.x:  # here\n            pass",
    "comprehension target": "[None for self.x in torch.ones(2, 3)]  # here",
    "setattr": 'setattr(self, "x", torch.ones(2))  # here',
    "object.__setattr__": 'object.__setattr__(self, "x", torch.ones(2))  # here',
    "super().__setattr__": 'super().__setattr__("x", torch.ones(2))  # here',
    "own __dict__": 'self.__dict__["x"] = torch.ones(2)  # here',
    "own __dict__ updated by keyword": "self.__dict__.update(x=torch.ones(2))  # here",
    "own __dict__ updated by literal": 'self.__dict__.update({"x": torch.ones(2)})  # here',
    "vars": 'vars(self)["x"] = torch.ones(2)  # here',
    "computed name": 'setattr(self, f"{self.__class__}", 0)\n        self.x = torch.ones(2)  # here',
    "inside if": "if True:\n            self.x = torch.ones(2)  # here",
    "inside try": "try:\n            pass\n        finally:\n            self.x = torch.ones(2)  # here",
    "inside match": "match 1:\n            case 1:\n                self.x = torch.ones(2)  # here",
    "inside nested function": "def fill():\n            self.x = torch.ones(2)  # here\n        fill()",
    "another name of self": "me = self\n        me.x = torch.ones(2)  # here",
    "after None": "self.x = None\n        self.x = torch.ones(2)  # here",
    "first of two": "self.x = torch.ones(2)  # here\n        self.x = self.x * 2",
    "value over lines": "self.x = torch.ones(  # here\n            2,\n        )",
}


@pytest.mark.parametrize("body", IN_INIT.values(), ids=IN_INIT)
def test_every_form_of_assignment_is_found(tmp_path: Path, body: str) -> None:
    text = f"""import contextlib
import torch

class Model:
    def __init__(self):
        {body}
"""
    module = load(tmp_path, text)
    module.Model()
    assert expected(tmp_path, text) == find_origin(module.Model, "x")


CHOICES = {
    "first parameter with another name": """
        class Model:
            def __init__(this):
                this.x = torch.ones(2)  # here
    """,
    "in a method that __init__ calls rather than in forward": """
        class Model:
            def forward(self):
                self.x = torch.zeros(2)
            def reset(self):
                self.x = torch.ones(2)  # here
            def __init__(self):
                self.reset()
    """,
    "in __init__ rather than in a method above it": """
        class Model:
            def reset(self):
                self.x = torch.zeros(2)
            def __init__(self):
                self.x = torch.ones(2)  # here
                self.reset()
    """,
    "in a method that __init__ only mentions": """
        class Model:
            def forward(self):
                self.x = torch.zeros(2)
            def fill(self, _):
                self.x = torch.ones(2)  # here
            def __init__(self):
                for _ in map(self.fill, [1]): pass
    """,
    "in forward where __init__ sets None": """
        class Model:
            def __init__(self):
                self.x = None
            def forward(self):
                self.x = torch.zeros(2)  # here
    """,
    "None where nothing else is assigned": """
        class Model:
            def __init__(self):
                self.x = None  # here
    """,
    "derived class": """
        class Base:
            def __init__(self):
                self.x = torch.zeros(2)
        class Model(Base):
            def __init__(self):
                super().__init__()
                self.x = torch.ones(2)  # here
    """,
    "base class": """
        class Base:
            def __init__(self):
                self.x = torch.zeros(2)  # here
        class Model(Base):
            def forward(self):
                self.x = self.x.to("cpu")
    """,
    "base class called by name": """
        class Base:
            def __init__(self):
                self.x = torch.zeros(2)  # here
        class Other:
            def __init__(self):
                pass
        class Model(Other, Base):
            def __init__(self):
                Base.__init__(self)
            def forward(self):
                self.x = self.x.to("cpu")
    """,
    "overridden method that the base's __init__ calls": """
        class Base:
            def __init__(self):
                self.build()
            def build(self):
                self.x = torch.zeros(2)
        class Model(Base):
            def forward(self):
                self.x = None
            def build(self):
                self.x = torch.zeros(3)  # here
    """,
    "property setter": """
        class Model:
            def __init__(self):
                self.table = torch.ones(2)
            @property
            def table(self):
                return self.x
            @table.setter
            def table(self, value):
                self.x = value  # here
            def forward(self):
                self.x = torch.zeros(1)
    """,
    "dataclass field": """
        @dataclasses.dataclass
        class Model:
            y: int = 1
            x: torch.Tensor = None  # here
    """,
    "dataclass field with a factory": """
        @dataclasses.dataclass
        class Model:
            x: torch.Tensor = dataclasses.field(default_factory=lambda: torch.ones(2))  # here
    """,
    "dataclass field set after": """
        @dataclasses.dataclass
        class Model:
            x: torch.Tensor = None
            def __post_init__(self):
                self.x = torch.ones(2)  # here
    """,
    "dataclass with slots": """
        @dataclasses.dataclass(slots=True, frozen=True)
        class Model:
            x: torch.Tensor  # here
            def double(self):
                return self.x * 2
    """,
    "slots": """
        class Model:
            __slots__ = ("x",)
            def __init__(self):
                self.x = torch.ones(2)  # here
    """,
    "named tuple": """
        class Model(typing.NamedTuple):
            x: torch.Tensor  # here
    """,
    "made in __new__": """
        class Model(tuple):
            def __new__(cls, items):
                made = super().__new__(cls, items)
                made.x = torch.ones(2)  # here
                return made
    """,
    "made in a class method": """
        class Model:
            @classmethod
            def small(cls):
                model = cls()
                model.x = torch.ones(2)  # here
                return model
    """,
    "redefined class": """
        class Model:
            def __init__(self):
                self.x = torch.zeros(2)
        class Model:
            def __init__(self):
                self.x = torch.ones(2)  # here
    """,
    "class in a branch": """
        if True:
            class Model:
                def __init__(self):
                    self.x = torch.ones(2)  # here
        else:
            class Model:
                def __init__(self):
                    self.x = torch.zeros(2)
    """,
    "class in a function": """
        def make():
            class Inner:
                def __init__(self):
                    self.x = torch.ones(2)  # here
            return Inner
        class Inner:
            def __init__(self):
                self.x = torch.zeros(2)
        Model = make()
    """,
    "nested class": """
        class Outer:
            def __init__(self):
                self.x = torch.zeros(2)
            class Inner:
                def __init__(self):
                    self.x = torch.ones(2)  # here
        Model = Outer.Inner
    """,
    "not the self of a class inside a method": """
        class Model:
            def __init__(self):
                class Other:
                    def __init__(self):
                        self.x = torch.zeros(2)
                self.x = torch.ones(2)  # here
    """,
    "not another object's attribute": """
        class Model:
            def __init__(self, other):
                other.x = torch.zeros(2)
                self.x = torch.ones(2)  # here
    """,
    "decorated methods": """
        class Model:
            @torch.no_grad()
            def __init__(self):
                self.x = torch.ones(2)  # here
    """,
    "computed name with literal text": """
        class Model:
            def __init__(self):
                self.other_1 = torch.zeros(2)
                for name in "xy":
                    setattr(self, f"{name}", torch.zeros(2))
                for i in range(3):
                    setattr(self, f"x_{i}_end", torch.ones(2))  # here
        ATTRIBUTE = "x_1_end"
    """,
    "computed name in a class before one that spells it": """
        class Base:
            def __init__(self):
                self.x_1 = torch.ones(2)  # here
        class Model(Base):
            def __init__(self):
                super().__init__()
                for i in range(2):
                    setattr(self, f"x_{i}", torch.zeros(2))
        ATTRIBUTE = "x_1"
    """,
    "computed name with more of the text": """
        class Model:
            def __init__(self):
                for kind in ("full", "sliding"):
                    setattr(self, f"{kind}_freq", torch.ones(2))
                    setattr(self, f"{kind}_original_freq", torch.ones(2))  # here
        ATTRIBUTE = "full_original_freq"
    """,
    "private name": """
        class _Model:
            def __init__(self):
                self.__x = torch.ones(2)  # here
        Model = _Model
        ATTRIBUTE = "_Model__x"
    """,
    "register_buffer where a value is wanted and nothing else is there": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("x", torch.ones(2))  # here
    """,
    "container, where its own line is wanted": """
        class Model:
            def __init__(self):
                self.x = []  # here
                self.x.append(torch.ones(3))
    """,
}

HEADER = (
    "import collections, contextlib, dataclasses, functools, types, typing\nimport torch\nfrom torch import nn\n"
)


@pytest.mark.parametrize("text", CHOICES.values(), ids=CHOICES)
def test_the_right_line_is_chosen(tmp_path: Path, text: str) -> None:
    text = HEADER + textwrap.dedent(text)
    module = load(tmp_path, text)
    attribute = getattr(module, "ATTRIBUTE", "x")
    want: Any = getattr(module, "WANT", "value")
    assert expected(tmp_path, text) == find_origin(module.Model, attribute, want, getattr(module, "KEY", None))
