"""`bufscan diff`: what changed?"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Annotated

import typer

from bufscan.bytesource import OpenFiles
from bufscan.commands.options import (
    Color,
    Debug,
    Device,
    DType,
    Output,
    Quiet,
    count_of,
    one_of,
)
from bufscan.commands.outcome import DIFFERENT, DONE, FAILED, Complaint, Outcome, first_of
from bufscan.commands.progress import shown_progress
from bufscan.commands.terminal import display
from bufscan.errors import UsageError, about
from bufscan.report import DIFF_REPORTS
from bufscan.report.diff.view import DiffView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bufscan.comparing.difference import Difference
    from bufscan.ranks import Ranks

Format = Annotated[
    str, typer.Option("-f", "--format", metavar="FORMAT", help=f"One of {', '.join(DIFF_REPORTS)}.")
]

EXAMPLES = """
Examples:

\b
  bufscan diff before.pt after.safetensors
  bufscan diff checkpoint-500/ checkpoint-1000/ --by-module
  bufscan diff training.ckpt weights.safetensors --section state_dict:
  bufscan diff old.pt new.pt --map '^encoder\\.=backbone.' --ignore '*.num_batches_tracked'
  bufscan diff weights.pt 'package.models:Encoder(dim=64)' --no-values
  bufscan diff fp32.safetensors bf16.safetensors --rtol 1e-2 --format markdown
"""

_TARGET = "A file, a folder, `package.module:Model`, or `-`."


def diff(  # noqa: PLR0913, PLR0917 - typer reads the options from the parameters
    context: typer.Context,
    old: Annotated[str, typer.Argument(metavar="OLD", help=_TARGET)],
    new: Annotated[str | None, typer.Argument(metavar="NEW", help="The same.")] = None,
    no_values: Annotated[bool, typer.Option("--no-values", help="Compare the structure alone.")] = False,
    tensors_only: Annotated[
        bool, typer.Option("--tensors-only", help="Leave out what is no tensor, as a learning rate.")
    ] = False,
    rtol: Annotated[
        str | None,
        typer.Option("--rtol", metavar="X", help="How far a value may be off, relative to the old one."),
    ] = None,
    atol: Annotated[
        str | None, typer.Option("--atol", metavar="X", help="How far a value may be off besides.")
    ] = None,
    renames: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="REGEX=NAME", help="Replace in old names before matching; repeatable."),
    ] = None,
    section: Annotated[
        list[str] | None,
        typer.Option("--section", metavar="OLD:NEW", help="Compare these sections alone; repeatable."),
    ] = None,
    match: Annotated[
        list[str] | None,
        typer.Option("--match", metavar="GLOB", help="Only names that match, as in `*.bias`; repeatable."),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option("--ignore", metavar="GLOB", help="Leave such names out; repeatable.")
    ] = None,
    top: Annotated[
        str | None, typer.Option("--top", metavar="N", help="Rows of the largest changes to show.")
    ] = None,
    by_module: Annotated[
        bool, typer.Option("--by-module", help="Show where values moved, a row for each module.")
    ] = False,
    depth: Annotated[
        str | None, typer.Option("--depth", metavar="N", help="Levels of modules then; implies --by-module.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Fold nothing and leave nothing out.")] = False,
    stat: Annotated[
        bool, typer.Option("--stat", help="One line for each tensor: short for --format stat.")
    ] = False,
    exit_zero: Annotated[
        bool, typer.Option("--exit-zero", help="Exit with 0 when there are differences, too.")
    ] = False,
    textconv: Annotated[
        bool, typer.Option("--textconv", help="Print OLD alone as lines with hashes, for git's textconv.")
    ] = False,
    device: Device = None,
    dtype: DType = None,
    format_: Format = "text",
    output: Output = None,
    color: Color = None,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001 - `main` looks for it
) -> Outcome:
    """Show what changed between two checkpoints or models: names, shapes, types, roles, ties and every value.

    The exit code is 0 without a difference, 1 with one, and 2 when a target or a part of it could not be read, or
    when no difference was found but not everything could be compared.
    """
    if textconv:
        if new is not None:
            raise UsageError("`--textconv` takes one target", hint="leave NEW out")
        return _lines(old, output, context.obj)
    if new is None:
        raise UsageError("there is nothing to compare it with", hint="`bufscan diff OLD NEW`")
    render = DIFF_REPORTS["stat" if stat else one_of("format", format_, tuple(DIFF_REPORTS))]
    view = DiffView(
        by_module=by_module or depth is not None,
        depth=None if depth is None else count_of("levels", depth, hint="`--depth 2` shows two levels"),
        top=None if top is None else count_of("rows", top, hint="`--top 10` shows ten"),
        everything=everything,
        quiet=quiet,
        display=display(output, color=color),
    )
    ranks: Ranks = context.obj
    with OpenFiles() as files, shown_progress(ranks) as progress:
        from bufscan.comparing.diffing import diff as compare

        difference = compare(
            old,
            new,
            values=not no_values,
            tensors_only=tensors_only,
            rtol=_tolerance(rtol),
            atol=_tolerance(atol),
            renames=[_rename(each) for each in renames or ()],
            sections=_sections(section or ()),
            match=match or (),
            ignore=ignore or (),
            device=device,
            dtype=dtype,
            progress=progress,
            files=files,
            ranks=ranks,
        )
    ranks.part()
    code = _exit_code(difference, exit_zero=exit_zero)
    unknown = [f"not compared: {each.path}: {each.reason}" for each in difference.not_compared]
    if difference.is_empty:
        unknown = [f"nothing was compared: neither {old} nor {new} holds anything to compare"]
    complaints = (Complaint(first_of(unknown)),) if code == FAILED else ()
    return Outcome(render(difference, view), output, code, complaints=complaints, reads=files.paths)


def _exit_code(difference: Difference, *, exit_zero: bool) -> int:
    if difference.incomplete:
        return FAILED
    if difference.differs and not exit_zero:
        return DIFFERENT
    return FAILED if difference.not_compared or difference.is_empty else DONE


def _lines(target: str, output: str | None, ranks: Ranks) -> Outcome:
    from bufscan.comparing.fingerprint import fingerprint
    from bufscan.report.diff.lines import render
    from bufscan.values.workers import Workers

    with about(target), OpenFiles() as files, shown_progress(ranks) as progress:
        return Outcome(render(fingerprint(target, files, Workers(progress))), output, reads=files.paths)


def _tolerance(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not (isfinite(number) and number >= 0):
        raise UsageError(f"no tolerance: `{text}`", hint="`--rtol 1e-5 --atol 1e-8`")
    return number


def _rename(text: str) -> tuple[str, str]:
    pattern, equals, replacement = text.rpartition("=")
    if not equals or not pattern:
        raise UsageError(f"no `REGEX=NAME`: `{text}`", hint="`--map '^encoder\\.=backbone.'`")
    return pattern, replacement


def _sections(texts: Sequence[str]) -> dict[str, str]:
    sections: dict[str, str] = {}
    for text in texts:
        old, colon, new = text.partition(":")
        if not colon:
            raise UsageError(
                f"no `OLD:NEW`: `{text}`", hint="`--section state_dict:model`, and nothing for the top level"
            )
        if sections.setdefault(old, new) != new:
            raise UsageError(f"section `{old}` is to be compared with both `{sections[old]}` and `{new}`")
    return sections
