"""What a file names its tensors must not steer a terminal, break a line or swell the output, in any report."""

from __future__ import annotations

import csv
import json
import unicodedata
from io import StringIO

import pytest
from report_samples import inventory, tensor

from bufscan.inventory import Anomaly, ForeignName, Inventory, Skipped, Tensor
from bufscan.report import INSPECT_REPORTS
from bufscan.report.inspect.view import View
from bufscan.report.shared.display import Display

NAMES = {
    "ansi": "w\x1b[31m\x1b]0;title\x07",
    "one-byte csi": "w\x9b2J",
    "bidi": "w\u202ethgiew",
    "line breaks": "a\nb\r\nc\u2028d\x85e\x0bf",
    "workflow command": "w\n::error::pwned",
    "rich markup": "[red]w[/b][link=http://x]",
    "lone surrogate": "w\ud800",
    "zero width": "w\u200b\u2060",
    "nul": "w\0",
    "empty": "",
    "percent": "%s{0}%(x)s",
    "quotes": "\"'`,;\\",
}

VIEWS = {
    "text": View(),
    "text in colour": View(display=Display(width=80, colour=True)),
    "text in ascii": View(display=Display(width=40, unicode=False)),
    "text of everything": View(everything=True),
    "tree": View(by_module=True),
    "json": View(),
    "csv": View(),
}


def everywhere(text: str) -> Inventory:
    """An inventory in which every piece of free text is `text`."""
    entry = Tensor(
        name=text,
        section=text,
        shape=(2,),
        dtype="float32",
        device=text,
        evidence=text,
        storage=text,
        file=text,
        type_name=text,
        suggestion=text,
        placements=(text,),
    )
    return inventory(
        entry,
        tensor(text, 2, section=text, alias_of=text, device="cpu"),
        tensor(f"{text}.weight", 2, section=text, role="unregistered"),
        target=text,
        foreign_names=(ForeignName(name=text),),
        notes=(text,),
        metadata={text: text},
        anomalies=(Anomaly(kind="odd", message=text),),
        skipped=(Skipped(what=text, reason=text),),
    )


def render(view: str, found: Inventory) -> str:
    return INSPECT_REPORTS[view if view in INSPECT_REPORTS else "text"](found, VIEWS[view])


def without_own_colours(text: str) -> str:
    for code in ("0", "1", "2", "31", "32", "33", "35", "36", "1;31"):
        text = text.replace(f"\x1b[{code}m", "")
    return text


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_nothing_unprintable_gets_out(name: str, view: str) -> None:
    text = render(view, everywhere(name)).replace("\r\n", "\n")
    if "colour" in view:
        text = without_own_colours(text)
    found = {unicodedata.category(character) for character in text if character != "\n"}
    assert not found & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize("view", ["text", "text of everything", "tree", "json", "csv"])
@pytest.mark.parametrize("name", [name for name in NAMES.values() if name])
def test_a_name_makes_no_new_line(name: str, view: str) -> None:
    harmless = render(view, everywhere("harmless"))
    assert harmless.count("\n") == render(view, everywhere(name)).count("\n")


def test_markup_is_shown_and_not_obeyed() -> None:
    text = render("text in colour", inventory(tensor("[red]w[/b]", 2)))
    assert "[red]w[/b]" in text


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_json_gives_the_name_back_as_it_was(name: str) -> None:
    text = render("json", everywhere(name))
    assert text.isascii()
    assert name == json.loads(text)["tensors"][0]["name"]


@pytest.mark.parametrize("view", VIEWS)
def test_a_huge_name_is_cut(view: str) -> None:
    assert 100_000 > len(render(view, everywhere("layers." + "x" * 1_000_000 + ".weight")))


@pytest.mark.parametrize("view", ["text of everything", "tree", "json", "csv"])
def test_a_huge_section_costs_little_for_each_tensor_in_it(view: str) -> None:
    section = "s" * 1_000_000
    found = inventory(*(tensor(f"w{number}", 1, section=section, storage=str(number)) for number in range(500)))
    assert 500 * 5000 > len(render(view, found))


@pytest.mark.parametrize("view", ["text", "tree"])
def test_a_name_of_very_many_parts_is_no_deep_recursion(view: str) -> None:
    assert render(view, inventory(*(tensor("a." * 100_000 + str(number), 1) for number in range(50))))


@pytest.mark.parametrize("view", VIEWS)
def test_a_shape_that_multiplies_to_more_than_python_prints_is_no_crash(view: str) -> None:
    found = inventory(Tensor(name="w", shape=(2**62,) * 500, dtype="float32", storage="s"))
    assert render(view, found)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\uff1d"])
def test_a_spreadsheet_takes_no_name_for_a_formula(start: str) -> None:
    text = render("csv", inventory(tensor(f"{start}cmd|' /C calc'!A0", 2)))
    row = list(csv.reader(StringIO(text)))[1]
    assert row[0].startswith(("'", "\\"))


def test_names_wider_than_their_letters_keep_the_columns_aligned() -> None:
    text = render("text", inventory(tensor("权重", 2), tensor("weight", 2)))
    titles, wide, narrow = text.splitlines()[3:6]
    assert titles.index("shape") == narrow.index("2")
    assert narrow.index("2") - 2 == wide.index("2")


def test_names_of_very_many_modules_take_bounded_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bufscan.report.inspect.text.tree._MOST_MODULES", 10)
    found = inventory(*(tensor(f"a{number}.b.c", 1) for number in range(100)))
    text = render("tree", found)
    rows = text.split("\n\n")[1].splitlines()[1:]
    assert 1 + 10 == len(rows)
    assert "model.pt 100 100 400 B" == " ".join(rows[0].split())
