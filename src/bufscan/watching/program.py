"""Runs a program as Python itself would: its `__main__`, arguments, path, traceback and exit code."""

from __future__ import annotations

import builtins
import io
import os
import runpy
import signal
import sys
import threading
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from bufscan.errors import UnreadableError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

_OWN_FOLDER = str(Path(__file__).parents[1])
_RUNPY = runpy.__file__

FAILED = 1
BY_SIGINT = -signal.SIGINT
"""What `subprocess` says of a process that Ctrl-C ended."""


class Ending(NamedTuple):
    """How a program ended.

    Attributes:
        code: what it exits with, or `BY_SIGINT`.
        what: in words, where that is no success: `raised ValueError`.
    """

    code: int
    what: str | None = None


def run_script(script: str, arguments: Sequence[str]) -> Ending:
    """As `python SCRIPT ARGUMENTS` does.

    Raises:
        UsageError, UnreadableError: there is no such file, or it is no program.
    """
    path = Path(script).absolute()
    if path.is_dir() or path.suffix in (".zip", ".pyz"):
        _set_first_path(script)
        return _ended(lambda: runpy.run_path(script, run_name="__main__"), [script, *arguments])
    try:
        with io.open_code(str(path)) as file:
            data = file.read()
    except OSError as error:
        raise UnreadableError(
            f"`{script}` cannot be read: {(error.strerror or 'unknown reason').lower()}"
        ) from error
    _set_first_path(os.path.dirname(os.path.realpath(script)))  # noqa: PTH120 - as Python does

    def execute() -> None:
        main = ModuleType("__main__")
        main.__file__, main.__loader__ = str(path), SourceFileLoader("__main__", str(path))
        main.__dict__.update(__builtins__=builtins, __cached__=None, __annotations__={})
        sys.modules["__main__"] = main
        exec(compile(data, str(path), "exec", dont_inherit=True), main.__dict__)  # noqa: S102 - what was asked for

    return _ended(execute, [script, *arguments])


def run_module(name: str, arguments: Sequence[str]) -> Ending:
    """As `python -m NAME ARGUMENTS` does.

    Raises:
        UsageError: there is no such module.
    """
    _set_first_path(str(Path.cwd()))
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(f"`{name}` is no name of a module", hint="`bufscan run script.py` runs a file")
    return _ended(lambda: runpy.run_module(name, run_name="__main__", alter_sys=True), ["-m", *arguments])


def _set_first_path(folder: str) -> None:
    """In the place of the folder that bufscan itself was started from."""
    if not sys.flags.safe_path:
        sys.path[0] = folder


def _ended(execute: object, argv: list[str]) -> Ending:
    sys.argv[:] = argv
    try:
        execute()  # type: ignore[operator]
        ending = Ending(0)
    except SystemExit as error:
        ending = _exited(error.code)
    except KeyboardInterrupt as error:
        _show(error)
        ending = Ending(BY_SIGINT, "was interrupted")
    except BaseException as error:  # noqa: BLE001 - whatever it is, Python would end here and say so
        _show(error)
        ending = Ending(FAILED, f"raised {type(error).__name__}")
    _wait_for_threads()
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # None, or closed by the program
            stream.flush()
    return ending


def _exited(code: object) -> Ending:
    if code is None:
        return Ending(0)
    if isinstance(code, int):
        status = code & 0xFF if os.name == "posix" else code
        return Ending(status, f"exited with {status}" if status else None)
    if sys.stderr is not None:
        print(code, file=sys.stderr)  # noqa: T201 - as Python does
    return Ending(FAILED, f"exited with {FAILED}")


def _show(error: BaseException) -> None:
    """The traceback, without the frames that are bufscan's."""
    error.__traceback__ = _without_own(error.__traceback__)
    sys.excepthook(type(error), error, error.__traceback__)


def _without_own(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and _is_own(trace):
        trace = trace.tb_next
    here = trace
    while here is not None:
        while here.tb_next is not None and _is_own(here.tb_next):
            here.tb_next = here.tb_next.tb_next
        here = here.tb_next
    return trace


def _is_own(trace: TracebackType) -> bool:
    return trace.tb_frame.f_code.co_filename.startswith(_OWN_FOLDER)


def _wait_for_threads() -> None:
    """Python waits for them before it ends."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
