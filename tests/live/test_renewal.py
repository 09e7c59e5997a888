"""What forward does to a plain attribute: state is told from a cache, and a hook's work from both."""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING

import pytest
import torch
from models import unregistered
from torch import nn
from written_source import load

from bufscan.live.scanning import scan

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _forget_made_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "modules", sys.modules.copy())


def held(folder: Path, methods: str, start: str = "self.t = torch.ones(3)") -> dict[str, str | None]:
    """How a model holds what `start` gives it, when `methods` are its own."""
    source = "import copy, functools, torch\nfrom torch import nn\nclass Model(nn.Module):\n"
    init = f"def __init__(self):\n    super().__init__()\n{textwrap.indent(textwrap.dedent(start), '    ')}\n"
    model = load(folder, source + textwrap.indent(init + textwrap.dedent(methods), "    ")).Model()
    return unregistered(model)


STATES = {
    "moving average": "def forward(self, x): self.t = 0.9 * self.t + 0.1 * x.mean(0)",
    "augmented": "def forward(self, x): self.t += 1",
    "memory that grows": "def forward(self, x): self.t = torch.cat([self.t, x])[-8:]",
    "through a local name": """
        def forward(self, x):
            new = self.t * 0.9
            new = new + x
            self.t = new
    """,
    "in a method that forward calls": """
        def update(self, x): self.t = self.t * 0.9 + x
        def forward(self, x): self.update(x)
    """,
    "by what a method returns": """
        def mixed(self, old, x): return old * 0.9 + x
        def forward(self, x): self.t = self.mixed(self.t, x)
    """,
    "by what a static method returns": """
        @staticmethod
        def mixed(old, x): return old * 0.9 + x
        def forward(self, x): self.t = self.mixed(self.t, x)
    """,
    "by setattr too": """
        def forward(self, x):
            setattr(self, "t", self.t + x)
            self.t = self.t.detach()
    """,
    "in one branch": """
        def forward(self, x):
            if x.sum() > 0: self.t = torch.zeros(3)
            else: self.t = self.t + x
    """,
    "only while training": """
        def forward(self, x):
            if self.training: self.t = x.mean(0)
            return x - self.t
    """,
    "unless it returns before": """
        def forward(self, x):
            if not self.training or x is None: return x - self.t
            self.t = x.mean(0)
            return x - self.t
    """,
    "called only while training": """
        def update(self, x): self.t = x.mean(0)
        def forward(self, x):
            if self.training and x is not None: self.update(x)
            return x - self.t
    """,
    "moved, then written to": """
        def forward(self, x):
            self.t = self.t.to(x.device)
            self.t[0] = x
    """,
    "under a decorator": """
        @torch.no_grad()
        def forward(self, x): self.t = self.t + x
    """,
    "in a loop": """
        def forward(self, xs):
            total = torch.zeros(3)
            for x in xs:
                self.t = total
                total = self.t + x
            for x in xs:
                self.t = self.t + x if x is not None else self.t
    """,
    "in a function that forward makes": """
        def forward(self, x):
            def step(): self.t = self.t + x
            step()
    """,
    "in try and with": """
        def forward(self, x):
            try:
                with torch.no_grad(): self.t = self.t.mul(2)
            except RuntimeError:
                raise
    """,
}

