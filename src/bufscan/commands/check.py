"""`bufscan check`: may this go in?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bufscan.bytesource import OpenFiles
from bufscan.commands.gate import (
    Baseline,
    ConfigFile,
    Diff,
    ExitZero,
    FailOn,
    Fix,
    Formats,
    Ignore,
    Outputs,
    Select,
    UnsafeFixes,
    WriteBaseline,
    gate_of,
    require_fixes,
)
from bufscan.commands.options import (
    Build,
    Color,
    Debug,
    Device,
    DType,
    Method,
    Model,
    Quiet,
    Rehearse,
    RehearseDType,
    Train,
    plan_of,
)
from bufscan.commands.outcome import Outcome
from bufscan.commands.progress import shown_progress
from bufscan.commands.terminal import display
from bufscan.target import matching

if TYPE_CHECKING:
    from bufscan.ranks import Ranks

EXAMPLES = """
Examples:

\b
  bufscan check package.models
  bufscan check 'models.py:Encoder(dim=64)' --select BUF0 --fail-on warning
  bufscan check model.pt --model package.models:Encoder
  bufscan check --format sarif --output bufscan.sarif
  bufscan check 'models.py:Encoder(dim=64)' --rehearse 'randn(2, 16, 64)'
  bufscan check package.models --fix
  bufscan check package.models --write-baseline bufscan-baseline.json
"""


def check(  # noqa: PLR0913, PLR0917 - typer reads the options from the parameters
    context: typer.Context,
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TARGET",
            help="Files, folders, `package.module:Model`, or `package.module` for all its models; "
            "those of the configuration when left out.",
        ),
    ] = None,
    model: Model = None,
    build: Build = False,
    select: Select = None,
    ignore: Ignore = None,
    fail_on: FailOn = None,
    values: Annotated[
        bool, typer.Option("--values", help="Read the values too, and find NaN and infinity.")
    ] = False,
    rehearse: Rehearse = None,
    method: Method = None,
    rehearse_dtype: RehearseDType = None,
    train: Train = False,
    fix: Fix = False,
    unsafe_fixes: UnsafeFixes = False,
    diff: Diff = False,
    exit_zero: ExitZero = False,
    baseline: Baseline = None,
    write_baseline: WriteBaseline = None,
    config: ConfigFile = None,
    device: Device = None,
    dtype: DType = None,
    formats: Formats = None,
    outputs: Outputs = None,
    color: Color = None,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001 - `main` looks for it
) -> Outcome:
    """Check models and checkpoints: what is not registered, saved, moved or trained as it should be.

    Exits with 1 when there are findings, and with 2 when something could not be checked.
    """
    gate = gate_of(
        select=select,
        ignore=ignore,
        fail_on=fail_on,
        baseline=baseline,
        write_baseline=write_baseline,
        config=config,
        formats=formats,
        outputs=outputs,
        exit_zero=exit_zero,
        quiet=quiet,
    )
    fixes = require_fixes(fix=fix, unsafe=unsafe_fixes, diff=diff)
    plan = plan_of(rehearse, method, rehearse_dtype, train=train)
    from bufscan import checking

    ranks: Ranks = context.obj
    with OpenFiles() as files, shown_progress(ranks) as progress:
        result = checking.check(
            *matching(targets or ()),
            config=gate.settings,
            model=model,
            from_config=build,
            device=device,
            dtype=dtype,
            baseline=gate.known,
            values=values,
            rehearse=plan,
            files=files,
            progress=progress,
            ranks=ranks,
        )
    ranks.part()
    if fixes:
        from bufscan.checking.fixing import changes_for, diff_of, without_mended, write

        changes = list(changes_for(result, unsafe=unsafe_fixes))
        if diff:
            return Outcome("".join(map(diff_of, changes)), exit_code=gate.exit_code(result))
        write(changes)
        result = without_mended(result, changes)
    return gate.outcome(result, display(None, color=color), reads=files.paths)
