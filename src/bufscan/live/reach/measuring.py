"""The three facts, measured on the model itself, which is left as it was.

*saved* is a real `state_dict()` call, *moves* a real `_apply()` with a function that notes each tensor and
returns it, *trains* a real `parameters()` call. Overrides and hooks of the user's classes are thereby honoured;
whatever raises is reported as inconclusive.
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Mapping
from operator import is_
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from bufscan.inventory import Skipped
from bufscan.live.building.user_code import summary_of
from bufscan.live.reach.anatomy import instance_dict
from bufscan.live.reach.describing import is_uninitialised, subclasses_not_asked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch
    from torch import nn


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """What the probes saw. None: the probe was inconclusive.

    The tensors are kept beside their ids, so that no id is given to another object meanwhile.

    Attributes:
        saved: the state_dict, name to value.
        moved: every tensor that `_apply` hands to its function, by id.
        trained: every tensor of `parameters()` that requires grad, by id.
        skipped: probes that raised.
    """

    saved: Mapping[str, Any] | None
    moved: dict[int, torch.Tensor] | None
    trained: dict[int, torch.Tensor] | None
    skipped: tuple[Skipped, ...]


def measure(model: nn.Module, modules: Sequence[nn.Module]) -> Measurement:
    """Run the three probes. `modules` are all registered modules: what is put back when a probe changed it."""
    skipped: list[Skipped] = []

    def attempt(probe: Callable[[nn.Module], Any], fact: str, call: str) -> Any:
        try:
            return probe(model)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # the user's overrides may raise anything
            reason = f"{call} raised {summary_of(error)}"
            skipped.append(Skipped(what=f"`{fact}` of every tensor", reason=reason, failed=True))
            return None

    with contextlib.redirect_stdout(sys.stderr), _left_as_it_was(modules) as changed_values:
        measurement = Measurement(
            saved=attempt(_saved, "saved", "state_dict()"),
            moved=attempt(_moved, "moves", "_apply()"),
            trained=attempt(_trained, "trains", "parameters()"),
            skipped=(),
        )
    skipped.extend(
        Skipped(what=name, reason="the model changed its values while it was measured") for name in changed_values
    )
    return msgspec.structs.replace(measurement, skipped=tuple(skipped))


def _saved(model: nn.Module) -> Mapping[str, Any]:
    state = model.state_dict()
    if not isinstance(state, Mapping):
        raise TypeError(f"it returned {type(state).__name__}, not a mapping")
    return {str(name): value for name, value in state.items()}


def _moved(model: nn.Module) -> dict[int, torch.Tensor]:
    moved: dict[int, torch.Tensor] = {}

    def record(tensor: torch.Tensor) -> torch.Tensor:
        moved[id(tensor)] = tensor
        return tensor

    with _default_conversion():
        model._apply(record)  # type: ignore[no-untyped-call]  # noqa: SLF001  # what `.to` and `.half` call
    return moved


def _trained(model: nn.Module) -> dict[int, torch.Tensor]:
    return {id(parameter): parameter for parameter in model.parameters() if parameter.requires_grad}


@contextlib.contextmanager
def _default_conversion() -> Iterator[None]:
    """With torch's conversion flags set, `_apply` would replace the Parameters it is asked to record."""
    from torch import __future__ as flags

    overwrite, swap = (
        flags.get_overwrite_module_params_on_conversion(),
        flags.get_swap_module_params_on_conversion(),
    )
    flags.set_overwrite_module_params_on_conversion(False)
    flags.set_swap_module_params_on_conversion(False)
    try:
        yield
    finally:
        flags.set_overwrite_module_params_on_conversion(overwrite)
        flags.set_swap_module_params_on_conversion(swap)


class _TensorState(NamedTuple):
    module: nn.Module
    name: str
    tensor: torch.Tensor
    version: int | None
    grad: torch.Tensor | None
    attributes: dict[str, Any]


@contextlib.contextmanager
def _left_as_it_was(modules: Sequence[nn.Module]) -> Iterator[list[str]]:
    """Put registrations, attributes, grads and random state back; yields the names of tensors written to."""
    import torch

    dicts = [found for module in modules for found in _own_dicts(module)]
    before = [dict(found) for found in dicts]
    with subclasses_not_asked():
        tensors = [_state_of(*entry) for module in modules for entry in _tensors_of(module)]
    python_state, torch_state = random.getstate(), torch.get_rng_state()
    written: list[str] = []
    try:
        yield written
    finally:
        random.setstate(python_state)
        torch.set_rng_state(torch_state)
        for found, kept in zip(dicts, before, strict=True):
            _put_back(found, kept)
        with subclasses_not_asked():
            written.extend(
                f"{state.name} of {type(state.module).__name__}"
                for state in tensors
                if not _put_tensor_back(state)
            )


def _put_tensor_back(state: _TensorState) -> bool:
    """Put attributes and gradient back; False where the values themselves were written to."""
    _put_back(instance_dict(state.tensor), state.attributes)
    if _grad_of(state.tensor) is not state.grad:
        state.tensor.grad = state.grad
    return _version_of(state.tensor) == state.version


def _own_dicts(module: nn.Module) -> Iterator[dict[str, Any]]:
    own = instance_dict(module)
    yield own
    yield from (own[name] for name in ("_parameters", "_buffers", "_modules") if isinstance(own.get(name), dict))


def _put_back(found: dict[str, Any], kept: dict[str, Any]) -> None:
    same = len(found) == len(kept) and all(map(is_, found, kept))
    if not same or not all(map(is_, found.values(), kept.values())):
        found.clear()
        found.update(kept)


def _tensors_of(module: nn.Module) -> Iterator[tuple[nn.Module, str, torch.Tensor]]:
    own = instance_dict(module)
    for table in ("_parameters", "_buffers"):
        entries = own.get(table)
        if isinstance(entries, dict):
            yield from ((module, name, tensor) for name, tensor in entries.items() if tensor is not None)


def _state_of(module: nn.Module, name: str, tensor: torch.Tensor) -> _TensorState:
    attributes = dict(instance_dict(tensor))
    return _TensorState(module, name, tensor, _version_of(tensor), _grad_of(tensor), attributes)


def _version_of(tensor: torch.Tensor) -> int | None:
    if is_uninitialised(tensor) or tensor.is_inference():
        return None
    return tensor._version  # noqa: SLF001  # torch has no public reader


def _grad_of(tensor: torch.Tensor) -> torch.Tensor | None:
    # Reading `.grad` of a result of autograd warns; `_apply` asks parameters only.
    return None if is_uninitialised(tensor) or not tensor.is_leaf else tensor.grad
