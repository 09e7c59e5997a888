"""The command line: the only place that prints, reads the environment and decides the exit code."""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from bufscan.atomicfile import add_to, write_whole
from bufscan.bytesource import exists
from bufscan.commands.outcome import DONE, FAILED, Outcome, OutputFile, refuse_to_overwrite
from bufscan.commands.terminal import encoding
from bufscan.errors import BufscanError, TargetError, about, did_you_mean
from bufscan.live.building.standard_output import reserve_for_results, results
from bufscan.ranks import ALONE, Elsewhere, Ranks, RanksError
from bufscan.report.shared.escaping import show

if TYPE_CHECKING:
    from collections.abc import Sequence

_MESSAGE_LIMIT = 1000

# What the machine lacks, wherever that shows first; every other error of the system is expected where it arises.
_SURROUNDINGS = frozenset(
    {
        *(
            errno.ENOSPC,
            errno.EDQUOT,
            errno.EROFS,
            errno.EIO,
            errno.EMFILE,
            errno.ENFILE,
            errno.ENOMEM,
            errno.ESTALE,
        ),
    }
)

_NO_FOLDER, _ANOTHER_FOLDER = "the current folder is gone", "`cd` to one that is there"

INTERRUPTED = 130
PIPE_CLOSED = 141  # what a shell reports of a program that SIGPIPE ended


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

    def make_parser(self, ctx: Any) -> Any:
        parser = super().make_parser(ctx)
        options: list[Any] = self.params
        for option in options:
            if option.name == "color":  # the last one of the two holds
                parser.add_option(option, ["--no-color"], "color", action="store_const", const="never")
        return parser


class _OnTargets(_Command):
    def invoke(self, ctx: Any) -> Any:
        if not _has_folder():
            raise BufscanError(_NO_FOLDER, hint=_ANOTHER_FOLDER)
        return super().invoke(ctx)


class _Group(TyperGroup):
    """The commands by name, each imported when it is asked for: start-up pays for one of them, not for all."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_conversion(super().get_params(ctx))

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - as typer has it
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - as typer has it
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"bufscan.commands.{cmd_name}")
        alone = typer.Typer(**_PLAIN)
        settings = {**_PLAIN["context_settings"], "allow_interspersed_args": cmd_name not in _RUNS_A_PROGRAM}
        command = alone.command(
            cmd_name,
            context_settings=settings,
            cls=_OnTargets if cmd_name in _ON_TARGETS else _Command,
            epilog=getattr(module, "EXAMPLES", None),
            short_help=_COMMANDS[cmd_name],
        )
        command(getattr(module, cmd_name))
        return typer.main.get_command(alone)


_COMMANDS = {
    "inspect": "Show every tensor of a checkpoint or a model.",
    "check": "Fail where tensors are not registered.",
    "lint": "Read source, and find what is not registered.",
    "run": "Watch the models that a program builds.",
    "diff": "Show what changed between two of them.",
    "help": "Show a page of the manual.",
    "explain": "List the rules of `check`, or explain one.",
    "config": "Show the settings that hold here.",
    "completion": "Print what teaches a shell to complete.",
    "schema": "Print the JSON Schema of an output, or of the configuration.",
    "demo": "Inspect a small model with the classic faults.",
}
"""Each a module of `commands` with a function of its name, and what the list of commands says of it."""

_FOR_ALL_COMMANDS = ("--color", "--no-color", "--debug", "--quiet", "-q")  # the first of them with a value

_ON_TARGETS = ("inspect", "check", "lint", "run", "diff")

_SHARED = (["inspect"], ["check"], ["diff"])  # the other commands are no work for several ranks

# What stands behind the program on the command line is the program's; and so are the process and its settings.
_RUNS_A_PROGRAM = ("run",)

_PLAIN: dict[str, Any] = {
    "add_completion": False,
    "rich_markup_mode": None,  # plain help: one line an option, readable in a pipe, no rich to import
    "context_settings": {"help_option_names": ["-h", "--help"], "max_content_width": 110},
}

app = typer.Typer(cls=_Group, **_PLAIN)


def _show_version(asked: bool) -> None:
    if asked:
        from bufscan import __version__

        _print(f"bufscan {__version__}\n")
        raise typer.Exit


@app.callback(epilog="`bufscan COMMAND --help` says more about a command.")
def bufscan(
    version: Annotated[
        bool, typer.Option("-V", "--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Say of every tensor in a PyTorch checkpoint what `register_buffer` would have made of it."""


