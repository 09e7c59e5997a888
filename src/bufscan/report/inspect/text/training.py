"""What a training checkpoint says of its training, in words: how far it is, with which settings and optimizer."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from bufscan.report.shared.sizes import count, plural, size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.inventory import Inventory, Optimizer, PlainValue
    from bufscan.report.inspect.text.census import Census
    from bufscan.report.inspect.view import View

_MOST_GROUPS = 8
_MOST_LINES = 8
_MOST_VALUES = 16  # in one line
_SETTINGS = ("lr", "momentum", "betas", "eps", "alpha", "weight_decay", "initial_lr")

_TELLING = ("_last_lr",)  # of what begins with an underscore

_INDEX = re.compile(r"\[\d+\]$")


def training_items(inventory: Inventory, view: View) -> list[str]:
    """A line for the values of one dict: `hyper_parameters: lr 0.0003, dim 16`, and the dict itself first."""
    dicts: dict[str, dict[str, list[str]]] = {}
    for value in inventory.training:
        where, name = _place(value)
        if view.everything or not name.startswith("_") or name in _TELLING:
            text = _short(value.text) if value.kind == "float" else value.text
            dicts.setdefault(where, {}).setdefault(name, []).append(text)
    lines = [_line(where, values, view) for where, values in sorted(dicts.items(), key=lambda each: each[0] != "")]
    if not view.everything and len(lines) > _MOST_LINES:
        lines[_MOST_LINES:] = [f"and {count(len(lines) - _MOST_LINES)} more (`--all` lists them)"]
    return lines


def _place(value: PlainValue) -> tuple[str, str]:
    """The dict, and the key; the elements of a list are one value."""
    path = value.path
    while _INDEX.search(path):
        path = _INDEX.sub("", path)
    where, _, name = path.rpartition(".")
    return where, name


def _line(where: str, values: dict[str, list[str]], view: View) -> str:
    shown = [f"{name} {' '.join(texts)}" for name, texts in values.items()]
    if not view.everything and len(shown) > _MOST_VALUES:
        shown[_MOST_VALUES:] = [f"and {count(len(shown) - _MOST_VALUES)} more"]
    return f"{where}: {', '.join(shown)}" if where else ", ".join(shown)


def optimizer_items(inventory: Inventory, census: Census) -> Iterator[str]:
    """Of each optimizer its kind, how many parameters it holds where, and its settings."""
    held: Counter[str] = Counter()
    for tensor, times in census.kinds.values():
        if tensor.role == "parameter":
            held[tensor.section] += times * (tensor.alias_of is None)
    for optimizer in inventory.optimizers:
        sizes, total = optimizer.sizes, sum(optimizer.sizes)
        text = plural(total, "parameter")
        if len(sizes) > 1:
            shown = ", ".join(count(each) for each in sizes[:_MOST_GROUPS])
            text += f" in {count(len(sizes))} groups of {shown}{', …' * (len(sizes) > _MOST_GROUPS)}"
        if len(held) == 1:
            ((section, number),) = held.items()
            text += f"; {section or 'the model'} has {count(number)}" * (number != total)
        text = f"{optimizer.kind}, {text}" if optimizer.kind else text
        settings = ", ".join(_settings(optimizer))
        text += f"; {settings}" if settings else ""
        yield f"{optimizer.section}: {text}" if optimizer.section else text


def _settings(optimizer: Optimizer) -> Iterator[str]:
    """`lr 0.0003`, or `weight_decay 0.01 / 0` where the groups differ."""
    for name in _SETTINGS:
        texts = dict.fromkeys(_short(group.settings[name]) for group in optimizer.groups if name in group.settings)
        if texts:
            yield f"{name} {' / '.join(list(texts)[:_MOST_GROUPS])}"


def _short(text: str) -> str:
    """A number with no more digits than tell anything; anything else as it is."""
    try:
        return f"{float(text):.6g}"
    except ValueError:
        return text


def parts_of(inventory: Inventory, view: View) -> list[str]:
    """What each part of a training checkpoint takes; nothing where there is one."""
    sections = inventory.sections()
    if len(sections) < 2:  # noqa: PLR2004 - one is the whole
        return []
    return [f"{name or '(top level)'} {size(total.nbytes, units=view.units)}" for name, total in sections.items()]
