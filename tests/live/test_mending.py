"""Suggestions for real models: each line, written into the source it came from, mends it."""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from written_source import load

from bufscan.live.classifying import Classifier
from bufscan.live.measuring import measure
from bufscan.live.mending import suggestion_at, suggestion_for
from bufscan.live.registry import registered_modules, registered_tensors
from bufscan.live.scanning import origin_of
from bufscan.live.shadowing import Shadows
from bufscan.live.walking import walk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bufscan.live.suggestion import Suggestion


@pytest.fixture(autouse=True)
def _forget_made_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "modules", sys.modules.copy())


def suggestions_for(model: nn.Module) -> Iterator[tuple[str, Suggestion | None]]:
    """Name and suggestion of everything in the model that registration missed."""
    modules, _ = registered_modules(model)
    measurement = measure(model, [entry.module for entry in modules if entry.first])
    registered = [tensor for entry in modules for tensor in registered_tensors(entry)]
    met = walk(modules).reached
    classifier = Classifier(registered, met, measurement.moved)
    for reached in met:
        verdict = classifier.verdict(reached)
        if verdict is not None:
            place = reached.place
            origin = origin_of((place.holder or place).anchor)
            yield place.path, suggestion_at(place, reached.tensor, verdict, origin)
    shadows = Shadows(modules)
    for entry in registered:
        found = suggestion_for(entry, shadows.of(entry))
        if found is not None:
            yield entry.name, found


HEADER = "import torch\nfrom torch import nn\n"

# The line marked `# fix` is replaced by what is suggested; a suggestion for another place is written where
# `# in __init__` or `# in the class body` stands, and a line marked `# gone` is deleted.
MENDED = {
    "computed from a Parameter": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.scale = nn.Parameter(torch.ones(3)).to(torch.float64)  # fix
    """,
    "alias of a buffer that is replaced later": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("inv_freq", torch.ones(3))
                self.original = self.inv_freq  # fix

            def update(self, x):
                self.register_buffer("inv_freq", x)
    """,
    "attribute": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.pe = torch.ones(3)  # fix
    """,
    "attribute in the branch beside a parameter": """
        class Model(nn.Module):
            def __init__(self, learned=False):
                super().__init__()
                if learned:
                    self.bias = nn.Parameter(torch.ones(3))
                else:
                    self.bias = torch.zeros(3)  # fix
    """,
    "attribute from a tuple": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                pe, other = torch.ones(2, 3)
                self.pe, self.other = pe, 1  # fix
    """,
    "cache": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.pe = None  # fix
            def forward(self, x):
                self.pe = x * torch.ones(3)
        def make():
            model = Model()
            model(torch.ones(1))
            return model
    """,
    "state that forward updates": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.mean = torch.zeros(3)  # fix
            def forward(self, x):
                self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
    """,
    "states that forward updates": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.states = [torch.zeros(3), torch.ones(3)]  # fix
            def forward(self, x):
                self.states = [0.9 * state + x for state in self.states]
    """,
    "list of modules": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.blocks = [nn.Linear(2, 2) for _ in range(2)]  # fix
    """,
    "appended modules": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.blocks = []  # fix
                for _ in range(2):
                    self.blocks.append(nn.Linear(2, 2))
    """,
    "dict of modules": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.heads = {"a.b": nn.Linear(2, 2)}  # fix
    """,
    "dict of modules by number": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.heads = {1: nn.Linear(2, 2)}  # fix
    """,
    "tuple of parameters": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.ws = (nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3)))  # fix
    """,
    "leaf that requires grad": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.w = torch.ones(2, requires_grad=True)  # fix
    """,
    "list of tensors": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.masks = [torch.ones(2), torch.ones(3)]  # fix
    """,
    "dict of tensors": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.masks = {"a.b": torch.ones(2)}  # fix
    """,
    "helper object": """
        class Helper:  # fix
            def __init__(self):
                if isinstance(self, nn.Module):
                    super().__init__()
                    self.register_buffer("t", torch.ones(2), persistent=False)
                else:
                    self.t = torch.ones(2)
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.helper = Helper()
    """,
    "class attribute": """
        class Model(nn.Module):
            table = torch.ones(3)  # gone
            def __init__(self):
                super().__init__()
                # in __init__
    """,
    "global": """
        TABLE = torch.ones(3)
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                # in __init__
            def forward(self, x):
                return x * TABLE  # gone
    """,
    "class named by forward": """
        class Tables:
            Scale = torch.ones(3)
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                # in __init__
            def forward(self, x):
                return x * Tables.Scale  # gone
    """,
    "list in a class named by forward": """
        class Tables:
            scales = [torch.ones(3), torch.ones(4)]
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                # in __init__
            def forward(self, x):
                return x * Tables.scales[0]  # gone
    """,
    "global object": """
        from types import SimpleNamespace
        TABLES = SimpleNamespace(scale=torch.ones(3))
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                # in __init__
            def forward(self, x):
                return x * TABLES.scale  # gone
    """,
    "module in a global object": """
        from types import SimpleNamespace
        TABLES = SimpleNamespace(net=nn.Linear(2, 2))
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                # in __init__
            def forward(self, x):
                return TABLES.net(x)  # gone
    """,
    "default argument": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                # in __init__
            def forward(self, x, scale=torch.ones(3)): pass  # gone
    """,
    "alias": """
        class Model(nn.Module):
            # in the class body
            def __init__(self):
                super().__init__()
                self.register_buffer("pe", torch.ones(3))
                self.alias = self.pe  # gone
    """,
    "alias of a buffer that construction fills and that changes in place": """
        class Model(nn.Module):
            # in the class body
            def __init__(self):
                super().__init__()
                self.register_buffer("pe", None)
                self.pe = torch.ones(3)
                self.alias = self.pe  # gone

            def update(self, x):
                self.pe += x
    """,
    "view by a local name": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                pe = torch.ones(3)
                self.register_buffer("pe", pe)
                self.first = pe[:2]  # fix
    """,
    "list of buffers": """
        class Model(nn.Module):
            # in the class body
            def __init__(self):
                super().__init__()
                self.register_buffer("a", torch.ones(3))
                self.both = [self.a, self.a[:1]]  # gone
    """,
    "trainable buffer": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("w", torch.ones(3, requires_grad=True))  # fix
    """,
    "computed buffer": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.lin = nn.Linear(2, 2)
                self.register_buffer("w", self.lin.weight * 2)  # fix
    """,
    "Parameter handed to register_buffer": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("w", nn.Parameter(torch.ones(3)))  # fix
    """,
    "frozen Parameter handed to register_buffer": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                w = nn.Parameter(torch.ones(3), requires_grad=False)
                self.register_buffer("w", w, persistent=False)  # fix
    """,
    "name that torch has": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.half = torch.ones(3)  # fix
    """,
    "hidden by __dict__": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("w", torch.ones(3))
                self.__dict__["w"] = torch.zeros(3)  # fix
    """,
    "hidden by the class": """
        class Model(nn.Module):
            w = 1.0  # fix
            def __init__(self):
                super().__init__()
                self._buffers["w"] = torch.ones(3)
    """,
    "module hidden by the class": """
        class Model(nn.Module):
            net = None  # fix
            def __init__(self):
                super().__init__()
                self.net = nn.Linear(2, 2)
    """,
    "module hidden by __dict__": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.net = nn.Linear(2, 2)
                self.__dict__["net"] = nn.Linear(2, 2)  # fix
    """,
}


