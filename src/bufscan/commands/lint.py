"""`bufscan lint`: what does the source say?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
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
from bufscan.commands.terminal import display
from bufscan.errors import UsageError, about
from bufscan.findings import SEVERITIES
from bufscan.report.check_reports import CHECK_REPORTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bufscan.checking.fixing import Change
    from bufscan.checking.linting import StandardInput
    from bufscan.checking.results import CheckResult

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
            help="Files and folders; the configured ones or this folder when left out. - is standard input.",
        ),
    ] = None,
    select: Annotated[
        list[str] | None,
        typer.Option("--select", metavar="CODE", help="Only these rules, as `BUF0,BUF101`; repeatable."),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option("--ignore", metavar="CODE", help="Not these rules; repeatable.")
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", metavar="PATTERN", help="Leave out files, as a .gitignore would; repeatable."),
    ] = None,
    fail_on: Annotated[
        str | None,
        typer.Option("--fail-on", metavar="SEVERITY", help="Fail from error (the default), warning or note on."),
    ] = None,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Exit with 0 whatever is found.")] = False,
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
    fix: Annotated[bool, typer.Option("--fix", help="Mend what can be mended safely.")] = False,
    unsafe_fixes: Annotated[
        bool,
        typer.Option("--unsafe-fixes", help="With --fix or --diff: mend what adds keys to the state_dict too."),
    ] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="Show what --fix would change, and change nothing.")
    ] = False,
    stdin_filename: Annotated[
        str | None,
        typer.Option("--stdin-filename", metavar="FILE", help="What standard input is to be called."),
    ] = None,
    format_: Annotated[
        list[str] | None,
        typer.Option("-f", "--format", metavar="FORMAT", help=f"One of {', '.join(CHECK_REPORTS)}; repeatable."),
    ] = None,
    output: Annotated[
        list[str] | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Write the format given in the same place to FILE, beside the text.",
        ),
    ] = None,
    no_color: NoColor = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001 - `main` looks for it
) -> Outcome:
    """Read Python source, and find tensors that its modules do not register. Nothing is imported or run.

    Exits with 1 when there are findings, and with 2 when a file could not be read.
    """
    formats = [one_of("format", each, tuple(CHECK_REPORTS)) for each in format_ or ()]
    if write_baseline is not None and (formats or output):
        raise UsageError(
            "a baseline is written instead of a report", hint="`--baseline` with the same file gives the report"
        )
    if unsafe_fixes and not (fix or diff):
        raise UsageError("nothing is to be fixed", hint="add `--fix`, or `--diff` to see what it would change")
    on_paper, on_screen = paired(formats, output or [])
    settings = settings_from(config).with_flags(
        select=codes_in(select),
        ignore=codes_in(ignore),
        exclude=exclude or (),
        fail_on=None if fail_on is None else one_of("severity", fail_on, SEVERITIES),
    )
    known = None if baseline is None else read_baseline_file(baseline)
    named = [path for path in paths or () if path != "-"]
    piped = _standard_input(stdin_filename) if "-" in (paths or ()) else None
    from bufscan.checking.fixing import changes_for, diff_of, write
    from bufscan.checking.linting import lint as read

    result = read(*named, config=settings, baseline=known, stdin=piped)
    if fix or diff:
        texts = {} if piped is None else {piped.filename: piped.text}
        changes = list(changes_for(result, unsafe=unsafe_fixes, texts=texts))
        if diff:
            return Outcome("".join(map(diff_of, changes)), exit_code=DONE if exit_zero else result.exit_code)
        if piped is not None:
            after = next((change.after for change in changes), piped.text)
            left = read(config=settings, baseline=known, stdin=piped._replace(text=after))
            return Outcome(after, exit_code=left.exit_code)
        for change in changes:
            with about(change.file):
                write(change)
        result = _with_fixed(read(*named, config=settings, baseline=known), changes)
    sources = () if result.source is None else result.source.paths
    reads = tuple(Path(file) for file in (settings.file, baseline, *sources) if file)
    if write_baseline is not None:
        return write_baseline_file(result, write_baseline, reads)
    text, papers = reports_of(result, on_paper, on_screen, quiet=quiet, shown_on=display(None, no_color=no_color))
    code = result.exit_code
    return Outcome(
        text,
        exit_code=DONE if exit_zero and code == DIFFERENT else code,
        papers=papers,
        complaints=tuple(complaints_of(result)),
        reads=reads,
    )


def _with_fixed(result: CheckResult, changes: Iterable[Change]) -> CheckResult:
    """What is left, and how much was mended."""
    if result.source is None:
        return result
    source = msgspec.structs.replace(result.source, fixed=sum(change.mended for change in changes))
    return msgspec.structs.replace(result, source=source)


def _standard_input(filename: str | None) -> StandardInput:
    from bufscan.checking.linting import StandardInput
    from bufscan.source.project import decode

    return StandardInput(decode(sys.stdin.buffer.read()), filename or "<stdin>")
