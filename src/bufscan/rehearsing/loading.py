"""What a model loses between `state_dict()` and `load_state_dict()`, measured on a second one."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from bufscan.live.building.user_code import summary_of, where_raised
from bufscan.live.reach.describing import is_uninitialised
from bufscan.live.reach.registry import registered_modules, registered_tensors
from bufscan.live.reach.walking import walk
from bufscan.rehearsal import Loaded
from bufscan.rehearsing.dispatching import tensors_returned
from bufscan.rehearsing.keeping import Keeper, torch_kept

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import nn

_SEED = 1  # of the second model: what is drawn at random is not what the first one drew
_PATTERN = 0x5A  # every byte of memory that nobody wrote to: 1.5e16 as a float32
_INITIALISERS = ("init_weights", "reset_parameters")


def reload(model: nn.Module, build: Callable[[], nn.Module], call: Callable[[nn.Module], Any] | None) -> Loaded:
    """Have a fresh instance load the model's state_dict, and compare their tensors and what `call` makes of them.

    Args:
        model: as it was built; it is left as it is.
        build: makes another one.
        call: runs a model on the same inputs each time; None to compare the tensors alone.
    """
    import torch

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(_SEED)
        fresh = build()
    try:
        fresh.load_state_dict(model.state_dict())
    except Exception as error:  # noqa: BLE001  # the user's overrides may raise anything
        return Loaded(reason=f"`load_state_dict()` raised {summary_of(error)}{where_raised(error)}")
    old, new = _tensors_of(model), _tensors_of(fresh)
    differing = tuple(path for path in old if path in new and not _same(old[path], new[path]))
    outputs = None if call is None else [_outputs(each, call) for each in (model, model, fresh)]
    if outputs is None:
        return Loaded(differing=differing)
    first, again, other = outputs
    if isinstance(first, str):
        return Loaded(differing=differing, reason=first)
    is_steady = not isinstance(again, str) and _all_same(first, again)
    differs = isinstance(other, str) or not _all_same(first, other)
    return Loaded(differing=differing, output_differs=differs if is_steady else None)


def load_after_meta(
    model: nn.Module, build: Callable[[], nn.Module], call: Callable[[nn.Module], Any] | None
) -> Loaded:
    """Give memory to a model built on the meta device, load the state_dict, and find what nobody wrote to.

    `init_weights()` or `reset_parameters()` of the model run before, as whoever calls `to_empty()` runs them, and
    `call` after, for a forward pass may make its tables anew.

    Args:
        model: the same built with values.
        build: makes one on the meta device.
        call: runs a model; None to look at once.
    """
    import torch

    fresh = build()
    fresh._apply(_written_over)  # type: ignore[no-untyped-call]  # noqa: SLF001  # as `to_empty`
    for module in fresh.modules():
        for name in _INITIALISERS:
            with torch.no_grad(), contextlib.suppress(Exception):  # it wants arguments, or none of its own tensors
                getattr(module, name)()
    try:
        fresh.load_state_dict(model.state_dict(), strict=False)
    except Exception as error:  # noqa: BLE001  # the user's overrides may raise anything
        return Loaded(reason=f"`load_state_dict()` raised {summary_of(error)}{where_raised(error)}")
    if call is not None:
        with contextlib.suppress(Exception):  # garbage may make it fail
            call(fresh)
    return Loaded(garbage=tuple(path for path, tensor in _registered(fresh).items() if _is_garbage(tensor)))


def _written_over(tensor: torch.Tensor) -> torch.Tensor:
    import torch

    made = torch.empty_like(tensor, device="cpu")
    if made.numel() and made.layout is torch.strided:
        made.untyped_storage().fill_(_PATTERN)  # type: ignore[attr-defined]
    return made


def _is_garbage(tensor: torch.Tensor) -> bool:
    """Whether every element still is what the memory held."""
    import torch

    if tensor.device.type == "meta":
        return True
    if tensor.layout is not torch.strided or not tensor.numel():
        return False
    return bool((tensor.detach().contiguous().view(-1).view(torch.uint8) == _PATTERN).all())


def _registered(model: nn.Module) -> dict[str, torch.Tensor]:
    modules, _ = registered_modules(model)
    entries = (entry for module in modules if module.first for entry in registered_tensors(module))
    return {entry.name: entry.tensor for entry in entries if entry.tensor is not None}


def _tensors_of(model: nn.Module) -> dict[str, torch.Tensor]:
    modules, _ = registered_modules(model)
    reached = {place.path: tensor for place, tensor in walk(modules).reached}
    return {
        path: tensor for path, tensor in (_registered(model) | reached).items() if not is_uninitialised(tensor)
    }


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    import torch

    if one.shape != other.shape or one.dtype is not other.dtype or one.layout is not torch.strided:
        return one.layout is not torch.strided
    return bool(torch.allclose(one.detach(), other.detach(), rtol=0, atol=0, equal_nan=True))


def _all_same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(map(_same, one, other))


def _outputs(model: nn.Module, call: Callable[[nn.Module], Any]) -> list[torch.Tensor] | str:
    """The tensors that a call returns, in evaluation mode and from one random state; why not, where it fails."""
    import torch

    keeper = Keeper((model,))
    with torch_kept():
        torch.manual_seed(_SEED)
        model.eval()
        try:
            with torch.no_grad():
                found = call(model)
            return [tensor.clone() for tensor in tensors_returned(found)]
        except Exception as error:  # noqa: BLE001  # the user's code may raise anything
            return f"the call raised {summary_of(error)}{where_raised(error)}"
        finally:
            keeper.restore()