CACHES = {
    "rebuilt": "def forward(self, x): self.t = x * 2",
    "rebuilt where it is too short": """
        def forward(self, x):
            if self.t is None or len(self.t) < x.shape[0]:
                self.t = torch.ones(len(x), dtype=self.t.dtype, device=x.device)
            return x * self.t[: x.shape[0]]
    """,
    "through a local name": """
        def forward(self, x):
            t = self.t
            if t is None or t.shape != x.shape:
                t = torch.ones_like(x)
                self.t = t
            t = t[:2] * 3
            return x * t
    """,
    "moved": "def forward(self, x): self.t = self.t.to(x.device)",
    "moved by a function of a package": "def forward(self, x): self.t = to_device(self.t, tensor=x)",
    "moved and copied": "def forward(self, x): self.t = copy.deepcopy(self.t.float().detach())",
    "started anew, then summed up": """
        def forward(self, xs):
            self.t = torch.zeros(3)
            for x in xs: self.t = self.t + x
            self.t /= len(xs)
    """,
    "started anew in a method": """
        def reset(self): self.t = torch.zeros(3)
        def add(self, x): self.t += x
        def forward(self, x):
            self.reset()
            self.add(x)
    """,
    "overwritten, then summed up": """
        def forward(self, x):
            self.t.zero_()
            self.t += x
            return self.t
    """,
    "noted only while training, for others": """
        def forward(self, x):
            if self.training: self.t = x.mean(0)
            return x
    """,
    "noted only while not training": """
        def forward(self, x):
            if not self.training: self.t = x.mean(0)
            return x - self.t
    """,
}


@pytest.mark.parametrize("methods", STATES.values(), ids=STATES)
def test_what_is_computed_from_its_old_value_is_state(tmp_path: Path, methods: str) -> None:
    assert {"t": "state"} == held(tmp_path, methods)


@pytest.mark.parametrize("methods", CACHES.values(), ids=CACHES)
def test_what_is_made_from_other_things_is_a_cache(tmp_path: Path, methods: str) -> None:
    assert {"t": "cache"} == held(tmp_path, methods)


FOR_DEVICES = {
    "a local name that may be the old one": """
        def forward(self, x):
            t = self.t
            if t.device != x.device: t = self.built(x)
            self.t = t
        def built(self, x): return torch.ones(3, device=x.device, dtype=self.t.dtype)
    """,
    "where the device differs": """
        def forward(self, x):
            if self.t is None or self.t.device != x.device or len(self.t) < len(x):
                self.t = torch.ones(len(x), device=x.device)
            return x * self.t
    """,
}


@pytest.mark.parametrize("methods", FOR_DEVICES.values(), ids=FOR_DEVICES)
def test_what_is_made_anew_for_another_device_follows_it(tmp_path: Path, methods: str) -> None:
    assert {"t": "follows_device"} == held(tmp_path, methods)


def test_state_stays_state_although_it_is_moved_first(tmp_path: Path) -> None:
    methods = """
        def forward(self, x):
            if self.t.device != x.device: self.t = self.t.to(x.device)
            self.t = 0.9 * self.t + x.mean(0)
            return x
    """
    assert {"t": "state"} == held(tmp_path, methods)


BASE_AND_DERIVED = """
    import torch
    from torch import nn
    class Base(nn.Module):
        def __init__(self):
            super().__init__()
            self.t = self.made = torch.ones(3)
        def keep(self, x): self.t = self.t + x
        def forward(self, x): self.made = torch.ones(3)
    class Model(Base):
        def keep(self, x): super().keep(x)
        def forward(self, x):
            super().forward(x)
            self.keep(x)
"""


def test_super_leads_to_the_method_of_the_base(tmp_path: Path) -> None:
    assert {"t": "state", "made": "cache"} == unregistered(load(tmp_path, BASE_AND_DERIVED).Model())


def test_each_element_of_a_container_is_what_becomes_of_the_container(tmp_path: Path) -> None:
    start = "self.kept = [torch.ones(3)]; self.moved = [torch.ones(3)]; self.made = {'k': torch.ones(3)}"
    methods = """
        def forward(self, x):
            self.kept = [0.9 * kept + x for kept in self.kept]
            self.moved = [moved.to(x.device) for moved in self.moved]
            self.made = {key: torch.ones(3) for key in self.made}
    """
    expected = {"kept[0]": "state", "moved[0]": "cache", "made['k']": "cache"}
    assert expected == held(tmp_path, methods, start)


