"""`bufscan lint`: what does the source say?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

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
from bufscan.commands.options import Color, Debug, Quiet, count_of
from bufscan.commands.outcome import Outcome
from bufscan.commands.terminal import display

if TYPE_CHECKING:
    from bufscan.checking.linting import StandardInput

EXAMPLES = """
Examples:

\b
  bufscan lint
  bufscan lint src/package --select BUF0 --fail-on warning
  bufscan lint --format sarif --output bufscan.sarif
  bufscan lint src/package --fix
  cat model.py | bufscan lint - --stdin-filename model.py
"""


def lint(  # noqa: PLR0913, PLR0917 - typer reads the options from the parameters
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH",
            help="Files and folders; else the configured ones, or the current folder. - is standard input.",
        ),
    ] = None,
    select: Select = None,
    ignore: Ignore = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", metavar="PATTERN", help="Leave out files, as a .gitignore would; repeatable."),
    ] = None,
    fail_on: FailOn = None,
    exit_zero: ExitZero = False,
    baseline: Baseline = None,
    write_baseline: WriteBaseline = None,
    config: ConfigFile = None,
    fix: Fix = False,
    unsafe_fixes: UnsafeFixes = False,
    diff: Diff = False,
    stdin_filename: Annotated[
        str | None,
        typer.Option("--stdin-filename", metavar="FILE", help="What standard input is to be called."),
    ] = None,
    jobs: Annotated[
        str | None,
        typer.Option("-j", "--jobs", metavar="N", help="Processes to read with; one a processor when left out."),
    ] = None,
    formats: Formats = None,
    outputs: Outputs = None,
    color: Color = None,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001 - `main` looks for it
) -> Outcome:
    """Read Python source, and find tensors that its modules do not register. Nothing is imported or run.

    Exits with 1 when there are findings, and with 2 when a file could not be read.
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
        exclude=exclude,
    )
    fixes = require_fixes(fix=fix, unsafe=unsafe_fixes, diff=diff)
    named = [path for path in paths or () if path != "-"]
    piped = _standard_input(stdin_filename) if "-" in (paths or ()) else None
    from bufscan.checking.fixing import changes_for, diff_of, write
    from bufscan.checking.linting import lint as read

    count = None if jobs is None else count_of("processes", jobs, hint="`--jobs 2`")
    result = read(*named, config=gate.settings, baseline=gate.known, stdin=piped, jobs=count)
    if fixes:
        texts = {} if piped is None else {piped.filename: piped.text}
        changes = list(changes_for(result, unsafe=unsafe_fixes, texts=texts))
        if diff:
            return Outcome("".join(map(diff_of, changes)), exit_code=gate.exit_code(result))
        if piped is not None:
            after = next((change.after for change in changes), piped.text)
            left = read(config=gate.settings, baseline=gate.known, stdin=piped._replace(text=after))
            return Outcome(after, exit_code=left.exit_code)
        write(changes)
        left = read(*named, config=gate.settings, baseline=gate.known, jobs=count)
        result = msgspec.structs.replace(left, mended=sum(len(change.mended) for change in changes))
    sources = () if result.source is None else result.source.paths
    return gate.outcome(result, display(None, color=color), reads=map(Path, sources))


def _standard_input(filename: str | None) -> StandardInput:
    from bufscan.checking.linting import StandardInput
    from bufscan.source.project import decode

    return StandardInput(decode(sys.stdin.buffer.read()), filename or "<stdin>")
