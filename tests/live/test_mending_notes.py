"""Suggestions whose note says more than where to write the line: followed as told, they leave nothing to mend."""

from __future__ import annotations

import re
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest
import torch
from written_source import load

from bufscan.live.scanning import scan

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from bufscan.inventory import Tensor


@pytest.fixture(autouse=True)
def _forget_made_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "modules", sys.modules.copy())


HEADER = "import dataclasses, functools, torch\nfrom torch import nn\nfrom torch import distributions as D\n"

# Where a note leaves the place open (`in __init__`, after what is made there), the line goes to `# open`.
TOLD = {
    "distribution": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.d = D.Normal(torch.zeros(3), torch.ones(3))
                # open
    """,
    "dataclass": """
        @dataclasses.dataclass
        class Held:
            table: torch.Tensor
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.held = Held(torch.zeros(3))
                # open
    """,
    "list in a dict": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.held = {"a": [torch.zeros(3)]}
                # open
    """,
    "appended tensors": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.tables = []
                for i in range(2):
                    self.tables.append(torch.zeros(3))
                # open
    """,
    "dict filled in a loop": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.tables = {}
                for key in ("a.b", "c"):
                    self.tables[key] = torch.zeros(3)
                # open
    """,
    "distribution of a class": """
        class Model(nn.Module):
            prior = D.Normal(torch.zeros(3), torch.ones(3))  # moved
            def __init__(self):
                super().__init__()
                # open
    """,
    "appended modules": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.layers = []
                for i in range(2):
                    self.layers.append(nn.Linear(2, 2))
    """,
    "modules of a literal on several lines": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.heads = {
                    "a": nn.Linear(2, 2)}
    """,
    "None first": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.cos = None
                n = 3
                self.cos = torch.ones(n)
    """,
    "None first, then set by a method": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.cos = None
                self.build()
            def build(self):
                self.cos = torch.ones(3)
    """,
    "None first, then set by forward": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.cos = None
                self(torch.ones(3))
            def forward(self, x):
                self.cos = torch.ones_like(x)
    """,
    "before super().__init__()": """
        class Model(nn.Module):
            def __init__(self):
                self.table = torch.zeros(3)
                super().__init__()
    """,
    "before nn.Module.__init__(self)": """
        class Model(nn.Module):
            def __init__(self):
                self.table = torch.zeros(3)
                nn.Module.__init__(self)
    """,
    "a local name beside it": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.pe = pe = torch.zeros(3)
                pe[0] = 1
    """,
    "another attribute beside it": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = self.b = torch.zeros(3)
    """,
    "unpacked": """
        def tables(n): return torch.zeros(n), torch.ones(n)
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.sin, self.cos = tables(3)
    """,
    "unpacked in parts": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                (self.a, (self.b, self.n)), d = (torch.zeros(2), (torch.ones(2), 3)), 4
    """,
    "unpacked beside something else": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.n, self.pe = 3, torch.zeros(3)
    """,
    "None first, then filled by forward, which construction calls": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.mask = None
                self.forward(torch.ones(3))
            def forward(self, x):
                if self.mask is None:
                    self.mask = torch.ones_like(x)
                return x * self.mask
    """,
    "default argument of a lambda, named like a parameter": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.w = nn.Parameter(torch.ones(3))
                w = torch.ones(3)  # open
                self.act = lambda x, w=torch.ones(3): x * w  # gone
    """,
    "parameters under keys with and without a dot": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.ws = {"a.b": nn.Parameter(torch.ones(3)), "c": nn.Parameter(torch.ones(3))}
    """,
    "tensors under keys with and without a dot": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.ws = {"c": torch.ones(3), "a.b": torch.ones(3), 1: torch.ones(3), 0.5: torch.ones(3)}
    """,
    "cached property": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                # open
                self.pe
            @functools.cached_property
            def pe(self): return torch.zeros(3)
    """,
    "two names that register_buffer refuses": """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("d_loc", torch.ones(3))
                self.d = D.Normal(torch.zeros(3), 1.0)
                # open
    """,
}


