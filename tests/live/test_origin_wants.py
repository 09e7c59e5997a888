"""Origins of elements, class attributes and registrations; the line that must be found ends in `# here`."""

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


CHOICES = {
    "through type(self) for the class": """
        class Model:
            x = None
            def __init__(self):
                type(self).x = torch.ones(2)  # here
        WANT = "class_value"
    """,
    "through cls for the class": """
        class Model:
            @classmethod
            def prepare(cls):
                cls.x = torch.ones(2)  # here
        WANT = "class_value"
    """,
    "through the class's name": """
        class Model:
            x = None
            def __init__(self):
                Model.x = torch.ones(2)  # here
        WANT = "class_value"
    """,
    "on the class from outside": """
        class Model:
            x = None
        Model.x = torch.ones(2)  # here
        WANT = "class_value"
    """,
    "in the class body": """
        class Model:
            x = torch.ones(2)  # here
            def __init__(self):
                self.x = torch.zeros(2)
        WANT = "class_value"
    """,
    "in the class body's tuple": """
        class Model:
            y, x = torch.ones(2, 3)  # here
        WANT = "class_value"
    """,
    "in the class body under if": """
        class Model:
            if True:
                x = torch.ones(2)  # here
            y = [x for x in range(3)]
        WANT = "class_value"
    """,
    "in a base's class body": """
        class Base:
            x = torch.ones(2)  # here
        class Model(Base):
            pass
        WANT = "class_value"
    """,
    "register_buffer where registration is wanted": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("x", torch.ones(2))  # here
                self.x = torch.zeros(2)
        WANT = "registration"
    """,
    "register_buffer by keyword": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer(name="x", tensor=torch.ones(2))  # here
        WANT = "registration"
    """,
    "super().register_buffer": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                super().register_buffer("x", torch.ones(2))  # here
        WANT = "registration"
    """,
    "register_buffer with a computed name": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                for i in range(2):
                    self.register_buffer(f"x{i}", torch.ones(2))  # here
        ATTRIBUTE = "x1"
        WANT = "registration"
    """,
    "register_parameter": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_parameter("x", nn.Parameter(torch.ones(2)))  # here
        WANT = "registration"
    """,
    "a Parameter assigned": """
        class Model(nn.Module):
            def forward(self):
                self.x = None
            def __init__(self):
                super().__init__()
                self.x = nn.Parameter(torch.ones(2))  # here
        WANT = "registration"
    """,
    "element appended": """
        class Model:
            def __init__(self):
                self.x = []
                for i in range(2):
                    self.x.append(torch.ones(i))  # here
        WANT = "element"
        KEY = 1
    """,
    "element set by key": """
        class Model:
            def __init__(self):
                self.x = {}
                self.x["size"] = 3
                self.x["other"] = torch.zeros(2)
                self.x["k"] = torch.ones(2)  # here
        WANT = "element"
        KEY = "k"
    """,
    "element set under two keys": """
        class Model:
            def __init__(self):
                self.x = collections.defaultdict(dict)
                self.x["k"]["j"] = torch.ones(2)  # here
        WANT = "element"
    """,
    "element of a literal dict": """
        class Model:
            def __init__(self):
                self.x = {
                    "j": torch.zeros(1),
                    "k": torch.ones(2),  # here
                }
        WANT = "element"
        KEY = "k"
    """,
    "element of a literal list": """
        class Model:
            def __init__(self):
                self.x = [
                    torch.zeros(1),
                    torch.ones(2),  # here
                ]
        WANT = "element"
        KEY = 1
    """,
    "element appended past a literal": """
        class Model:
            def __init__(self):
                self.x = [torch.zeros(1)]
                self.x.append(torch.ones(2))  # here
        WANT = "element"
        KEY = 1
    """,
    "container that a call makes": """
        class Model:
            def __init__(self):
                self.x = [torch.ones(i) for i in range(3)]  # here
            def forward(self):
                self.x.append(torch.ones(3))
        WANT = "element"
        KEY = 0
    """,
    "element that forward puts in": """
        class Model:
            def __init__(self):
                self.x = {}
            def forward(self):
                self.x.setdefault("k", torch.ones(3))  # here
        WANT = "element"
        KEY = "k"
    """,
    "elements by update": """
        class Model:
            def __init__(self):
                self.x = dict()
                self.x.update(j=torch.zeros(1), k=torch.ones(3))  # here
        WANT = "element"
        KEY = "k"
    """,
    "elements by extend": """
        class Model:
            def __init__(self):
                self.x = collections.deque()
                self.x.extend(torch.ones(3, 2))  # here
        WANT = "element"
        KEY = 2
    """,
    "elements by +=": """
        class Model:
            def __init__(self):
                self.x = []
                self.x += [torch.ones(3, 2)]  # here
        WANT = "element"
        KEY = 0
    """,
    "element added to a set": """
        class Model:
            def __init__(self):
                self.x = set()
                self.x.add(torch.ones(3))  # here
        WANT = "element"
    """,
    "element of a class attribute's dict": """
        class Model:
            x = {}
            def __init__(self):
                self.x["k"] = torch.ones(3)  # here
        WANT = "element"
        KEY = "k"
    """,
    "attribute of a helper object": """
        class Model:
            def __init__(self):
                self.x = types.SimpleNamespace()
                self.x.k = torch.ones(3)  # here
        WANT = "element"
        KEY = "k"
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
