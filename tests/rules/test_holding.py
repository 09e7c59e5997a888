"""The rules on tensors that nobody registered: which of them speaks, how loudly, and that only one does."""

from __future__ import annotations

import pytest
from inventories import brief, held, inventory, live, said, tensor

from bufscan.inventory import HARMLESS_HOLDINGS, Location, Slot

CODES = {
    "attribute": "BUF001",
    "container": "BUF001",
    "object": "BUF001",
    "partial": "BUF001",
    "hook": "BUF001",
    "closure": "BUF001",
    "cache": "BUF001",
    "state": "BUF001",
    "class_attribute": "BUF005",
    "global": "BUF005",
    "default_argument": "BUF005",
    "stale_alias": "BUF004",
}

PLACEHOLDERS = [("count", ()), ("queue", (0,))]


@pytest.mark.parametrize(("holding", "code"), CODES.items(), ids=CODES)
def test_each_way_of_holding_belongs_to_one_rule(holding: str, code: str) -> None:
    assert [code] == [found for found, _, _ in brief(live(held("pe", 4, holding=holding, alias_of="b")))]


@pytest.mark.parametrize("holding", ["attribute", "container", "object", "closure", "cache"])
def test_a_loose_parameter_is_the_parameters_rules_alone(holding: str) -> None:
    found = brief(live(held("w", 4, holding=holding, declared="parameter")))
    assert ["BUF002"] == [code for code, _, _ in found]


@pytest.mark.parametrize("holding", sorted(HARMLESS_HOLDINGS))
def test_what_is_looked_after_elsewhere_is_no_finding(holding: str) -> None:
    assert [] == brief(live(held("w", 4, holding=holding, saved=True)))


def test_dimensions_decide_the_severity() -> None:
    held_so = (
        held("table", 4),
        held("scale"),
        held("made_anew", 4, holding="cache"),
        held("mean", 4, holding="state"),
    )
    severities = {tensor: severity for _, severity, tensor in brief(live(*held_so))}
    assert {"table": "error", "scale": "note", "made_anew": "warning", "mean": "error"} == severities


def test_a_message_names_only_what_was_measured_to_be_lost() -> None:
    messages = {each.tensor: each.message for each in said(live(
        held("both", 4), held("scalar"), held("stays", 4, saved=True), held("lost", 4, moves=True)
    ))}  # fmt: skip
    assert messages == {
        "both": "`both` is a plain attribute: it is not saved and does not move with the model",
        "scalar": "`scalar` is a plain attribute: it is not saved",
        "stays": "`stays` is a plain attribute: it does not move with the model",
        "lost": "`lost` is a plain attribute: it is not saved",
    }


def test_what_was_not_measured_is_called_unknown_and_is_no_error() -> None:
    found = live(held("pe", 4, moves=None), held("mask", 4, saved=None, moves=None), held("w", 4, saved=None))
    assert [(each.severity, each.message.partition(": ")[2]) for each in said(found)] == [
        ("warning", "it is not saved; whether it moves with the model is unknown"),
        ("warning", "whether it is saved and moves with the model is unknown"),
        ("error", "it does not move with the model; whether it is saved is unknown"),
    ]


@pytest.mark.parametrize("holding", ["attribute", "container", "cache", "global", "stale_alias"])
def test_a_placeholder_without_elements_is_a_note(holding: str) -> None:
    found = brief(live(held("queue", 0, holding=holding, alias_of="b"), held("rows", 0, 4, holding=holding)))
    assert {"note"} == {severity for _, severity, _ in found}


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"saved": True, "moves": None, "trains": None}, "its tensor is not trained"),
        ({"saved": True, "moves": True, "trains": True}, "`train()` and `eval()` do not reach it"),
    ],
    ids=["unknown", "looked after"],
)
def test_a_hidden_module_is_not_said_to_lose_what_was_not_measured(facts: dict[str, object], message: str) -> None:
    hidden = held("net.w", 4, holding="hidden_module", holder="net", declared="parameter", **facts)
    assert [f"no module registers the module `net`: {message}"] == [each.message for each in said(live(hidden))]


