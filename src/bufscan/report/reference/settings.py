"""The configuration that holds, key by key, with where each value comes from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bufscan.config import KEYS, Config
from bufscan.report.shared.escaping import show
from bufscan.report.shared.layout import Cell, Line, line, paint, table
from bufscan.report.shared.machine import Spread, written

if TYPE_CHECKING:
    from bufscan.report.shared.display import Display

SCHEMA: Final = "bufscan.settings/1"


class SettingsRecord(Spread, frozen=True, kw_only=True):
    """The configuration that holds.

    Attributes:
        file: where it stands; null where there is none.
        settings: every key with its value.
        stated: keys that the file gives another value than the default.
    """

    schema: str
    file: str | None
    settings: dict[str, Any]
    stated: tuple[str, ...]


_WITHOUT = {
    "select": "all rules",
    "format": "text",
    "targets": "none",
    "baseline": "none",
    "build-with": "nothing",
}


def render(config: Config, display: Display) -> str:
    """A line a value; what no file says is marked as the default."""
    rows: list[Line] = []
    for key, value in _values(config).items():
        values = value if isinstance(value, tuple) else [] if value is None else [value]
        texts = [_in_words(each) for each in values]
        is_default = key not in _stated(config)
        for position, text in enumerate(texts or [_WITHOUT.get(key, "none")]):
            origin = Cell("default" if is_default else "", "dim")
            rows.append((Cell("" if position else key), origin, Cell(show(text), origin.text and "dim")))
    source = "no configuration file: the defaults hold" if config.file is None else show(config.file)
    lines = [line(source, "title"), (), *table(rows, right=frozenset(), width=display.width, wrap_last=True)]
    return paint(lines, display)


def render_json(config: Config) -> str:
    """The file and every value, and which of them it states."""
    stated = tuple(sorted(_stated(config)))
    record = SettingsRecord(schema=SCHEMA, file=config.file, settings=_values(config), stated=stated)
    return written(record) + "\n"


def _values(config: Config) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.to_builtins(config)
    return {key: values[key] for key in KEYS}


def _stated(config: Config) -> set[str]:
    default = _values(Config())
    return {key for key, value in _values(config).items() if value != default[key]}


def _in_words(value: Any) -> str:
    """A text as it is; an entry as `code BUF001, tensor *.pe, reason ...`, without what it leaves open."""
    if isinstance(value, str):
        return value
    return ", ".join(f"{key} {each if isinstance(each, str) else json.dumps(each)}" for key, each in value.items())
