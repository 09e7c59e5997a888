"""`bufscan inspect`: what is in here?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from bufscan.bytesource import OpenFiles
from bufscan.commands.options import (
    Build,
    Color,
    Debug,
    Device,
    DType,
    Method,
    Model,
    Output,
    Quiet,
    Rehearse,
    RehearseDType,
    Train,
    count_of,
    one_of,
    plan_of,
)
from bufscan.commands.outcome import DONE, FAILED, Complaint, Outcome
from bufscan.commands.terminal import display
from bufscan.errors import TargetError, UsageError, about
from bufscan.inventory import ROLES
from bufscan.report import INSPECT_REPORTS, WITH_FINDINGS
from bufscan.report.inspect.selecting import SORT_KEYS, Selection
from bufscan.report.inspect.several import Inspected, join_reports
from bufscan.report.inspect.view import View
from bufscan.target import matching, name_of

if TYPE_CHECKING:
    from collections.abc import Callable

Format = Annotated[
    str, typer.Option("-f", "--format", metavar="FORMAT", help=f"One of {', '.join(INSPECT_REPORTS)}.")
]

EXAMPLES = """
Examples:

\b
  bufscan inspect model.pt
  bufscan inspect first.ckpt second.safetensors 'runs/*.pt' --quiet
  bufscan inspect checkpoint-500/ --by-module --depth 2
  bufscan inspect model.safetensors --match '*.running_*' --sort size
  bufscan inspect model.pt --role unregistered --format json
  bufscan inspect model.pt --model package.models:Encoder
  bufscan inspect 'models.py:Encoder(dim=64)' --device meta
"""


def inspect(  # noqa: PLR0913, PLR0917 - typer reads the options from the parameters
    context: typer.Context,
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="TARGET", help="Files, folders, patterns like `runs/*.ckpt`, `package.module:Model`, or `-`."
        ),
    ],
    role: Annotated[
        list[str] | None, typer.Option("--role", metavar="ROLE", help="Only tensors of this role; repeatable.")
    ] = None,
    match: Annotated[
        list[str] | None,
        typer.Option("--match", metavar="GLOB", help="Only names that match, as in `*.bias`; repeatable."),
    ] = None,
    sort: Annotated[
        str | None, typer.Option("--sort", metavar="KEY", help=f"Order by {', '.join(SORT_KEYS)}.")
    ] = None,
    by_module: Annotated[
        bool, typer.Option("--by-module", help="Show a tree of modules instead of tensors.")
    ] = False,
    depth: Annotated[
        str | None, typer.Option("--depth", metavar="N", help="Levels of that tree; implies --by-module.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Fold nothing and leave nothing out.")] = False,
    exact: Annotated[bool, typer.Option("--exact", help="Sizes to the byte.")] = False,
    binary: Annotated[bool, typer.Option("--binary", help="Sizes in KiB, MiB, ... of 1024.")] = False,
    model: Model = None,
    build: Build = False,
    device: Device = None,
    dtype: DType = None,
    rehearse: Rehearse = None,
    method: Method = None,
    rehearse_dtype: RehearseDType = None,
    train: Train = False,
    format_: Format = "text",
    output: Output = None,
    color: Color = None,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001 - `main` looks for it
) -> Outcome:
    """Show every tensor of a checkpoint or a model: role, evidence, shape, dtype, device, size, and the totals."""
    render = INSPECT_REPORTS[one_of("format", format_, tuple(INSPECT_REPORTS))]
    view = View(
        selection=Selection(
            roles=tuple(one_of("role", each.replace("-", "_"), ROLES) for each in role or ()),
            patterns=tuple(match or ()),
            sort=None if sort is None else one_of("sort key", sort, SORT_KEYS),
        ),
        by_module=by_module or depth is not None,
        depth=None if depth is None else count_of("levels", depth, hint="`--depth 2` shows two levels"),
        everything=everything,
        units="exact" if exact else "binary" if binary else "decimal",
        quiet=quiet,
        display=display(output, color=color),
    )
    plan = plan_of(rehearse, method, rehearse_dtype, train=train)
    from bufscan.inspecting import inspect as read

    named = matching(targets)
    if format_ == "html" and len(named) > 1:
        raise UsageError("a page shows one target", hint="inspect each by itself, with an `--output` of its own")
    in_one_line = msgspec.structs.replace(
        view, quiet=True, display=msgspec.structs.replace(view.display, width=None)
    )
    with OpenFiles() as files:

        def inspected(target: str) -> Inspected:
            with about(target):
                inventory = read(
                    target,
                    model=model,
                    from_config=build,
                    device=device,
                    dtype=dtype,
                    rehearse=plan,
                    files=files,
                    ranks=context.obj,
                )
            shown = view
            if format_ in WITH_FINDINGS or (format_ == "text" and inventory.states_registration):
                from linecache import getline  # only a report of findings needs it

                from bufscan.checking.inspected import findings_in

                shown = msgspec.structs.replace(view, findings=findings_in(inventory), source_line=getline)
            needs_summary = format_ == "text" and len(named) > 1
            return Inspected(
                name_of(target), render(inventory, shown), render(inventory, in_one_line) if needs_summary else ""
            )

        if len(named) == 1:
            return Outcome(inspected(named[0]).report, output, reads=files.paths)
        all_ = [_or_failure(inspected, target) for target in named]
    failed = [(each.failure, each.target) for each in all_ if each.failure is not None]
    return Outcome(
        join_reports(format_, all_, view),
        output,
        exit_code=FAILED if failed else DONE,
        reads=files.paths,
        complaints=tuple(Complaint(failure.message, failure.hint, target) for failure, target in failed),
    )


def _or_failure(inspected: Callable[[str], Inspected], target: str) -> Inspected:
    """One target that cannot be read does not keep the others from being shown."""
    try:
        return inspected(target)
    except TargetError as failure:
        return Inspected(name_of(target), failure=failure)
