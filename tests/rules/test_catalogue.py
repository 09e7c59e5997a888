"""The catalogue of rules, linted: what every rule must have, and that none is forgotten."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bufscan import rules
from bufscan.rules import RULES

if TYPE_CHECKING:
    from bufscan.findings import Rule

FOLDER = Path(rules.__file__).parent
SECTIONS = ["What it does", "Why is this bad?", "Example", "References"]

each_rule = pytest.mark.parametrize("rule", RULES, ids=[rule.code for rule in RULES])


def test_codes_and_names_are_unique_and_the_codes_in_order() -> None:
    codes = [rule.code for rule in RULES]
    assert sorted(set(codes)) == codes
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_every_file_that_defines_a_rule_is_in_the_tuple() -> None:
    defining = {
        path.stem for path in FOLDER.glob("*.py") if re.search(r"^RULE = ", path.read_text(), re.MULTILINE)
    }
    assert defining == {rule.check.__module__.rpartition(".")[2] for rule in RULES}


@each_rule
def test_a_code_is_bufs_and_a_name_reads_after_allow(rule: Rule) -> None:
    assert re.fullmatch(r"BUF\d{3}", rule.code)
    assert re.fullmatch(r"[a-z]+(-[a-z]+)+", rule.name)


@each_rule
def test_an_explanation_follows_the_template(rule: Rule) -> None:
    assert SECTIONS == re.findall(r"^## (.+)$", rule.explanation, re.MULTILINE)
    assert rule.explanation.count("Use instead:\n") == 1
    assert re.fullmatch(r"[A-Z].*\.", rule.summary)
    assert all(rule.section(title) for title in SECTIONS)


@each_rule
def test_references_are_links(rule: Rule) -> None:
    lines = rule.section("References").splitlines()
    assert all(re.fullmatch(r"- \[.+\]\(https://\S+\)", line) for line in lines)
