from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from report_samples import blocks, inventory, sample, sharded, tensor

import bufscan.report
from bufscan.findings import Finding
from bufscan.inventory import Join, Location, Mismatch, Optimizer, OptimizerGroup, Skipped
from bufscan.report import INSPECT_REPORTS
from bufscan.report.inspect.selecting import Selection
from bufscan.report.inspect.view import View
from bufscan.report.shared.display import Display

if TYPE_CHECKING:
    from bufscan.inventory import Inventory
    from bufscan.report.inspect.selecting import SortKey

SAMPLES = {"sample": sample(), "blocks": blocks(), "sharded": sharded()}


def test_every_report_that_exists_can_be_asked_for() -> None:
    folder = Path(bufscan.report.__file__).parent
    sources = {path: path.read_text() for path in folder.rglob("*.py")}
    with_render = {
        (path.parent.name if path.stem in ("__init__", "inspect_page") else path.stem)
        for path, source in sources.items()
        if re.search(r"^def render\(inventory: Inventory", source, re.MULTILINE)
    }
    assert with_render == set(INSPECT_REPORTS)


@pytest.mark.parametrize("report", INSPECT_REPORTS)
@pytest.mark.parametrize("found", SAMPLES.values(), ids=SAMPLES)
def test_two_runs_give_the_same_bytes(report: str, found: Inventory) -> None:
    assert INSPECT_REPORTS[report](found, View()) == INSPECT_REPORTS[report](found, View())


@pytest.mark.parametrize("found", SAMPLES.values(), ids=SAMPLES)
@pytest.mark.parametrize("everything", [False, True], ids=["folded", "unfolded"])
def test_the_rows_add_up_to_the_printed_total(found: Inventory, everything: bool) -> None:
    text = INSPECT_REPORTS["text"](found, View(units="exact", everything=everything))
    listing, by_role = re.split(r"^role +tensors.*\n", text, flags=re.MULTILINE)[:2]
    answer, _, listing = listing.partition("\n\n")
    rows = [line for line in listing.splitlines() if not re.match(r"\S.*: [0-9,]+ tensor", line)]
    summed_up = [line for line in listing.splitlines() if line.startswith("optimizer: ")] if not everything else []
    size = re.compile(r"([0-9,]+) B\b")
    listed = sum(int(found[1].replace(",", "")) for line in rows + summed_up if (found := size.search(line)))
    roles = sum(int(each.replace(",", "")) for each in size.findall(by_role.partition("\n\n")[0]))
    assert int(size.search(answer)[1].replace(",", "")) == listed == roles  # type: ignore[index]


@pytest.mark.parametrize("found", SAMPLES.values(), ids=SAMPLES)
def test_colour_adds_nothing_but_colour(found: Inventory) -> None:
    plain = INSPECT_REPORTS["text"](found, View(display=Display(width=80)))
    coloured = INSPECT_REPORTS["text"](found, View(display=Display(width=80, colour=True)))
    assert plain != coloured
    assert plain == re.sub(r"\x1b\[[0-9;]*m", "", coloured)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 120, 200])
def test_no_line_is_wider_than_the_terminal_where_its_words_allow_it(width: int) -> None:
    lines = INSPECT_REPORTS["text"](blocks(), View(display=Display(width=width))).splitlines()
    assert all(len(line) <= max(width, 64) for line in lines)


def test_the_legend_goes_on_below_where_a_line_ends() -> None:
    text = INSPECT_REPORTS["text"](blocks(), View(display=Display(width=60)))
    assert "\nS saved in the state_dict, M moves with .to(device),\nT trains, - no\n" in text


def test_folded_rows_that_are_sorted_by_size_are_sorted_by_the_size_that_they_show() -> None:
    small = [tensor(f"l.{number}.w", 4) for number in range(50)]
    view = View(selection=Selection(sort="size"))
    rows = INSPECT_REPORTS["text"](inventory(tensor("big", 20), *small), view).splitlines()[4:6]
    assert ["l.{0..49}.w x50", "big"] == [re.split(r"  +", row)[0] for row in rows]


def test_modules_are_sorted_as_tensors_are() -> None:
    found = inventory(tensor("l.10.w", 1), tensor("l.2.w", 9), tensor("head.w", 99))

    def rows(sort: SortKey | None) -> list[str]:
        text = INSPECT_REPORTS["text"](found, View(by_module=True, selection=Selection(sort=sort)))
        return re.findall(r"─ (\S+)", text)

    assert ["l", "10", "2", "head"] == rows(None)
    assert ["head", "l", "2", "10"] == rows("size")
    assert ["head", "l", "2", "10"] == rows("name")


