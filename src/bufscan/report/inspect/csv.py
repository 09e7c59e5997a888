"""The report for spreadsheets: one row a tensor, the scalar facts only. RFC 4180."""

from __future__ import annotations

import csv
from io import StringIO
from typing import TYPE_CHECKING, Final

from bufscan.report.inspect.selecting import select
from bufscan.report.shared.escaping import MACHINE_LIMIT, escape, shorten

if TYPE_CHECKING:
    from collections.abc import Callable

    from bufscan.inventory import Inventory, Tensor
    from bufscan.report.inspect.view import View

_COLUMNS: Final[dict[str, Callable[[Tensor], object]]] = {
    "name": lambda tensor: tensor.name,
    "section": lambda tensor: tensor.section,
    "role": lambda tensor: tensor.role,
    "certainty": lambda tensor: tensor.certainty,
    "evidence": lambda tensor: tensor.evidence,
    "shape": lambda tensor: None if tensor.shape is None else "x".join(map(str, tensor.shape)) or "scalar",
    "dtype": lambda tensor: tensor.dtype,
    "device": lambda tensor: tensor.device,
    "numel": lambda tensor: tensor.numel,
    "nbytes": lambda tensor: tensor.nbytes,
    "storage": lambda tensor: tensor.storage,
    "stored_bytes": lambda tensor: tensor.stored_bytes,
    "saved": lambda tensor: tensor.saved,
    "moves": lambda tensor: tensor.moves,
    "trains": lambda tensor: tensor.trains,
    "alias_of": lambda tensor: tensor.alias_of,
    "origin_file": lambda tensor: tensor.origin and tensor.origin.file,
    "origin_line": lambda tensor: tensor.origin and tensor.origin.line,
    "suggestion": lambda tensor: tensor.suggestion,
    "suggestion_note": lambda tensor: tensor.suggestion_note,
    "holding": lambda tensor: tensor.holding,
    "holder": lambda tensor: tensor.holder,
    "declared": lambda tensor: tensor.declared,
    "saved_as": lambda tensor: tensor.saved_as,
    "requires_grad": lambda tensor: tensor.requires_grad,
    "layout": lambda tensor: tensor.layout,
    "type_name": lambda tensor: tensor.type_name,
    "storage_offset": lambda tensor: tensor.storage_offset,
    "file": lambda tensor: tensor.file,
}
_TARGET: Final = "target"  # the last column: new ones go to the end, where they move no other

# A spreadsheet takes a cell that starts so for a formula, and a formula can send data away.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def render(inventory: Inventory, view: View) -> str:
    """A header and one record a tensor, ended by CR LF; an empty cell is "not known"."""
    text = StringIO(newline="")
    writer = csv.writer(text)
    target = _cell(inventory.target)
    writer.writerow([*_COLUMNS, _TARGET])
    for tensor in select(inventory, view.selection).tensors:
        writer.writerow([*(_cell(value_of(tensor)) for value_of in _COLUMNS.values()), target])
    return text.getvalue()


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int():
            return str(value) if value < 1 << 63 else ""  # a broken shape's product is not a count
        case _:
            return _harmless(str(value))


def _harmless(text: str) -> str:
    # A lone surrogate cannot be written, and a line break inside a name misleads whoever reads line by line.
    if not text.isprintable():
        text = escape(text)
    text = shorten(text, MACHINE_LIMIT)
    return f"'{text}" if text.startswith(_FORMULA) else text