HOOKS = {
    "function": "def hook(module, _): module.t = module.v / 2",
    "function under a decorator": "@torch.no_grad()\ndef hook(module, _): module.t = module.v / 2",
    "function that calls a method": "def hook(module, _): module.renew()",
    "lambda": "hook = lambda module, _: module.renew()",
    "setattr": "def hook(module, _): setattr(module, 't', module.v / 2)",
    "setattr of a name it holds": "name = 't'\ndef hook(module, _): setattr(module, name, module.v / 2)",
    "method": "hook = self.renewing",
    "partial": "hook = functools.partial(Model.named, name='t')",
}
METHODS = """
    def renew(self): self.t = self.v / 2
    def renewing(self, module, _): self.t = module.v / 2
    @staticmethod
    def named(module, _, name): setattr(module, name, module.v / 2)
    def forward(self, x): return x * self.t
"""


@pytest.mark.parametrize("hook", HOOKS.values(), ids=HOOKS)
def test_what_a_pre_forward_hook_makes_at_every_pass_is_recomputed(tmp_path: Path, hook: str) -> None:
    start = f"self.register_buffer('v', torch.ones(3))\nself.t = torch.ones(3)\n{hook}\n"
    assert {"t": "recomputed"} == held(tmp_path, METHODS, f"{start}self.register_forward_pre_hook(hook)")
    assert {"t": "attribute"} == held(tmp_path, METHODS, start)


def test_state_that_a_hook_keeps_is_state_all_the_same(tmp_path: Path) -> None:
    start = """
        self.kept, self.sometimes = torch.ones(3), torch.ones(3)
        def hook(module, given):
            module.kept = module.kept * 0.9 + given[0]
            if given: module.sometimes = torch.ones(3)
        self.register_forward_pre_hook(hook)
    """
    assert {"kept": "state", "sometimes": "cache"} == held(tmp_path, "def forward(self, x): pass", start)


def test_code_without_source_is_believed_to_make_a_cache() -> None:
    space: dict[str, type] = {}
    exec("def forward(self, x): self.t = self.t + x", space)  # noqa: S102  # a class without a file
    model = type("Made", (nn.Module,), {"forward": space["forward"]})()
    model.t = torch.ones(3)
    assert {"t": "cache"} == unregistered(model)


def test_source_too_long_to_follow_is_believed_to_make_a_cache(tmp_path: Path) -> None:
    nested = "x"
    for _ in range(90):
        nested = f"-({nested})"
    many = "\n".join(f"    x = {nested}" for _ in range(400))
    assert {"t": "cache"} == held(tmp_path, f"def forward(self, x):\n{many}\n    self.t = self.t + x")


class Resetting(nn.Module):
    copied: torch.Tensor
    by_method: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("copied", "assigned", "registered", "by_method"):
            self.register_buffer(name, torch.ones(3), persistent=False)
        self.register_buffer("forgotten", torch.zeros(3), persistent=False)
        self.register_buffer("saved", torch.ones(3))

    @torch.no_grad()
    def reset_parameters(self) -> None:
        self.copied.copy_(torch.ones(3))
        self.assigned = torch.ones(3)
        self.register_buffer("registered", torch.ones(3), persistent=False)
        self.reset_the_other()

    def reset_the_other(self) -> None:
        self.by_method.fill_(1)


def test_what_reset_parameters_makes_again_needs_no_checkpoint() -> None:
    model = nn.Sequential(Resetting(), nn.BatchNorm1d(3)).to("meta")
    found = {tensor.name: tensor for tensor in scan(model, "test").tensors}
    assert {"0.copied", "0.assigned", "0.registered", "0.by_method"} == {
        n for n, each in found.items() if each.is_reset
    }
    forgotten = found["0.forgotten"]
    assert forgotten.slot is not None
    assert ("BUF204", "forgotten") == (forgotten.slot.code, forgotten.slot.attribute)
    assert forgotten.origin is not None
    assert (None, None) == (found["0.saved"].slot, found["0.saved"].origin)


def test_a_buffer_with_values_is_not_asked_who_makes_it_again() -> None:
    assert {False} == {tensor.is_reset for tensor in scan(Resetting(), "test").tensors}
