"""What the user's configuration file asks for: `[tool.bufscan]` of pyproject.toml, or `bufscan.toml`.

Default < file < flag. The file is looked for from the current folder upwards, as far as the repository reaches,
never in the folder that a target lies in. Paths in it are seen from its own folder.
"""

from __future__ import annotations

import os
import stat
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from bufscan.atomicfile import read_whole
from bufscan.errors import BufscanError, UsageError
from bufscan.findings import SEVERITIES, Severity
from bufscan.rehearsal import Plan, plan_for
from bufscan.target import in_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

OWN_FILE: Final = "bufscan.toml"
PROJECT_FILE: Final = "pyproject.toml"


class IgnoreEntry(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", omit_defaults=True):
    """Findings that are meant to be there.

    Attributes:
        code: of a rule, or the beginning of codes (`BUF2`).
        tensor: shell pattern of tensor paths.
        reason: why.
    """

    code: str
    reason: str
    tensor: str = "*"

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise ValueError("the reason is empty: say why this may be ignored")


class BuildEntry(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", omit_defaults=True):
    """How to build a model that needs arguments, or why not to.

    Attributes:
        target: `package.module:Model`.
        kwargs: keyword arguments, whatever TOML can write.
        skip: the reason why it is not to be built; None to build it.
        rehearse: what to call it with, to rehearse its move to another device, or a list of that and of ways to
            load its state_dict; None not to.
        method, train, dtype: how to rehearse it.
    """

    target: str
    kwargs: dict[str, Any] = {}
    skip: str | None = None
    rehearse: str | tuple[str, ...] | None = None
    method: str = "forward"
    train: bool = False
    dtype: str | None = None

    @property
    def plan(self) -> Plan | None:
        """How to rehearse the model; None not to."""
        if self.rehearse is None:
            return None
        plan = plan_for([self.rehearse] if isinstance(self.rehearse, str) else self.rehearse)
        return msgspec.structs.replace(plan, method=self.method, train=self.train, dtype=self.dtype)


class Config(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """What to check and what to let pass.

    Attributes:
        targets: checked when the command line names none.
        select: codes or beginnings of codes to run; all rules when empty.
        ignore: findings that are meant to be there, with reasons.
        fail_on: the least severity that fails the check.
        build: arguments for models.
        build_with: what constructors are given that ask for more: `config-defaults`, a configuration (a dataclass
            or a class whose name ends in `Config`) with all its defaults; None for nothing.
        exclude: patterns of source files that `lint` leaves out, as in a `.gitignore` beside the file.
        baseline: file with the findings that pass; None without one.
        format: of the report on standard output; None to choose it by where it goes.
        deselect: codes or beginnings of codes not to run; only flags set it, for it carries no reason.
        file: path of the file that this came from; None for the defaults.
        folder: which paths in the file, and in its baseline, are seen from. `targets`, `build` and `baseline` are
            already seen from the current one.
    """

    targets: tuple[str, ...] = ()
    select: tuple[str, ...] = ()
    ignore: tuple[IgnoreEntry, ...] = ()
    fail_on: Severity = "error"
    build: tuple[BuildEntry, ...] = ()
    build_with: Literal["config-defaults"] | None = None
    exclude: tuple[str, ...] = ()
    baseline: str | None = None
    format: str | None = None
    deselect: tuple[str, ...] = ()
    file: str | None = None
    folder: str = os.curdir

    def with_flags(
        self,
        *,
        select: Iterable[str] = (),
        ignore: Iterable[str] = (),
        exclude: Iterable[str] = (),
        fail_on: Severity | None = None,
        baseline: str | None = None,
    ) -> Config:
        """What the command line says instead: selection and threshold replace the file's, all else adds."""
        return msgspec.structs.replace(
            self,
            select=tuple(select) or self.select,
            deselect=(*self.deselect, *ignore),
            exclude=(*self.exclude, *exclude),
            fail_on=fail_on or self.fail_on,
            baseline=baseline or self.baseline,
        )


KEYS: Final = ("targets", "select", "ignore", "fail-on", "build", "build-with", "exclude", "baseline", "format")
"""Those of the file; the other fields of `Config` come from elsewhere."""

_ENTRY_KEYS: Final = {
    "ignore": ("code", "tensor", "reason"),
    "build": ("target", "kwargs", "skip", "rehearse", "method", "train", "dtype"),
}


def load_config(folder: Path, name: str | None = None) -> Config:
    """The configuration that counts in `folder`, or the defaults without one.

    It is the nearest one upwards, up to the root of the repository. `bufscan.toml` comes before pyproject.toml.

    Args:
        folder: where to look first; the paths in the result are seen from there.
        name: the one file to read instead; it must exist, and its paths are seen from `folder`.

    Raises:
        UsageError: the file cannot be read, is no TOML, or has keys or values that make no sense.
    """
    if name is not None:
        return _config(_table(folder / name, name) or {}, name, os.curdir)
    for above in _upwards(folder):
        for candidate in (OWN_FILE, PROJECT_FILE):
            path = Path(above, candidate)
            if _is_there(folder / path) and (table := _table(folder / path, str(path))) is not None:
                return _config(table, str(path), above)
    return Config()


def _upwards(folder: Path) -> Iterator[str]:
    """The folders to look in, as they are called from `folder`."""
    for level, place in enumerate((whole := folder.absolute(), *whole.parents)):
        yield os.path.join(*[os.pardir] * level) if level else os.curdir  # noqa: PTH118 - Path has none for `..`
        if (place / ".git").exists():
            return


def _is_there(path: Path) -> bool:
    """Whether there is one to read, even if that will fail: what is not understood is not passed over.

    Raises:
        UsageError: it is something that nobody reads to its end, a pipe or a device.
    """
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    with suppress(OSError):
        if not stat.S_ISREG(mode := path.stat().st_mode) and not stat.S_ISDIR(mode):
            raise UsageError(f"{path.name} cannot be read: it is no file")
    return True


def _table(path: Path, name: str) -> Mapping[str, Any] | None:
    """The table that is ours: the whole file, or `tool.bufscan` of one that has tools; None for one without."""
    try:
        found = tomllib.loads(read_whole(path).decode("utf-8"))
    except BufscanError as error:
        raise UsageError(f"{name} {error.message}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{name} is no valid TOML: {error}") from error
    if path.name != PROJECT_FILE and "tool" not in found:
        return found
    tool = found.get("tool")
    table = tool.get("bufscan") if isinstance(tool, dict) else None
    if table is not None and not isinstance(table, dict):
        raise UsageError(f"`tool.bufscan` of {name} is no table")
    return table


def _config(table: Mapping[str, Any], name: str, folder: str) -> Config:
    _refuse_unknown(table, KEYS, name, "")
    for key, known in _ENTRY_KEYS.items():
        entries = table.get(key, [])
        for position, entry in enumerate(entries if isinstance(entries, list) else []):
            if isinstance(entry, dict):
                _refuse_unknown(entry, known, name, f"{key}[{position}].")
    try:
        config = msgspec.convert(table, Config)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `$")
        place = place.removeprefix(".").rstrip("`").replace("_", "-")
        what = what.replace("`object`", "`table`").removeprefix("Object ")  # as TOML calls it
        what = what[:1].lower() + what[1:]
        hint = f"choose from {', '.join(SEVERITIES)}" if place == "fail-on" else None
        raise UsageError(f"{name}: `{place}`: {what}" if place else f"{name}: {what}", hint=hint) from error
    builds = (msgspec.structs.replace(each, target=in_folder(each.target, folder)) for each in config.build)
    baseline = None if config.baseline is None else os.path.join(folder, config.baseline)  # noqa: PTH118 - as typed
    return msgspec.structs.replace(
        config,
        targets=tuple(in_folder(each, folder) for each in config.targets),
        build=tuple(builds),
        baseline=baseline if folder != os.curdir else config.baseline,
        file=name,
        folder=folder,
    )


def _refuse_unknown(table: Mapping[str, Any], known: tuple[str, ...], name: str, place: str) -> None:
    unknown = [key for key in table if key not in known]
    if unknown:
        raise UsageError(
            f"{name}: unknown key `{place}{unknown[0]}`", hint=f"the known keys are {', '.join(known)}"
        )
