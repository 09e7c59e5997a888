"""`bufscan schema`: what do its JSON and its configuration look like?"""

from __future__ import annotations

from typing import Annotated

import typer

from bufscan.commands.options import Debug, Output, one_of
from bufscan.commands.outcome import Outcome

EXAMPLES = """
Examples:

\b
  bufscan schema
  bufscan schema check --output bufscan.check.json
"""


def schema(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="One of the formats; all of them when left out.")
    ] = None,
    output: Output = None,
    debug: Debug = False,  # noqa: ARG001 - `main` looks for it
) -> Outcome:
    """Print the JSON Schema of an output or of the configuration, or list those that there are."""
    from bufscan.report.reference.schemas import SCHEMAS, render

    if name is None:
        width = max(map(len, SCHEMAS))
        return Outcome("".join(f"{each:{width}}  {SCHEMAS[each].what}\n" for each in SCHEMAS), output)
    return Outcome(render(one_of("schema", name, tuple(SCHEMAS))), output)
