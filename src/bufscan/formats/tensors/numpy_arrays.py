"""NumPy's arrays and scalars in a pickle: what they would be, told from their arguments. Nothing is called.

`ndarray.__reduce__` writes `_reconstruct(ndarray, (0,), b"b")` and the state (version, shape, dtype, is_fortran,
bytes); with protocol 5 it is `_frombuffer(bytes, dtype, shape, order)`. Before protocol 3 bytes are written as
`_codecs.encode(text, "latin1")`. A scalar is `scalar(dtype, bytes)`. Read off numpy 2.4.
"""

from __future__ import annotations

import struct
from math import prod
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from bufscan.dtypes import DTYPES, DType
from bufscan.formats.pickle.pickle_values import Global, Instance
from bufscan.formats.tensors.sizes import is_count
from bufscan.formats.tensors.storages import MalformedTensorError
from bufscan.inventory import Tensor

if TYPE_CHECKING:
    from bufscan.formats.tensors.rebuilding import Rebuilder

_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")

_TYPES = {
    **{f"f{size}": f"float{8 * size}" for size in (2, 4, 8)},
    **{
        f"{kind}{size}": f"{name}{8 * size}"
        for kind, name in (("i", "int"), ("u", "uint"))
        for size in (1, 2, 4, 8)
    },
    **{f"c{size}": f"complex{8 * size}" for size in (8, 16)},
    "b1": "bool",
}
"""torch's name by NumPy's; NumPy has types beyond these, which torch has not."""

_SCALARS = {"f2": "e", "f4": "f", "f8": "d", "b1": "?"} | dict(
    zip(("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"), "bhiqBHIQ", strict=True)
)

_MOST_DIMENSIONS = 64
_STATE = 5


class ElementType(NamedTuple):
    """What a pickled `numpy.dtype` says: its code (`f4`), and the order of an element's bytes."""

    code: str
    byteorder: Literal["little", "big"]

    @property
    def dtype(self) -> DType | None:
        """The same type in torch."""
        name = _TYPES.get(self.code)
        return None if name is None else DTYPES[name]


def is_array(value: Any) -> bool:
    """Whether the value is a call that makes an array."""
    return _is_call_of(value, "_reconstruct", "_frombuffer")


def is_tensor_array(value: Any) -> bool:
    """Whether it is an array of a type that torch has."""
    element = _fields(value)[1] if is_array(value) else None
    return element is not None and element.dtype is not None


def element_type_name(value: Any) -> str:
    """NumPy's word for the elements of an array, for messages."""
    element = _fields(value)[1]
    return "of an unknown type" if element is None else f"of type {element.code[:16]}"


class Number(NamedTuple):
    """A NumPy scalar: its value and NumPy's code of its type."""

    value: bool | int | float
    code: str


def scalar_of(value: Any) -> Number | None:
    """The number that a pickled NumPy scalar is; None for anything else."""
    if not _is_call_of(value, "scalar") or type(value.args) is not tuple or len(value.args) != 2:  # noqa: PLR2004
        return None
    element, raw = _element_type(value.args[0]), bytes_of(value.args[1])
    layout = None if element is None else _SCALARS.get(element.code)
    if element is None or layout is None or raw is None or len(raw) != struct.calcsize(layout):
        return None
    order = "<" if element.byteorder == "little" else ">"
    return Number(struct.unpack(order + layout, raw)[0], element.code)


def rebuild_array(rebuilder: Rebuilder, value: Instance) -> Tensor:
    """The record of an array, whose bytes become a storage of the inventory.

    Raises:
        MalformedTensorError: NumPy could not have written it.
    """
    shape, element, is_fortran, data = _fields(value)
    raw = bytes_of(data)
    if shape is None or element is None or element.dtype is None or raw is None:
        raise MalformedTensorError("it is not described as NumPy describes an array")
    dtype = element.dtype
    if dtype.nbytes(prod(shape)) != len(raw):
        raise MalformedTensorError(f"its shape does not fit its {len(raw):,} bytes of {dtype.name}")
    return Tensor(
        name="",
        shape=shape,
        dtype=dtype.name,
        device="cpu",
        stride=array_strides(shape, is_fortran=is_fortran),
        storage=rebuilder.storages.keep(value, raw, element.byteorder),
        stored_bytes=len(raw),
        requires_grad=False,
    )


def array_strides(shape: tuple[int, ...], *, is_fortran: bool) -> tuple[int, ...]:
    """In elements, of an array that lies in one piece; in Fortran's order the first index runs fastest."""
    if not shape:
        return ()
    strides = [1]
    for size in (shape if is_fortran else shape[::-1])[:-1]:
        strides.append(strides[-1] * (size or 1))
    return tuple(strides if is_fortran else reversed(strides))


def _is_call_of(value: Any, *names: str) -> bool:
    func = value.func if type(value) is Instance else None
    return type(func) is Global and func.module in _MODULES and func.name in names


def _fields(value: Instance) -> tuple[tuple[int, ...] | None, ElementType | None, bool, Any]:
    """Shape, element type, whether the first index runs fastest, and what holds the bytes; None where unclear."""
    match value.func.name, value.args, value.state:
        case "_reconstruct", _, (_, tuple(shape), dtype, fortran, data):
            return read_shape(shape), _element_type(dtype), fortran is True, data
        case "_frombuffer", (data, dtype, tuple(shape), str(order)), None:
            return read_shape(shape), _element_type(dtype), order == "F", data
        case _:
            return None, None, False, None


def read_shape(sizes: tuple[Any, ...]) -> tuple[int, ...] | None:
    """The sizes, where they are those of an array."""
    return sizes if len(sizes) <= _MOST_DIMENSIONS and all(map(is_count, sizes)) else None


def _element_type(value: Any) -> ElementType | None:
    """`dtype("f4", False, True)` with the state (3, "<", None, ...)."""
    is_dtype = type(value) is Instance and value.is_call_of("numpy", "dtype")
    if not is_dtype or type(value.args) is not tuple or not value.args or type(value.args[0]) is not str:
        return None
    order = value.state[1] if type(value.state) is tuple and len(value.state) >= _STATE else "<"
    return ElementType(value.args[0], "big" if type(order) is str and order == ">" else "little")


def bytes_of(value: Any) -> bytes | None:
    """The bytes that a value is, however they are written; None for anything else."""
    if type(value) is bytes:
        return value
    if type(value) is Instance and type(value.func) is Global and type(value.args) is tuple:
        match (value.func.qualified, *value.args):
            case "_codecs.encode", str(text), "latin1":
                try:
                    return text.encode("latin-1")
                except UnicodeEncodeError:
                    return None
            case "builtins.bytearray" | "__builtin__.bytearray", bytes(data):
                return data
            case ("builtins.bytes" | "__builtin__.bytes",):  # how empty bytes are written before protocol 3
                return b""
            case _:
                pass
    return None