def _has_folder() -> bool:
    """Whether there is a current folder, which names are taken from; without one, torch ends the process."""
    try:
        Path.cwd()
    except OSError:
        return False
    return True


def _print(text: str) -> None:
    """Text to standard output, byte for byte as it is: no translation of line ends."""
    stream = results()
    if stream is None:
        raise _closed()
    left = memoryview(text.encode(encoding(stream), "backslashreplace"))
    try:
        while left:  # unbuffered (PYTHONUNBUFFERED), a pipe takes no more at once than it has room for
            left = left[stream.buffer.write(left) :]
        stream.buffer.flush()
    except BrokenPipeError:
        # What is still buffered has nowhere to go; without this the interpreter complains when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise
    except OSError as error:
        raise BufscanError(f"standard output: {_reason(error)}") from error


def _print_beside(text: str) -> None:
    """Text to standard error, behind everything that the program wrote there."""
    if sys.stderr is not None and text:
        with suppress(OSError):
            sys.stderr.write(text.encode(encoding(sys.stderr), "backslashreplace").decode(encoding(sys.stderr)))
            sys.stderr.flush()


def _closed() -> BufscanError:
    return BufscanError("standard output is closed")


def _complain(message: str, hint: str | None = None, *, target: str | None = None) -> int:
    about = f"{show(target)}: " if target is not None else ""
    _say(f"bufscan: {about}{show(message, limit=_MESSAGE_LIMIT)}")
    if hint is not None:
        _say(f"hint: {show(hint, limit=_MESSAGE_LIMIT)}")
    return FAILED


def _say(line: str) -> None:
    if sys.stderr is None:  # closed: `print` would take standard output instead
        return
    with suppress(OSError):  # nobody can be told, and the exit code says what it has to
        print(line, file=sys.stderr)  # noqa: T201 - the one place that does


def _complain_of_usage(error: typer.TyperException, arguments: Sequence[str]) -> int:
    message = error.format_message().partition(" (Possible options")[0].rstrip(".")
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "bufscan"
    hint = f"`{command} --help` shows how to use it"
    if possible := getattr(error, "possibilities", None):
        hint = did_you_mean(str(getattr(error, "option_name", "")), possible) or hint
    elif command == "bufscan" and arguments:
        hint = did_you_mean(arguments[0], _COMMANDS) or hint
    return _complain(message[:1].lower() + message[1:], hint)


def _reason(error: OSError) -> str:
    return (error.strerror or "cannot be written").lower()


def _surroundings_in(error: OSError) -> tuple[str, str | None] | None:
    """What is wrong with the machine rather than with bufscan, and a hint; None where it may be bufscan."""
    if not _has_folder():  # whoever removed it did so meanwhile
        return _NO_FOLDER, _ANOTHER_FOLDER
    return (_reason(error), None) if error.errno in _SURROUNDINGS else None


def _show_traceback() -> None:
    from traceback import format_exc

    for line in format_exc().splitlines():
        words = line.lstrip(" ")
        _say(" " * (len(line) - len(words)) + show(words, limit=_MESSAGE_LIMIT))


def run() -> NoReturn:
    """The whole process: `main`, and out."""
    _open_closed_descriptors()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    reserve_for_results()
    code = _in_ranks() if "WORLD_SIZE" in os.environ else main()
    # The interpreter's last collection would look through all of torch for a quarter of a second, and free nothing
    # that the end of the process does not.
    gc.freeze()
    if (
        code < 0
    ):  # Ctrl-C ended the program that was run, which has shown its traceback: Python ends by that signal
        sys.excepthook = lambda *_: None
        raise KeyboardInterrupt
    sys.exit(code)


def _in_ranks() -> int:
    """`main`, together with the other processes that a launcher started, if it did."""
    if sys.argv[1:2] == list(_RUNS_A_PROGRAM):
        return main()
    from bufscan.ranks.gloo import joined

    def stuck(error: BufscanError) -> NoReturn:
        if os.environ["RANK"] == "0":
            _explain(error, sys.argv)
        os._exit(FAILED)

    try:
        ranks = joined(os.environ, stuck)
    except BufscanError as error:
        return _explain(error, sys.argv)

    def end(_signal: int, _frame: object) -> NoReturn:
        ranks.leave()
        raise RanksError(BufscanError("ended by its launcher: it says which rank failed"))

    if ranks.size > 1:
        signal.signal(signal.SIGTERM, end)
    return ranks.settle(main(ranks=ranks))


