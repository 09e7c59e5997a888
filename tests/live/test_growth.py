"""The work of a scan and a check grows as the model does, whatever there is much of."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bufscan.checking import check
from bufscan.checking.results import Known
from bufscan.config import Config, IgnoreEntry
from bufscan.joining.fit import join
from bufscan.live.reach.naming import root_place
from bufscan.live.reach.registry import registered_modules, registered_tensors
from bufscan.live.reach.walking import Reached
from bufscan.live.scanning import scan
from bufscan.live.scanning.classifying import Classifier
from bufscan.report.check.text import render
from bufscan.report.check.view import CheckView

if TYPE_CHECKING:
    from collections.abc import Callable

FEW, FACTOR = 100, 8


def lines_run(work: Callable[[], object]) -> int:
    """Lines of Python that run, a loop's each time: the same on every machine."""
    count = 0

    def trace(_frame: object, event: str, _argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


class Own(nn.Module):
    """Its source is here, so that there is a line to mend."""

    def __init__(self) -> None:
        super().__init__()
        self.held: Any = None


class Unclaimed(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Identity() for _ in range(size))

    def state_dict(self, *arguments: Any, **options: Any) -> Any:
        found = super().state_dict(*arguments, **options)
        found.update({f"blocks.x{index}.made": torch.zeros(1) for index in range(len(self.blocks))})
        return found


class ExtraState(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def get_extra_state(self) -> Any:
        return {(index,): torch.zeros(1) for index in range(self.size)}

    def set_extra_state(self, state: Any) -> None:
        raise NotImplementedError


def views_of_one_storage(size: int) -> nn.Module:
    model, storage = Own(), torch.zeros(2 * size)
    for index in range(size):
        model.register_buffer(f"b{index}", storage[2 * index : 2 * index + 1])
    model.held = [storage[2 * index + index % 2 : 2 * index + index % 2 + 1] for index in range(size)]
    return model


def names_of_one_tensor(size: int) -> nn.Module:
    model, tensor = Own(), torch.zeros(3)
    for index in range(size):
        model.register_buffer(f"b{index}", tensor)
    model.held = [tensor] * size
    return model


def attributes(size: int) -> nn.Module:
    model = Own()
    for index in range(size):
        setattr(model, f"held{index}", torch.zeros(2))
    return model


def hidden_buffers(size: int) -> nn.Module:
    model = Own()
    for index in range(size):
        model.register_buffer(f"b{index}", torch.zeros(2))
        vars(model)[f"b{index}"] = torch.zeros(2)
    return model


def holding(held: Callable[[int], object]) -> Callable[[int], nn.Module]:
    def make(size: int) -> nn.Module:
        model = Own()
        model.held = held(size)
        return model

    return make


MANY: dict[str, Callable[[int], nn.Module]] = {
    "unclaimed entries": Unclaimed,
    "entries of extra state": ExtraState,
    "views of one storage": views_of_one_storage,
    "names of one tensor": names_of_one_tensor,
    "attributes": attributes,
    "hidden buffers": hidden_buffers,
    "tensors in a list": holding(lambda size: [torch.zeros(1) for _ in range(size)]),
    "tensors in a set": holding(lambda size: {torch.zeros(1) for _ in range(size)}),
    "modules in a list": holding(lambda size: [nn.PReLU() for _ in range(size)]),
    "registered modules": lambda size: nn.ModuleList(nn.Linear(1, 1) for _ in range(size)),
    "names of one module": lambda size: nn.ModuleList([nn.Linear(1, 1)] * size),
}


@pytest.mark.parametrize("make", MANY.values(), ids=MANY)
def test_the_work_grows_as_the_model_does(make: Callable[[int], nn.Module]) -> None:
    few, many = make(FEW), make(FACTOR * FEW)
    check(make(2))  # sources are read once
    small, large = (lines_run(lambda model=model: render(check(model), CheckView())) for model in (few, many))
    assert large < 1.1 * FACTOR * small


def test_the_work_grows_as_what_a_checkpoint_lacks_does() -> None:
    def work(size: int) -> int:
        model = scan(nn.ModuleList(nn.PReLU() for _ in range(size)), "model")
        other = scan(nn.ModuleDict({f"x{index}": nn.Linear(1, 2) for index in range(size)}), "other")
        return lines_run(lambda: join(other, model))

    work(2)
    small, large = work(FEW), work(FACTOR * FEW)
    assert large < 1.1 * FACTOR * small


def test_the_work_grows_as_the_baseline_and_the_ignores_do() -> None:
    def work(size: int) -> int:
        model = attributes(size)
        known = frozenset(Known(target="Own", code="BUF001", tensor=f"held{index}") for index in range(size))
        ignores = tuple(IgnoreEntry(code="BUF001", tensor=f"held{index}", reason="-") for index in range(size))
        return lines_run(lambda: check(model, config=Config(ignore=ignores), baseline=known))

    work(2)
    small, large = work(FEW), work(FACTOR * FEW)
    assert large < 1.1 * FACTOR * small


RANGES = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 6)), max_size=8)


@given(registered=RANGES, met=RANGES)
def test_what_shares_bytes_with_a_registered_tensor_is_known_by_one_that_does(
    registered: list[tuple[int, int]], met: list[tuple[int, int]]
) -> None:
    storage, model = torch.zeros(20), nn.Module()
    taken = {f"b{index}": set(range(start, start + size)) for index, (start, size) in enumerate(registered)}
    for name, elements in taken.items():
        model.register_buffer(name, storage[min(elements) : max(elements) + 1])
    (entry,), _ = registered_modules(model)
    reached = [Reached(root_place(entry), storage[start : start + size]) for start, size in met]
    classifier = Classifier(registered_tensors(entry), reached, {})
    for (start, size), each in zip(met, reached, strict=True):
        verdict = classifier.verdict(each)
        assert verdict is not None
        shared = {name for name, elements in taken.items() if elements & set(range(start, start + size))}
        assert verdict.alias_of in (shared or {None})
