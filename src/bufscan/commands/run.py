"""`bufscan run`: a program runs as it would alone, and the models that it builds are looked at."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bufscan.commands.gate import (
    Baseline,
    ConfigFile,
    FailOn,
    Formats,
    Ignore,
    Outputs,
    Select,
    WriteBaseline,
    gate_of,
)
from bufscan.commands.options import Color, Debug, Quiet
from bufscan.commands.outcome import Outcome
from bufscan.commands.terminal import display_on

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
    select: Select = None,
    ignore: Ignore = None,
    fail_on: FailOn = None,
    exit_zero: Annotated[
        bool, typer.Option("--exit-zero", help="Exit as the program does, whatever is found.")
    ] = False,
    baseline: Baseline = None,
    write_baseline: WriteBaseline = None,
    config: ConfigFile = None,
    formats: Formats = None,
    outputs: Outputs = None,
    color: Color = None,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001 - `main` looks for it
) -> Outcome:
    """Run a program and check the models that it builds, before and after their first forward pass.

    The program runs as it would alone. The report comes at its end, on standard error. Exits as the program does
    where it fails; else with 1 when there are findings, and with 2 when it built no model.
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
    from bufscan.checking.selecting import selected_rules
    from bufscan.watching.concluding import concluded
    from bufscan.watching.watch import Watch

    rules, folder, process = selected_rules(gate.settings), Path.cwd(), os.getpid()
    watch = Watch(rules, sources=source or (), rehearses=rehearse)
    ending = _run(watch, program, is_module=module)
    if os.getpid() != process:  # the program forked, and this is the child: the report is the parent's
        return Outcome("", exit_code=ending.code, beside=True)
    seen = watch.stop()
    os.chdir(folder)
    name = f"-m {program[0]}" if module else program[0]
    result = concluded(
        seen, config=gate.settings, rules=rules, baseline=gate.known, program=name, ended=ending.what
    )
    outcome = gate.outcome(result, display_on(sys.stderr, color=color))
    return outcome._replace(exit_code=ending.code or outcome.exit_code, beside=True)


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
