"""Integers of a tensor record, checked to be what torch could hold."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

from bufscan.formats.pickle.pickle_values import elements_of
from bufscan.formats.tensors.storages import MalformedTensorError

_LARGEST = 1 << 63  # torch keeps sizes, strides and offsets in int64
_MAX_DIMENSIONS = 64


def is_count(value: Any) -> bool:
    """Whether the value is a number of elements, an offset or a stride that torch could hold."""
    return type(value) is int and 0 <= value < _LARGEST


def read_counts(value: Any) -> tuple[int, ...]:
    """A tuple or torch.Size of such numbers.

    Raises:
        MalformedTensorError: it is anything else.
    """
    elements = value if type(value) is tuple else elements_of(value)
    if elements is not None and len(elements) <= _MAX_DIMENSIONS:
        for element in elements:
            if type(element) is not int or not 0 <= element < _LARGEST:
                break
        else:
            return tuple(elements)
    raise MalformedTensorError("its sizes or strides are not integers that torch could hold")


class Geometry(NamedTuple):
    """How a tensor lies over its storage.

    Attributes:
        reach: its last element, counted from its first; None where it has none.
    """

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    reach: int | None


def read_geometry(size: Any, stride: Any) -> Geometry:
    """Sizes and strides, which must be as many.

    Raises:
        MalformedTensorError: they are anything else.
    """
    shape, steps = read_sizes(size), read_counts(stride)
    if len(shape) != len(steps):
        raise MalformedTensorError("its sizes and strides do not fit together")
    if 0 in shape:
        return Geometry(shape, steps, None)
    return Geometry(shape, steps, reach_of(shape, steps))


def reach_of(shape: tuple[int, ...], stride: tuple[int, ...]) -> int:
    """The last element, counted from the first, of a tensor that has any."""
    return sum((length - 1) * step for length, step in zip(shape, stride, strict=True))


def read_sizes(value: Any) -> tuple[int, ...]:
    """A shape: counts whose product torch could hold.

    Raises:
        MalformedTensorError: it is anything else.
    """
    shape = read_counts(value)
    if prod(shape) >= _LARGEST:
        raise MalformedTensorError("it has more elements than torch can count")
    return shape
