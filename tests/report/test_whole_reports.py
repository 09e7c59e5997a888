"""The same sample through every report, whole text. `UPDATE_EXPECTED=1 pytest tests/report` writes it anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from report_samples import blocks, sample, sharded

from bufscan.inventory import Inventory
from bufscan.report import INSPECT_REPORTS
from bufscan.report.inspect.selecting import Selection
from bufscan.report.inspect.view import View
from bufscan.report.shared.display import Display

EXPECTED = Path(__file__).parent / "expected"

NARROW = Display(width=80)

CASES: dict[str, tuple[str, Inventory, View]] = {
    "terminal-80.txt": ("text", sample(), View(display=NARROW)),
    "terminal-80-colour.txt": ("text", sample(), View(display=Display(width=80, colour=True))),
    "terminal-140.txt": ("text", sample(), View(display=Display(width=140))),
    "piped.txt": ("text", sample(), View()),
    "all.txt": ("text", sample(), View(everything=True)),
    "exact.txt": ("text", sample(), View(units="exact")),
    "quiet.txt": ("text", sample(), View(quiet=True, display=NARROW)),
    "selected.txt": (
        "text",
        sample(),
        View(selection=Selection(roles=("unregistered", "persistent_buffer"), sort="size")),
    ),
    "nothing-selected.txt": ("text", sample(), View(selection=Selection(patterns=("no.such",)))),
    "nothing-found.txt": ("text", Inventory(target="empty.pt", format="torch-zip"), View()),
    "folded-80.txt": ("text", blocks(), View(display=NARROW)),
    "by-module.txt": ("text", blocks(), View(by_module=True)),
    "by-module-depth-1.txt": ("text", blocks(), View(by_module=True, depth=1)),
    "by-module-ascii.txt": ("text", sample(), View(by_module=True, display=Display(unicode=False))),
    "by-module-all.txt": ("text", sample(), View(by_module=True, everything=True)),
    "sharded.txt": ("text", sharded(), View()),
    "inspect.json": ("json", sample(), View()),
    "selected.json": ("json", sample(), View(selection=Selection(roles=("unregistered",), patterns=("embed.*",)))),
    "inspect.csv": ("csv", sample(), View()),
}


@pytest.mark.parametrize("name", CASES)
def test_the_report_is_the_expected_text(name: str) -> None:
    report, found, view = CASES[name]
    text = INSPECT_REPORTS[report](found, view)
    path = EXPECTED / name
    if os.environ.get("UPDATE_EXPECTED"):
        path.write_bytes(text.encode())
    assert path.read_bytes().decode() == text


def test_no_expected_file_is_left_over() -> None:
    assert sorted(CASES) == sorted(path.name for path in EXPECTED.iterdir())
