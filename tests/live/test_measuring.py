"""The probes: what they honour, what they survive, and that they leave the model as it was."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
import torch
from models import facts, holding, tensors
from torch import nn

from bufscan.live.reach.measuring import measure
from bufscan.live.scanning import scan

if TYPE_CHECKING:
    from collections.abc import Callable


def _everything(model: nn.Module) -> list[Any]:
    """All that a probe could change: identities, versions, registrations, modes."""
    state: list[Any] = [torch.get_rng_state().tolist(), random.getstate()]
    for module in model.modules():
        tables = (module.__dict__, module._parameters, module._buffers, module._modules)
        state.extend([(name, id(value)) for name, value in table.items()] for table in tables)
        state.extend(
            (tensor._version, tensor.requires_grad, id(tensor.grad), tensor.tolist())
            for tensor in (*module._parameters.values(), *module._buffers.values())
            if tensor is not None
        )
    return state


def _trained_lstm() -> nn.Module:
    model = nn.Sequential(nn.LSTM(2, 3), nn.Identity())
    model[0](torch.ones(4, 1, 2))[0].sum().backward()
    return model


@pytest.mark.parametrize(
    "make",
    [
        _trained_lstm,
        lambda: nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).eval(),
        lambda: nn.TransformerEncoderLayer(8, 2, 8),
        lambda: holding(pe=torch.ones(2), layers=[nn.Linear(2, 2)]),
    ],
    ids=["lstm with grads", "batch norm in eval", "transformer layer", "hidden tensors"],
)
def test_a_scan_leaves_the_model_bit_for_bit_as_it_was(make: Callable[[], nn.Module]) -> None:
    model = make()
    before = _everything(model)
    scan(model, "test")
    assert before == _everything(model)


def test_a_probe_that_rearranges_the_model_is_put_back() -> None:
    class Restless(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("steps", torch.zeros(1))
            self.linear = nn.Linear(1, 1)
            self.calls = 0

        def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Any:
            super()._apply(fn, recurse)
            self.calls += 1
            torch.rand(3), random.random()  # noqa: S311
            self.steps = fn(torch.ones(1))
            self.training = False
            return self

        def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
            self.seen = torch.rand(3)
            self.linear = nn.Linear(1, 1)
            return super().state_dict(*args, **kwargs)

    model = Restless()
    before = _everything(model)
    scan(model, "test")
    assert before == _everything(model)


def test_values_that_a_probe_writes_to_are_reported() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(1))

        def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
            self.calls += 1
            return super().state_dict(*args, **kwargs)

    skipped = scan(Counting(), "test").skipped
    assert ["calls of Counting"] == [entry.what for entry in skipped]


@pytest.mark.parametrize("swap", [False, True], ids=["overwrite", "swap"])
def test_torchs_conversion_flags_do_not_replace_parameters(swap: bool) -> None:
    flags = torch.__future__
    setter = (
        flags.set_swap_module_params_on_conversion if swap else flags.set_overwrite_module_params_on_conversion
    )
    getter = (
        flags.get_swap_module_params_on_conversion if swap else flags.get_overwrite_module_params_on_conversion
    )
    model = nn.Linear(2, 2)
    before = _everything(model)
    setter(True)
    try:
        scan(model, "test")
        assert getter()
    finally:
        setter(False)
    assert before == _everything(model)


class Failing(nn.Module):
    """Raises in the one method it is told to."""

    def __init__(self, method: str, error: BaseException) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.pe = torch.ones(3)
        self.failing, self.error = method, error

    def _fail(self, method: str) -> None:
        if self.failing == method:
            raise self.error

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        self._fail("state_dict")
        return super().state_dict(*args, **kwargs)

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        self._fail("_apply")
        return super()._apply(*args, **kwargs)

    def parameters(self, *args: Any, **kwargs: Any) -> Any:
        self._fail("parameters")
        return super().parameters(*args, **kwargs)


@pytest.mark.parametrize(
    ("method", "weight", "plain"),
    [
        ("state_dict", ("parameter", None, True, True), ("unregistered", None, False, False)),
        ("_apply", ("parameter", True, None, True), ("unregistered", False, None, False)),
        ("parameters", ("parameter", True, True, None), ("unregistered", False, False, None)),
    ],
    ids=["saved", "moves", "trains"],
)
@pytest.mark.parametrize("error", [RuntimeError("two\nlines"), SystemExit(3)], ids=["exception", "exit"])
def test_a_probe_that_raises_is_inconclusive_and_the_rest_is_shown(
    method: str, weight: tuple[Any, ...], plain: tuple[Any, ...], error: BaseException
) -> None:
    model = Failing(method, error)
    inventory = scan(model, "test")
    assert 1 == len(inventory.skipped)
    assert f"{method}() raised {type(error).__name__}" in inventory.skipped[0].reason
    assert "\n" not in inventory.skipped[0].reason
    found = {tensor.name: tensor for tensor in inventory.tensors}
    assert weight == facts(found["linear.weight"])
    assert plain == facts(found["pe"])


def test_what_a_probe_prints_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    class Chatty(nn.Module):
        def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
            print("saving")  # noqa: T201
            return super().state_dict(*args, **kwargs)

    scan(Chatty(), "test")
    captured = capsys.readouterr()
    assert ("", "saving\n") == (captured.out, captured.err)


def test_extra_state_and_entries_that_hooks_add_are_shown() -> None:
    class WithState(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)
            self.scale = torch.ones(1)
            self.register_state_dict_post_hook(WithState._add)

        def get_extra_state(self) -> Any:
            return {"scale": self.scale, "history": [torch.zeros(2)]}

        def set_extra_state(self, state: Any) -> None: ...

        @staticmethod
        def _add(_module: nn.Module, state: dict[str, Any], prefix: str, _metadata: Any) -> None:
            state[f"{prefix}added"] = torch.ones(4)

    found = tensors(nn.Sequential(WithState()))
    assert (True, "plain attribute of WithState; saved as `0._extra_state['scale']`") == (
        found["0.scale"].saved,
        found["0.scale"].evidence,
    )
    assert ("extra_state", True, None) == (
        found["0._extra_state['history'][0]"].holding,
        found["0._extra_state['history'][0]"].saved,
        found["0._extra_state['history'][0]"].moves,
    )
    assert "state_dict_only" == found["0.added"].holding


def test_a_persistent_buffer_that_the_state_dict_drops_is_not_saved() -> None:
    class Dropping(nn.BatchNorm1d):
        def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
            state = super().state_dict(*args, **kwargs)
            state.pop("num_batches_tracked")
            return state

    found = tensors(Dropping(2))
    assert ("persistent_buffer", False, True, False) == facts(found["num_batches_tracked"])
    assert ("persistent_buffer", True, True, False) == facts(found["running_mean"])


def test_a_state_dict_that_renames_its_entries_still_saves_them() -> None:
    class Renaming(nn.Linear):
        def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
            return {f"model.{name}": value for name, value in super().state_dict(*args, **kwargs).items()}

    found = tensors(Renaming(2, 2))
    assert {"weight", "bias"} == set(found)
    assert "registered parameter of Renaming; saved as `model.weight`" == found["weight"].evidence


def test_parameters_decide_what_trains() -> None:
    class Partial(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(1, 1), nn.Linear(1, 1)

        def parameters(self, recurse: bool = True) -> Any:
            return self.a.parameters(recurse)

    found = tensors(Partial())
    assert (True, False) == (found["a.weight"].trains, found["b.weight"].trains)


def test_the_probes_see_the_tensors_of_apply_once_each() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    moved = measure(model, list(model.modules())).moved
    assert moved is not None
    assert {id(t) for t in (*model.parameters(), *model.buffers())} == set(moved)
