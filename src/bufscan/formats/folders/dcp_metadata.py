"""The `.metadata` of torch.distributed.checkpoint, read by bufscan's own machine: torch's reader runs it.

Layout: `torch/distributed/checkpoint/metadata.py` and `filesystem.py` of torch 2.13. For each name it has a shape
and the chunks of the tensor, or that it is something else; for each chunk a file, an offset and a length; and for
each name the path in the nested dict that was saved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from bufscan.errors import UnreadableError
from bufscan.formats.pickle.pickle_values import Global, Instance, Pairs, elements_of, lookup, pairs_of
from bufscan.formats.tensors.sizes import is_count, read_sizes
from bufscan.formats.tensors.storages import MalformedTensorError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.formats.pickle.allowance import Allowance

_LONGEST_PATH = 100  # steps
_LONGEST_NAME = 1000  # characters, of a file or an entry
_STEPS = 12


class Item(NamedTuple):
    """One thing that was written: a whole file of torch.save within another file."""

    file: str
    offset: int
    length: int


class Chunk(NamedTuple):
    """A piece of a tensor: where it begins in the whole, its shape, and where it lies; None where nothing says."""

    begin: tuple[int, ...]
    shape: tuple[int, ...]
    item: Item | None


class Entry(NamedTuple):
    """One name.

    Attributes:
        path: the keys and indices that lead to it in what was saved.
        shape: of a whole tensor; None for anything else.
        dtype: as torch names it; None where it has another name than torch's types.
        chunks: of a tensor.
        item: of anything else.
    """

    name: str
    path: tuple[str | int, ...]
    shape: tuple[int, ...] | None
    dtype: str | None = None
    chunks: tuple[Chunk, ...] = ()
    item: Item | None = None


def read_entries(root: Any, allowance: Allowance) -> Iterator[Entry]:
    """The entries that the object in `.metadata` describes, in its order.

    Raises:
        UnreadableError: it describes something else.
    """
    fields = _fields(root)
    named = pairs_of(lookup(fields, "state_dict_metadata"))
    if named is None:
        raise UnreadableError("a `.metadata` that torch.distributed.checkpoint did not write")
    items = _read_items(pairs_of(lookup(fields, "storage_data")) or Pairs(), allowance)
    paths = _read_paths(pairs_of(lookup(fields, "planner_data")) or Pairs(), allowance)
    for name, described in named.entries():
        allowance.look_at(_STEPS)
        if type(name) is not str or len(name) > _LONGEST_NAME:
            raise UnreadableError("a `.metadata` with an entry that has no name")
        path = paths.get(name, (name,))
        if _class_name(described) == "TensorStorageMetadata":
            yield _read_tensor(name, path, _fields(described), items, allowance)
        else:
            yield Entry(name, path, None, item=items.get((name, None)))


def _class_name(value: Any) -> str:
    return value.func.name if type(value) is Instance and type(value.func) is Global else ""


def _fields(value: Any) -> Pairs:
    """The attributes of a dataclass."""
    state = value.state if type(value) is Instance else None
    return state if type(state) is Pairs else Pairs()


def _read_tensor(
    name: str,
    path: tuple[str | int, ...],
    fields: Pairs,
    items: dict[tuple[str, tuple[int, ...] | None], Item],
    allowance: Allowance,
) -> Entry:
    try:
        shape = read_sizes(lookup(fields, "size"))
        chunks = []
        for each in elements_of(lookup(fields, "chunks")) or ():
            allowance.look_at(_STEPS)
            allowance.memory -= 300
            begin, size = (read_sizes(lookup(_fields(each), field)) for field in ("offsets", "sizes"))
            chunks.append(Chunk(begin, size, items.get((name, begin))))
    except MalformedTensorError as error:
        raise UnreadableError(
            f"a `.metadata` that describes a tensor as torch would not: {error.message}"
        ) from error
    if not all(_lies_in(chunk, shape) for chunk in chunks):
        raise UnreadableError("a `.metadata` that describes a piece which lies outside the whole")
    return Entry(name, path, shape, _read_dtype(lookup(fields, "properties")), tuple(chunks))


def _lies_in(chunk: Chunk, shape: tuple[int, ...]) -> bool:
    if not len(chunk.begin) == len(chunk.shape) == len(shape):
        return False
    return all(start + size <= end for start, size, end in zip(chunk.begin, chunk.shape, shape, strict=True))


def _read_dtype(properties: Any) -> str | None:
    """TensorProperties pickles its fields as a tuple, the type first."""
    state = properties.state if type(properties) is Instance else None
    first = state[0] if type(state) is tuple and state else lookup(_fields(properties), "dtype")
    return first.name if type(first) is Global and first.module == "torch" else None


def _read_items(data: Pairs, allowance: Allowance) -> dict[tuple[str, tuple[int, ...] | None], Item]:
    items: dict[tuple[str, tuple[int, ...] | None], Item] = {}
    for index, info in data.entries():
        allowance.look_at(_STEPS)
        allowance.memory -= 300
        key, place = _fields(index), _fields(info)
        name, offset = lookup(key, "fqn"), lookup(key, "offset")
        file, start, length = (lookup(place, field) for field in ("relative_path", "offset", "length"))
        if (
            not (type(name) is type(file) is str and is_count(start) and is_count(length))
            or len(file) > _LONGEST_NAME
        ):
            raise UnreadableError("a `.metadata` that does not say where its entries lie")
        try:
            begin = None if offset is None else read_sizes(offset)
        except MalformedTensorError as error:
            raise UnreadableError(f"a `.metadata` with a piece of no place: {error.message}") from error
        items[name, begin] = Item(file, start, length)
    return items


def _read_paths(data: Pairs, allowance: Allowance) -> dict[str, tuple[str | int, ...]]:
    """Other planners than torch's own may put there what they like: only paths are taken."""
    paths: dict[str, tuple[str | int, ...]] = {}
    for name, path in data.entries():
        allowance.look_at(_STEPS)
        if (
            type(name) is str
            and type(path) is tuple
            and 0 < len(path) <= _LONGEST_PATH
            and all(type(step) is str or is_count(step) for step in path)
        ):
            paths[name] = path
    return paths
