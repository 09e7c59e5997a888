"""Pages of HTML in a headless Chromium, as people use them; skipped where there is none."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from browser import CHROMIUM, browser
from check_samples import plain, result
from check_samples import sample as check_sample
from diff_samples import blocks as diff_blocks
from diff_samples import sample as diff_sample
from report_samples import blocks, inventory, sample, tensor
from test_html import HOSTILE, pages

from bufscan.checking.results import TargetResult
from bufscan.inventory import Inventory
from bufscan.report import CHECK_REPORTS, DIFF_REPORTS, INSPECT_REPORTS
from bufscan.report.check.view import CheckView
from bufscan.report.diff.view import DiffView
from bufscan.report.inspect.view import View

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from browser import Browser, Page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

MANY = 100_000


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


class Opened:
    """Opens a text as a page; at the end of the test nothing may have been complained of or fetched."""

    def __init__(self, chromium: Browser, folder: Path) -> None:
        self._chromium = chromium
        self._file = folder / "page.html"
        self.pages: list[Page] = []

    def __call__(self, text: str, **settings: Any) -> Page:
        self._file.write_text(text)
        page = self._chromium.page()
        page.open(self._file, **settings)
        self.pages.append(page)
        return page

    def check(self) -> None:
        for page in self.pages:
            assert [] == page.complaints
            assert [self._file.as_uri()] == page.requests
            page.call("Page.close")


@pytest.fixture
def opened(chromium: Browser, tmp_path: Path) -> Iterator[Opened]:
    opens = Opened(chromium, tmp_path)
    yield opens
    opens.check()


def inspect_page(found: Inventory) -> str:
    return INSPECT_REPORTS["html"](found, View(findings=tuple(check_sample().findings)))


SAMPLES: dict[str, Callable[[], str]] = {
    "inspect": lambda: inspect_page(sample()),
    "blocks": lambda: inspect_page(blocks()),
    "empty": lambda: INSPECT_REPORTS["html"](Inventory(target="empty.pt", format="torch-zip"), View()),
    "check": lambda: CHECK_REPORTS["html"](check_sample(), CheckView()),
    "clean": lambda: CHECK_REPORTS["html"](result(TargetResult(target="a.pt")), CheckView()),
    "diff": lambda: DIFF_REPORTS["html"](diff_sample(), DiffView()),
    "layers": lambda: DIFF_REPORTS["html"](diff_blocks(), DiffView()),
}

NAMES_OF_ROWS = "[...document.querySelectorAll('tr[data-at] td.name')].map(each => each.textContent)"
COUNT = "document.querySelector('.rows output').textContent"


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("written", SAMPLES.values(), ids=SAMPLES)
def test_a_page_opens_without_complaint_and_fits_its_window(
    written: Callable[[], str], width: int, opened: Opened, *, dark: bool
) -> None:
    page = opened(written(), width=width, dark=dark)
    assert width >= page.ask("document.documentElement.scrollWidth")
    assert dark == (page.ask("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)")


@pytest.mark.parametrize("written", SAMPLES.values(), ids=SAMPLES)
def test_what_can_be_used_has_a_name_and_headings_skip_no_level(
    written: Callable[[], str], opened: Opened
) -> None:
    page = opened(written())
    page.call("Accessibility.enable")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    used = ("button", "searchbox", "grid", "table", "region", "link", "dialog", "img", "columnheader", "rowheader")
    for node in nodes:
        if not node.get("ignored") and node["role"]["value"] in used:
            assert node.get("name", {}).get("value"), node
    levels = [int(tag[1]) for tag in page.ask("[...document.querySelectorAll('h1,h2,h3')].map(e => e.localName)")]
    assert 1 == levels[0]
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_a_search_finds_names_and_stars_stand_for_anything(opened: Opened) -> None:
    page = opened(inspect_page(inventory(tensor("a.0.w", 2), tensor("a.1.w", 2), tensor("b.0.bias", 2))))
    page.click("input[type=search]")
    page.type("A.*w")
    assert (["a.0.w", "a.1.w"], "2 of 3 tensors") == (page.ask(NAMES_OF_ROWS), page.ask(COUNT))
    page.type(" 1")
    assert ["a.1.w"] == page.ask(NAMES_OF_ROWS)
    page.type(" x")
    assert ([], "0 of 3 tensors") == (page.ask(NAMES_OF_ROWS), page.ask(COUNT))


def test_a_click_on_a_heading_sorts_one_way_then_the_other_then_not_at_all(opened: Opened) -> None:
    page = opened(inspect_page(inventory(tensor("l.10", 2), tensor("l.9", 7), tensor("l.1", 5))))
    headings = page.ask("[...document.querySelectorAll('.scroll thead th')].map(each => each.textContent)")
    first, size = ".scroll thead th:nth-child(1) button", headings.index("size") + 1
    orders = []
    for _ in range(3):
        page.click(first)
        orders.append(page.ask(NAMES_OF_ROWS))
    assert [["l.1", "l.9", "l.10"], ["l.10", "l.9", "l.1"], ["l.10", "l.9", "l.1"]] == orders
    assert page.ask("document.querySelector('.scroll thead [aria-sort]')") is None
    page.click(f".scroll thead th:nth-child({size}) button")
    assert ["l.9", "l.1", "l.10"] == page.ask(NAMES_OF_ROWS)
    assert "descending" == page.ask(
        f"document.querySelector('.scroll thead th:nth-child({size})').getAttribute('aria-sort')"
    )


def test_the_keyboard_goes_through_rows_and_opens_what_is_known_of_one(opened: Opened) -> None:
    page = opened(inspect_page(sample()))
    page.ask("document.querySelector('table[role=grid]').focus()")
    for _ in range(3):
        page.press("ArrowDown")
    active = (
        "document.getElementById(document.querySelector('table[role=grid]').getAttribute('aria-activedescendant'))"
    )
    name = page.ask(f"{active}.querySelector('.name').textContent")
    assert sample().tensors[2].path == name
    page.press("Enter")
    assert name == page.ask("document.getElementById('detail-title').textContent")
    assert sample().tensors[2].evidence in page.ask("document.getElementById('detail').textContent")
    page.press("ArrowDown")
    assert sample().tensors[3].path == page.ask("document.getElementById('detail-title').textContent")
    page.press("Escape")
    assert page.ask("document.getElementById('detail').open") is False


def test_roles_and_modules_narrow_the_rows_and_let_go_again(opened: Opened) -> None:
    tensors = (tensor("a.x.w", 8), tensor("a.y.b", 2, role="persistent_buffer"), tensor("c.w", 4))
    page = opened(inspect_page(inventory(*tensors)))
    page.click("button[data-role=persistent_buffer]")
    assert ["a.y.b"] == page.ask(NAMES_OF_ROWS)
    page.click("button[data-role=persistent_buffer]")
    page.click(".modules tbody button")
    assert ["a.x.w", "a.y.b"] == page.ask(NAMES_OF_ROWS)
    page.click(".crumbs button")
    assert 3 == len(page.ask(NAMES_OF_ROWS))
    page.click("figure rect[data-node]")
    assert ["a.x.w", "a.y.b"] == page.ask(NAMES_OF_ROWS)


def test_areas_of_the_map_are_bytes_and_a_tie_has_none(opened: Opened) -> None:
    tensors = (
        tensor("a.w", 300),
        tensor("b.w", 100, role="persistent_buffer"),
        tensor("t.w", 300, alias_of="a.w"),
    )
    page = opened(inspect_page(inventory(*tensors)))
    areas = page.ask(
        "Object.fromEntries([...document.querySelectorAll('figure rect.role')]"
        ".map(r => [r.classList[1], r.width.baseVal.value * r.height.baseVal.value]))"
    )
    assert {"parameter", "persistent_buffer"} == set(areas)
    assert areas["parameter"] / areas["persistent_buffer"] == pytest.approx(3, rel=0.02)


def test_a_hundred_thousand_tensors_take_a_few_rows_and_are_all_there(opened: Opened) -> None:
    tensors = [
        tensor(f"layers.{number // 50}.proj_{number % 50}.weight", 4, storage=str(number))
        for number in range(MANY)
    ]
    page = opened(INSPECT_REPORTS["html"](inventory(*tensors), View()))
    rows = "document.querySelectorAll('tr[data-at]').length"
    assert 100 > page.ask(rows)
    page.ask("document.querySelector('table[role=grid]').focus()")
    page.press("End")
    assert "layers.1999.proj_49.weight" == page.ask(NAMES_OF_ROWS)[-1]
    assert 100 > page.ask(rows)
    page.ask("document.querySelector('.scroll').scrollTop = 25 * 50_000")
    page.settle()
    assert "layers.1000.proj_0.weight" in page.ask(NAMES_OF_ROWS)
    assert MANY + 1 == page.ask("Number(document.querySelector('table[role=grid]').getAttribute('aria-rowcount'))")


def test_paper_gets_every_row(opened: Opened) -> None:
    found = inventory(*(tensor(f"l.{number}.w", 4, storage=str(number)) for number in range(300)))
    page = opened(inspect_page(found))
    page.ask("dispatchEvent(new Event('beforeprint'))")
    assert 300 == len(page.ask(NAMES_OF_ROWS))
    page.ask("dispatchEvent(new Event('afterprint'))")
    assert 300 > len(page.ask(NAMES_OF_ROWS))
    assert page.pdf().startswith(b"%PDF")


def test_findings_are_searched_by_words_and_by_severity(opened: Opened) -> None:
    page = opened(CHECK_REPORTS["html"](check_sample(), CheckView()))
    shown = "[...document.querySelectorAll('.finding:not([hidden])')].map(each => each.dataset.severity)"
    every = page.ask(shown)
    page.click("button[data-severity=warning]")
    assert {"warning"} == set(page.ask(shown))
    page.click("button[data-severity=warning]")
    assert every == page.ask(shown)
    page.click("input[type=search]")
    page.type("to_empty")
    assert ["warning"] == page.ask(shown)
    assert "1 of " in page.ask("document.querySelector('.filters output').textContent")


def test_the_code_of_a_finding_leads_to_its_rule_which_opens(opened: Opened) -> None:
    page = opened(CHECK_REPORTS["html"](result(TargetResult(target="m", findings=(plain("a", 1),))), CheckView()))
    assert page.ask("document.getElementById('BUF001').open") is False
    page.ask("document.querySelector('.finding a').click()")
    page.until("document.getElementById('BUF001').open")


def test_the_heat_of_a_difference_has_a_column_for_each_layer_and_opens_a_tensor(opened: Opened) -> None:
    found = diff_blocks()
    page = opened(DIFF_REPORTS["html"](found, DiffView()))
    filled = "[...document.querySelectorAll('#heat td')].filter(each => each.firstChild)"
    assert len(found.entries) == page.ask(f"{filled}.length")
    title = page.ask(f"{filled}[0].title")
    page.ask(f"{filled}[0].click()")
    assert title.startswith(page.ask("document.getElementById('detail-title').textContent"))


def test_a_status_narrows_a_difference(opened: Opened) -> None:
    page = opened(DIFF_REPORTS["html"](diff_sample(), DiffView()))
    page.click("button[data-status=added]")
    added = [each.path for each in diff_sample().entries if each.status == "added"]
    assert sorted(added) == sorted(page.ask(NAMES_OF_ROWS))


AT_ONCE = {
    "all": "".join(HOSTILE.values()),
    **{key: HOSTILE[key] for key in ("end of script", "attribute", "bidi")},
}


@pytest.mark.parametrize("name", AT_ONCE.values(), ids=AT_ONCE)
def test_a_hostile_name_is_text_and_no_more(name: str, opened: Opened) -> None:
    for kind, written in pages(name).items():
        page = opened(written)
        assert page.ask("typeof window.pwned") == "undefined"
        if kind == "inspect":
            shown = page.ask("document.querySelector('main').innerText.replaceAll('\\t', '')")
            assert not re.search("[\u202e\x00-\x09\u200b]", shown)
            page.click("tr[data-at] td.name")
            assert page.ask("document.getElementById('detail').open")
    opened.check()
    opened.pages.clear()