def test_a_module_of_tied_tensors_alone_says_why_it_has_no_bytes() -> None:
    found = inventory(tensor("embed.w", 8), tensor("head.w", 8, storage="/embed.w", stored_bytes=32))
    assert re.search(r"head +1 +0 +0 B  tied\n", INSPECT_REPORTS["text"](found, View(by_module=True)))


def test_another_precision_than_the_model_s_is_said_once_and_hides_no_other_mismatch() -> None:
    recast = [Mismatch(name=f"l{number}.w", dtype=("bfloat16", "float32")) for number in range(9)]
    wrong = Mismatch(name="head.w", shape=((2,), (3,)))
    found = inventory(tensor("w", 1), joins=(Join(model="net.py:Net", mismatched=(*recast, wrong)),))
    text = INSPECT_REPORTS["text"](found, View())
    assert (
        "mismatched head.w: 2, in the model 3\n"
        "           l0.w, l1.w, l2.w, l3.w and 5 more (`--all` lists them): bfloat16, in the model float32\n"
    ) in text
    assert "           l8.w: bfloat16, in the model float32\n" in INSPECT_REPORTS["text"](
        found, View(everything=True)
    )


def test_what_is_skipped_for_one_reason_is_said_together() -> None:
    skipped = [Skipped(what=what, reason="no part of it") for what in ("optimizer.pt", "scheduler.pt")]
    found = inventory(tensor("w", 1), skipped=(*skipped, Skipped(what="a.pt", reason="broken")))
    text = INSPECT_REPORTS["text"](found, View())
    assert "skipped    optimizer.pt, scheduler.pt: no part of it\n           a.pt: broken\n" in text


def test_an_ascii_output_gets_ascii() -> None:
    found = inventory(tensor("größe.权重", 2), target="模型.pt")
    for by_module in (False, True):
        assert INSPECT_REPORTS["text"](found, View(by_module=by_module, display=Display(unicode=False))).isascii()


def test_json_lists_one_tensor_a_line() -> None:
    lines = INSPECT_REPORTS["json"](sample(), View()).splitlines()
    tensors = [json.loads(line.strip().rstrip(",")) for line in lines if '"certainty"' in line]
    assert [each.name for each in sample().tensors] == [each["name"] for each in tensors]


def test_json_has_the_fields_that_were_promised() -> None:
    report = json.loads(INSPECT_REPORTS["json"](sample(), View()))
    assert "bufscan.inspect/1" == report["schema"]
    assert {"target", "format", "tensors", "totals", "stored_bytes", "findings", "skipped"} <= set(report)
    promised = (
        "name section role certainty evidence shape dtype device numel nbytes storage stored_bytes saved moves"
        " trains alias_of origin"
    )
    assert set(promised.split()) <= set(report["tensors"][0])
    assert {"tensors": 2, "numel": 33, "nbytes": 136} == report["totals"]["persistent_buffer"]


def test_json_leaves_out_what_says_no_more_than_its_default() -> None:
    plain = tensor("w", 2, 3, stride=(3, 1))
    turned = tensor("v", 2, 3, stride=(1, 2), storage_offset=4, layout="sparse_coo", requires_grad=False)
    first, second = json.loads(INSPECT_REPORTS["json"](inventory(plain, turned), View()))["tensors"]
    assert "origin" == list(first)[-1]
    assert {"stride": [1, 2], "storage_offset": 4, "layout": "sparse_coo", "requires_grad": False} == {
        key: second[key] for key in second.keys() - first.keys()
    }


@pytest.mark.parametrize("name", ["größe", "\N{GRINNING FACE}", "\udc80", "\x1b[31m", "a\nb", "\x7f"])
def test_json_is_ascii_and_says_every_name_as_it_is(name: str) -> None:
    text = INSPECT_REPORTS["json"](inventory(tensor("w", 2), tensor(name, 2)), View())
    assert text.isascii()
    assert ["w", name] == [each["name"] for each in json.loads(text)["tensors"]]


