"""`bufscan check`: may this go in?"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from bufscan.bytesource import OpenFiles
from bufscan.commands.options import (
    Build,
    Debug,
    Device,
    DType,
    Method,
    Model,
    NoColor,
    Quiet,
    Rehearse,
    RehearseDType,
    Train,
    one_of,
    plan_of,
)
from bufscan.commands.outcome import (
    DIFFERENT,
    DONE,
    FAILED,
    Complaint,
    Outcome,
    Paper,
    first_of,
    refuse_to_overwrite,
)
from bufscan.commands.terminal import display
from bufscan.errors import UsageError, about
from bufscan.findings import SEVERITIES
from bufscan.report.check_reports import CHECK_REPORTS
from bufscan.report.check_view import CheckView
from bufscan.target import matching

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from bufscan.checking.results import CheckResult, Known
    from bufscan.config import Config
    from bufscan.report.view import Display

EXAMPLES = """
Examples:

\b
  bufscan check package.models
  bufscan check 'models.py:Encoder(dim=64)' --select BUF0 --fail-on warning
  bufscan check model.pt --model package.models:Encoder
  bufscan check --format sarif --output bufscan.sarif
  bufscan check 'models.py:Encoder(dim=64)' --rehearse 'randn(2, 16, 64)'
  bufscan check package.models --write-baseline bufscan-baseline.json
"""


def check(  # noqa: PLR0913, PLR0917 - typer reads the options from the parameters
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
    values: Annotated[
        bool, typer.Option("--values", help="Read the values too, and find NaN and infinity.")
    ] = False,
    rehearse: Rehearse = None,
    method: Method = None,
    rehearse_dtype: RehearseDType = None,
    train: Train = False,
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
    device: Device = None,
    dtype: DType = None,
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
            help="Write the format in the same place to FILE, beside the text.",
        ),
    ] = None,
    no_color: NoColor = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001 - `main` looks for it
) -> Outcome:
    """Check models and checkpoints: what is not registered, saved, moved or trained as it should be.

    Exits with 1 when there are findings, and with 2 when something could not be checked.
    """
    formats = [one_of("format", each, tuple(CHECK_REPORTS)) for each in format_ or ()]
    if write_baseline is not None and (formats or output):
        raise UsageError(
            "a baseline is written instead of a report", hint="`--baseline` with the same file gives the report"
        )
    plan = plan_of(rehearse, method, rehearse_dtype, train=train)
    on_paper, on_screen = paired(formats, output or [])
    settings = settings_from(config).with_flags(
        select=codes_in(select),
        ignore=codes_in(ignore),
        fail_on=None if fail_on is None else one_of("severity", fail_on, SEVERITIES),
    )
    known = None if baseline is None else read_baseline_file(baseline)
    from bufscan import checking

    with OpenFiles() as files:
        result = checking.check(
            *matching(targets or ()),
            config=settings,
            model=model,
            from_config=build,
            device=device,
            dtype=dtype,
            baseline=known,
            values=values,
            rehearse=plan,
            files=files,
        )
    reads = (*files.paths, *(Path(file) for file in (settings.file, baseline) if file is not None))
    if write_baseline is not None:
        return write_baseline_file(result, write_baseline, files.paths)
    text, papers = reports_of(result, on_paper, on_screen, quiet=quiet, shown_on=display(None, no_color=no_color))
    code = result.exit_code
    return Outcome(
        text,
        exit_code=DONE if exit_zero and code == DIFFERENT else code,
        papers=papers,
        complaints=tuple(complaints_of(result)),
        reads=reads,
    )


def reports_of(
    result: CheckResult,
    on_paper: Sequence[tuple[str, str]],
    on_screen: Sequence[str],
    *,
    quiet: bool,
    shown_on: Display,
) -> tuple[str, tuple[Paper, ...]]:
    """What is shown, and the files to write."""
    from linecache import getline  # only a report of findings needs it

    formats = {*on_screen, *(name for name, _ in on_paper)}
    plain = CheckView(version=_version(formats), folder=folder_in_workspace(), quiet=quiet)
    view = msgspec.structs.replace(plain, display=shown_on, source_line=getline)
    papers = [Paper(file, CHECK_REPORTS[format_name](result, plain)) for format_name, file in on_paper]
    if page := os.environ.get("GITHUB_STEP_SUMMARY"):  # what a step puts there is shown as Markdown
        papers.append(Paper(page, CHECK_REPORTS["markdown"](result, plain), adds=True))
    return "".join(CHECK_REPORTS[each](result, view) for each in on_screen), tuple(papers)


def complaints_of(result: CheckResult) -> Iterator[Complaint]:
    """What could not be checked, a line a target."""
    for each in result.targets:
        if each.failure is not None:
            yield Complaint(each.failure.message, each.failure.hint, each.target)
        elif failed := [f"{skipped.what}: {skipped.reason}" for skipped in each.skipped if skipped.failed]:
            yield Complaint(first_of(failed), target=each.target)


def codes_in(given: Sequence[str] | None) -> list[str]:
    """What was given at once or in several: `BUF0,BUF101`."""
    return [code.strip() for text in given or () for code in text.split(",")]


def paired(formats: Sequence[str], outputs: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Formats with the files they go to, and those for standard output.

    The first output belongs to the first format, and so on. With a file for each, people still get the text.

    Raises:
        UsageError: more than one format is left for standard output, or goes to the same file.
    """
    if twice := [file for file, count in Counter(outputs).items() if count > 1]:
        raise UsageError(f"two reports would go to `{twice[0]}`", hint="give each format an `--output` of its own")
    named = [*formats, *["text"] * (len(outputs) - len(formats))]
    rest = named[len(outputs) :]
    if len(rest) > 1:
        raise UsageError(
            f"{' and '.join(rest)} would both go to standard output", hint="give each format its `--output FILE`"
        )
    on_paper = list(zip(named, outputs, strict=False))
    if rest:
        return on_paper, rest
    # GitHub shows the commands it finds in the log beside the lines they are about.
    return on_paper, ["github", "text"] if os.environ.get("GITHUB_ACTIONS") == "true" else ["text"]


