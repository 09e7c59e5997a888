"""What the commands that fail on findings share: their options, their reports, and how they exit."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec
import typer

from bufscan.commands.options import one_of
from bufscan.commands.outcome import (
    DIFFERENT,
    DONE,
    FAILED,
    Complaint,
    Outcome,
    OutputFile,
    first_of,
    refuse_to_overwrite,
)
from bufscan.commands.terminal import display
from bufscan.errors import UsageError, about
from bufscan.findings import SEVERITIES
from bufscan.report import CHECK_REPORTS
from bufscan.report.check.view import CheckView

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from bufscan.checking.results import CheckResult, Known
    from bufscan.config import Config
    from bufscan.report.shared.display import Display

Select = Annotated[
    list[str] | None,
    typer.Option("--select", metavar="CODE", help="Only these rules, as `BUF0,BUF101`; repeatable."),
]
Ignore = Annotated[list[str] | None, typer.Option("--ignore", metavar="CODE", help="Not these rules; repeatable.")]
FailOn = Annotated[
    str | None,
    typer.Option("--fail-on", metavar="SEVERITY", help="Fail from error (the default), warning or note on."),
]
Baseline = Annotated[str | None, typer.Option("--baseline", metavar="FILE", help="Let pass what FILE lists.")]
WriteBaseline = Annotated[
    str | None, typer.Option("--write-baseline", metavar="FILE", help="List what is found now in FILE.")
]
ConfigFile = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE", help="Instead of the nearest bufscan.toml or pyproject.toml."),
]
ExitZero = Annotated[bool, typer.Option("--exit-zero", help="Exit with 0 whatever is found.")]
Formats = Annotated[
    list[str] | None,
    typer.Option("-f", "--format", metavar="FORMAT", help=f"One of {', '.join(CHECK_REPORTS)}; repeatable."),
]
Outputs = Annotated[
    list[str] | None,
    typer.Option(
        "-o", "--output", metavar="FILE", help="Write the format in the same place to FILE, beside the text."
    ),
]


Fix = Annotated[bool, typer.Option("--fix", help="Fix what can be fixed safely.")]
UnsafeFixes = Annotated[
    bool,
    typer.Option("--unsafe-fixes", help="With --fix or --diff: also what adds keys to the state_dict."),
]
Diff = Annotated[bool, typer.Option("--diff", help="Show what --fix would change, and change nothing.")]


class Gate(NamedTuple):
    """What was asked of a command that fails on findings.

    Attributes:
        settings: the configuration, with what the command line says instead.
        known: findings that pass; None without a baseline.
        to_files: formats, and the files that they go to.
        to_screen: formats for standard output.
        write_baseline: the file that what is found goes to, in place of a report.
        exit_zero: whether findings do not fail.
        quiet: whether the summary line is enough.
    """

    settings: Config
    known: frozenset[Known] | None
    to_files: list[tuple[str, str]]
    to_screen: list[str]
    write_baseline: str | None
    exit_zero: bool
    quiet: bool

    def exit_code(self, result: CheckResult) -> int:
        """That of the result; findings do not count where they are not to fail, what could not be checked does."""
        return DONE if self.exit_zero and result.exit_code == DIFFERENT else result.exit_code

    def outcome(self, result: CheckResult, shown_on: Display, *, reads: Iterable[Path] = ()) -> Outcome:
        """What the command answers with: reports, or the new baseline, which may take the place of the old one.

        `reads` are the files that it read itself.
        """
        read = (*reads, *_paths(self.settings.file))
        if self.write_baseline is not None:
            return _write_baseline(result, self.write_baseline, self.settings.folder, read)
        text, files = self._reports(result, shown_on)
        return Outcome(
            text,
            exit_code=self.exit_code(result),
            files=files,
            complaints=tuple(_complaints(result)),
            reads=(*read, *_paths(self.settings.baseline)),
        )

    def _reports(self, result: CheckResult, shown_on: Display) -> tuple[str, tuple[OutputFile, ...]]:
        """What is shown, and the files to write."""
        from linecache import getline  # only a report of findings needs it

        formats = {*self.to_screen, *(name for name, _ in self.to_files)}
        plain = CheckView(
            version=_version(formats), folder=_folder_in_workspace(), quiet=self.quiet, source_line=getline
        )
        view = msgspec.structs.replace(plain, display=shown_on)
        files = [
            OutputFile(file, CHECK_REPORTS[format_name](result, plain)) for format_name, file in self.to_files
        ]
        if page := os.environ.get("GITHUB_STEP_SUMMARY"):  # what a step puts there is shown as Markdown
            files.append(OutputFile(page, CHECK_REPORTS["markdown"](result, plain), adds=True))
        return "".join(CHECK_REPORTS[each](result, view) for each in self.to_screen), tuple(files)


def gate_of(  # noqa: PLR0913 - the options, as the commands have them
    *,
    select: Sequence[str] | None,
    ignore: Sequence[str] | None,
    fail_on: str | None,
    baseline: str | None,
    write_baseline: str | None,
    config: str | None,
    formats: Sequence[str] | None,
    outputs: Sequence[str] | None,
    exit_zero: bool,
    quiet: bool,
    exclude: Sequence[str] | None = None,
) -> Gate:
    """The options, understood, and the files that they name, read.

    Raises:
        UsageError: they contradict each other, or name what there is not.
        TargetError: the baseline cannot be read.
    """
    asked = [one_of("format", each, tuple(CHECK_REPORTS)) for each in formats or ()]
    if write_baseline is not None and (asked or outputs):
        raise UsageError(
            "a baseline is written instead of a report", hint="`--baseline` with the same file gives the report"
        )
    settings = settings_from(config).with_flags(
        select=_codes(select),
        ignore=_codes(ignore),
        exclude=exclude or (),
        fail_on=None if fail_on is None else one_of("severity", fail_on, SEVERITIES),
        baseline=baseline,
    )
    usual = () if settings.format is None else (one_of("format", settings.format, tuple(CHECK_REPORTS)),)
    to_files, to_screen = _paired(asked, outputs or [], usual)
    known = known_in(settings) if write_baseline is None else None  # all that is found is known then
    return Gate(settings, known, to_files, to_screen, write_baseline, exit_zero, quiet)


def _paths(*files: str | None) -> Iterator[Path]:
    return (Path(file) for file in files if file is not None)


def require_fixes(*, fix: bool, unsafe: bool, diff: bool) -> bool:
    """Whether anything is to be fixed, or shown as it would be.

    Raises:
        UsageError: only which fixes is said.
    """
    if unsafe and not (fix or diff):
        raise UsageError("nothing is to be fixed", hint="add `--fix`, or `--diff` to see what it would change")
    return fix or diff


def _complaints(result: CheckResult) -> Iterator[Complaint]:
    """What could not be checked, a line a target."""
    for each in result.targets:
        if each.failure is not None:
            yield Complaint(each.failure.message, each.failure.hint, each.target)
        elif failed := [f"{skipped.what}: {skipped.reason}" for skipped in each.skipped if skipped.failed]:
            yield Complaint(first_of(failed), target=each.target)


def _codes(given: Sequence[str] | None) -> list[str]:
    """What was given at once or in several: `BUF0,BUF101`."""
    return [code.strip() for text in given or () for code in text.split(",")]


def _paired(
    formats: Sequence[str], outputs: Sequence[str], usual: Sequence[str]
) -> tuple[list[tuple[str, str]], list[str]]:
    """Formats with the files they go to, and those for standard output.

    The first output belongs to the first format, and so on. With a file for each, people still get the text, or
    the `usual` format.

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
    to_files = list(zip(named, outputs, strict=False))
    if rest or usual:
        return to_files, rest or list(usual)
    # GitHub shows the commands it finds in the log beside the lines they are about.
    return to_files, ["github", "text"] if os.environ.get("GITHUB_ACTIONS") == "true" else ["text"]


