"""`bufscan demo`: a first look without a file of one's own."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from bufscan.atomicfile import make_folder, write_whole
from bufscan.bytesource import exists, is_file
from bufscan.commands.options import Color, Debug, Quiet
from bufscan.commands.outcome import Outcome
from bufscan.commands.terminal import display
from bufscan.errors import TargetError, UsageError, about
from bufscan.report import INSPECT_REPORTS
from bufscan.report.inspect.view import View
from bufscan.report.shared.escaping import show


def demo(
    write: Annotated[
        str | None, typer.Option("--write", metavar="DIR", help="Put the model's source and its files into DIR.")
    ] = None,
    color: Color = None,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001 - `main` looks for it
) -> Outcome:
    """Inspect a small model that comes with bufscan and has the classic faults."""
    from bufscan import demo as shipped

    if write is not None:
        return Outcome(_write_demo(Path(write), shipped.files()))
    view = View(quiet=quiet, display=display(None, color=color))
    report = INSPECT_REPORTS["text"](shipped.inventory(), view)
    return Outcome(report if quiet else f"{shipped.INTRODUCTION}\n\n{report}\n{shipped.NEXT}\n")


def _write_demo(folder: Path, files: dict[str, bytes]) -> str:
    """Put the files there; one that is there already and differs is never overwritten."""
    for name, data in files.items():
        path = folder / name
        if exists(path) and not _holds(path, data):
            raise TargetError(str(path), UsageError("is there already and differs", hint="name another folder"))
    with about(str(folder)):
        make_folder(folder)
    lines = []
    for name, data in files.items():
        with about(str(folder / name)):
            write_whole(folder / name, data)
        lines.append(f"wrote {show(str(folder / name))}\n")
    return "".join(lines)


def _holds(path: Path, data: bytes) -> bool:
    with suppress(OSError):  # what may not be read may be anything
        return is_file(path) and path.read_bytes() == data
    return False
