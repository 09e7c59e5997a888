"""Reports of differences: the samples whole, and what holds of every one of them.

`UPDATE_EXPECTED=1 pytest tests/report` writes the expected texts anew.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from pathlib import Path

import pytest
from diff_samples import TOLERANCE, blocks, changed, difference, identical, sample, statistics
from report_samples import tensor

import bufscan.report.diff
from bufscan.comparing.difference import Change, Difference, Entry, LeftOut, NotCompared
from bufscan.inventory import Skipped
from bufscan.report import DIFF_REPORTS
from bufscan.report.diff.rows import short_path
from bufscan.report.diff.view import DiffView
from bufscan.report.diff.wording import verdict
from bufscan.report.shared.display import Display

EXPECTED = Path(__file__).parent / "expected_diffs"

CASES: dict[str, tuple[str, Difference, DiffView]] = {
    "terminal-80.txt": ("text", sample(), DiffView(display=Display(width=80))),
    "terminal-80-colour.txt": ("text", sample(), DiffView(display=Display(width=80, colour=True))),
    "piped.txt": ("text", sample(), DiffView()),
    "ascii.txt": ("text", sample(), DiffView(display=Display(unicode=False))),
    "quiet.txt": ("text", sample(), DiffView(quiet=True)),
    "by-module.txt": ("text", sample(), DiffView(by_module=True)),
    "folded.txt": ("text", blocks(), DiffView()),
    "folded-top.txt": ("text", blocks(), DiffView(top=2)),
    "by-module-depth.txt": ("text", blocks(), DiffView(by_module=True, depth=1)),
    "identical.txt": ("text", identical(), DiffView()),
    "diff.json": ("json", sample(), DiffView()),
    "identical.json": ("json", identical(), DiffView()),
    "diff.md": ("markdown", sample(), DiffView()),
    "folded.md": ("markdown", blocks(), DiffView(top=3)),
    "diff.stat": ("stat", sample(), DiffView()),
}


@pytest.mark.parametrize("name", CASES)
def test_the_report_is_the_expected_text(name: str) -> None:
    report, found, view = CASES[name]
    text = DIFF_REPORTS[report](found, view)
    path = EXPECTED / name
    if os.environ.get("UPDATE_EXPECTED"):
        path.write_bytes(text.encode())
    assert path.read_bytes().decode() == text


def test_no_expected_file_is_left_over() -> None:
    assert sorted(CASES) == sorted(path.name for path in EXPECTED.iterdir())


def test_every_report_that_exists_can_be_asked_for() -> None:
    folder = Path(bufscan.report.diff.__file__).parent
    rendering = {
        path.stem for path in folder.glob("*.py") if "def render(difference: Difference" in path.read_text()
    }
    assert rendering | {"html"} == set(DIFF_REPORTS)  # pages: test_html.py


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (identical(), "identical: 40 tensors, every value compared"),
        (identical(compared_values=False), "the same structure: 40 tensors, values not compared"),
        (
            identical(close=3, tolerance=TOLERANCE),
            "equal within rtol 1e-05 and atol 1e-08: 40 tensors, 3 of them not bit for bit",
        ),
        (
            identical(not_compared=(NotCompared(path="a", reason="b"),)),
            "not known to be identical: 40 tensors found the same, 1 not compared",
        ),
        (difference(changed("a", statistics(0.1)), unchanged=0), "different: 1 with other values"),
        (
            difference(changed("a", statistics(0.1)), close=2, tolerance=TOLERANCE),
            "different: 1 with other values, 40 unchanged, 2 of them within the tolerance",
        ),
    ],
    ids=["identical", "structure", "close", "unknown", "different", "different and close"],
)
def test_one_sentence_says_it_all(found: Difference, sentence: str) -> None:
    assert sentence == verdict(found)


def test_the_answer_comes_first_and_last() -> None:
    lines = DIFF_REPORTS["text"](sample(), DiffView()).splitlines()
    assert verdict(sample()) == lines[1] == lines[-1]


def test_rows_are_sorted_by_relative_change_and_bars_grow_with_it() -> None:
    found = difference(*(changed(f"w{n}", statistics(relative)) for n, relative in enumerate((0.1, 0.4, 0.2))))
    text = DIFF_REPORTS["text"](found, DiffView(display=Display(unicode=False)))
    assert [("w1", 8), ("w2", 4), ("w0", 2)] == [
        (row.split()[0], row.count("#")) for row in text.splitlines() if row.startswith("  w")
    ]


def relative_of(found: Difference) -> dict[str, str]:
    """What each row of the table gives as its relative change, in the order of the rows."""
    rows = DIFF_REPORTS["text"](found, DiffView(display=Display(unicode=False))).splitlines()
    return {row.split()[0]: row.split()[2] for row in rows if row.startswith("  w")}


def test_new_nan_and_infinity_come_first_however_little_else_moved() -> None:
    found = difference(
        changed("w0", statistics(0.5)),
        changed("w1", statistics(0.0, changed=1, nan=(0, 1))),
        changed("w2", statistics(0.1, inf=(2, 3))),
        changed("w3", statistics(0.2, nan=(4, 4))),
    )
    assert ["w1", "w2", "w0", "w3"] == list(relative_of(found))
    assert "different: 4 with other values (2 with new NaN or infinity), 40 unchanged" == verdict(found)


def test_a_change_beyond_what_float64_can_say_is_not_called_none() -> None:
    beyond = statistics(None, l2=None, max_abs=None, mean_abs=None)
    assert {"w0": "-", "w1": "0.1"} == relative_of(
        difference(changed("w1", statistics(0.1)), changed("w0", beyond))
    )


@pytest.mark.parametrize(
    ("l2", "relative", "expected"),
    [
        (1e-100, 1e-200, "1e-200"),
        (1e-300, 0.0, "0"),
        (1e150, 1e-4, "0.0001"),
        (1e-200, None, "from"),
    ],
)
def test_norms_of_every_size_are_taken_together(l2: float, relative: float | None, expected: str) -> None:
    assert {"w": expected} == relative_of(difference(changed("w", statistics(relative, l2=l2))))


def test_values_that_became_nan_have_no_size_of_change() -> None:
    became_nan = statistics(0.0, changed=1, nan=(0, 1), max_index=None)
    row = DIFF_REPORTS["text"](difference(changed("w", became_nan)), DiffView())
    assert "  w           1  -                 -  NaN 0 to 1" in row.splitlines()


@pytest.mark.parametrize(
    ("shown", "fields"),
    [
        ("head.weight", {}),
        ("weight", {"old_name": "weight"}),
        ("head.weight", {"old_name": "ead.weight"}),
        ("head.weight", {"old_name": "module.head.weight"}),
        ("head.weight", {"section": "model", "old_section": ""}),
        ("head.weight", {"section": "", "old_section": "model"}),
        ("model.head.weight", {"section": "model"}),
        ("ema.head.weight", {"section": "ema", "old_section": "model"}),
    ],
    ids=[
        "same",
        "new prefix",
        "part of a word",
        "old prefix",
        "new section",
        "old section",
        "both",
        "two sections",
    ],
)
def test_rows_leave_out_what_stands_before_the_names_of_the_new_side_alone(
    shown: str, fields: dict[str, str]
) -> None:
    assert shown == short_path(changed("head.weight", statistics(0.1), **fields))


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
@pytest.mark.parametrize("by_module", [False, True])
def test_a_row_takes_one_line_of_any_width(width: int, by_module: bool) -> None:
    retyped = Change(aspect="dtype", old="float32", new="bfloat16")
    names = [f"a.rather.long.name.of.a.layer.{at}.with.a.tensor.weight" for at in range(40)]
    entries = [changed(name, statistics(0.1, rounding="rounded"), retyped) for name in names]
    view = DiffView(display=Display(width=width), by_module=by_module)
    lines = DIFF_REPORTS["text"](difference(*entries, changed("b", statistics(0.2))), view).splitlines()
    assert max(map(len, lines)) <= width
    start = next(at for at, text in enumerate(lines) if text.startswith("changed:"))
    end = next(at for at, text in enumerate(lines) if text.startswith("  relative:"))
    assert 4 == end - start  # the heading, the titles and two rows


def test_all_of_the_words_are_shown_where_everything_is_asked_for() -> None:
    retyped = Change(aspect="dtype", old="float32", new="bfloat16")
    entry = changed("a.rather.long.name.of.a.tensor", statistics(0.1, rounding="rounded"), retyped)
    view = DiffView(display=Display(width=120), everything=True)
    lines = DIFF_REPORTS["text"](difference(entry), view).splitlines()
    assert "float32 to bfloat16; only rounding; largest at [3,1]" in " ".join(" ".join(lines).split())


def test_a_fold_shows_its_range_and_where_most_changed() -> None:
    entries = [changed(f"b.{n}.w", statistics(0.3 if n % 2 else 0.4)) for n in range(50)]
    entries[7] = changed("b.7.w", statistics(0.9))
    report = DIFF_REPORTS["text"](difference(*entries), DiffView())
    strip, row = [line for line in report.splitlines() if line.startswith("  b.")]
    assert ["b.{0..49}.w", "x50", "all", "0.3", "…", "0.9"] == row.split()[:6]
    assert row.endswith("most in 7")
    assert ["0.3", "…", "0.9,", "most", "in", "7"] == strip.split()[2:]
    assert "█" == strip.split()[1][7]
    assert 50 == len(strip.split()[1])


def test_layers_without_a_change_and_with_new_nan_show_in_the_strip() -> None:
    layers = {0: statistics(0.1), 1: statistics(0.2), 3: statistics(0.4, nan=(0, 1)), 5: statistics(0.8)}
    entries = [changed(f"layers.{at}.w", each) for at, each in layers.items()]
    text = DIFF_REPORTS["text"](difference(*entries), DiffView(display=Display(unicode=False)))
    assert "  layers.{0..5}  12.!.9  0.1 ... 0.8, most in 5" in text.splitlines()


def test_more_layers_than_columns_share_them() -> None:
    entries = [changed(f"layers.{at}.w", statistics(0.1 if at != 999 else 0.2)) for at in range(1000)]
    lines = DIFF_REPORTS["text"](difference(*entries), DiffView(display=Display(width=80))).splitlines()
    strip = lines[lines.index("layers, by relative change") + 1]
    assert len(strip) <= 80
    assert "█" == strip.split()[1][-1]


@pytest.mark.parametrize("last", ["9" * 5000, "99999999", "٣"], ids=["many digits", "a large number", "not ASCII"])
def test_numbers_that_no_layer_has_make_no_strip(last: str) -> None:
    entries = [changed(f"layers.{at}.w", statistics(0.1)) for at in ("0", "1", "2", last)]
    assert "layers, by" not in DIFF_REPORTS["text"](difference(*entries), DiffView())


def test_what_was_zero_before_comes_last_and_has_no_bar() -> None:
    from_zero = changed("zero", statistics(None))
    entries = [from_zero, changed("a", statistics(0.1)), changed("b", statistics(0.5))]
    lines = DIFF_REPORTS["text"](difference(*entries), DiffView()).splitlines()
    rows = lines[lines.index("changed: 3 tensors") + 2 :][:3]
    assert ["b", "a", "zero"] == [row.split()[0] for row in rows]
    assert "█" in rows[0]
    assert "█" not in rows[2]


@pytest.mark.parametrize("swapped", [False, True], ids=["wrapped", "unwrapped"])
def test_layers_that_were_wrapped_alike_are_one_row(swapped: bool) -> None:
    names = [(f"h.{at}.q.weight", f"model.h.{at}.q.base_layer.weight") for at in range(9)]
    pairs = [pair[::-1] if swapped else pair for pair in names]
    entries = [Entry(status="renamed", name=new, old_name=old) for old, new in pairs]
    lines = DIFF_REPORTS["text"](difference(*entries), DiffView()).splitlines()
    shown = ["h.{0..8}.q.weight", "model.h.{0..8}.q.base_layer.weight"]
    old, new = reversed(shown) if swapped else shown
    assert f"  {old} x9  -> {new}" in lines


def test_what_a_prefix_renamed_is_folded_and_shown_again_where_it_changed() -> None:
    entries = [
        Entry(
            status="renamed",
            name=f"blocks.{number}.w",
            old_name=f"net.blocks.{number}.w",
            old=tensor(f"net.blocks.{number}.w"),
            new=tensor(f"blocks.{number}.w"),
            values=statistics(0.5) if number == 3 else None,
        )
        for number in range(8)
    ]
    lines = DIFF_REPORTS["text"](difference(*entries), DiffView()).splitlines()
    assert "  net.blocks.{0..7}.w x8  -> blocks.{0..7}.w" in lines
    assert ["blocks.3.w", "all", "0.5"] == next(line for line in lines if line.startswith("  blocks.3")).split()[
        :3
    ]
    every = DIFF_REPORTS["text"](difference(*entries), DiffView(everything=True))
    assert "  net.blocks.5.w  -> blocks.5.w\n" in every


def test_counters_do_not_hide_where_a_module_moved() -> None:
    counter = tensor("bn.steps", dtype="int64")
    entries = (
        changed("bn.weight", statistics(0.01)),
        Entry(status="changed", name="bn.steps", old=counter, new=counter, values=statistics(9.0, numel=1)),
    )
    report = DIFF_REPORTS["text"](difference(*entries), DiffView(by_module=True))
    (row,) = [line for line in report.splitlines() if line.startswith("  bn ")]
    assert ("0.01", "0.05") == (row.split()[2], row.split()[4])


def test_json_has_the_stable_names() -> None:
    text = DIFF_REPORTS["json"](sample(), DiffView())
    found = json.loads(text)
    assert text.isascii()
    assert ("bufscan.diff/1", "old.pt", "new.safetensors", False) == (
        found["schema"],
        found["old"],
        found["new"],
        found["identical"],
    )
    assert {"added", "removed", "changed", "renamed", "unchanged"} <= found["summary"].keys()
    entry = found["entries"][0]
    assert {"status", "name", "old_name", "changes", "values"} <= entry.keys()
    names = {"numel", "changed", "max_abs", "mean_abs", "l2", "rel_l2", "cosine", "nonfinite"}
    assert names <= entry["values"].keys()


@pytest.mark.parametrize(
    ("found", "value"),
    [(identical(), True), (identical(close=1), False), (identical(compared_values=False), None)],
    ids=["identical", "close", "unknown"],
)
def test_json_says_null_where_nobody_knows(found: Difference, value: bool | None) -> None:
    assert value is json.loads(DIFF_REPORTS["json"](found, DiffView()))["identical"]


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_no_line_is_wider_than_the_terminal_where_its_words_allow_it(width: int) -> None:
    text = DIFF_REPORTS["text"](sample(), DiffView(display=Display(width=width)))
    longest = max(len(line) for line in text.splitlines() if "  " not in line.strip())
    assert longest <= width


NAMES = {
    "ansi": "w\x1b[31m\x1b]0;title\x07",
    "bidi": "w\u202ethgiew",
    "line breaks": "a\nb\r\nc\u2028d\x85e",
    "lone surrogate": "w\ud800",
    "markup": "[red]w[/b]|`<b>*_x_*",
    "huge": "layers." + "x" * 1_000_000,
    "empty": "",
}


def everywhere(text: str) -> Difference:
    """A difference in which every piece of free text is `text`."""
    record = tensor(text, 2, section=text, device=text)
    changes = (
        Change(aspect="device", old=text, new=text),
        Change(aspect="layout", old=text, new=text),
        Change(aspect="tied_to", old=(text,), new=(text + "x",)),
    )
    return difference(
        *(
            Entry(status=status, name=text, section=text, old=record, new=record, remark=text)
            for status in ("added", "removed")
        ),  # type: ignore[arg-type]
        Entry(status="renamed", name=text, old_name=text, old=record, new=record, changes=changes),
        Entry(
            status="changed",
            name=text,
            old=record,
            new=record,
            values=statistics(0.1),
            changes=changes,
            remark=text,
        ),
        old=text,
        new=text,
        not_compared=(NotCompared(path=text, reason=text),),
        left_out=(LeftOut(side="old", what=text, tensors=1, reason=text),),
        skipped=(Skipped(what=text, reason=text),),
        notes=(text,),
    )


@pytest.mark.parametrize("report", DIFF_REPORTS)
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_nothing_unprintable_gets_out(report: str, name: str) -> None:
    text = DIFF_REPORTS[report](everywhere(name), DiffView())
    found = {unicodedata.category(character) for character in text if character != "\n"}
    assert not found & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert len(text) < 100_000 + len(DIFF_REPORTS[report](everywhere("harmless"), DiffView(everything=True)))


@pytest.mark.parametrize("report", DIFF_REPORTS)
@pytest.mark.parametrize("name", [name for name in NAMES.values() if name])
def test_a_name_makes_no_new_line(report: str, name: str) -> None:
    harmless = DIFF_REPORTS[report](everywhere("harmless"), DiffView(everything=True))
    assert harmless.count("\n") == DIFF_REPORTS[report](everywhere(name), DiffView(everything=True)).count("\n")


def test_markdown_shows_marks_instead_of_obeying_them() -> None:
    text = DIFF_REPORTS["markdown"](difference(changed("a|b*c*<script>", statistics(0.1))), DiffView())
    assert r"| a\|b\*c\*\<script\> | all |" in text


def test_colour_adds_nothing_but_colour() -> None:
    plain = DIFF_REPORTS["text"](sample(), DiffView(display=Display(width=80)))
    coloured = DIFF_REPORTS["text"](sample(), DiffView(display=Display(width=80, colour=True)))
    assert plain != coloured
    assert plain == re.sub(r"\x1b\[[0-9;]*m", "", coloured)
