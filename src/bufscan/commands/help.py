"""`bufscan help`: the pages that come with bufscan."""

from __future__ import annotations

from typing import Annotated

import typer

from bufscan.commands.options import Color, Debug, Output, one_of
from bufscan.commands.outcome import Outcome
from bufscan.commands.terminal import display

EXAMPLES = """
Examples:

\b
  bufscan help
  bufscan help config
  bufscan help diff | less
"""


def help(  # noqa: A001 - the command's name
    topic: Annotated[
        str | None, typer.Argument(metavar="TOPIC", help="A page; the list of them when left out.")
    ] = None,
    output: Output = None,
    color: Color = None,
    debug: Debug = False,  # noqa: ARG001 - `main` looks for it
) -> Outcome:
    """Show a page of the manual, or list the pages. In a pipe it is Markdown."""
    from bufscan.help import topics
    from bufscan.report.reference.pages import render, render_list

    pages, shown_on = topics(), display(output, color=color)
    if topic is None:
        return Outcome(render_list(pages, shown_on), output)
    return Outcome(render(pages[one_of("topic", topic.lower(), tuple(pages))], shown_on), output)