def built(module: Any) -> nn.Module:
    model: nn.Module = getattr(module, "make", module.Model)()
    return model


def written_into(text: str, line: str) -> str:
    written = []
    for old in text.splitlines():
        indent = old[: len(old) - len(old.lstrip())]
        if old.endswith(("# fix", "# in __init__", "# in the class body")):
            written.append(indent + line)
        elif old.endswith("# gone"):
            written.append(f"{indent}pass" if "return" in old else f"{indent}def forward(self, x): pass")
            if "self." in old:
                written[-1] = ""
        else:
            written.append(old)
    return "\n".join(written)


@pytest.mark.parametrize("text", MENDED.values(), ids=MENDED)
def test_the_suggested_line_mends_the_source(tmp_path: Path, text: str) -> None:
    """One line for all that is wrong; once written, nothing is left, and everything moves with the model."""
    text = HEADER + textwrap.dedent(text)
    model = built(load(tmp_path, text, "before"))
    found = list(suggestions_for(model))
    lines = {suggestion.line for _, suggestion in found if suggestion is not None}
    assert 1 == len(lines), found
    mended = built(load(tmp_path, written_into(text, lines.pop()), "after"))
    assert [] == list(suggestions_for(mended))
    mended.to(torch.float64)
    tensors = [*mended.parameters(), *mended.buffers()]
    assert tensors
    assert {torch.float64} == {tensor.dtype for tensor in tensors}
    assert all(isinstance(tensor, nn.Parameter) or not tensor.requires_grad for tensor in tensors)


@pytest.mark.parametrize("text", MENDED.values(), ids=MENDED)
def test_old_checkpoints_load_strictly_unless_the_note_says_otherwise(tmp_path: Path, text: str) -> None:
    text = HEADER + textwrap.dedent(text)
    model = built(load(tmp_path, text, "before"))
    (suggestion,) = {(found.line, found.note) for _, found in suggestions_for(model) if found is not None}
    line, note = suggestion
    mended = built(load(tmp_path, written_into(text, line), "after"))
    same_keys = mended.state_dict().keys() == model.state_dict().keys()
    assert same_keys == ("strict=False" not in note)
    mended.load_state_dict(model.state_dict(), strict=same_keys)
