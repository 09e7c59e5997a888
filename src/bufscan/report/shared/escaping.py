"""The one escape at the output boundary: text from a file cannot steer a terminal, hide or break a line."""

from __future__ import annotations

NAME_LIMIT = 200
"""Characters of a name that text reports show; hostile keys run to megabytes."""

MACHINE_LIMIT = 2000
"""Characters of a name that machine reports carry: one huge key may stand in every record."""

# Blank or combining, yet printable to Python: Hangul fillers, the Braille blank, joiners, variation selectors.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | {
    chr(c) for c in range(0xFE00, 0xFE10)
}


def escape(text: str, *, ascii_only: bool = False) -> str:
    r"""`text` with everything that does not show as itself written out (`\x1b`, `\u202e`, `\n`).

    Controls, bidirectional marks, zero-width and private characters, unusual spaces, unassigned code points and
    lone surrogates are what `str.isprintable` calls unprintable. An empty text, and one whose outer spaces would
    be lost, is shown in quotes. With `ascii_only` everything beyond ASCII is written out too, for an output that
    cannot encode it.
    """
    if not text or text[0] == " " or text[-1] == " ":
        text = f"'{text}'"
    if text.isascii():
        if text.isprintable():
            return text
    elif not ascii_only and text.isprintable() and _INVISIBLE.isdisjoint(text):
        return text
    return "".join(_escaped(character, ascii_only=ascii_only) for character in text)


def _escaped(character: str, *, ascii_only: bool) -> str:
    if character.isprintable() and character not in _INVISIBLE and (character.isascii() or not ascii_only):
        return character
    return character.encode("unicode_escape").decode("ascii")


def shorten(text: str, limit: int) -> str:
    """`text` with its middle left out when it is longer than `limit`; both ends tell names apart."""
    if len(text) <= limit:
        return text
    mark = f"...({len(text)} characters)..."
    kept = max(limit - len(mark), 2)
    return f"{text[: kept - kept // 2]}{mark}{text[-(kept // 2) :]}"


def show(text: str, *, ascii_only: bool = False, limit: int = NAME_LIMIT) -> str:
    """A name or message as text reports print it: cut first, so that a huge one costs nothing, then escaped."""
    return escape(shorten(text, limit), ascii_only=ascii_only)