def settings_from(name: str | None) -> Config:
    """The configuration of this folder, or the file of that name.

    Raises:
        UsageError: it cannot be read, or makes no sense.
    """
    from bufscan.config import load_config

    return load_config(Path(), name)


def _version(formats: Collection[str]) -> str:
    """Only one format names it, and looking it up takes longer than all the rest."""
    if "sarif" not in formats:
        return ""
    from bufscan import __version__

    return str(__version__)


def folder_in_workspace() -> str:
    """Where this is in the repository that a GitHub workflow checked out: GitHub counts paths from its root."""
    workspace = os.environ.get("GITHUB_WORKSPACE")
    here = Path.cwd()
    return here.relative_to(workspace).as_posix() if workspace and here.is_relative_to(workspace) else "."


def read_baseline_file(file: str) -> frozenset[Known]:
    """The findings that are known.

    Raises:
        TargetError: the file cannot be read, or is no baseline.
    """
    from bufscan.atomicfile import read_whole
    from bufscan.checking.baseline import read_baseline

    with about(file):
        return read_baseline(read_whole(Path(file)))


def write_baseline_file(result: CheckResult, file: str, reads: tuple[Path, ...]) -> Outcome:
    """Everything found is known from now on; what could not be checked is not."""
    from bufscan.atomicfile import write_whole
    from bufscan.checking.baseline import known_findings, written_baseline
    from bufscan.report.check_text import render_incomplete
    from bufscan.report.escaping import show
    from bufscan.report.sizes import plural

    known = known_findings(result)
    with about(file):
        refuse_to_overwrite(file, reads)
        write_whole(Path(file), written_baseline(known).encode())
    text = f"wrote {show(file)}: {plural(len(known), 'finding')}\n"
    left_out = render_incomplete(result, display(None, no_color=True))
    code = FAILED if left_out else DONE
    return Outcome(left_out + text, exit_code=code, complaints=tuple(complaints_of(result)))