def settings_from(name: str | None) -> Config:
    """The configuration that counts here, or the file of that name.

    Raises:
        UsageError: it cannot be read, or makes no sense.
    """
    from bufscan.config import load_config

    config = load_config(Path(), name)
    if config.folder != os.curdir:  # the project's own packages are named from its root
        sys.path.append(os.path.realpath(config.folder))
    return config


def _version(formats: Collection[str]) -> str:
    """Only one format names it, and looking it up takes longer than all the rest."""
    if "sarif" not in formats:
        return ""
    from bufscan import __version__

    return str(__version__)


def _folder_in_workspace() -> str:
    """Where this is in the repository that a workflow of GitHub or a job of GitLab checked out."""
    workspace = os.environ.get("GITHUB_WORKSPACE") or os.environ.get("CI_PROJECT_DIR")
    here = Path.cwd()
    return here.relative_to(workspace).as_posix() if workspace and here.is_relative_to(workspace) else "."


def known_in(settings: Config) -> frozenset[Known] | None:
    """The findings that are known; None without a baseline.

    Raises:
        TargetError: the file cannot be read, or is no baseline.
    """
    if settings.baseline is None:
        return None
    from bufscan.atomicfile import read_whole
    from bufscan.checking.baseline import read_baseline

    with about(settings.baseline):
        return read_baseline(read_whole(Path(settings.baseline)), settings.folder)


def _write_baseline(result: CheckResult, file: str, folder: str, reads: tuple[Path, ...]) -> Outcome:
    """Everything found is known from now on; what could not be checked is not."""
    from bufscan.atomicfile import write_whole
    from bufscan.checking.baseline import known_findings, written_baseline
    from bufscan.report.check.text import render_incomplete
    from bufscan.report.shared.escaping import show
    from bufscan.report.shared.sizes import plural

    known = known_findings(result, folder)
    with about(file):
        refuse_to_overwrite(file, reads)
        write_whole(Path(file), written_baseline(known).encode())
    text = f"wrote {show(file)}: {plural(len(known), 'finding')}\n"
    left_out = render_incomplete(result, display(None, color="never"))
    code = FAILED if left_out else DONE
    return Outcome(left_out + text, exit_code=code, complaints=tuple(_complaints(result)))
