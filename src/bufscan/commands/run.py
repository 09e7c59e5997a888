"""`bufscan run`: a program runs as it would alone, and the models that it builds are looked at."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bufscan.commands.check import (
    codes_in,
    complaints_of,
    paired,
    read_baseline_file,
    reports_of,
    settings_from,
    write_baseline_file,
)
from bufscan.commands.options import Debug, NoColor, Quiet, one_of
from bufscan.commands.outcome import DIFFERENT, DONE, Outcome
from bufscan.commands.terminal import display_on
from bufscan.errors import UsageError
from bufscan.findings import SEVERITIES
from bufscan.report.check_reports import CHECK_REPORTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bufscan.watching.program import Ending

EXAMPLES = """
Examples:

\b
  bufscan run train.py --steps 1
  bufscan run -m package.train --config small.yaml
  bufscan run --fail-on warning --output bufscan.txt -m pytest tests
"""


def run(  # noqa: PLR0913, PLR0917 - typer reads the options from the parameters
    program: Annotated[
        list[str],
        typer.Argument(metavar="SCRIPT [ARGS]...", help="What to run, and its own arguments."),
    ],
    module: Annotated[
        bool, typer.Option("-m", help="SCRIPT is the name of a module, as after `python -m`.")
    ] = False,
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--source", metavar="PACKAGE", help="Whose faults count; all that is not installed when left out."
        ),
    ] = None,
    rehearse: Annotated[
        bool,
        typer.Option(
            "--rehearse",
            help="Rehearse each model's first forward pass as it would be on another device (BUF202).",
        ),
    ] = False,
    select: Annotated[
        list[str] | None,
        typer.Option("--select", metavar="CODE", help="Only these rules, as `BUF0,BUF101`; repeatable."),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option("--ignore", metavar="CODE", help="Not these rules; repeatable.")
    ] = None,
    fail_on: Annotated[
        str | None,
        typer.Option("--fail-on", metavar="SEVERITY", help="Fail from error (the default), warning or note on."),
    ] = None,
    exit_zero: Annotated[
        bool, typer.Option("--exit-zero", help="Exit as the program does, whatever is found.")
    ] = False,
    baseline: Annotated[
        str | None, typer.Option("--baseline", metavar="FILE", help="Let pass what FILE lists.")
    ] = None,
    write_baseline: Annotated[
        str | None, typer.Option("--write-baseline", metavar="FILE", help="List what is found now in FILE.")
    ] = None,
    config: Annotated[
        str | None,
        typer.Option("--config", metavar="FILE", help="Instead of bufscan.toml or pyproject.toml of this folder."),
    ] = None,
    format_: Annotated[
        list[str] | None,
        typer.Option("--format", metavar="FORMAT", help=f"One of {', '.join(CHECK_REPORTS)}; repeatable."),
    ] = None,
    output: Annotated[
        list[str] | None,
        typer.Option(
            "--output", metavar="FILE", help="Write the format given in the same place to FILE, beside the text."
        ),
    ] = None,
    no_color: NoColor = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001 - `main` looks for it
) -> Outcome:
    """Run a program and check the models that it builds, before and after their first forward pass.

    The program runs as it would alone. The report comes at its end, on standard error. Exits as the program does
    where it fails; else with 1 when there are findings, and with 2 when it built no model.
    """
    formats = [one_of("format", each, tuple(CHECK_REPORTS)) for each in format_ or ()]
    if write_baseline is not None and (formats or output):
        raise UsageError(
            "a baseline is written instead of a report", hint="`--baseline` with the same file gives the report"
        )
    on_paper, on_screen = paired(formats, output or [])
    settings = settings_from(config).with_flags(
        select=codes_in(select),
        ignore=codes_in(ignore),
        fail_on=None if fail_on is None else one_of("severity", fail_on, SEVERITIES),
    )
    known = None if baseline is None else read_baseline_file(baseline)
    from bufscan.checking.selecting import selected_rules
    from bufscan.watching.concluding import concluded
    from bufscan.watching.watch import Watch

    rules, folder, process = selected_rules(settings), Path.cwd(), os.getpid()
    watch = Watch(rules, sources=source or (), rehearses=rehearse)
    ending = _run(watch, program, is_module=module)
    if os.getpid() != process:  # the program forked, and this is the child: the report is the parent's
        return Outcome("", exit_code=ending.code, beside=True)
    seen = watch.stop()
    os.chdir(folder)
    name = f"-m {program[0]}" if module else program[0]
    result = concluded(seen, config=settings, rules=rules, baseline=known, program=name, ended=ending.what)
    reads = tuple(Path(file) for file in (settings.file, baseline) if file is not None)
    if write_baseline is not None:
        written = write_baseline_file(result, write_baseline, reads)
        return written._replace(beside=True, exit_code=ending.code or written.exit_code)
    text, papers = reports_of(
        result, on_paper, on_screen, quiet=quiet, shown_on=display_on(sys.stderr, no_color=no_color)
    )
    code = DONE if exit_zero and result.exit_code == DIFFERENT else result.exit_code
    return Outcome(
        text,
        exit_code=ending.code or code,
        papers=papers,
        complaints=tuple(complaints_of(result)),
        reads=reads,
        beside=True,
    )


def _run(watch: object, program: Sequence[str], *, is_module: bool) -> Ending:
    from bufscan.watching.program import run_module, run_script

    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    watch.start()  # type: ignore[attr-defined]
    try:
        name, *arguments = program
        return run_module(name, arguments) if is_module else run_script(name, arguments)
    finally:
        signal.signal(signal.SIGINT, before)
