"""Models after public reports of lost and left-behind tensors, and of false alarms: found, told, or quiet."""

from __future__ import annotations

import functools
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

import bufscan


def called(model: nn.Module, *shape: int) -> nn.Module:
    model(torch.zeros(*(shape or (1, 4))))
    return model


def found_in(model: nn.Module) -> list[tuple[str, str, str]]:
    """Code, severity and tensor of each finding."""
    return [(each.code, each.severity, each.tensor) for each in bufscan.check(model).findings]


class SeededByClass(nn.Module):
    table: torch.Tensor | None = None

    def __init__(self) -> None:
        super().__init__()
        if SeededByClass.table is None:
            SeededByClass.table = torch.ones(4)
        self.register_buffer("freqs", SeededByClass.table, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.freqs


class ReadsClassTable(SeededByClass):
    """Another class of the model reads what the first only seeds its buffers from."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * SeededByClass.table


OFFSETS: dict[Any, torch.Tensor] = {}
BY_LENGTH: dict[int, torch.Tensor] = {}


def offsets(length: int, device: torch.device) -> torch.Tensor:
    if (length, device) not in OFFSETS:
        OFFSETS[length, device] = torch.arange(length, device=device)
    return OFFSETS[length, device]


class GlobalByDevice(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + offsets(x.shape[1], x.device)


class GlobalByLength(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] not in BY_LENGTH:
            BY_LENGTH[x.shape[1]] = torch.arange(x.shape[1])
        return x + BY_LENGTH[x.shape[1]]


@functools.lru_cache(maxsize=4)
def bounded(length: int, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.arange(length)


@functools.cache
def unbounded(length: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.arange(length), torch.ones(length)


@functools.cache
def with_device(length: int, device: torch.device) -> torch.Tensor:
    return torch.arange(length, device=device)


class Cached(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = unbounded(4)
        return x + bounded(4, scale=2.0) + first + second + with_device(4, x.device)


class DictCache(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[int, torch.Tensor] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        table = self.tables.get(x.shape[1])
        if table is None:
            table = self.tables[x.shape[1]] = torch.arange(x.shape[1])
        return x + table


class DictState(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.memory: dict[str, torch.Tensor] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.memory["mean"] = 0.9 * self.memory.get("mean", torch.zeros(4)) + x.detach().mean(0)
        return x


class FilledDict(nn.Module):
    """What `__init__` puts in is no cache, although forward may put in more."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[int, torch.Tensor] = {}
        self.tables[4] = torch.arange(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.tables[4]


class MadeAgain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cos: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.cos is None or len(self.cos) < x.shape[1] or self.cos.device != x.device:
            self.cos = torch.arange(x.shape[1], device=x.device).cos()
        return x * self.cos[: x.shape[1]]


class Carried(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        # not a buffer: `.half()` would round it
        self.inv_freq = torch.arange(4, dtype=torch.float32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.inv_freq[: x.shape[1]].to(x.device)


class CarriedOnce(Carried):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.inv_freq.to(x.device) + self.inv_freq


class OnlyCast(Carried):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.inv_freq.to(x.dtype)


class Counter(nn.Module):
    def __init__(self, step: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("step", step)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.step += 1
        return x


class Reader(Counter):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.step


class Shared(nn.Module):
    def __init__(self, first: type[Counter], second: type[Counter], *, is_view: bool = False) -> None:
        super().__init__()
        step = torch.zeros(3)
        self.first, self.second = first(step), second(step[:2] if is_view else step)


class Strided(nn.Module):
    """The even and the odd columns of one table have no element in common."""

    def __init__(self) -> None:
        super().__init__()
        table = torch.zeros(4, 2)
        self.register_buffer("even", table[:, 0])
        self.register_buffer("odd", table[:, 1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.odd += 1
        return x


class NotesByMethod(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.notes: dict[str, torch.Tensor] = {}
        self.layer.register_forward_hook(self.note)

    def note(self, _module: nn.Module, _args: object, out: torch.Tensor) -> None:
        self.notes["layer"] = out.detach()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


class UsesNotes(NotesByMethod):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + self.notes.get("layer", 0)


class NotesByFunction(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        notes: list[torch.Tensor] = []
        self.layer.register_forward_hook(lambda _module, _args, out: notes.append(out.detach()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


class Pairs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        pair: Any = (torch.ones(2), torch.ones(3))
        self.pairs = nn.ParameterList([pair, nn.Parameter(torch.ones(1))])


@pytest.mark.parametrize(
    ("model", "found"),
    [
        pytest.param(lambda: nn.Sequential(SeededByClass(), SeededByClass()), [], id="class table that seeds"),
        pytest.param(
            lambda: nn.Sequential(SeededByClass(), ReadsClassTable()),
            [("BUF004", "error", "0.table")],
            id="class table that is read",
        ),
        pytest.param(lambda: called(GlobalByDevice()), [], id="global by device"),
        pytest.param(
            lambda: called(GlobalByLength()),
            [("BUF005", "error", "forward.__globals__['BY_LENGTH'][4]")],
            id="global by length",
        ),
        pytest.param(
            lambda: called(Cached()),
            [
                ("BUF005", "error", "forward.__globals__['bounded'].cached[0]"),
                ("BUF005", "error", "forward.__globals__['unbounded'](4)[0]"),
                ("BUF005", "error", "forward.__globals__['unbounded'](4)[1]"),
            ],
            id="functools caches",
        ),
        pytest.param(lambda: called(DictCache()), [("BUF001", "warning", "tables[4]")], id="dict cache"),
        pytest.param(lambda: called(DictState()), [("BUF001", "error", "memory['mean']")], id="dict state"),
        pytest.param(
            lambda: called(FilledDict()), [("BUF001", "error", "tables[4]")], id="dict that __init__ fills"
        ),
        pytest.param(lambda: called(MadeAgain()), [], id="cache that asks for the device"),
        pytest.param(Carried, [("BUF001", "warning", "inv_freq")], id="carried over at each use"),
        pytest.param(CarriedOnce, [("BUF001", "error", "inv_freq")], id="carried over at one use of two"),
        pytest.param(OnlyCast, [("BUF001", "error", "inv_freq")], id="cast, not carried"),
        pytest.param(
            lambda: Shared(Counter, Reader), [("BUF004", "error", "second.step")], id="shared and written"
        ),
        pytest.param(lambda: Shared(Reader, Reader), [], id="shared and read"),
        pytest.param(
            lambda: Shared(Reader, Counter, is_view=True), [("BUF004", "error", "second.step")], id="view, written"
        ),
        pytest.param(
            lambda: Shared(Reader, Reader, is_view=True), [("BUF004", "note", "second.step")], id="view, read"
        ),
        pytest.param(Strided, [], id="interleaved"),
        pytest.param(lambda: called(NotesByMethod()), [], id="hook method that notes"),
        pytest.param(
            lambda: called(UsesNotes()), [("BUF001", "error", "notes['layer']")], id="notes that are used"
        ),
        pytest.param(lambda: called(NotesByFunction()), [], id="hook that notes"),
        pytest.param(
            Pairs, [("BUF001", "error", "pairs[0][0]"), ("BUF001", "error", "pairs[0][1]")], id="ParameterList"
        ),
    ],
)
def test_a_model_shows(model: Any, found: list[tuple[str, str, str]]) -> None:
    assert found == found_in(model())


def test_a_buffer_in_place_of_what_is_carried_would_be_cast() -> None:
    (finding,) = bufscan.check(Carried()).findings
    assert "takes to a device at each use" in finding.message
    assert "a buffer would move, and be cast with the model" in finding.message
    assert finding.suggestion is None


def test_no_entries_are_registered_of_a_dict_that_forward_fills() -> None:
    (finding,) = bufscan.check(called(DictCache())).findings
    assert finding.suggestion is None


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_constants_of_torchscript_are_listed_as_left_behind() -> None:
    class Twos(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("twos", torch.full((3,), 2.0))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.twos * x

    frozen = torch.jit.freeze(torch.jit.trace(Twos().eval(), torch.zeros(3)))
    found = found_in(nn.Sequential(frozen, nn.Linear(3, 3)))
    assert [("BUF001", "warning")] == [(code, severity) for code, severity, _ in found]
    inventory = bufscan.inspect(nn.Sequential(frozen))
    assert [(False, False, (3,))] == [(each.saved, each.moves, each.shape) for each in inventory.tensors]


class SetInLoop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for level in (1, 2):
            table = torch.ones(level)
            setattr(self, f"pos_embed{level}", table)


def test_a_computed_name_stays_computed() -> None:
    assert ['self.register_buffer(f"pos_embed{level}", table, persistent=False)'] * 2 == [
        finding.suggestion for finding in bufscan.check(SetInLoop()).findings
    ]


def test_a_complex_buffer_is_made_real_by_a_real_dtype() -> None:
    class Complex(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.freqs = torch.polar(torch.ones(4), torch.ones(4))

    (finding,) = bufscan.check(Complex()).findings
    assert finding.suggestion_note is not None
    assert "makes a complex buffer real" in finding.suggestion_note
    assert finding.edits is None


class Referring(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.again = [self.weight]


def test_a_second_reference_is_noted_where_another_parameter_will_take_its_place() -> None:
    assert [] == found_in(Referring())
    with torch.device("meta"):
        assert [("BUF004", "note", "again[0]")] == found_in(Referring())


class MadeByInitWeights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("freqs", self.make(), persistent=False)

    def make(self) -> torch.Tensor:
        return torch.ones(3)

    def init_weights(self) -> None:
        self.freqs = self.make()


class NeverMade(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("freqs", torch.ones(3), persistent=False)


def test_init_weights_makes_a_buffer_again() -> None:
    with torch.device("meta"):
        assert [] == found_in(MadeByInitWeights())
        assert ["BUF204"] == [code for code, *_ in found_in(NeverMade())]


def test_example_inputs_are_lightnings(monkeypatch: pytest.MonkeyPatch) -> None:
    core = ModuleType("pytorch_lightning.core.module")
    monkeypatch.setitem(sys.modules, core.__name__, core)
    code = (
        "from torch import nn\nclass LightningModule(nn.Module):\n"
        "    @property\n    def example_input_array(self):\n        return self._example_input_array\n"
        "    @example_input_array.setter\n    def example_input_array(self, value):\n"
        "        self._example_input_array = value\n"
    )
    exec(code, core.__dict__)  # noqa: S102 - Lightning itself is too large to install for this

    class Lit(core.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.example_input_array = torch.zeros(1, 4)
            self.lost = torch.zeros(4)

    assert [("BUF001", "error", "lost")] == found_in(Lit())


def test_a_model_without_tensors_is_told() -> None:
    result = bufscan.check(nn.ReLU())
    assert 0 == result.exit_code
    assert ["it holds no tensor"] == [skipped.reason for target in result.targets for skipped in target.skipped]
