"""Modules whose pickle cannot show what the module itself does, and what that leads to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from whole_modules import after_a_pass, holding

if TYPE_CHECKING:
    from collections.abc import Callable


class Trimmed(nn.Module):
    """Leaves something out of its pickle."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.big = torch.zeros(3)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "big"}


class Metric(nn.Module):
    """Moves its state in an `_apply` of its own, as no library that is known does."""

    def __init__(self) -> None:
        super().__init__()
        self.total = torch.zeros(2)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Any:
        super()._apply(fn, recurse)
        self.total = fn(self.total)
        return self


class Caching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.last = x * 2
        return self.last


class Pair(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor


def with_grads() -> nn.Module:
    model = nn.Linear(2, 2)
    model(torch.ones(1, 2)).sum().backward()
    return holding(model=model, grads=[model.weight.grad])


class Explained(NamedTuple):
    """A module, why its pickle is not enough, and what is said of either alone.

    Findings are given as code, severity and path; what both have alike is left out.
    """

    reason: str
    make: Callable[[], nn.Module]
    of_file: set[tuple[str, str, str]]
    of_model: set[tuple[str, str, str]] = frozenset()  # type: ignore[assignment]  # never changed


EXPLAINED: dict[str, Explained] = {
    "result of autograd": Explained(
        "a pickle keeps no graph, only that the tensor requires grad",
        lambda: holding(attention=nn.Linear(2, 2)(torch.ones(1, 2))),
        {("BUF001", "warning", "attention")},
    ),
    "lost Parameter": Explained(
        "a pickle keeps no graph, only that the tensor requires grad",
        lambda: holding(scale=nn.Parameter(torch.ones(3)).double()),
        {("BUF001", "warning", "scale")},
        {("BUF002", "error", "scale")},
    ),
    "plain tensor that requires grad": Explained(
        "a pickle keeps no graph, only that the tensor requires grad",
        lambda: holding(scale=torch.ones(3, requires_grad=True)),
        {("BUF001", "warning", "scale")},
        {("BUF001", "error", "scale")},
    ),
    "cache": Explained(
        "forward is code, and a pickle has none",
        lambda: after_a_pass(Caching(), 2, 2),
        {("BUF001", "error", "last")},
        {("BUF001", "warning", "last")},
    ),
    "unknown own _apply": Explained(
        "an overridden `_apply` is code, and only those of well-known libraries are known",
        Metric,
        {("BUF001", "error", "total")},
    ),
    "gradients": Explained(
        "a pickled Parameter has no grad, so that a tensor in a list is not seen to be one",
        with_grads,
        {("BUF001", "error", "grads[0]")},
    ),
    "fields of a named tuple": Explained(
        "a pickle gives the fields by position",
        lambda: holding(pair=Pair(torch.zeros(1), torch.zeros(2))),
        {("BUF001", "error", "pair[0]"), ("BUF001", "error", "pair[1]")},
        {("BUF001", "error", "pair.first"), ("BUF001", "error", "pair.second")},
    ),
    "left out of the pickle": Explained(
        "`__getstate__` leaves it out", Trimmed, set(), {("BUF001", "error", "big")}
    ),
    "bare storage": Explained(
        "a storage is listed as what the file spends bytes on; the model's scan looks at tensors alone",
        lambda: holding(kept=torch.zeros(3).untyped_storage()),
        {("BUF001", "error", "kept")},
    ),
}