def _open_closed_descriptors() -> None:
    """Give the numbers of closed standard streams to nothing, before a file of the user's gets one of them."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free


def _interrupt(_signal: int, _frame: object) -> None:
    torch = sys.modules.get("torch")
    if getattr(getattr(torch, "__spec__", None), "_initializing", False):
        # torch's own code would swallow the exception, or die of it. Nothing has been begun that could be lost.
        if sys.stderr is not None:  # not through it: what it is just writing may be what was interrupted
            os.write(sys.stderr.fileno(), b"bufscan: interrupted\n")
        os._exit(INTERRUPTED)
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None, *, ranks: Ranks = ALONE) -> int:
    """Run bufscan and return its exit code: 0, 1 for findings or differences, 2 where it could not do its work.

    Of several ranks the first alone prints and writes.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    collecting = gc.isenabled()
    if given[:1] == ["run"]:
        return _guarded(given, ranks)
    gc.disable()  # it would walk hundreds of thousands of records again and again, and find no cycles
    try:
        return _guarded(given, ranks)
    finally:
        if collecting:
            gc.enable()


def _guarded(given: list[str], ranks: Ranks) -> int:
    try:
        return _run(given, ranks)
    except Elsewhere:
        return FAILED
    except KeyboardInterrupt:
        if not ranks.rank:
            _complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        return PIPE_CLOSED
    except Exception as error:  # noqa: BLE001 - the last resort: whatever it is, it must not look like a finding
        if "--debug" in given:
            _show_traceback()
        return FAILED if ranks.rank else _explain(error.error if isinstance(error, RanksError) else error, given)


def _run(arguments: list[str], ranks: Ranks) -> int:
    arguments = _command_first(arguments)
    if arguments and _is_target(arguments[0]):  # the command's name was left out
        arguments = ["inspect", *arguments]
    with ranks.together():
        if ranks.size > 1 and arguments[:1] not in _SHARED:
            ranks.part()
        outcome = app(arguments or ["--help"], prog_name="bufscan", standalone_mode=False, obj=ranks)
    if not isinstance(outcome, Outcome):  # a code that typer was left with: help, version, Ctrl-C
        if outcome == INTERRUPTED:
            raise KeyboardInterrupt
        if results() is None:
            raise _closed()
        return int(outcome or DONE)
    for file in filter(None, (outcome.output, *(each.path for each in outcome.files))):
        with about(file):
            refuse_to_overwrite(file, outcome.reads)
    if outcome.beside:
        _print_beside(outcome.text)
    elif outcome.output is None:
        _print(outcome.text)
    else:
        _write(OutputFile(outcome.output, outcome.text))
    for each in outcome.files:
        _write(each)
    stream = sys.stderr if outcome.beside else results()
    if outcome.output is not None or stream is None or not (stream.isatty() or outcome.beside):
        for message, hint, target in outcome.complaints:
            _complain(message, hint, target=target)
    return outcome.exit_code


def _command_first(arguments: list[str]) -> list[str]:
    """`--debug inspect model.pt` as `inspect --debug model.pt`: what all commands know may stand before them."""
    count = 0
    while count < len(arguments) and arguments[count].partition("=")[0] in _FOR_ALL_COMMANDS:
        count += 2 if arguments[count] in _FOR_ALL_COMMANDS[:1] else 1
    return [*arguments[count : count + 1], *arguments[:count], *arguments[count + 1 :]]


def _is_target(word: str) -> bool:
    """Whether it names no command but something to look at: what is there, or is called as models are."""
    if word in _COMMANDS or word.startswith("-"):
        return False
    return exists(Path(word)) or ":" in word


def _write(file: OutputFile) -> None:
    data = file.text.encode("utf-8", "backslashreplace")
    with about(file.path):
        if file.adds:
            add_to(Path(file.path), data)
        else:
            write_whole(Path(file.path), data)


def _explain(error: Exception, arguments: Sequence[str]) -> int:
    match error:
        case TargetError():
            return _complain(error.message, error.hint, target=error.target)
        case BufscanError():
            return _complain(error.message, error.hint)
        case typer.TyperException():
            return _complain_of_usage(error, arguments)
        case OSError() if words := _surroundings_in(error):
            return _complain(*words)
        case MemoryError():
            return _complain("out of memory")
        case _:
            return _complain(
                f"this is a bug in bufscan: {type(error).__name__}: {error}",
                "run it again with `--debug` and report what it shows",
            )
