"""A model that is cast as it moves: what keeps another type, and where that fails."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bufscan.checking import check
from bufscan.errors import UsageError
from bufscan.rehearsal import Plan
from bufscan.rehearsing import rehearse


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)
        self.pe = torch.ones(8)


class KeepsFloat32(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.pe.to(x.device)
        return self.fc(x)


class MakesFloat32(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x * torch.ones(8, device=x.device))


class Float32OnPurpose(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = x.float() + self.pe.to(x.device)
        return self.fc(wide.to(x.dtype))


class Upcasts(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x.float())


class FollowsInput(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x + self.pe.to(x)) * torch.ones(8, device=x.device)


def messages(model: nn.Module, dtype: str | None = "bfloat16") -> list[str]:
    result = check(model, rehearse=Plan(inputs="randn(2, 8)", dtype=dtype))
    assert all(target.is_complete for target in result.targets)
    return [finding.message for finding in result.findings if finding.code == "BUF202"]


def test_a_plain_tensor_that_keeps_its_type_is_named() -> None:
    (message,) = messages(KeepsFloat32())
    assert message.startswith("`pe` stays float32 when the model becomes bfloat16 (BUF001 at ")
    assert message.endswith(": `addmm` takes tensors of one type only")


def test_so_is_one_that_forward_makes() -> None:
    (message,) = messages(MakesFloat32())
    assert message == (
        "`torch.ones(8, device=x.device)` makes a tensor of float32, whatever the model is: "
        "`addmm` takes tensors of one type only"
    )


def test_and_what_forward_itself_casts() -> None:
    assert ["float32 meets the model's bfloat16: `addmm` takes tensors of one type only"] == messages(Upcasts())


@pytest.mark.parametrize("model", [Float32OnPurpose, FollowsInput])
def test_types_that_never_clash_are_none_of_our_business(model: type[nn.Module]) -> None:
    assert [] == messages(model())


@pytest.mark.parametrize("model", [KeepsFloat32, MakesFloat32, Float32OnPurpose, Upcasts, FollowsInput])
def test_without_a_cast_all_of_them_pass(model: type[nn.Module]) -> None:
    assert [] == messages(model(), None)


@pytest.mark.parametrize("dtype", ["float33", "int64", "nn"])
def test_other_types_are_refused(dtype: str) -> None:
    with pytest.raises(UsageError, match=f"torch has no floating-point type `{dtype}`"):
        rehearse(nn.Linear(1, 1), (torch.ones(1, 1),), dtype=dtype)
