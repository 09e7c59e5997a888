"""`bufscan explain`: what is this finding about?"""

from __future__ import annotations

from typing import Annotated

import typer

from bufscan.commands.options import Color, Debug
from bufscan.commands.outcome import Outcome
from bufscan.commands.terminal import display


def explain(
    code: Annotated[
        str | None, typer.Argument(metavar="CODE", help="A rule, as `BUF001`; all of them when left out.")
    ] = None,
    color: Color = None,
    debug: Debug = False,  # noqa: ARG001 - `main` looks for it
) -> Outcome:
    """List the rules of `bufscan check`, or say of one what it finds, why that is bad and what to do instead."""
    from bufscan.checking.selecting import rule_of
    from bufscan.report.reference.explaining import explanation, rule_list
    from bufscan.rules import RULES

    shown_on = display(None, color=color)
    return Outcome(rule_list(RULES, shown_on) if code is None else explanation(rule_of(code), shown_on))