def loose(tensors: Iterable[Tensor]) -> list[Tensor]:
    return [tensor for tensor in tensors if tensor.lacks_registration and tensor.shape != ()]


def indent_of(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def followed(text: str, faults: list[Tensor]) -> str:
    """The source with every line written where its note says, and with all that the note tells to change."""
    lines = text.splitlines()
    after: dict[int, list[str]] = {}
    (at_will,) = [number for number, line in enumerate(lines, 1) if line.endswith("# open")] or [0]
    for fix, note, found in {(each.suggestion, each.suggestion_note, each.origin) for each in faults}:
        assert fix is not None
        assert note is not None
        line = found.line if found else 0
        if told := re.search(r"a local `(\w+)` in place of `(self\.\w+)`", note):
            lines = [re.sub(rf"{re.escape(told[2])}\b", told[1], each) for each in lines]
            after.setdefault(at_will, []).append(fix)
        elif told := re.search(r"a local `(\w+)` in place of the class attribute", note):
            (moved,) = [each for each in lines if each.endswith("# moved")] or [""]
            lines = [each if each != moved else "" for each in lines]
            after.setdefault(at_will, []).extend([moved.strip()] * bool(moved) + [fix])
        elif told := re.search(
            r"after line (\d+), with `(self\.\w+)` (?:replaced by `(\w+)`|left out) there", note
        ):
            number = int(told[1])
            old = rf"{re.escape(told[2])}\b" if told[3] else rf"{re.escape(told[2])} = "
            lines[number - 1] = re.sub(old, told[3] or "", lines[number - 1])
            after.setdefault(number, []).append(fix)
        elif told := re.search(r"in place of its part of line (\d+)", note):
            number, name = int(told[1]), re.findall(r'"(\w+)"', fix)[0]
            lines[number - 1] = re.sub(rf"self\.{name}\b", "_", lines[number - 1])
            after.setdefault(number, []).append(fix)
        elif told := re.search(r"after line (\d+), which runs super", note):
            lines[line - 1] = ""
            after.setdefault(int(told[1]), []).append(fix)
        elif told := re.search(r"cached_property on line (\d+)", note):
            lines[int(told[1]) - 2 : int(told[1])] = ["", ""]
            after.setdefault(at_will, []).append(fix)
        elif note.startswith("in __init__, "):
            lines = ["" if each.endswith("# gone") else each for each in lines]
            after.setdefault(at_will, []).append(fix)
        else:
            told = re.search(r"in place of line (\d+)", note)
            number = int(told[1]) if told else line
            lines[number - 1] = indent_of(lines[number - 1]) + fix
            if lines[number : number + 1] and lines[number].strip().startswith('"'):
                lines[number] = ""  # the rest of a literal
        if told := re.search(r"delete line (\d+)", note):
            lines[int(told[1]) - 1] = ""
    written = []
    for number, each in enumerate(lines, 1):
        indent = indent_of(text.splitlines()[number - 1])
        written += [each, *(indent + fix for fix in sorted(after.get(number, [])))]
    return "\n".join(written)


@pytest.mark.parametrize("text", TOLD.values(), ids=TOLD)
def test_a_note_followed_as_told_leaves_nothing_to_mend(tmp_path: Path, text: str) -> None:
    text = HEADER + textwrap.dedent(text)
    faults = loose(scan(load(tmp_path, text, "before").Model(), "before").tensors)
    assert faults
    mended = load(tmp_path, followed(text, faults), "after").Model()
    inventory = scan(mended, "after")
    assert [] == loose(inventory.tensors)
    assert {"parameter", "persistent_buffer", "non_persistent_buffer"} >= {each.role for each in inventory.tensors}
    mended.to(torch.float64)
    assert {torch.float64} == {tensor.dtype for tensor in [*mended.parameters(), *mended.buffers()]}
    kept = sum(each.shape != () for each in inventory.tensors)
    assert kept >= len(faults)
