"""BUF309: checkpoints that were saved under ZeRO-3 without gathering, and what only looks like one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inventories import brief, inventory, live, said, tensor

from bufscan.findings import Finding

if TYPE_CHECKING:
    from bufscan.inventory import Tensor


def layer(number: int, *, gathered: bool) -> list[Tensor]:
    """Two matrices, which ZeRO-3 takes apart, and the vectors, which it keeps whole."""
    weights = [tensor(f"h.{number}.{name}.weight", *((8, 8) if gathered else (0,))) for name in ("attn", "mlp")]
    vectors = [tensor(f"h.{number}.{name}", 8) for name in ("attn.bias", "mlp.bias", "ln.weight", "ln.bias")]
    return weights + vectors


def test_the_finding_names_what_is_empty_and_the_way_out() -> None:
    found = inventory(tensor("a.lora_A.weight", 0), tensor("a.lora_B.weight", 0))
    (finding,) = said(found, "BUF309")
    assert isinstance(finding, Finding)
    assert finding.message.startswith("all 2 weights are empty (`a.lora_A.weight` first)")
    for way_out in ("get_state_dict", "stage3_gather_16bit_weights_on_model_save", "zero_to_fp32.py"):
        assert way_out in finding.message


@given(st.integers(min_value=1, max_value=5))
def test_small_parameters_that_were_kept_whole_hide_nothing(layers: int) -> None:
    found = inventory(*(each for number in range(layers) for each in layer(number, gathered=False)))
    assert [("BUF309", "error", "")] == brief(found)


@given(st.integers(min_value=1, max_value=5))
def test_a_gathered_checkpoint_is_none(layers: int) -> None:
    found = inventory(*(each for number in range(layers) for each in layer(number, gathered=True)))
    assert [] == brief(found)


def test_every_section_is_judged_alone() -> None:
    empty = [tensor(f"{name}.weight", 0, section="ema") for name in "ab"]
    found = inventory(*layer(0, gathered=True), *empty)
    assert [("BUF309", "error", "ema")] == brief(found)


@pytest.mark.parametrize(
    "beside",
    [
        [tensor("w.weight", 0)],
        [tensor("a.k_cache", 0), tensor("a.v_cache", 0), tensor("a.bias", 8)],
        [tensor("a.weight", 0, 8), tensor("b.weight", 0, 8)],
        [
            *(tensor(f"{name}.weight", 0) for name in "ab"),
            *(tensor(f"{name}.qweight", 8, 4, role="persistent_buffer") for name in "ab"),
        ],
        [tensor("a.weight", 0, role="training_state"), tensor("b.weight", 0, role="training_state")],
    ],
    ids=["one", "caches not filled yet", "layers without outputs", "weights packed elsewhere", "training state"],
)
def test_what_may_be_meant_is_none(beside: list[Tensor]) -> None:
    assert [] == brief(inventory(*beside), "BUF309")


def test_a_live_model_is_its_owners_affair() -> None:
    assert [] == brief(live(tensor("a.weight", 0), tensor("b.weight", 0)), "BUF309")
