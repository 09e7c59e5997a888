"""A pickle without torch's container: dicts of arrays, as detectron2 publishes its models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.formats.anomaly_log import AnomalyLog
from bufscan.formats.pickle_stream import PickleStream
from bufscan.formats.pickled_inventory import Container, inventory_of
from bufscan.inventory import Skipped

if TYPE_CHECKING:
    from bufscan.bytesource import ByteSource
    from bufscan.inventory import Inventory


def read_plain_pickle(source: ByteSource, target: str, *, plain: bool = False) -> Inventory:
    """The inventory of what `pickle.dump` wrote; several pickles may lie behind each other, and one is read.

    Raises:
        UnreadableError: the pickle is broken.
    """
    stream = PickleStream(source)
    pickled = stream.next_pickle()
    anomalies = AnomalyLog()
    skipped: tuple[Skipped, ...] = ()
    if rest := source.size - stream.position:
        anomalies.note("trailing_bytes", f"{rest} bytes after the end of the pickle")
        skipped = (Skipped(what="what follows the first pickle", reason="it is not read", failed=True),)
    container = Container(
        format="pickle",
        locate=lambda _: None,
        byteorder="little",
        storage_keys=(),
        anomalies=anomalies,
        skipped=skipped,
    )
    return inventory_of(pickled, container, target, plain=plain)
