"""`bufscan config`: what holds here, and where does it come from?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bufscan.commands.gate import ConfigFile, settings_from
from bufscan.commands.options import Color, Debug, Output, one_of
from bufscan.commands.outcome import Outcome
from bufscan.commands.terminal import display

FORMATS = ("text", "json")


def config(
    file: ConfigFile = None,
    format_: Annotated[
        str, typer.Option("-f", "--format", metavar="FORMAT", help=f"One of {', '.join(FORMATS)}.")
    ] = "text",
    output: Output = None,
    color: Color = None,
    debug: Debug = False,  # noqa: ARG001 - `main` looks for it
) -> Outcome:
    """Show the configuration that holds in this folder, and where each value comes from."""
    from bufscan.report.reference.settings import render, render_json

    is_json = one_of("format", format_, FORMATS) == "json"
    settings = settings_from(file)
    text = render_json(settings) if is_json else render(settings, display(output, color=color))
    return Outcome(text, output, reads=() if settings.file is None else (Path(settings.file),))
