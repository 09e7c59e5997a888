"""What bufscan says of crafted bytes: an inventory, or one short line. Anything else is a failure of the test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bufscan.bytesource import MemorySource
from bufscan.errors import UnreadableError
from bufscan.formats.reading import read_file

if TYPE_CHECKING:
    from bufscan.inventory import Inventory

LONGEST_MESSAGE = 300


def read(data: bytes) -> Inventory:
    """The inventory of the bytes."""
    return read_file(MemorySource("model.pt", data), "model.pt")


def refusal(data: bytes) -> str:
    """The message with which the bytes are refused."""
    with pytest.raises(UnreadableError) as caught:
        read(data)
    return _short(caught.value.message)


def read_or_refuse(data: bytes) -> Inventory | str:
    """Either of the two, for files of which it does not matter."""
    try:
        return read(data)
    except UnreadableError as error:
        message = error.message
    return _short(message)


def _short(message: str) -> str:
    assert len(message) <= LONGEST_MESSAGE
    return message


def names(inventory: Inventory) -> list[str]:
    """The tensors' names with their sections."""
    return [tensor.path for tensor in inventory.tensors]


def anomalies(inventory: Inventory) -> set[str]:
    """What is odd, in the words for machines."""
    assert all(len(anomaly.message) <= LONGEST_MESSAGE for anomaly in inventory.anomalies)
    return {anomaly.kind for anomaly in inventory.anomalies}


def failures(inventory: Inventory) -> str:
    """Why things were not examined that should have been."""
    return "; ".join(f"{skipped.what}: {skipped.reason}" for skipped in inventory.skipped if skipped.failed)


def is_clean(inventory: Inventory) -> bool:
    """Whether nothing at all is odd about the file."""
    return not (inventory.anomalies or inventory.globals or failures(inventory))
