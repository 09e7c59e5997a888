"""What source says of its modules: each case is a small file, and what `lint` finds in it."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest

from bufscan.checking.linting import lint

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "import math\nimport torch\nfrom torch import nn\nimport torch.nn.functional as F\n\n"


def found_in(folder: Path, source: str, *, name: str = "model.py") -> list[str]:
    """`severity code tensor` of each finding in a file with this text."""
    (folder / name).write_text(HEAD + textwrap.dedent(source))
    return [f"{each.severity} {each.code} {each.tensor}" for each in lint(name).findings]


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def init(body: str, rest: str = "", arguments: str = "", base: str = "nn.Module") -> str:
    """A class whose `__init__` has this body."""
    lines = textwrap.indent(textwrap.dedent(body).strip(), "        ")
    after = textwrap.indent(textwrap.dedent(rest).strip(), "    ")
    return f"class M({base}):\n    def __init__(self{arguments}):\n        super().__init__()\n{lines}\n{after}\n"


FAULTY = {
    "a tensor": (init("self.t = torch.zeros(3)"), "error BUF001 M.t"),
    "an alias of torch": (init("import torch as th\nself.t = th.zeros(3)"), "error BUF001 M.t"),
    "a name imported from torch": ("from torch import zeros\n" + init("self.t = zeros(3)"), "error BUF001 M.t"),
    "computed in steps": (
        init("t = torch.arange(0, 8, 2).float()\nt = 1.0 / (10000 ** (t / 8))\nself.t = t[None, :]"),
        "error BUF001 M.t",
    ),
    "in one branch": (
        init("if masked: self.t = torch.ones(3)\nelse: self.t = None", arguments=", masked"),
        "error BUF001 M.t",
    ),
    "a Parameter in one branch alone": (
        init("if learn: self.t = nn.Parameter(torch.ones(3))\nelse: self.t = torch.ones(3)", arguments=", learn"),
        "error BUF001 M.t",
    ),
    "by a method of its own": (
        init(
            "self.t = self.table(8)", "def table(self, n): return torch.stack([torch.arange(n), torch.arange(n)])"
        ),
        "error BUF001 M.t",
    ),
    "in a method that __init__ calls": (
        init("self.make()", "def make(self): self.t = torch.eye(3)"),
        "error BUF001 M.t",
    ),
    "in reset_parameters": (
        init("self.n = 3", "def reset_parameters(self): self.t = torch.eye(3)"),
        "error BUF001 M.t",
    ),
    "by a function of the file": (
        "def table(n):\n    t = torch.zeros(n)\n    t[0] = 1\n    return t\n" + init("self.t = table(8)"),
        "error BUF001 M.t",
    ),
    "by setattr in a loop": (
        init("for i in range(n): setattr(self, f't{i}', torch.ones(i + 1))", arguments=", n"),
        "error BUF001 M.t{i}",
    ),
    "by setattr in a loop over names": (
        init("for name in ('mean', 'std'): setattr(self, name, torch.ones(3))"),
        "error BUF001 M.mean",
        "error BUF001 M.std",
    ),
    "in a list": (init("self.t = [torch.ones(3) for _ in range(2)]"), "error BUF001 M.t[…]"),
    "put into a list": (
        init("self.t = []\nfor i in range(3): self.t.append(torch.ones(3))"),
        "error BUF001 M.t[…]",
    ),
    "in a dict": (init("self.t = {'a': torch.ones(3)}"), "error BUF001 M.t[…]"),
    "put into a dict": (init("self.t = {}\nself.t['a'] = torch.ones(3)"), "error BUF001 M.t[…]"),
    "a tensor without dimensions": (init("self.t = torch.tensor(0.5)"), "note BUF001 M.t"),
    "annotated as a tensor": (init("self.t = t", arguments=", t: torch.Tensor"), "warning BUF001 M.t"),
    "a global": ("MEAN = torch.ones(3)\n" + init("self.t = MEAN"), "error BUF001 M.t"),
    "wants a gradient": (init("self.t = torch.zeros(3, requires_grad=True)"), "error BUF001 M.t"),
    "a moving average": (
        init("self.t = torch.zeros(3)", "def forward(self, x): self.t = 0.9 * self.t + x"),
        "error BUF001 M.t",
    ),
    "a cache": (init("self.t = torch.zeros(3)", "def forward(self, x): self.t = x * 2"), "warning BUF001 M.t"),
    "parameters in a list": (init("self.p = [nn.Parameter(torch.ones(3))]"), "error BUF002 M.p[…]"),
    "a Parameter that is lost": (init("self.p = nn.Parameter(torch.ones(3)) * 0.5"), "error BUF002 M.p"),
    "a Parameter that is moved": (init("self.p = nn.Parameter(torch.ones(3)).cuda()"), "error BUF002 M.p"),
    "modules in a list": (init("self.m = [nn.Linear(3, 3)]"), "error BUF003 M.m[…]"),
    "modules in a dict": (init("self.m = {k: nn.Linear(3, 3) for k in 'ab'}"), "error BUF003 M.m[…]"),
    "modules put into a list": (
        init("layers = []\nfor _ in range(3): layers.append(nn.Linear(3, 3))\nself.m = layers"),
        "error BUF003 M.m[…]",
    ),
    "modules of the project in a list": (
        init("self.w = nn.Parameter(torch.ones(3))").replace("class M", "class Block")
        + init("self.m = [Block() for _ in range(3)]"),
        "error BUF003 M.m[…]",
    ),
    "computed from a frozen Parameter": (
        init(
            "self.p = nn.Parameter(torch.ones(3), requires_grad=train)\nself.t = self.p * torch.ones(3)",
            arguments=", train=False",
        ),
        "error BUF001 M.t",
    ),
    "in a Variable of old": (
        "from torch.autograd import Variable\n" + init("self.t = Variable(torch.ones(3))"),
        "error BUF001 M.t",
    ),
    "a module in the body of a class": (
        "class M(nn.Module):\n    m = nn.Linear(3, 3)\n    def forward(self, x): return self.m(x)\n",
        "error BUF003 M.m",
    ),
    "tensors in a named tuple": (
        "from typing import NamedTuple\nclass Pair(NamedTuple):\n    a: torch.Tensor\n    n: int\n"
        + init("self.p = Pair(torch.ones(3), 3)"),
        "error BUF001 M.p.a",
    ),
    "a distribution of numbers": (
        init("self.d = torch.distributions.Uniform(-s, s)", arguments=", s: float = 1.0"),
        "note BUF001 M.d[…]",
    ),
    "the negative of one of two tensors": (
        init("t = torch.ones(3) if flag else torch.zeros(3)\nself.t = -t", arguments=", flag"),
        "error BUF001 M.t",
    ),
    "past a __setattr__ that only refuses some names": (
        init(
            "self.t = torch.ones(3)",
            "def __setattr__(self, name, value):\n    if name in ('a', 'b'): raise RuntimeError(name)\n"
            "    super().__setattr__(name, value)",
        ),
        "error BUF001 M.t",
    ),
    "another name for a buffer": (
        init("self.register_buffer('b', torch.zeros(3))\nself.t = self.b"),
        "error BUF004 M.t",
    ),
    "a view of a buffer": (
        init("self.register_buffer('b', torch.zeros(3))\nself.t = self.b.view(1, 3)[:, 1:]"),
        "error BUF004 M.t",
    ),
    "a default argument": (
        init("self.n = 3", "def forward(self, x, scale=torch.ones(3)): return x * scale"),
        "error BUF005 M.forward(scale)",
    ),
    "a buffer that trains": (
        init("self.register_buffer('b', torch.zeros(3, requires_grad=True))"),
        "error BUF101 M.b",
    ),
    "a Parameter as a buffer": (
        init("self.register_buffer('b', nn.Parameter(torch.zeros(3)))"),
        "error BUF102 M.b",
    ),
    "a name with a dot": (init("self.register_buffer('a.b', torch.zeros(3))"), "error BUF104 M.a.b"),
    "no name": (init("self.register_buffer('', torch.zeros(3))"), "error BUF104 M."),
    "the name of a method": (
        init("self.register_buffer('mask', torch.zeros(3))", "def mask(self): return 1"),
        "error BUF104 M.mask",
    ),
    "the name of a property": (
        init(
            "self.n = 3\nself.register_buffer('mask', torch.zeros(3))",
            "@property\ndef mask(self): return self.n",
        ),
        "error BUF104 M.mask",
    ),
    "the name of an attribute": (
        init("self.b = None\nself.register_buffer('b', torch.zeros(3))"),
        "error BUF104 M.b",
    ),
    "a buffer that nothing fills": (
        init("self.register_buffer('b', torch.zeros(3), persistent=False)")
        + "def load():\n    with torch.device('meta'): m = M()\n    return m.to_empty(device='cpu')\n",
        "warning BUF204 M.b",
    ),
    "in Lightning": (
        "import pytorch_lightning as pl\n" + init("self.t = torch.zeros(3)", base="pl.LightningModule"),
        "error BUF001 M.t",
    ),
    "in transformers": (
        "from transformers import PreTrainedModel\n" + init("self.t = torch.zeros(3)", base="PreTrainedModel"),
        "error BUF001 M.t",
    ),
    "in an object": (
        "class Table:\n    def __init__(self):\n        self.t = torch.zeros(3)\n" + init("self.table = Table()"),
        "error BUF001 M.table.t",
    ),
    "in a dataclass": (
        "from dataclasses import dataclass\n@dataclass\nclass Table:\n    t: torch.Tensor\n    n: int = 0\n"
        + init("self.table = Table(torch.zeros(3))"),
        "error BUF001 M.table.t",
    ),
    "moved only by its own `to`": (
        init("self.t = torch.zeros(3)", "def to(self, d):\n    self.t = self.t.to(d)\n    return super().to(d)"),
        "warning BUF001 M.t",
    ),
}

CLEAN = {
    "a buffer": init("self.register_buffer('t', torch.zeros(3))"),
    "an nn.Buffer": init("self.t = nn.Buffer(torch.zeros(3), persistent=False)"),
    "a Parameter": init("self.t = nn.Parameter(torch.zeros(3))"),
    "a buffer that is not saved, where nothing is emptied": init(
        "self.register_buffer('b', torch.zeros(3), persistent=False)"
    ),
    "a buffer that reset_parameters makes again": (
        init(
            "self.register_buffer('b', torch.zeros(3), persistent=False)",
            "def reset_parameters(self): self.b.zero_()",
        )
        + "def load(m): return m.to_empty(device='cpu')\n"
    ),
    "a buffer that is set again": init("self.register_buffer('t', None)\nself.t = torch.zeros(3)"),
    "a buffer of that name, registered in a loop": init(
        "for name in ('mean', 'std'): self.register_buffer(name, torch.ones(3))\nself.mean = torch.zeros(3)"
    ),
    "a number": init("self.t = torch.zeros(3).sum().item()"),
    "numbers": init("self.t = torch.linspace(0, 1, 3).tolist()"),
    "numbers of a loop": init("self.t = [x.item() for x in torch.linspace(0, 0.1, n)]", arguments=", n"),
    "a shape": init("self.t = torch.zeros(3).shape"),
    "an array": init("self.t = torch.zeros(3).numpy()"),
    "a device": init("self.t = torch.device('cpu')"),
    "a dtype": init("self.t = torch.float32"),
    "deleted": init("self.t = torch.zeros(3)\ndel self.t"),
    "made a Parameter afterwards": init("self.t = torch.zeros(3)\nself.t = nn.Parameter(self.t)"),
    "registered afterwards": init("t = torch.zeros(3)\nself.register_buffer('t', t)"),
    "what nobody knows": init("self.t = make(3)", arguments=", make"),
    "computed from a Parameter": init("self.w = nn.Parameter(torch.ones(3))\nself.t = self.w * 2"),
    "computed from a layer's weight": init(
        "self.fc = nn.Linear(3, 3)\nself.t = torch.cat([self.fc.weight, self.fc.bias])"
    ),
    "another name for a Parameter": init("self.fc = nn.Linear(3, 3)\nself.t = self.fc.weight"),
    "moved by _apply": init(
        "self.t = torch.zeros(3)", "def _apply(self, fn):\n    self.t = fn(self.t)\n    return super()._apply(fn)"
    ),
    "registered by __setattr__": init(
        "self.t = torch.zeros(3)",
        "def __setattr__(self, name, value):\n    self.register_buffer(name, value)",
    ),
    "a property sets it": init(
        "self.t = torch.zeros(3)",
        """
        @property
        def t(self): return self._buffers['_t']
        @t.setter
        def t(self, value): self.register_buffer('_t', value)
        """,
    ),
    "modules that are registered too": init(
        "layers = [nn.Linear(3, 3)]\nself.m = layers\nself.net = nn.Sequential(*layers)"
    ),
    "modules registered one by one": init(
        "self.m = []\nfor i in 'ab':\n    m = nn.Linear(3, 3)\n    self.add_module(i, m)\n    self.m.append(m)"
    ),
    "modules of somebody else": init("self.m = [parent]", arguments=", parent: nn.Module"),
    "modules without tensors": init("self.m = [nn.ReLU(), nn.MaxPool2d(2)]"),
    "the number of several that one of two functions returns": (
        "def one(): return torch.ones(3), 1.0\ndef two(): return torch.zeros(3), 2.0\n"
        + init("make = one if flag else two\nt, self.scaling = make()\nself.register_buffer('t', t)", "", ", flag")
    ),
    "a ModuleList": init("self.m = nn.ModuleList([nn.Linear(3, 3)])"),
    "a list that becomes a ModuleList": init("self.m = [nn.Linear(3, 3)]\nself.m = nn.ModuleList(self.m)"),
    "a ParameterList": init("self.p = nn.ParameterList([nn.Parameter(torch.ones(3))])"),
    "no module": "class M:\n    def __init__(self):\n        self.t = torch.zeros(3)\n",
    "an autograd function": "class M(torch.autograd.Function):\n    t = torch.zeros(3)\n",
    "a data set": "class M(torch.utils.data.Dataset):\n    def __init__(self):\n        self.t = torch.zeros(3)\n",
    "made in forward alone": init("self.t = None", "def forward(self, x): self.t = torch.zeros(3)"),
    "a global that is moved where it is used": (
        "MEAN = torch.ones(3)\n" + init("self.n = 3", "def forward(self, x): return x - MEAN.to(x)")
    ),
    "a global that __init__ uses": "MEAN = torch.ones(3)\n" + init("self.register_buffer('t', MEAN)"),
    "the name of a property that raises until the buffer is there": init(
        "self.register_buffer('mask', torch.zeros(3))", "@property\ndef mask(self): return super().mask"
    ),
    "the name of a property that needs what comes later": init(
        "self.register_buffer('mask', torch.zeros(3))\nself.n = 3", "@property\ndef mask(self): return self.n"
    ),
    "a plain tensor only while a graph is captured, as a function of the project asks": (
        "capturing = getattr(torch.compiler, 'is_compiling', None)\n"
        "def is_capturing(): return bool(capturing()) if capturing is not None else False\n"
    )
    + init(
        "if not (torch.jit.is_tracing() or is_capturing()): t = nn.Parameter(t)\nself.t = t",
        arguments=", t: torch.Tensor",
    ),
    "past a __setattr__ that may do anything else": init(
        "self.t = torch.ones(3)",
        "def __setattr__(self, name, value):\n    if not self.place(name, value):\n"
        "        super().__setattr__(name, value)\n"
        "def place(self, name, value):\n    self.register_buffer('_' + name, value)\n    return True",
    ),
    "a module without tensors in the body of a class": "class M(nn.Module):\n    act = nn.ReLU()\n",
    "a state of torchmetrics": (
        "from torchmetrics import Metric\n" + init("self.add_state('t', default=torch.zeros(3))", base="Metric")
    ),
    "a method of a torch that is not torch": init("self.t = torch.zeros(3)", arguments=", torch"),
}


@pytest.mark.parametrize("case", FAULTY)
def test_a_fault_is_found(tmp_path: Path, case: str) -> None:
    source, *expected = FAULTY[case]
    assert expected == found_in(tmp_path, source)


@pytest.mark.parametrize("case", CLEAN)
def test_what_is_right_is_left_alone(tmp_path: Path, case: str) -> None:
    assert [] == found_in(tmp_path, CLEAN[case])


def test_bases_in_other_files_are_followed(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("from .layers import Base\n")
    (package / "layers.py").write_text(
        "from torch.nn import Module as Root\nclass Base(Root):\n    def __init__(self):\n"
        "        super().__init__()\n        self.build()\n    def build(self): pass\n"
    )
    model = "import torch\nfrom . import Base\nclass M(Base):\n    def build(self): self.t = torch.zeros(3)\n"
    (package / "model.py").write_text(model)
    expected = [("package/model.py", 4, "M.t")]
    for path in ("package", "package/model.py"):
        findings = lint(path).findings
        assert expected == [
            (each.location.file, each.location.line, each.tensor) for each in findings if each.location
        ]


def test_a_file_that_was_not_asked_for_is_not_blamed_and_one_that_was_is_mended(tmp_path: Path) -> None:
    (tmp_path / "base.py").write_text(HEAD + init("self.t = torch.zeros(3)").replace("class M", "class Base"))
    (tmp_path / "a.py").write_text("from base import Base\nclass A(Base): pass\n")
    assert () == tuple(lint("a.py").findings)
    (finding,) = lint("a.py", "base.py").findings
    assert ("Base.t", True) == (finding.tensor, finding.edits is not None)


def test_a_fault_of_a_base_is_told_once(tmp_path: Path) -> None:
    source = init("self.t = torch.zeros(3)").replace("class M", "class Base")
    source += "class A(Base): pass\nclass B(Base):\n    def __init__(self):\n        super().__init__()\n"
    assert ["error BUF001 Base.t"] == found_in(tmp_path, source)


def test_nothing_of_the_source_is_run(tmp_path: Path) -> None:
    source = "import pathlib\npathlib.Path('ran').touch()\nraise SystemExit\n" + init("self.t = torch.zeros(3)")
    assert ["error BUF001 M.t"] == found_in(tmp_path, source)
    assert not (tmp_path / "ran").exists()


def test_torch_is_known_though_its_source_lies_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("from torch._C import *\n")
    assert ["error BUF001 M.t"] == found_in(tmp_path, init("self.t = torch.zeros(3)"))


def test_source_that_is_nested_too_deep_is_skipped_and_the_rest_is_read(tmp_path: Path) -> None:
    deep = init("self.t = " + "+".join(["torch.ones(3)"] * 990)).replace("class M", "class Deep")
    (tmp_path / "model.py").write_text(HEAD + deep + init("self.t = torch.zeros(3)"))
    (target,) = lint("model.py").targets
    assert ["M.t"] == [each.tensor for each in target.findings]
    assert ["the class Deep"] == [each.what for each in target.skipped]
