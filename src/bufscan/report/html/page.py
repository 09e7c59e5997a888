"""One page that is complete in itself: what the JSON of the same command has, for people with a browser.

Every value that a template shows is written out where it does not print (a name cannot turn or hide its
neighbours), then escaped. A policy in the page allows its own script and style alone, by their hashes: nothing
else runs, and nothing is fetched.
"""

from __future__ import annotations

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from bufscan.report.shared import escaping
from bufscan.report.shared.sizes import count, size

if TYPE_CHECKING:
    from collections.abc import Iterator

_TEXT_LIMIT: Final = 1000
_FOLDER: Final = Path(__file__).parent
_CODE: Final = re.compile(r"`([^`]*)`")


def page(template: str, json: str, *, scripts: tuple[str, ...], **values: object) -> str:
    """The template with these values, and the report for machines inside.

    Args:
        template: its name; also what the command is called.
        json: the report for machines, which the scripts draw from.
        scripts: names of those that the page needs, in their order.
        values: what the template shows.
    """
    script = "\n".join(_asset(f"{name}.js") for name in scripts)
    # Each in a block of its own: a name is the page's own, whatever a browser puts into every window.
    script = f'"use strict";\n{{\n{script}}}\n'
    style = _asset("page.css")
    # `<` stands in strings alone, and there this is the same character: no text can end the element it is in.
    data = Markup(json.replace("<", "\\u003c"))  # noqa: S704 - escaped for a script element
    return rendered(
        template,
        command=template,
        policy=_policy(script, style),
        style=Markup(style),  # noqa: S704 - the page's own
        script=Markup(script),  # noqa: S704 - the page's own
        data=data,
        **values,
    )


def rendered(template: str, **values: object) -> str:
    """The template with these values, each escaped."""
    return _environment().get_template(f"{template}.html").render(values)


def _policy(script: str, style: str) -> str:
    return (
        "default-src 'none'; base-uri 'none'; form-action 'none'; "
        f"script-src {_hash(script)}; style-src {_hash(style)}"
    )


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _asset(name: str) -> str:
    return (_FOLDER / "assets" / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"count": _count, "size": _size, "marked": _marked, "code": _source}
    return made


def _shown(value: object) -> object:
    """What every expression of a template goes through: text, with nothing left that does not show."""
    if isinstance(value, str) and not isinstance(value, Markup) and value:
        return escaping.show(value, limit=_TEXT_LIMIT)
    return value


def _count(number: int | None) -> str:
    return "?" if number is None else count(number)


def _size(nbytes: int | None) -> str:
    return "?" if nbytes is None else size(nbytes)


def _marked(text: str) -> Markup:
    """A message: what stands between backticks is code."""
    shown = escaping.show(text, limit=_TEXT_LIMIT)
    return Markup("").join(_pieces(shown))


def _pieces(text: str) -> Iterator[Markup]:
    at = 0
    for found in _CODE.finditer(text):
        yield escape(text[at : found.start()])
        yield Markup("<code>{}</code>").format(found[1])
        at = found.end()
    yield escape(text[at:])


def _source(line: str) -> Markup:
    """A line of source, with the spaces that it begins with."""
    text = line.rstrip().expandtabs(4)
    body = text.lstrip(" ")
    return escape(" " * (len(text) - len(body)) + (escaping.show(body, limit=_TEXT_LIMIT) if body else ""))
