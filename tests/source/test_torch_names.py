"""The table of what of torch returns tensors is the one that torch's stubs give."""

from __future__ import annotations

import derive_torch_names
import pytest
import torch

from bufscan.source.torch_facts import function_result, method_result

DERIVED_FROM = "2.13"


def test_the_table_is_derived_from_the_stubs() -> None:
    if not torch.__version__.startswith(DERIVED_FROM):
        pytest.skip(f"the table is that of torch {DERIVED_FROM}")
    assert derive_torch_names.WRITTEN.read_text() == derive_torch_names.written()


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("torch.zeros", "tensor"),
        ("torch.linalg.inv", "tensor"),
        ("torch.linalg.svd", "tensors"),
        ("torch.nn.functional.softmax", "tensor"),
        ("torch.split", "tensors"),
        ("torch.meshgrid", "tensors"),
        ("torch.max", "either"),
        ("torch.device", None),
        ("torch.Size", None),
        ("torch.Generator", None),
        ("torch.load", None),
        ("numpy.zeros", None),
    ],
)
def test_what_a_function_returns(name: str, result: str | None) -> None:
    assert result == function_result(name)


@pytest.mark.parametrize(
    ("name", "result"),
    [("view", "tensor"), ("sort", "tensors"), ("max", "either"), ("item", None), ("size", None), ("tolist", None)],
)
def test_what_a_method_returns(name: str, result: str | None) -> None:
    assert result == method_result(name)
