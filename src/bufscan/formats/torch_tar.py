"""torch.save's first format (torch 0.1): a tar archive of pickles, read where it lies.

Layout: `legacy_load` of torch/serialization.py. `storages` and `tensors` list their members as pickles with raw
numbers in between; the main pickle refers to tensors by the decimal of their key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bufscan.errors import UnreadableError
from bufscan.formats.anomaly_log import AnomalyLog
from bufscan.formats.listing import listed, quoted
from bufscan.formats.pickle_stream import PickleStream
from bufscan.formats.pickle_values import Global, Instance, PersistentId
from bufscan.formats.pickled_inventory import Container, inventory_of
from bufscan.formats.signatures import is_tar, tar_number
from bufscan.formats.storages import Extent, MalformedTensorError, read_reference

if TYPE_CHECKING:
    from bufscan.bytesource import ByteSource
    from bufscan.inventory import Inventory

_BLOCK = 512
_MOST_MEMBERS = 1000
_MOST_DIMENSIONS = 64
_MOST_PICKLES = 100_000  # in one member; models of 2016 had hundreds
_MEMBERS = ("storages", "tensors", "pickle")
_REGULAR = (b"0", b"\0")
_TYPE, _PREFIX = slice(156, 157), slice(345, 500)


def read_torch_tar(source: ByteSource, target: str, *, plain: bool = False) -> Inventory:
    """The inventory of a checkpoint that torch 0.1 wrote. Nothing is extracted.

    Raises:
        UnreadableError: it is another kind of tar archive, or a part of it is broken.
    """
    try:
        members = _members(source)
    except UnreadableError as error:
        raise _holding(source, target) or error from None
    missing = [name for name in _MEMBERS if name not in members]
    if missing:
        raise _holding(source, target) or UnreadableError(
            f"a tar archive, but not a PyTorch checkpoint: it has no member `{missing[0]}`"
        )
    streams = {name: PickleStream(source, *members[name]) for name in _MEMBERS}
    references, extents = _read_storages(streams["storages"])
    tensors = _read_tensors(streams["tensors"], references)
    pickled = streams["pickle"].next_pickle()
    anomalies = AnomalyLog()
    for name, stream in streams.items():
        if stream.position < stream.end:
            anomalies.note("trailing_bytes", f"{stream.end - stream.position} bytes at the end of member `{name}`")
    if foreign := sorted(members.keys() - {*_MEMBERS, "sys_info"}):
        anomalies.note("foreign_record", f"{len(foreign)} members that torch did not write: {listed(foreign)}")
    container = Container(
        format="torch-tar",
        locate=extents.get,
        byteorder="little",
        storage_keys=extents,
        anomalies=anomalies,
        globals=[name for stream in streams.values() for name in stream.globals],
        tensors_by_id=tensors,
    )
    return inventory_of(pickled, container, target, plain=plain)


def _holding(source: ByteSource, target: str) -> UnreadableError | None:
    """That it is an archive of checkpoints, as NeMo's are, where it is one."""
    from bufscan.formats.archives import holding, read_members  # torch's own archives need neither

    try:
        return holding("a tar archive", read_members(source).names, target)
    except UnreadableError:
        return None


def _members(source: ByteSource) -> dict[str, tuple[int, int]]:
    """Start and end of every regular member, by name.

    torch reads archives with Python's tarfile, which knows many extensions; what could mean something else to it
    is refused.
    """
    members: dict[str, tuple[int, int]] = {}
    position = 0
    for _ in range(_MOST_MEMBERS):
        if position + _BLOCK > source.size:
            break
        header = source.read(position, _BLOCK)
        if not header.strip(b"\0"):
            break
        size = tar_number(header[124:136])
        if not is_tar(header) or size is None or size < 0:
            raise UnreadableError(f"the tar archive is broken at byte {position}")
        name = header[:100].partition(b"\0")[0].decode("latin-1")
        if header[_TYPE] not in _REGULAR or header[_PREFIX].strip(b"\0") or name.endswith("/"):
            raise UnreadableError(f"member {quoted(name)} of the tar archive is none that torch writes")
        start = position + _BLOCK
        if start + size > source.size:
            raise UnreadableError(f"member {quoted(name)} of the tar archive ends after the file")
        if name in members:
            raise UnreadableError(f"two members of the tar archive are called {quoted(name)}")
        members[name] = (start, start + size)
        position = start + -(-size // _BLOCK) * _BLOCK
    else:
        raise UnreadableError(f"a tar archive of more than {_MOST_MEMBERS} members")
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
    if type(value) is not int or not 0 <= value <= min(_MOST_PICKLES, stream.end - stream.position):
        raise UnreadableError("a tar checkpoint with a count that its bytes cannot hold")
    return value
