"""A rehearsal as the command line or the configuration asks for it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import msgspec

from bufscan.errors import BufscanError
from bufscan.live.building.importing import build
from bufscan.live.building.standard_output import diverted_to_stderr
from bufscan.rehearsal import Loaded, Plan, Rehearsal
from bufscan.rehearsing import rehearse
from bufscan.rehearsing.inputs import inputs_for
from bufscan.rehearsing.keeping import torch_kept
from bufscan.rehearsing.loading import load_after_meta, reload

if TYPE_CHECKING:
    from torch import nn

    from bufscan.rehearsing.inputs import Inputs
    from bufscan.target import ObjectTarget


def rehearse_as(plan: Plan, model: nn.Module, target: ObjectTarget | None, dtype: str | None = None) -> Rehearsal:
    """Make the inputs and rehearse the model; that there are none is a reason in the result.

    Args:
        plan: what to do.
        model: as it was built.
        target: what it was built from; None for a model that was handed over, which cannot be built again.
        dtype: the default dtype while it is built.

    Raises:
        UsageError: torch has no such type as the plan casts to.
    """
    with diverted_to_stderr():
        inputs: Inputs | None = None
        result = Rehearsal(method=plan.method, train=plan.train, dtype=plan.dtype, called=False)
        if plan.inputs is not None:
            try:
                inputs = inputs_for(model, plan.inputs)
            except BufscanError as error:
                reason = error.message if error.hint is None else f"{error.message}; {error.hint}"
                result = msgspec.structs.replace(result, reason=reason)
            else:
                how: dict[str, Any] = {"method": plan.method, "train": plan.train, "dtype": plan.dtype}
                result = rehearse(model, inputs.args, inputs.kwargs, **how)
        if plan.loads:
            loaded = _loaded(plan, model, target, dtype, inputs)
            result = msgspec.structs.replace(result, loaded=loaded)
        return result


def _loaded(
    plan: Plan, model: nn.Module, target: ObjectTarget | None, dtype: str | None, inputs: Inputs | None
) -> Loaded:
    if target is None:
        return Loaded(reason="a model that is handed over cannot be built again")

    def call(built: nn.Module) -> Any:
        assert inputs is not None  # noqa: S101 - else nobody calls it
        method = built if plan.method == "forward" else getattr(built, plan.method)
        return method(*inputs.args, **inputs.kwargs)

    found = Loaded()
    caller = None if inputs is None else call
    try:
        with torch_kept():
            if "reload" in plan.loads:
                found = reload(model, functools.partial(build, target, dtype=dtype), caller)
            if "meta" in plan.loads:
                on_meta = load_after_meta(
                    model, functools.partial(build, target, device="meta", dtype=dtype), caller
                )
                reason = found.reason or on_meta.reason
                found = msgspec.structs.replace(found, garbage=on_meta.garbage, reason=reason)
    except BufscanError as error:
        found = msgspec.structs.replace(found, reason=error.message)
    return found
