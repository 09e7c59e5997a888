from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bufscan.report.shared.escaping import escape, shorten, show


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        pytest.param(r"\x1b[31mred", "\x1b[31mred", id="ansi"),
        pytest.param(r"\x9b31m", "\x9b31m", id="one-byte csi"),
        pytest.param(r"a\x7f", "a\x7f", id="delete"),
        pytest.param(r"a\nb\rc\td", "a\nb\rc\td", id="line breaks"),
        pytest.param(r"\x00", "\0", id="nul"),
        pytest.param(r"x\u202egnp.exe", "x\u202egnp.exe", id="bidi override"),
        pytest.param(r"\u2066a\u2069", "\u2066a\u2069", id="bidi isolates"),
        pytest.param(r"a\u200bb\ufeff", "a\u200bb\ufeff", id="zero width"),
        pytest.param(r"a\u2028b", "a\u2028b", id="line separator"),
        pytest.param(r"a\xa0b", "a\xa0b", id="no-break space"),
        pytest.param(r"\u3164", "\u3164", id="blank letter"),
        pytest.param(r"a\ufe0f", "a\ufe0f", id="variation selector"),
        pytest.param(r"\ud800w", "\ud800w", id="lone surrogate"),
        pytest.param(r"\U000e0041", "\U000e0041", id="tag"),
        pytest.param("[red]w[/red]", "[red]w[/red]", id="rich markup is plain text"),
        pytest.param("größe.权重", "größe.权重", id="letters of any script"),
        pytest.param("''", "", id="empty"),
        pytest.param("' a'", " a", id="outer space"),
        pytest.param("a b", "a b", id="inner space"),
    ],
)
def test_what_does_not_show_as_itself_is_written_out(shown: str, text: str) -> None:
    assert shown == escape(text)


def test_an_output_that_knows_ascii_alone_gets_ascii() -> None:
    assert r"gr\xf6\xdfe.\u6743" == escape("größe.权", ascii_only=True)


@given(st.text(alphabet=st.characters(codec=None, exclude_categories=())))
def test_no_control_survives(text: str) -> None:
    kept = {unicodedata.category(character) for character in escape(text)}
    assert not kept & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@given(st.text(alphabet=st.characters(codec=None, exclude_categories=())))
def test_ascii_means_printable_ascii(text: str) -> None:
    escaped = escape(text, ascii_only=True)
    assert escaped.isascii()
    assert escaped.isprintable()


def test_every_code_point_can_be_escaped() -> None:
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    assert escape(everything).encode("utf-8")


def test_a_long_name_keeps_both_ends() -> None:
    name = "layers." + "x" * 1_000_000 + ".weight"
    shown = shorten(name, 60)
    assert 60 == len(shown)
    assert shown.startswith("layers.")
    assert shown.endswith(".weight")
    assert "(1000014 characters)" in shown


def test_a_name_that_fits_is_left_alone() -> None:
    assert "a.b" == shorten("a.b", 3)


def test_what_is_cut_away_costs_no_room_when_it_is_escaped() -> None:
    assert len(show("\x1b" * 1_000_000)) < 1000
