"""The rules on registered tensors and on files."""

from __future__ import annotations

from typing import Any

import pytest
from inventories import brief, held, inventory, live, said, tensor

from bufscan.errors import UnreadableError
from bufscan.findings import NonFinite
from bufscan.inventory import Optimizer, OptimizerGroup, Skipped, Tensor


def buffer(name: str, *shape: int, **fields: Any) -> Tensor:
    return tensor(name, *shape, role="persistent_buffer", **fields)


def test_a_buffer_that_requires_grad_is_one_finding_under_its_first_name() -> None:
    found = live(buffer("a.t", 4, requires_grad=True), buffer("b.t", 4, requires_grad=True, alias_of="a.t"))
    assert [("BUF101", "error", "a.t")] == brief(found)


@pytest.mark.parametrize(("requires_grad", "severity"), [(True, "error"), (None, "error"), (False, "note")])
def test_a_parameter_as_buffer_is_its_own_rules_alone(requires_grad: bool | None, severity: str) -> None:
    found = live(buffer("t", 4, requires_grad=requires_grad, declared="parameter"))
    assert [("BUF102", severity, "t")] == brief(found)


def optimizer(*names: str) -> tuple[Optimizer, ...]:
    shapes = ((4,),) * len(names)
    return (Optimizer(section="optimizer", groups=(OptimizerGroup(shapes=shapes, names=names),)),)


def test_a_buffer_in_the_optimizer_is_found() -> None:
    found = inventory(tensor("w", 4, requires_grad=True), buffer("b", 4), optimizers=optimizer("w", "b"))
    assert [("BUF103", "error", "b")] == brief(found)


def test_parameters_that_no_optimizer_holds_are_one_note() -> None:
    tensors = [tensor(name, 4, section="model", requires_grad=True) for name in ("a", "b", "c", "d", "e")]
    (finding,) = said(inventory(*tensors, optimizers=optimizer("a")))
    assert ("BUF103", "note", "model") == (finding.code, finding.severity, finding.tensor)
    assert "4 parameters (`model.b`, `model.c`, `model.d`, …)" in finding.message


def test_frozen_and_assumed_parameters_and_other_models_say_nothing_about_the_optimizer() -> None:
    found = inventory(
        tensor("a", 4, requires_grad=True),
        tensor("frozen", 4, requires_grad=False),
        tensor("assumed", 4, requires_grad=True, certainty="assumed"),
        tensor("other", 4, section="ema", requires_grad=True),
        optimizers=optimizer("a"),
    )
    assert [] == brief(found)


def test_a_model_on_two_devices_is_one_warning_a_section() -> None:
    on_gpu = tensor("b", 4, section="model", device="cuda:0")
    found = live(tensor("a", 4, section="model"), tensor("c", 4, section="model"), on_gpu)
    assert [("BUF201", "warning", "model")] == brief(found)
    assert "2 on cpu and 1 on cuda:0: `model.b`" in said(found)[0].message


@pytest.mark.parametrize(
    "other",
    [
        tensor("scalar", device="cuda:0"),
        tensor("meta", 4, device="meta"),
        tensor("ema", 4, device="cuda:0", section="ema"),
        held("loose", 4, device="cuda:0", holding="computed"),
    ],
    ids=lambda other: other.name,
)
def test_what_never_meets_the_rest_does_not_mix_devices(other: Tensor) -> None:
    assert [] == brief(live(tensor("a", 4), other), "BUF201")


def test_a_file_from_an_accelerator_is_one_warning_a_file() -> None:
    found = inventory(
        tensor("a", 4, device="cuda:0", file="one.bin"),
        tensor("b", 4, device="cuda:1", file="one.bin"),
        tensor("c", 4, device="mps", file="two.bin"),
        tensor("d", 4, file="three.bin"),
    )
    assert [("BUF203", "warning", "one.bin"), ("BUF203", "warning", "two.bin")] == brief(found, "BUF203")
    assert said(found, "BUF203")[0].message.startswith("2 tensors were saved on cuda:0 and cuda:1:")


def test_a_live_model_on_a_gpu_was_not_saved_there() -> None:
    assert [] == brief(live(tensor("a", 4, device="cuda:0")))


def test_a_meta_build_leaves_non_persistent_buffers_without_values() -> None:
    on_meta = tensor("rope", 4, role="non_persistent_buffer", device="meta", storage=None)
    kept = buffer("kept", 4, device="meta", storage=None)
    reset = tensor("reset", 4, role="non_persistent_buffer", device="meta", storage=None, is_reset=True)
    assert [("BUF204", "warning", "rope")] == brief(live(on_meta, kept, reset))
    assert [] == brief(live(on_meta), is_stand_in=True)


def test_a_storage_larger_than_what_is_seen_of_it_is_told_of_its_first_tensor() -> None:
    found = inventory(
        tensor("row", 4, storage="table", stored_bytes=1_000_000),
        tensor("other", 4, storage="table", storage_offset=4, stored_bytes=1_000_000),
        tensor("small", 4, storage="padded", stored_bytes=512),
    )
    assert [("BUF305", "warning", "row"), ("BUF305", "note", "small")] == brief(found)
    stretched = inventory(tensor("one", 8, stride=(0,), storage="s", stored_bytes=16))
    assert [("BUF305", "note", "one")] == brief(stretched)
    assert "has 1,000,000 bytes, and no tensor shows 999,968 of them" in said(found)[0].message


