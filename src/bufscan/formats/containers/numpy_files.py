"""NumPy's own files: `.npy` with one array, `.npz` with several in a zip archive. Only their headers are read.

Layout: numpy.lib.format: magic, version, the length of the header, and a header that is a literal of a dict with
`descr`, `fortran_order` and `shape`.
"""

from __future__ import annotations

import re
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from bufscan.errors import UnreadableError
from bufscan.formats.containers.zip_directory import STORED
from bufscan.formats.listing import capped, quoted
from bufscan.formats.signatures import is_npy
from bufscan.formats.tensors.numpy_arrays import ElementType, array_strides, read_shape
from bufscan.inventory import Inventory, Skipped, Storage, Tensor

if TYPE_CHECKING:
    from bufscan.bytesource import ByteSource
    from bufscan.formats.containers.anomaly_log import AnomalyLog
    from bufscan.formats.containers.zip_directory import ZipDirectory

_PREAMBLE = 12  # bytes before the header, in version 2 and later
_LONGEST_HEADER = 10_000  # as much as NumPy itself reads without being asked to
_SUFFIX = ".npy"
_ARRAY = "NumPy array"

# One key of the header and its value, as Python writes them; Python 2 put an L behind long numbers.
_FIELD = re.compile(
    r"""\s*(?P<quote>['"])(?P<key>\w+)(?P=quote)\s*:\s*"""
    r"""(?:(?P<mark>['"])(?P<descr>[^'"\\]*)(?P=mark)|(?P<order>True|False)"""
    r"""|\((?P<shape>(?:\s*\d{1,20}L?\s*,){0,64}(?:\s*\d{1,20}L?)?)\s*\))\s*(?:,|(?=\}))"""
)
_RECORDS = re.compile(r"""\{\s*['"]descr['"]\s*:\s*\[""")


class _Array(NamedTuple):
    """What the start of an `.npy` file says.

    Attributes:
        start: where the elements begin.
    """

    shape: tuple[int, ...]
    element: ElementType
    is_fortran: bool
    start: int


def read_npy(source: ByteSource, target: str) -> Inventory:
    """The inventory of one array, which has no name.

    Raises:
        UnreadableError: it is broken, or its elements are of a type that torch has not.
    """
    array = _read_header(source.read(0, min(_PREAMBLE + _LONGEST_HEADER, source.size)))
    tensor, storage = _records("", "0", array, source.size, 0)
    return Inventory(target=target, format="npy", tensors=(tensor,), storages={storage.key: storage})


def read_npz(directory: ZipDirectory, anomalies: AnomalyLog, target: str) -> Inventory:
    """The inventory of an archive of arrays, by their names in it."""
    tensors: list[Tensor] = []
    storages: dict[str, Storage] = {}
    skipped: list[Skipped] = []
    for record in directory.records.values():
        if not record.name.endswith(_SUFFIX):
            skipped.append(Skipped(what=record.name, reason="a member of the archive that is no array"))
            continue
        name = record.name.removesuffix(_SUFFIX)
        try:
            array = _read_header(directory.read_start(record, _PREAMBLE + _LONGEST_HEADER))
            offset = directory.data_offset(record) if record.method == STORED else None
            tensor, storage = _records(name, record.name, array, record.size, offset)
        except UnreadableError as error:
            skipped.append(Skipped(what=name, reason=error.message, failed=True))
            continue
        tensors.append(tensor)
        storages[storage.key] = storage
    return Inventory(
        target=target,
        format="npz",
        tensors=tuple(tensors),
        storages=storages,
        anomalies=anomalies.anomalies(),
        skipped=capped(skipped),
    )


def _read_header(start: bytes) -> _Array:
    if len(start) < _PREAMBLE or not is_npy(start) or start[6] not in (1, 2, 3):
        raise UnreadableError(f"a {_ARRAY} without its header")
    width = 2 if start[6] == 1 else 4
    begin = 8 + width
    end = begin + int.from_bytes(start[8:begin], "little")
    if end > len(start):
        raise UnreadableError(f"a {_ARRAY} whose header is cut short, or longer than {_LONGEST_HEADER:,} bytes")
    text = start[begin:end].decode("latin-1").strip()
    if _RECORDS.match(text):
        raise UnreadableError(f"a {_ARRAY} of records, which is none of torch's types")
    fields = _fields_of(text)
    descr, order, sizes = (fields.get(key) for key in ("descr", "fortran_order", "shape"))
    shape = None if sizes is None or "," not in f"{sizes.strip() or ','}" else read_shape(_numbers(sizes))
    if len(fields) != 3 or descr is None or order is None or shape is None:  # noqa: PLR2004 - those above
        raise UnreadableError(f"a {_ARRAY} whose header NumPy did not write")
    element = ElementType(descr[1:], "big" if descr.startswith(">") else "little")
    if element.dtype is None:
        raise UnreadableError(f"a {_ARRAY} of type {quoted(descr)}, which is none of torch's")
    return _Array(shape, element, order == "True", end)


def _fields_of(text: str) -> dict[str, str]:
    """The texts of the values in a header; nothing where it is not one of an array of numbers.

    Python is not asked to parse it: headers that fit in a small file can keep it busy for minutes.
    """
    fields: dict[str, str] = {}
    position = 1
    while found := _FIELD.match(text, position):
        value = {"descr": found["descr"], "fortran_order": found["order"], "shape": found["shape"]}.get(
            found["key"]
        )
        if value is None or found["key"] in fields:
            return {}
        fields[found["key"]] = value
        position = found.end()
    return fields if text.startswith("{") and text[position:].strip() == "}" else {}


def _numbers(sizes: str) -> tuple[int, ...]:
    return tuple(int(each.strip().rstrip("L")) for each in sizes.split(",") if each.strip())


def _records(name: str, key: str, array: _Array, size: int, offset: int | None) -> tuple[Tensor, Storage]:
    """The array and its bytes, in a file of `size` bytes that starts at `offset` (None where it is compressed)."""
    dtype = array.element.dtype
    assert dtype is not None  # noqa: S101 - the header was refused otherwise
    nbytes, held = dtype.nbytes(prod(array.shape)), size - array.start
    if nbytes != held:
        raise UnreadableError(f"a {_ARRAY} of {nbytes:,} bytes, for which the file has {held:,}")
    storage = Storage(
        key=key,
        nbytes=nbytes,
        offset=None if offset is None else offset + array.start,
        byteorder=array.element.byteorder,
    )
    tensor = Tensor(
        name=name,
        shape=array.shape,
        dtype=dtype.name,
        device="cpu",
        stride=array_strides(array.shape, is_fortran=array.is_fortran),
        storage=key,
        stored_bytes=nbytes,
    )
    return tensor, storage
