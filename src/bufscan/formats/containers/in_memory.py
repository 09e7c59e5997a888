"""A checkpoint in memory: the pickle that torch would write of it, and the sizes of its storages."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from msgspec import structs

from bufscan.formats.checkpoint.pickled_inventory import Container, inventory_of
from bufscan.formats.containers.anomaly_log import AnomalyLog
from bufscan.formats.pickle.pickle_machine import run_pickle
from bufscan.formats.tensors.storages import Extent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bufscan.inventory import Inventory


def read_memory(written: bytes, nbytes: Mapping[str, int], target: str, *, plain: bool = False) -> Inventory:
    """The inventory of what the pickle describes; `nbytes` of the storages that it refers to, by their keys."""
    container = Container(
        format="memory",
        locate=lambda key: Extent(nbytes[key], None) if key in nbytes else None,
        byteorder=sys.byteorder,
        storage_keys=(),
        anomalies=AnomalyLog(),
        pickle="the dict",
    )
    pickled = run_pickle(written, file_bytes=len(written) + sum(nbytes.values()))
    # Nothing of it will be loaded: what its classes are called warns of nothing.
    return structs.replace(inventory_of(pickled, container, target, plain=plain), foreign_names=())