def test_json_has_as_many_lines_as_tensors_however_many_there_are() -> None:
    found = inventory(*(tensor(f"w{number}", 1) for number in range(2500)))
    text = INSPECT_REPORTS["json"](found, View())
    assert [each.name for each in found.tensors] == [each["name"] for each in json.loads(text)["tensors"]]
    assert 2500 == sum(line.startswith('  {"name"') for line in text.splitlines())


def test_a_long_listing_says_how_much_it_hides() -> None:
    found = inventory(*(tensor(f"w{number}", number) for number in range(1000)))
    text = INSPECT_REPORTS["text"](found, View())
    assert "... 800 tensors not shown: `--all` lists them" in text
    assert "w999" not in text
    assert "w999" in INSPECT_REPORTS["text"](found, View(everything=True))


def test_tensors_of_one_name_and_shape_on_several_devices_are_told_apart() -> None:
    found = inventory(*(tensor(f"l.{number}.w", 4, device=f"cuda:{number % 2}") for number in range(60)))
    text = INSPECT_REPORTS["text"](found, View())
    assert "l.{0..58..2}.w x30" in text
    assert "l.{1..59..2}.w x30" in text


def test_a_note_on_fixes_is_told_once_however_many_share_it() -> None:
    found = inventory(
        *(
            tensor(
                f"{name}.pe",
                8,
                role="unregistered",
                origin=Location(file="model.py", line=line),
                suggestion=f"self.{name} = nn.Buffer({name})",
                suggestion_note="a note",
            )
            for line, name in enumerate(("encoder", "decoder"), start=1)
        )
    )
    text = INSPECT_REPORTS["text"](found, View())
    assert "             better: self.decoder = nn.Buffer(decoder)\n" in text
    assert 1 == text.count("a note")


def test_a_fix_is_never_wrapped_because_it_is_there_to_be_copied() -> None:
    suggestion = "self.register_buffer('table', " + "torch.zeros(1), " * 20 + ")"
    found = inventory(tensor("table", 8, role="unregistered", suggestion=suggestion))
    assert f"better: {suggestion}\n" in INSPECT_REPORTS["text"](found, View(display=Display(width=60)))


def test_the_last_sentence_counts_what_keeps_a_checkpoint_from_fitting_its_model() -> None:
    joined = Join(
        model="net.py:Net",
        missing=(tensor("head.bias", 4),),
        missing_extra_states=("head._extra_state",),
        unexpected=("extra",),
        saved_non_persistent=("mask",),
        mismatched=(Mismatch(name="head.weight", shape=((4, 4), (8, 4))),),
    )
    found = inventory(tensor("head.weight", 4, 4), joins=(joined,))
    assert "2 missing, 2 unexpected, 1 mismatched" == INSPECT_REPORTS["text"](found, View()).splitlines()[2]
    assert INSPECT_REPORTS["text"](found, View(quiet=True)).endswith(
        "64 B stored; 2 missing; 2 unexpected; 1 mismatched\n"
    )


def test_an_optimizer_is_told_with_its_groups_and_what_the_model_has() -> None:
    groups = (OptimizerGroup(shapes=(None, None)), OptimizerGroup(shapes=(None,)))
    found = inventory(tensor("a", 4), tensor("b", 4), optimizers=(Optimizer(section="optimizer", groups=groups),))
    text = INSPECT_REPORTS["text"](found, View())
    assert "optimizer: 3 parameters in 2 groups of 2, 1; the model has 2" in " ".join(text.split())
    (entry,) = json.loads(INSPECT_REPORTS["json"](found, View()))["optimizers"]
    assert {"section": "optimizer", "parameters": 3, "groups": [2, 1], "settings": [{}, {}]} == entry


def test_a_faulty_registered_tensor_has_its_rule_in_its_row() -> None:
    tensors = [tensor(f"blocks.{at}.gain", 4, role="persistent_buffer") for at in range(50)]
    faulty = Finding(code="BUF101", name="trainable-buffer", severity="error", tensor="blocks.7.gain", message="m")
    report = INSPECT_REPORTS["text"](inventory(*tensors), View(findings=(faulty,)))
    lines = [line.split() for line in report.splitlines() if line.startswith("blocks")]
    assert ["blocks.7.gain", "BUF101"] == [lines[1][0], lines[1][-1]]
    assert ["blocks.{0..6,8..49}.gain", "x49"] == lines[0][:2]
    assert "rule" not in INSPECT_REPORTS["text"](inventory(*tensors), View()).split()
