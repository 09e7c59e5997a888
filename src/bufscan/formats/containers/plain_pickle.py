"""A pickle without torch's container: dicts of arrays, as detectron2 publishes its models."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from bufscan.errors import UnreadableError
from bufscan.formats.checkpoint.pickled_inventory import Container, broken_inventory, inventory_of
from bufscan.formats.containers.anomaly_log import AnomalyLog
from bufscan.formats.pickle.pickle_machine import BrokenPickleError
from bufscan.formats.pickle.pickle_stream import PickleStream
from bufscan.inventory import Skipped

if TYPE_CHECKING:
    from bufscan.bytesource import ByteSource
    from bufscan.inventory import Inventory

_MOST_FURTHER_BYTES = 1_000_000  # what is run takes time for every byte


def read_plain_pickle(source: ByteSource, target: str, *, plain: bool = False) -> Inventory:
    """The inventory of what `pickle.dump` wrote; several pickles may lie behind each other, and one is read.

    Raises:
        UnreadableError: the pickle is broken.
    """
    stream = PickleStream(source)
    anomalies = AnomalyLog()
    container = Container(
        format="pickle",
        locate=lambda _: None,
        byteorder="little",
        storage_keys=(),
        anomalies=anomalies,
        pickle="the file",
    )
    try:
        pickled = stream.next_pickle()
    except BrokenPickleError as error:
        return broken_inventory(error, container, target)
    if rest := source.size - stream.position:
        anomalies.note("trailing_bytes", f"{rest} bytes after the end of the pickle")
        _run_further(stream)
        skipped = Skipped(what="what follows the first pickle", reason="it is not read", failed=True)
        container = container._replace(skipped=(skipped,), globals=stream.globals)
    return inventory_of(pickled, container, target, plain=plain)


def _run_further(stream: PickleStream) -> None:
    """Find the names in the pickles that follow, if there are any: whoever loads them resolves those too."""
    stream.end = min(stream.end, stream.position + _MOST_FURTHER_BYTES)
    with suppress(UnreadableError):
        while stream.position < stream.end:
            stream.next_pickle()
