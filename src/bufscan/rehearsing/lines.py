"""The user's line that runs now, and how a call on it should read."""

from __future__ import annotations

import ast
import functools
import linecache
import sys
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from bufscan.inventory import Location
from bufscan.live.building.user_code import may_be_named
from bufscan.source.files import is_installed, shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType

_LONGEST_FIX = 120  # characters: a line to copy


class Line(NamedTuple):
    """A line that runs now.

    Attributes:
        frame: of the function that it stands in.
        calls: whether it is itself that calls torch, rather than through other code that is shown to nobody.
    """

    frame: FrameType
    calls: bool

    @property
    def location(self) -> Location:
        """The place to show a person."""
        return Location(file=shown(self.frame.f_code.co_filename), line=self.frame.f_lineno)


def line_now(outermost: CodeType) -> Line | None:
    """The innermost line of the user's own code inside a call of `outermost`.

    Of an installed package's where the user has none in it; None where all code in between is torch's.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # `inspect` would read the source of every frame
    direct, installed = True, None
    while frame is not None and frame.f_code is not outermost:
        match _kind_of(frame.f_code.co_filename):
            case "own":
                return Line(frame, direct)
            case "installed":
                installed = installed or Line(frame, direct)
            case "hidden":
                pass
        direct = direct and frame.f_code.co_filename.startswith(_OWN)
        frame = frame.f_back
    return installed


def call_on(line: Line) -> ast.Call | None:
    """The call that the line is in the middle of, as its source writes it."""
    if not line.calls:
        return None
    code = line.frame.f_code
    where = next(islice(code.co_positions(), line.frame.f_lasti // 2, None), None)
    if where is None:
        return None
    first, last, start, end = where
    if first is None or last is None or start is None or end is None:
        return None
    lines = [linecache.getline(code.co_filename, number).encode() for number in range(first, last + 1)]
    if not lines or not lines[-1]:
        return None
    lines[-1] = lines[-1][:end]  # columns count bytes; the end first, for both may be of one line
    lines[0] = lines[0][start:]
    try:
        node = ast.parse(b"".join(lines).decode(errors="replace").strip(), mode="eval").body
    except (SyntaxError, ValueError):
        return None
    return node if isinstance(node, ast.Call) else None


def with_device(call: ast.Call, device: str) -> str | None:
    """The call with `device=` in it; None where it is too long to be copied, or passes its keywords on."""
    if any(keyword.arg is None for keyword in call.keywords):
        return None
    kept = [keyword for keyword in call.keywords if keyword.arg != "device"]
    keyword = ast.keyword(arg="device", value=ast.parse(device, mode="eval").body)
    text = ast.unparse(ast.Call(func=call.func, args=call.args, keywords=[*kept, keyword]))
    return text if len(text) <= _LONGEST_FIX else None


def names_device(call: ast.Call) -> bool:
    """Whether the call gives a device by something else than a literal (`device=self.device`)."""
    given = next((keyword.value for keyword in call.keywords if keyword.arg == "device"), None)
    if isinstance(given, ast.Call) and len(given.args) == 1:  # torch.device("cpu")
        given = given.args[0]
    return given is not None and not isinstance(given, ast.Constant)


def device_in(frame: FrameType, has_moved: Callable[[Any], bool]) -> str | None:
    """How the function can write the device that it should make tensors on: `x.device`, by an argument first."""
    code = frame.f_code
    arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    found = frame.f_locals
    for name in (*arguments, *sorted(found)):
        if name.isidentifier() and name in found and has_moved(found[name]):
            return f"{name}.device"
    tables = getattr(found.get("self"), "_parameters", None), getattr(found.get("self"), "_buffers", None)
    for table in tables:
        for name, tensor in table.items() if isinstance(table, dict) else ():
            if has_moved(tensor) and name.isidentifier():
                return f"self.{name}.device"
    return None


@functools.cache
def _kind_of(file: str) -> Literal["own", "installed", "hidden"]:
    """Whose code a file is; hidden is what no user wants to be shown: torch's, Python's, and this."""
    if not may_be_named(file):
        return "hidden"
    return "installed" if is_installed(file) else "own"


_OWN = __file__.rpartition("lines")[0]
