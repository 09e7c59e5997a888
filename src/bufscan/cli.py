"""The command line: the only place that prints, reads the environment and decides the exit code."""

from __future__ import annotations

import gc
import os
import shutil
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from bufscan.atomicfile import make_folder, write_whole
from bufscan.errors import BufscanError, UsageError
from bufscan.inventory import ROLES
from bufscan.report import REPORTS
from bufscan.report.escaping import show
from bufscan.report.selecting import SORT_KEYS, Selection
from bufscan.report.view import Display, View

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Of a number on the command line or in the environment: more is no width and no depth.
_MOST_DIGITS = 4

_MESSAGE_LIMIT = 1000

Word = TypeVar("Word", bound=str)

DONE = 0
FAILED = 2
INTERRUPTED = 130
PIPE_CLOSED = 141  # what a shell reports of a program that SIGPIPE ended


class Outcome(NamedTuple):
    """What a command has to say, and the file it goes to; None for standard output."""

    text: str
    output: str | None = None
    exit_code: int = DONE


class TargetError(Exception):
    """A failure that concerns one target, named as the user named it."""

    def __init__(self, target: str, error: BufscanError) -> None:
        super().__init__(target, error)
        self.target = target
        self.error = error


@contextmanager
def _about(target: str) -> Iterator[None]:
    try:
        yield
    except BufscanError as error:
        raise TargetError(target, error) from error


def _take_as_given(parameter: Any, context: typer.Context, value: Any) -> Any:
    if value is None and parameter.required:
        return type(parameter).process_value(parameter, context, value)  # says what is missing
    return value if parameter.callback is None else parameter.callback(context, parameter, value)


def _without_conversion(parameters: list[Any]) -> list[Any]:
    # Every option here is a flag, a string or a list of strings, which is what the parser hands over. typer 0.29
    # would have pydantic convert them all the same, and importing that takes longer than inspecting a file.
    for parameter in parameters:
        parameter.process_value = MethodType(_take_as_given, parameter)
    return parameters


class _Command(TyperCommand):
    def get_params(self, ctx: Any) -> list[Any]:
        return _without_conversion(super().get_params(ctx))


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _without_conversion(super().get_params(ctx))


