"""What else there is to know about an artefact: labelled lines, each kind of thing under its label."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

from bufscan.report.sizes import count, plural, size
from bufscan.report.text.layout import Cell, Line, Style, wrapped
from bufscan.report.wording import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bufscan.inventory import Inventory, Tensor
    from bufscan.report.view import View

# Ties, views, globals ... that are shown one by one unless everything is asked for.
_MOST_ITEMS = 8

_LABEL = 11

_NARROWEST = 20

# A sentence may name two tensors and a file.
_ITEM_LIMIT = 1000


class _Particular(NamedTuple):
    label: str
    items: list[str]  # one sentence or name each, raw
    style: Style = ""


def particulars(inventory: Inventory, view: View) -> list[Line]:
    """Element types and devices, stored against logical bytes, ties, files, and everything odd or left out."""
    return [
        each
        for particular in _particulars(inventory, view)
        if any(particular.items)
        for each in _labelled(particular, view)
    ]


def _particulars(inventory: Inventory, view: View) -> Iterator[_Particular]:
    tensors = inventory.tensors
    yield _Particular("dtypes", [_tally(tensors, lambda tensor: tensor.dtype or UNKNOWN, view)])
    if len({tensor.device for tensor in tensors}) > 1:  # else the title says it
        yield _Particular("devices", [_tally(tensors, lambda tensor: tensor.device or "not recorded", view)])
    yield _Particular("types", _subclasses(tensors))
    yield _Particular("files", _files(tensors, view))
    yield _Particular("stored", [_stored(inventory, view)])
    yield _Particular("views", _views(inventory, view), "warning")
    yield _Particular("tied", [_tie(tensor) for tensor in tensors if tensor.alias_of is not None])
    yield _Particular("metadata", [f"{key}: {value}" for key, value in inventory.metadata.items()])
    yield _Particular("globals", list(inventory.globals))
    yield _Particular("notes", list(inventory.notes))
    yield _Particular("anomalies", [anomaly.message for anomaly in inventory.anomalies], "warning")
    yield _Particular("skipped", [f"{each.what}: {each.reason}" for each in inventory.skipped], "warning")


def _tally(tensors: tuple[Tensor, ...], value_of: Callable[[Tensor], str], view: View) -> str:
    """`float32 70 (9.4 MB), int64 3 (24 B)`."""
    numbers: Counter[str] = Counter()
    nbytes: Counter[str] = Counter()
    for tensor in tensors:
        value = value_of(tensor)
        numbers[value] += 1
        if tensor.alias_of is None:
            nbytes[value] += tensor.nbytes or 0
    return ", ".join(
        f"{value} {count(number)} ({size(nbytes[value], exact=view.exact)})"
        for value, number in numbers.most_common()
    )


def _subclasses(tensors: tuple[Tensor, ...]) -> list[str]:
    found = Counter(tensor.type_name for tensor in tensors if tensor.type_name is not None)
    return [f"{name} {count(number)}" for name, number in found.most_common()]


def _files(tensors: tuple[Tensor, ...], view: View) -> list[str]:
    inside: defaultdict[str, list[Tensor]] = defaultdict(list)
    for tensor in tensors:
        if tensor.file is not None:
            inside[tensor.file].append(tensor)
    return [
        f"{file}: {plural(len(held), 'tensor')}, "
        f"{size(sum(tensor.nbytes or 0 for tensor in held if tensor.alias_of is None), exact=view.exact)}"
        for file, held in inside.items()
    ]


def _tie(tensor: Tensor) -> str:
    first = f"{tensor.section}.{tensor.alias_of}" if tensor.section else tensor.alias_of
    return f"{tensor.path} = {first}"


def _stored(inventory: Inventory, view: View) -> str:
    logical = sum(total.nbytes for total in inventory.totals().values())
    stored = inventory.stored_bytes
    if stored == logical:
        return f"{size(stored, exact=view.exact)}, as many as the elements take"
    return f"{size(stored, exact=view.exact)} for {size(logical, exact=view.exact)} of elements"


def _views(inventory: Inventory, view: View) -> list[str]:
    """Storages of which the tensors show only a part, the greatest loss first."""
    names: defaultdict[str, list[str]] = defaultdict(list)
    shown: Counter[str] = Counter()
    for tensor in inventory.tensors:
        if tensor.storage is not None and tensor.alias_of is None:
            names[tensor.storage].append(tensor.path)
            shown[tensor.storage] += tensor.nbytes or 0
    lost = {key: inventory.storages[key].nbytes - shown[key] for key in names if key in inventory.storages}
    return [
        f"{_first_of(names[key])} {size(shown[key], exact=view.exact)} "
        f"of the {size(inventory.storages[key].nbytes, exact=view.exact)} kept"
        for key, unseen in sorted(lost.items(), key=lambda item: -item[1])
        if unseen > 0
    ]


def _first_of(names: list[str]) -> str:
    match names:
        case [name]:
            return f"{name} shows"
        case [name, *others]:
            return f"{name} and {plural(len(others), 'tensor')} more show"
        case _:
            raise AssertionError("a storage that nothing looks at has no view")


def _labelled(particular: _Particular, view: View) -> Iterator[Line]:
    """The items, each from its own line on; what does not fit is wrapped and stays beside the label."""
    items = [view.display.show(item, limit=_ITEM_LIMIT) for item in particular.items]
    if not view.everything and len(items) > _MOST_ITEMS:
        hidden = len(items) - _MOST_ITEMS
        items[_MOST_ITEMS:] = [f"... and {count(hidden)} more: `--all` lists them"]
    width = view.display.width
    room = None if width is None else max(width - _LABEL, _NARROWEST)
    label = particular.label
    for text in (text for item in items for text in wrapped(item, room)):
        yield (Cell(f"{label:<{_LABEL}}", "dim"), Cell(text, particular.style))
        label = ""
