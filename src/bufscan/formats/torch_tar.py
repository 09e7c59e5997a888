"""torch.save's first format (torch 0.1): a tar archive of pickles, read where it lies.

Layout: `legacy_load` of torch/serialization.py. `storages` and `tensors` list their members as pickles with raw
numbers in between; the main pickle refers to tensors by the decimal of their key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bufscan.errors import UnreadableError
from bufscan.formats.anomaly_log import AnomalyLog
from bufscan.formats.pickle_stream import PickleStream
from bufscan.formats.pickle_values import Global, Instance, PersistentId
from bufscan.formats.pickled_inventory import Container, inventory_of
from bufscan.formats.signatures import is_tar
from bufscan.formats.storages import Extent, MalformedTensorError, read_reference

if TYPE_CHECKING:
    from bufscan.bytesource import ByteSource
    from bufscan.inventory import Inventory

_BLOCK = 512
_MOST_MEMBERS = 1000
_MOST_DIMENSIONS = 64
_REGULAR = (b"0", b"\0")


def read_torch_tar(source: ByteSource, target: str) -> Inventory:
    """The inventory of a checkpoint that torch 0.1 wrote. Nothing is extracted.

    Raises:
        UnreadableError: it is another kind of tar archive, or a part of it is broken.
    """
    members = _members(source)
    missing = [name for name in ("storages", "tensors", "pickle") if name not in members]
    if missing:
        raise UnreadableError(f"a tar archive, but not a PyTorch checkpoint: it has no member `{missing[0]}`")
    references, extents = _read_storages(PickleStream(source, *members["storages"]))
    tensors = _read_tensors(PickleStream(source, *members["tensors"]), references)
    stream = PickleStream(source, *members["pickle"])
    pickled = stream.next_pickle()
    container = Container(
        format="torch-tar",
        locate=extents.get,
        byteorder="little",
        storage_keys=extents,
        anomalies=AnomalyLog(),
        tensors_by_id=tensors,
    )
    size = members["tensors"][1] - members["tensors"][0] + stream.position - members["pickle"][0]
    return inventory_of(pickled, size, container, target)


def _members(source: ByteSource) -> dict[str, tuple[int, int]]:
    """Start and end of every regular member, by name."""
    members: dict[str, tuple[int, int]] = {}
    position = 0
    for _ in range(_MOST_MEMBERS):
        if position + _BLOCK > source.size:
            break
        header = source.read(position, _BLOCK)
        if not header.strip(b"\0"):
            break
        name = header[:100].rstrip(b"\0").decode("latin-1")
        digits = header[124:136].strip(b" \0")
        if not is_tar(header) or not digits.isdigit():
            raise UnreadableError(f"the tar archive is broken at byte {position}")
        try:
            size = int(digits, 8)
        except ValueError:
            raise UnreadableError(f"the tar archive is broken at byte {position}") from None
        start = position + _BLOCK
        if start + size > source.size:
            raise UnreadableError(f"member `{name}` of the tar archive ends after the file")
        if header[156:157] in _REGULAR:
            if name in members:
                raise UnreadableError(f"two members of the tar archive are called `{name}`")
            members[name] = (start, start + size)
        position = start + -(-size // _BLOCK) * _BLOCK
    return members


def _read_storages(stream: PickleStream) -> tuple[dict[int, tuple[Any, ...]], dict[str, Extent]]:
    """The persistent id that a later format would give each storage, and where its elements lie, by key."""
    references: dict[int, tuple[Any, ...]] = {}
    extents: dict[str, Extent] = {}
    for _ in range(_count(stream)):
        match stream.next_pickle().value:
            case (int(key), str(location), Global() as storage_class) if 0 <= key < 1 << 64:
                numel = stream.next_integer()
                references[key] = ("storage", storage_class, str(key), location, numel)
                reference = read_reference(PersistentId(references[key]))
                extents[str(key)] = Extent(reference.nbytes, stream.position)
                stream.skip(reference.nbytes)
            case _:
                raise UnreadableError("a tar checkpoint whose list of storages torch did not write")
    if stream.next_pickle().value:
        raise UnreadableError("a tar checkpoint with views of storages, which bufscan does not read")
    return references, extents


def _read_tensors(stream: PickleStream, references: dict[int, tuple[Any, ...]]) -> dict[str, Instance]:
    """Each tensor as the call that a later format would hold, by its key's decimal."""
    rebuild = Global("torch._utils", "_rebuild_tensor")
    tensors: dict[str, Instance] = {}
    for _ in range(_count(stream)):
        match stream.next_pickle().value:
            case (int(key), int(storage), Global()) if 0 <= key < 1 << 64 and 0 <= storage < 1 << 64:
                dimensions = stream.next_integer(4)
                if dimensions > _MOST_DIMENSIONS or storage not in references:
                    raise MalformedTensorError("a tar checkpoint with a tensor that torch did not write")
                stream.skip(4)
                sizes = tuple(stream.next_integer() for _ in range(dimensions))
                strides = tuple(stream.next_integer() for _ in range(dimensions))
                reference = PersistentId(references[storage])
                tensors[str(key)] = Instance(rebuild, (reference, stream.next_integer(), sizes, strides))
            case _:
                raise UnreadableError("a tar checkpoint whose list of tensors torch did not write")
    return tensors


def _count(stream: PickleStream) -> int:
    value = stream.next_pickle().value
    if type(value) is not int or not 0 <= value <= stream.end - stream.position:
        raise UnreadableError("a tar checkpoint with a count that its bytes cannot hold")
    return value