app = typer.Typer(
    cls=_Group,
    add_completion=False,
    rich_markup_mode=None,  # plain help: one line an option, readable in a pipe, no rich to import
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

NoColor = Annotated[bool, typer.Option("--no-color", help="No colours, whatever the terminal can do.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print the summary line alone.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback with every failure.")]
Output = Annotated[
    str | None, typer.Option("--output", metavar="FILE", help="Write to FILE instead of standard output.")
]
Format = Annotated[str, typer.Option("--format", metavar="FORMAT", help=f"One of {', '.join(REPORTS)}.")]


def _show_version(asked: bool) -> None:
    if asked:
        from bufscan import __version__

        _print(f"bufscan {__version__}\n")
        raise typer.Exit


@app.callback(epilog="`bufscan COMMAND --help` says more about a command.")
def bufscan(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Say of every tensor in a PyTorch checkpoint what `register_buffer` would have made of it."""


_INSPECT_EXAMPLES = """
Examples:

\b
  bufscan inspect model.pt
  bufscan inspect checkpoint-500/ --by-module --depth 2
  bufscan inspect model.safetensors --match '*.running_*' --sort size
  bufscan inspect model.pt --role unregistered --format json
"""


@app.command(cls=_Command, epilog=_INSPECT_EXAMPLES, short_help="Show every tensor of a checkpoint.")
def inspect(  # noqa: PLR0913, PLR0917 - typer reads the options from the parameters
    target: Annotated[str, typer.Argument(metavar="TARGET", help="A file, a folder, or `-` for standard input.")],
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
    format_: Format = "text",
    output: Output = None,
    no_color: NoColor = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001 - `main` looks for it before parsing, which may be what fails
) -> Outcome:
    """Show every tensor of a checkpoint: role, evidence, shape, dtype, device, size, and the totals."""
    render = REPORTS[_one_of("format", format_, tuple(REPORTS))]
    view = View(
        selection=Selection(
            roles=tuple(_one_of("role", each.replace("-", "_"), ROLES) for each in role or ()),
            patterns=tuple(match or ()),
            sort=None if sort is None else _one_of("sort key", sort, SORT_KEYS),
        ),
        by_module=by_module or depth is not None,
        depth=None if depth is None else _levels(depth),
        everything=everything,
        exact=exact,
        quiet=quiet,
        display=_display(output, no_color=no_color),
    )
    with _about(target):
        _refuse_to_overwrite(target, output)
        from bufscan.inspecting import inspect as read

        return Outcome(render(read(target), view), output)


@app.command(cls=_Command, short_help="Inspect a small model with the classic faults.")
def demo(
    write: Annotated[
        str | None, typer.Option("--write", metavar="DIR", help="Put the model's source and its files into DIR.")
    ] = None,
    no_color: NoColor = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001 - as above
) -> Outcome:
    """Inspect a small model that comes with bufscan and has the classic faults."""
    from bufscan import demo as shipped

    if write is not None:
        return Outcome(_write_demo(Path(write), shipped.files()))
    view = View(quiet=quiet, display=_display(None, no_color=no_color))
    report = REPORTS["text"](shipped.inventory(), view)
    return Outcome(report if quiet else f"{shipped.INTRODUCTION}\n\n{report}\n{shipped.NEXT}\n")


def _write_demo(folder: Path, files: dict[str, bytes]) -> str:
    """Put the files there; one that is there already and differs is never overwritten."""
    for name, data in files.items():
        path = folder / name
        if path.exists() and not (path.is_file() and path.read_bytes() == data):
            raise TargetError(str(path), UsageError("is there already and differs", hint="name another folder"))
    with _about(str(folder)):
        make_folder(folder)
    lines = []
    for name, data in files.items():
        with _about(str(folder / name)):
            write_whole(folder / name, data)
        lines.append(f"wrote {show(str(folder / name))}\n")
    return "".join(lines)


def _one_of(kind: str, text: str, known: Sequence[Word]) -> Word:
    for word in known:
        if word == text:
            return word
    raise UsageError(f"no such {kind}: `{text}`", hint=f"choose from {', '.join(known)}")


def _levels(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise UsageError(f"no number of levels: `{text}`", hint="`--depth 2` shows two levels")
    return int(text)


def _refuse_to_overwrite(target: str, output: str | None) -> None:
    same = False
    with suppress(OSError, ValueError):  # one of them does not exist, so nothing can be lost
        same = output is not None and Path(output).samefile(target)
    if same:
        raise UsageError("is both the target and the output", hint="give `--output` another name")


def _display(output: str | None, *, no_color: bool) -> Display:
    """What the output can show; a file gets plain text."""
    if output is not None or sys.stdout is None:
        return Display()
    terminal = sys.stdout.isatty()
    columns = os.environ.get("COLUMNS", "")
    width = int(columns) if columns.isdecimal() and len(columns) <= _MOST_DIGITS else None
    plain = no_color or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return Display(
        width=shutil.get_terminal_size().columns if terminal else width or None,
        colour=terminal and not plain,
        unicode=_encoding().startswith("utf"),
    )


def _encoding() -> str:
    return (sys.stdout.encoding or "ascii").lower()


def _print(text: str) -> None:
    """Text to standard output, byte for byte as it is: no translation of line ends."""
    if sys.stdout is None:
        raise BufscanError("standard output is closed")
    left = memoryview(text.encode(_encoding(), "backslashreplace"))
    try:
        while left:  # unbuffered (PYTHONUNBUFFERED), a pipe takes no more at once than it has room for
            left = left[sys.stdout.buffer.write(left) :]
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # What is still buffered has nowhere to go; without this the interpreter complains when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise
    except OSError as error:
        raise BufscanError(f"standard output: {(error.strerror or 'cannot be written').lower()}") from error


def _complain(message: str, hint: str | None = None, *, target: str | None = None) -> int:
    about = f"{show(target)}: " if target is not None else ""
    _say(f"bufscan: {about}{show(message, limit=_MESSAGE_LIMIT)}")
    if hint is not None:
        _say(f"hint: {show(hint, limit=_MESSAGE_LIMIT)}")
    return FAILED


def _say(line: str) -> None:
    print(line, file=sys.stderr)  # noqa: T201 - the one place that does


def _complain_of_usage(error: typer.TyperException, arguments: Sequence[str]) -> int:
    message = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "bufscan"
    hint = f"`{command} --help` shows how to use it"
    if command == "bufscan" and arguments and Path(arguments[0]).exists():  # the command's name was forgotten
        hint = f"to inspect a file, `bufscan inspect {arguments[0]}`"
    return _complain(message[:1].lower() + message[1:], hint)


def _show_traceback() -> None:
    from traceback import format_exc

    for line in format_exc().splitlines():
        _say(show(line, limit=_MESSAGE_LIMIT))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run bufscan and return its exit code: 0, or 2 when it could not do what was asked."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    collecting = gc.isenabled()
    gc.disable()  # it would walk hundreds of thousands of records again and again, and find no cycles
    try:
        return _run(given)
    except KeyboardInterrupt:
        _complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        return PIPE_CLOSED
    except Exception as error:  # noqa: BLE001 - the last resort: whatever it is, it must not look like a finding
        if "--debug" in given:
            _show_traceback()
        return _explain(error, given)
    finally:
        if collecting:
            gc.enable()


def _run(arguments: list[str]) -> int:
    outcome = app(arguments or ["--help"], prog_name="bufscan", standalone_mode=False)
    if not isinstance(outcome, Outcome):  # a code that typer was left with: help, version, Ctrl-C
        if outcome == INTERRUPTED:
            raise KeyboardInterrupt
        return int(outcome or DONE)
    if outcome.output is None:
        _print(outcome.text)
    else:
        with _about(outcome.output):
            write_whole(Path(outcome.output), outcome.text.encode("utf-8", "backslashreplace"))
    return outcome.exit_code


def _explain(error: Exception, arguments: Sequence[str]) -> int:
    match error:
        case TargetError(target=target, error=cause):
            return _complain(cause.message, cause.hint, target=target)
        case BufscanError():
            return _complain(error.message, error.hint)
        case typer.TyperException():
            return _complain_of_usage(error, arguments)
        case MemoryError():
            return _complain("out of memory")
        case _:
            return _complain(
                f"this is a bug in bufscan: {type(error).__name__}: {error}",
                "run it again with `--debug` and report what it shows",
            )
