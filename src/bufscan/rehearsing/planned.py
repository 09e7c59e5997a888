"""A rehearsal as the command line or the configuration asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.errors import BufscanError
from bufscan.live.standard_output import diverted_to_stderr
from bufscan.rehearsal import Plan, Rehearsal
from bufscan.rehearsing import rehearse
from bufscan.rehearsing.inputs import inputs_for

if TYPE_CHECKING:
    from torch import nn


def rehearse_as(plan: Plan, model: nn.Module) -> Rehearsal:
    """Make the inputs and rehearse the model; that there are none is a reason in the result."""
    with diverted_to_stderr():
        try:
            args, kwargs = inputs_for(model, plan.inputs)
        except BufscanError as error:
            reason = error.message if error.hint is None else f"{error.message}; {error.hint}"
            return Rehearsal(method=plan.method, train=plan.train, dtype=plan.dtype, reason=reason)
        return rehearse(model, args, kwargs, method=plan.method, train=plan.train, dtype=plan.dtype)
