"""Pages of HTML as text: what a name cannot do in them, and that they hold what the JSON holds."""

from __future__ import annotations

import json
import re
import unicodedata
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from check_samples import at, finding, result
from check_samples import sample as check_sample
from diff_samples import changed, difference, statistics
from diff_samples import sample as diff_sample
from report_samples import sample
from test_hostile_names import NAMES, everywhere

from bufscan.checking.results import Failure, Ignored, Known, TargetResult
from bufscan.comparing.difference import Change, LeftOut, NotCompared, PlainEntry
from bufscan.inventory import Skipped
from bufscan.report import CHECK_REPORTS, DIFF_REPORTS, INSPECT_REPORTS
from bufscan.report.check.view import CheckView
from bufscan.report.diff.view import DiffView
from bufscan.report.inspect.view import View
from command_line import bufscan

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = NAMES | {
    "script": "w<script>window.pwned = 1</script>",
    "end of script": "w</script><script>window.pwned = 1</script>",
    "comment": "w<!--<script>",
    "cdata": "w]]><![CDATA[",
    "attribute": 'w" onmouseover="window.pwned = 1" x=\'',
    "image": "w<img src=x onerror=window.pwned=1>",
    "template": "{{ 7 * 7 }}{% raw %}",
    "reference": "&lt;b&gt;&#x41;",
    "backticks": "`<b>`` `",
}


def pages(text: str) -> dict[str, str]:
    """The pages of everything that a report has, with the text in every place."""
    bad = finding("BUF001", text, f"`{text}` {text}", location=at(3, text), suggestion=text, suggestion_note=text)
    nowhere = finding("BUF101", text, text)
    target = TargetResult(
        target=text,
        findings=(bad, nowhere),
        ignored=(Ignored(finding=bad, by="source", reason=text),),
        skipped=tuple(Skipped(what=text, reason=text, failed=failed) for failed in (True, False)),
        failure=Failure(message=text, hint=text),
    )
    checked = result(target, TargetResult(target=text), fixed=(Known(target=text, code="BUF001", tensor=text),))
    differs = difference(
        changed(text, statistics(0.5), Change(aspect="device", old=text, new=text), section=text, remark=text),
        old=text,
        new=text,
        plain=(PlainEntry(status="changed", path=text, old=text, new=text),),
        not_compared=(NotCompared(path=text, reason=text),),
        left_out=(LeftOut(side="old", what=text, tensors=1, reason=text),),
        skipped=(Skipped(what=text, reason=text),),
        notes=(text,),
    )

    def line(_file: str, _number: int) -> str:
        return f"    {text.replace(chr(10), ' ')}\n"

    return {
        "inspect": INSPECT_REPORTS["html"](everywhere(text), View(findings=(bad, nowhere), source_line=line)),
        "check": CHECK_REPORTS["html"](checked, CheckView(source_line=line)),
        "diff": DIFF_REPORTS["html"](differs, DiffView()),
    }


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the text in scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.scripts: list[str] = []
        self.links: list[str] = []
        self._open = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "action", "data", "srcset")]
        self._open = tag
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self._open == "script":
            self.scripts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        del tag
        self._open = ""


@pytest.fixture(scope="module")
def harmless() -> dict[str, Elements]:
    # Of backticks and quotes a message makes code: a plain word has neither.
    return {name: Elements(page) for name, page in pages("harmless").items()}


@pytest.mark.parametrize("name", [each for each in HOSTILE.values() if each])  # where one is empty, less is shown
def test_a_name_makes_no_element_no_attribute_and_no_script(name: str, harmless: dict[str, Elements]) -> None:
    for kind, page in pages(name).items():
        elements, plain = Elements(page), harmless[kind]
        structure = [each for each in elements.found if each[0] not in ("code", "br")]
        assert [each for each in plain.found if each[0] not in ("code", "br")] == structure
        assert plain.scripts[1:] == elements.scripts[1:]


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_nothing_unprintable_stands_in_a_page(name: str) -> None:
    for page in pages(name).values():
        page.encode()
        found = {unicodedata.category(character) for character in page if character != "\n"}
        assert not found & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize("name", [each for each in HOSTILE.values() if each])
def test_a_page_holds_the_report_for_machines(name: str) -> None:
    report = json.loads(Elements(pages(name)["inspect"]).scripts[0])
    assert name == report["tensors"][0]["name"]
    plain = json.loads(INSPECT_REPORTS["json"](everywhere(name), View()))
    assert plain == report | {"findings": []}


SAMPLES = {
    "inspect": INSPECT_REPORTS["html"](sample(), View()),
    "check": CHECK_REPORTS["html"](check_sample(), CheckView()),
    "diff": DIFF_REPORTS["html"](diff_sample(), DiffView()),
}


@pytest.mark.parametrize("page", SAMPLES.values(), ids=SAMPLES)
def test_a_page_names_no_address_and_lets_its_own_script_and_style_run_alone(page: str) -> None:
    assert all(link.startswith("#") for link in Elements(page).links)
    style = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    script = Elements(page).scripts[1]
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', page)
    assert policy is not None
    assert 1 == len(style)
    assert policy[1].startswith("default-src &#39;none&#39;;")
    for kind, text in (("script", script), ("style", style[0])):
        own = b64encode(sha256(text.encode()).digest()).decode()
        assert f"{kind}-src &#39;sha256-{own}&#39;" in policy[1]
    assert not re.search(r"url\(|@import|\bfetch\(|XMLHttpRequest|innerHTML|insertAdjacentHTML", page)


def test_a_finding_has_the_lines_around_it_and_its_fix_under_the_one_that_is_meant() -> None:
    def line(_file: str, number: int) -> str:
        return f"    line {number}\n" if number <= 4 else ""

    found = result(
        TargetResult(target="m", findings=(finding("BUF001", "a", "bad", location=at(3), suggestion="better()"),))
    )
    page = CHECK_REPORTS["html"](found, CheckView(source_line=line))
    shown = re.findall(r'<th scope="row">(.*?)</th><td><code>(.*?)</code>', page)
    assert [("1", "    line 1"), ("2", "    line 2"), ("3", "    line 3"), ("fix", "    better()")] == shown[:4]
    assert [("4", "    line 4")] == shown[4:]


def test_a_page_is_written_by_every_command_and_is_of_one_target(demo_files: Path, tmp_path: Path) -> None:
    commands = {
        "inspect": ("inspect", "model.pt"),
        "check": ("check", "model.pt"),
        "lint": ("lint", "model.py"),
        "diff": ("diff", "model.pt", "weights.safetensors"),
    }
    for name, arguments in commands.items():
        file = tmp_path / f"{name}.html"
        done = bufscan(*arguments, "--format", "html", "--output", str(file), cwd=demo_files)
        assert done.returncode < 2, done.stderr
        assert file.read_text().startswith("<!doctype html>")
    assert "self.register_buffer" in (tmp_path / "lint.html").read_text()
    done = bufscan("inspect", "model.pt", "weights.safetensors", "--format", "html", cwd=demo_files)
    assert (2, b"bufscan: a page shows one target\n") == (done.returncode, done.stderr[:33])
