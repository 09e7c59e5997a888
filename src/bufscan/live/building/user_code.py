"""Failures of the user's own code, said in one line that names the cause and the place in their source."""

from __future__ import annotations

import re
import sysconfig
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from bufscan.errors import UnreadableError
from bufscan.inventory import Location
from bufscan.live.building.refusals import explain_refusal
from bufscan.source.files import is_installed

if TYPE_CHECKING:
    from types import TracebackType

_STDLIB = sysconfig.get_path("stdlib")
_BUFSCAN = str(Path(__file__).parents[2])

_MEMORY_WORDS = ("can't allocate memory", "not enough memory", "out of memory")
_NO_VALUES = re.compile(r"\bmeta tensor|register_meta", re.IGNORECASE)
_LONGEST_CAUSE = 300


def failure_of(what: str, error: BaseException) -> UnreadableError:
    """The one line for an exception that `what` (`importing m.py`, `Model()`) raised.

    What torch refuses to register is explained. A memory failure brings the hint to build on the meta device,
    where a tensor costs nothing.
    """
    where = where_raised(error)
    hint = None
    if refusal := explain_refusal(error):
        return UnreadableError(f"{what} failed: {refusal.message}{where}", hint=refusal.hint)
    if ran_out_of_memory(error):
        hint = "build it without memory: `--device meta`"
    elif _lacks_values(error):
        hint = "it reads values, and a meta tensor has none: build it on the CPU"
    elif isinstance(error, SystemExit):
        hint = 'guard what should run only as a script with `if __name__ == "__main__":`'
    return UnreadableError(f"{what} {_cause_of(error)}{where}", hint=hint)


def where_raised(error: BaseException) -> str:
    """` (model.py:12)`: the place in the user's code that an exception came from; "" where it is in none."""
    place = _place_of(error)
    return f" ({_shown(place.file)}:{place.line})" if place else ""


def ran_out_of_memory(error: BaseException) -> bool:
    """MemoryError, or the RuntimeError that torch's allocators raise instead of it."""
    if isinstance(error, MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in text for word in _MEMORY_WORDS)


def _lacks_values(error: BaseException) -> bool:
    """What torch raises where the value of a meta tensor is asked for."""
    return isinstance(error, RuntimeError) and _NO_VALUES.search(str(error)) is not None


def summary_of(error: BaseException) -> str:
    """`TypeError: text` on one line, cut where it is very long."""
    text = " ".join(_text_of(error).split())
    if len(text) > _LONGEST_CAUSE:
        text = text[:_LONGEST_CAUSE] + "…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _text_of(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return error.msg  # the str has the place too
    if isinstance(error, KeyError) and len(error.args) == 1:
        return str(error.args[0])  # the str is the repr of this: quotes around a whole sentence
    return str(error)


def _cause_of(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"called sys.exit({error.code!r})"
    frames = _frames(error.__traceback__)
    if frames and frames[-1].name == "register_buffer" and _is_torch(frames[-1].filename):
        return f"failed: register_buffer refuses it: {summary_of(error)}"
    return f"raised {summary_of(error)}"


def _place_of(error: BaseException) -> Location | None:
    """The innermost line of the user's own code; of an installed package's where the user has none in it."""
    if isinstance(error, SyntaxError) and error.filename:
        return Location(file=error.filename, line=error.lineno or 1)
    frames = [frame for frame in _frames(error.__traceback__) if may_be_named(frame.filename)]
    own = [frame for frame in frames if not is_installed(frame.filename)]
    chosen = (own or frames)[-1:]
    return Location(file=chosen[0].filename, line=chosen[0].lineno or 1) if chosen else None


def _shown(file: str) -> str:
    """Relative to the current folder where the file lies inside it."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file


def _frames(trace: TracebackType | None) -> traceback.StackSummary:
    # Without the source lines: only names and numbers are wanted, and the file may be huge or gone.
    return traceback.StackSummary.extract(traceback.walk_tb(trace), lookup_lines=False)


def may_be_named(filename: str) -> bool:
    """Not torch's, not bufscan's, not the standard library's and not made up (`<frozen importlib>`)."""
    if filename.startswith(("<", _BUFSCAN)) or _is_torch(filename):
        return False
    return is_installed(filename) or not filename.startswith(_STDLIB)


def _is_torch(filename: str) -> bool:
    import torch

    # Not by the folders of this environment: torch may come from another one, or from its own source tree.
    return Path(filename).is_relative_to(Path(torch.__file__).parent)
