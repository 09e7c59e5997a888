"""torch.save's format before 1.6: five pickles, then the storages one after the other.

Layout: `_legacy_save` of torch/serialization.py: magic number, protocol version, system information, the object,
the storage keys in order; then for each key an int64 count of elements and the elements themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bufscan.errors import UnreadableError
from bufscan.formats.checkpoint.pickled_inventory import Container, broken_inventory, inventory_of
from bufscan.formats.containers.anomaly_log import AnomalyLog
from bufscan.formats.pickle.pickle_machine import BrokenPickleError
from bufscan.formats.pickle.pickle_stream import PickleStream
from bufscan.formats.tensors.storages import Extent, MalformedTensorError, read_reference

if TYPE_CHECKING:
    from bufscan.bytesource import ByteSource
    from bufscan.formats.pickle.pickle_machine import Pickled
    from bufscan.inventory import Inventory

_PROTOCOL = 1001


def read_torch_legacy(source: ByteSource, target: str, *, plain: bool = False) -> Inventory:
    """The inventory of a checkpoint in the older format.

    Raises:
        UnreadableError: one of its pickles is broken or it ends too early.
    """
    stream = PickleStream(source)
    try:
        return _read(stream, source, target, plain=plain)
    except BrokenPickleError as error:
        container = Container(
            format="torch-legacy",
            locate=lambda _: None,
            byteorder="little",
            storage_keys=(),
            anomalies=AnomalyLog(),
            pickle="the file",
            globals=stream.globals,
        )
        return broken_inventory(error, container, target)


def _read(stream: PickleStream, source: ByteSource, target: str, *, plain: bool) -> Inventory:
    stream.next_pickle()  # the magic number
    if stream.next_pickle().value != _PROTOCOL:
        raise UnreadableError("a legacy checkpoint of an unknown protocol version")
    stream.next_pickle()  # the system information: elements are little-endian whatever it says
    pickled = stream.next_pickle()
    keys = _storage_keys(stream.next_pickle().value)
    extents = _extents(stream, keys, pickled)
    anomalies = AnomalyLog()
    if stream.position < source.size:
        anomalies.note("trailing_bytes", f"{source.size - stream.position} bytes after the last storage")
    container = Container(
        format="torch-legacy",
        locate=extents.get,
        byteorder="little",
        storage_keys=keys,
        anomalies=anomalies,
        pickle="the file",
        globals=stream.globals,
    )
    return inventory_of(pickled, container, target, plain=plain)


def _storage_keys(value: Any) -> list[str]:
    if type(value) is not list or not all(type(key) is str for key in value):
        raise UnreadableError("a legacy checkpoint without its list of storages")
    return value


def _extents(stream: PickleStream, keys: list[str], pickled: Pickled) -> dict[str, Extent]:
    """Where the elements of each storage lie. Their width is known only from the references in the pickle."""
    widths: dict[str, int] = {}
    for persistent_id in pickled.persistent_ids:
        try:
            reference = read_reference(persistent_id)
        except MalformedTensorError:
            continue  # a module's source code, or a record that will be skipped where it is used
        widths.setdefault(reference.key, reference.dtype.bits // 8)  # torch too keeps the first
    extents: dict[str, Extent] = {}
    for key in keys:
        numel = stream.next_integer()
        if key not in widths:
            raise UnreadableError("a legacy checkpoint that stores something its pickle does not refer to")
        if key in extents:
            raise UnreadableError("a legacy checkpoint that lists a storage twice")
        nbytes = numel * widths[key]
        extents[key] = Extent(nbytes, stream.position)
        stream.skip(nbytes)
    return extents