@pytest.mark.parametrize(
    "tensors",
    [
        [tensor("a", 4, storage="s"), tensor("tied", 4, storage="s")],
        [tensor("flat_a", 2, storage="s", stored_bytes=16),
         tensor("flat_b", 2, storage="s", storage_offset=2, stored_bytes=16)],
        [tensor("expanded", 8, 4, stride=(0, 1), storage="s", stored_bytes=16)],
        [tensor("row", 4, storage="s", stored_bytes=64), tensor("whole", 4, 4, storage="s", stored_bytes=64)],
        [tensor("all", 4, 4, storage="s", stored_bytes=64), tensor("row", 4, storage="s", stored_bytes=64)],
        [tensor("empty", 0, 4, storage="s", stored_bytes=0)],
        [tensor("shard", 8, local_shape=(4,), storage="s", stored_bytes=64)],
    ],
    ids=lambda tensors: tensors[0].name,
)  # fmt: skip
def test_a_storage_that_is_seen_whole_is_fine(tensors: list[Tensor]) -> None:
    assert [] == brief(inventory(*tensors), "BUF305")


def test_a_storage_that_the_file_lacks_is_not_judged() -> None:
    assert [] == brief(inventory(tensor("a", 4), storages={}))


def test_an_unowned_entry_is_a_warning_and_extra_state_none() -> None:
    found = inventory(
        tensor("fc.weight", 4),
        tensor("mean", 4, role="unregistered", saved=True),
        tensor("step", role="unregistered", saved=True),
        tensor("fc._extra_state['x']", 4, role="unregistered", saved=True),
    )
    assert [("BUF007", "warning", "mean"), ("BUF007", "note", "step")] == brief(found)


def test_values_are_counted_once_and_an_infinity_in_a_mask_is_meant() -> None:
    counts = {"w": NonFinite(2, 1), "mask": NonFinite(0, 9), "stats": NonFinite(1, 9), "ids": None}
    found = inventory(
        tensor("w", 4), tensor("tied", 4, alias_of="w"), buffer("mask", 4), buffer("stats", 4), buffer("ids", 4)
    )
    findings = said(found, "BUF307", count_nonfinite=lambda each: counts[each.name])
    assert ["`w` has 2 NaN and 1 infinite of 4 elements", "`stats` has 1 NaN of 4 elements"] == [
        each.message for each in findings
    ]


@pytest.mark.parametrize(
    ("found", "count"),
    [
        (tensor("h.attn.causal_mask", 4, 4), NonFinite(0, 6)),
        (tensor("h.attn.masked_bias"), NonFinite(0, 1)),
        (tensor("h.attn.bias", 4, 4), NonFinite(0, 6, is_mask=True)),
        (buffer("bound", 2), NonFinite(0, 1)),
        (tensor("best_model_score", role="training_state", section="callbacks"), NonFinite(0, 1)),
    ],
    ids=["named a mask", "what masks put in", "0 and -inf", "a bound", "the best score so far"],
)
def test_an_infinity_that_is_meant_is_no_fault(found: Tensor, count: NonFinite) -> None:
    assert [] == brief(inventory(found), "BUF307", count_nonfinite=lambda _: count)


@pytest.mark.parametrize(
    ("found", "count"),
    [
        (buffer("bn.running_var", 4), NonFinite(0, 1, is_mask=True)),
        (buffer("fc.scale", 4), NonFinite(0, 1)),
        (tensor("mask_decoder.fc.weight", 4, 4), NonFinite(0, 1, is_mask=True)),
        (tensor("mask_decoder.fc.bias", 4), NonFinite(0, 1)),
        (tensor("mask_token", 1, 4), NonFinite(0, 1)),
        (tensor("exp_avg_sq", 4, role="training_state"), NonFinite(0, 1)),
        (buffer("causal_mask", 4, 4), NonFinite(1, 0)),
    ],
    ids=lambda value: value.name if isinstance(value, Tensor) else "",
)
def test_an_infinity_in_what_is_reckoned_with_is_a_fault_and_nan_anywhere(found: Tensor, count: NonFinite) -> None:
    assert [("BUF307", "error", found.name)] == brief(inventory(found), "BUF307", count_nonfinite=lambda _: count)


def test_values_that_cannot_be_read_are_skipped_and_never_clean() -> None:
    def unreadable(_tensor: Tensor) -> NonFinite:
        raise UnreadableError("its bytes are compressed")

    expected = Skipped(what="BUF307 for `w`", reason="its bytes are compressed", failed=True)
    assert [expected] == said(inventory(tensor("w", 4)), "BUF307", count_nonfinite=unreadable)


def test_without_values_none_is_read() -> None:
    assert [] == brief(inventory(tensor("w", 4)))
