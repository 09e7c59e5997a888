"""The rules on a checkpoint and the model it belongs to."""

from __future__ import annotations

from typing import Any

import pytest
from inventories import brief, inventory, said, tensor

from bufscan.inventory import Inventory, Join, Location, Mismatch, Optimizer, OptimizerGroup


def joined(**fields: Any) -> Inventory:
    return inventory(joins=(Join(**({"model": "m:Model", "matched": 1} | fields)),))


def test_a_missing_entry_is_an_error_where_the_model_makes_it() -> None:
    origin = Location(file="m.py", line=3)
    (finding,) = said(joined(section="model", missing=(tensor("fc.bias", 4, origin=origin),)))
    assert ("BUF301", "model.fc.bias", origin) == (finding.code, finding.tensor, finding.location)


def test_a_missing_entry_goes_by_its_key() -> None:
    assert [("BUF301", "error", "fc.total")] == brief(
        joined(missing=(tensor("fc.value", 4, saved_as="fc.total"),))
    )


def test_a_missing_extra_state_is_an_error() -> None:
    found = joined(section="model", missing_extra_states=("fc._extra_state",))
    assert [("BUF301", "error", "model.fc._extra_state")] == brief(found)


def test_another_models_checkpoint_is_one_finding() -> None:
    found = joined(
        matched=0, missing=(tensor("a", 4), tensor("b", 4)), unexpected=("x", "y"), checkpoint_prefix="m."
    )
    (finding,) = said(found)
    assert "the checkpoint has none of the 2 entries of `m:Model`" == finding.message


def test_a_model_that_saves_nothing_misses_nothing() -> None:
    assert [] == brief(joined(matched=0))


def test_unexpected_and_non_persistent_entries_are_errors() -> None:
    found = brief(joined(section="ema", unexpected=("x",), saved_non_persistent=("mask",)))
    assert [("BUF302", "error", "ema.x"), ("BUF306", "error", "ema.mask")] == found


def test_a_prefix_is_one_warning_with_the_line_that_takes_it_off() -> None:
    (finding,) = said(joined(checkpoint_prefix="module."))
    assert ("BUF302", "warning") == (finding.code, finding.severity)
    state_dict = {"module.fc.weight": 1, "fc.bias": 2}
    scope: dict[str, Any] = {"state_dict": state_dict}
    exec(finding.suggestion, scope)  # noqa: S102  # the line is ours
    assert {"fc.weight": 1, "fc.bias": 2} == scope["state_dict"]


def test_a_prefix_of_the_model_is_put_on() -> None:
    (finding,) = said(joined(model_prefix="model."))
    scope: dict[str, Any] = {"state_dict": {"fc.weight": 1}}
    exec(finding.suggestion, scope)  # noqa: S102  # the line is ours
    assert {"model.fc.weight": 1} == scope["state_dict"]


@pytest.mark.parametrize("prefix", ['x"): exit(1)#.', "{name}.", "a'b.", "a\"b'c\\."])
def test_a_prefix_from_a_file_is_only_a_string_in_the_line_to_copy(prefix: str) -> None:
    for found, expected in (
        (joined(checkpoint_prefix=prefix), "w"),
        (joined(model_prefix=prefix), prefix * 2 + "w"),
    ):
        (finding,) = said(found)
        scope: dict[str, Any] = {"state_dict": {f"{prefix}w": 1}}
        exec(finding.suggestion, scope)  # noqa: S102  # the line is ours, whatever the name
        assert {expected: 1} == scope["state_dict"]


@pytest.mark.parametrize("name", ["rope.inv_freq", 'x"]; exit(1)#'])
def test_a_key_is_taken_out_of_its_own_state_dict(name: str) -> None:
    (finding,) = said(joined(section="model", saved_non_persistent=(name,)))
    scope: dict[str, Any] = {"state_dict": {name: 1}}
    exec(finding.suggestion, scope)  # noqa: S102  # the line is ours, whatever the name
    assert {} == scope["state_dict"]


def test_shapes_are_told_one_by_one_and_dtypes_together() -> None:
    found = joined(
        mismatched=(
            Mismatch(name="head", shape=((5, 4), (10, 4))),
            Mismatch(name="a", dtype=("float64", "float32")),
            Mismatch(name="b", dtype=("float64", "float32")),
            Mismatch(name="c", dtype=("bfloat16", "float32")),
        )
    )
    assert [("BUF303", "error", "head"), ("BUF304", "warning", ""), ("BUF304", "note", "c")] == brief(found)
    assert (
        "float64 in the checkpoint, float32 in `m:Model`: loading casts 2 entries (`a`, `b`)"
        == said(found)[1].message
    )


def test_with_a_model_an_unowned_entry_is_only_unexpected() -> None:
    unowned = tensor("mean", 4, role="unregistered", saved=True)
    found = inventory(unowned, joins=(Join(model="m:Model", matched=1, unexpected=("mean",)),))
    assert ["BUF302"] == [code for code, _, _ in brief(found)]


def test_an_entry_of_another_role_says_what_becomes_of_its_training() -> None:
    found = joined(
        mismatched=(
            Mismatch(name="scale", role=("parameter", "persistent_buffer")),
            Mismatch(name="gate", role=("persistent_buffer", "parameter")),
        )
    )
    assert [("BUF308", "warning", "gate"), ("BUF308", "warning", "scale")] == sorted(brief(found))
    assert ["it no longer trains", "it trains from now on"] == [
        each.message.rpartition(": ")[2] for each in said(found)
    ]


def optimizer_of(*shapes: tuple[int, ...] | None) -> tuple[Optimizer, ...]:
    return (
        Optimizer(
            section="optimizer", groups=(OptimizerGroup(shapes=shapes[:1]), OptimizerGroup(shapes=shapes[1:]))
        ),
    )


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        (((4,), (2, 2)), []),
        (((4,), None), []),
        (((4,), (2, 2), (1,)), [("BUF103", "warning", "optimizer")]),
        (((4,), (3, 2)), [("BUF103", "warning", "optimizer")]),
        (((4,),), [("BUF103", "note", "optimizer")]),
    ],
    ids=["as many", "of unknown shapes", "more", "of another shape", "fewer"],
)
def test_an_optimizer_without_names_is_counted_against_the_model(
    shapes: tuple[tuple[int, ...] | None, ...], expected: list[tuple[str, str, str]]
) -> None:
    a, b = tensor("a", 4, trains=True), tensor("b", 2, 2, trains=True)
    found = inventory(a, b, joins=(Join(model="m", matched=2),), optimizers=optimizer_of(*shapes))
    assert expected == brief(found)
    alone = inventory(a, b, optimizers=optimizer_of(*shapes))
    assert [] == brief(alone)