def test_a_hidden_module_of_placeholders_is_a_note() -> None:
    hidden = [held(f"net.{name}", *shape, holding="hidden_module", holder="net") for name, shape in PLACEHOLDERS]
    assert [("BUF003", "note", "net")] == brief(live(*hidden))


def test_a_hidden_module_is_one_finding_with_its_place_and_fix() -> None:
    origin = Location(file="model.py", line=9)
    slot = Slot(file="/model.py", owner="Model", attribute="layers", code="BUF003", kind="container of modules")
    inside = {"holding": "hidden_module", "holder": "layers[0]", "origin": origin, "slot": slot}
    (finding,) = said(live(
        held("layers[0].weight", 4, 4, declared="parameter", **inside),
        held("layers[0].bias", 4, declared="parameter", **inside),
    ))  # fmt: skip
    expected = "no module registers the module `layers[0]`: its 2 tensors are not saved, not moved with the model"
    assert ("layers[0]", origin, slot) == (finding.tensor, finding.location, finding.slot)
    assert f"{expected} and not trained" == finding.message


def test_a_hidden_module_of_a_file_is_named_by_its_section_and_path() -> None:
    inside = held("layers[0].weight", 4, section="model", holding="hidden_module", holder="layers[0]")
    assert [("BUF003", "error", "model.layers[0]")] == brief(inventory(inside))


def test_a_hidden_module_of_scalars_is_a_note() -> None:
    inside = held("losses[0].scale", holding="hidden_module", holder="losses[0]")
    assert [("BUF003", "note", "losses[0]")] == brief(live(inside))


def test_an_alias_that_may_move_after_all_is_a_note() -> None:
    assert [("BUF004", "note", "counts")] == brief(
        live(held("counts", 4, holding="stale_alias", alias_of="usage", moves=None))
    )


@pytest.mark.parametrize(
    ("name", "hidden", "holding", "shadow"),
    [
        ("pe", "__dict__['pe']", "attribute", "shadowed_by_instance"),
        ("blocks.0.pe", "blocks.0.__dict__['pe']", "attribute", "shadowed_by_instance"),
        ("blocks.0.pe", "blocks.0.__dict__['pe']", "stale_alias", "shadowed_by_instance"),
        ("enc.pe", "enc.__class__.pe", "class_attribute", "shadowed_by_class"),
    ],
)
def test_a_shadow_is_told_of_once(name: str, hidden: str, holding: str, shadow: str) -> None:
    registered = tensor(name, 4, role="persistent_buffer", holding=shadow)
    found = brief(live(registered, held(hidden, 4, holding=holding, alias_of=name)))
    assert [("BUF006", "error", name)] == found


def test_another_attribute_beside_a_shadowed_name_is_still_told_of() -> None:
    registered = tensor("enc.pe", 4, role="persistent_buffer", holding="shadowed_by_instance")
    found = brief(live(registered, held("dec.__dict__['pe']", 4)))
    assert ["BUF001", "BUF006"] == [code for code, _, _ in found]


def test_training_state_is_nobodys_concern() -> None:
    assert [] == brief(inventory(tensor("state.0.exp_avg", 4, role="training_state", section="optimizer")))


def test_a_hidden_name_of_a_module_is_one_finding_for_all_its_tensors() -> None:
    hidden = [
        tensor(name, 4, role="parameter", holding="shadowed_by_class", holder="enc.net")
        for name in ("enc.net.weight", "enc.net.bias")
    ]
    (found,) = said(live(*hidden, tensor("enc.weight", 4, role="parameter")))
    assert ("BUF006", "enc.net") == (found.code, found.tensor)
    assert "the registered module `enc.net`" in found.message
