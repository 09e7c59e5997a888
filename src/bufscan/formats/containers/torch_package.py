"""Archives of torch.package: pickles by their paths, with the storages in `.data/`, and the Python code they need.

Layout: `torch/package/package_exporter.py` of torch 2.13. The code is not looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bufscan.errors import UnreadableError
from bufscan.formats.checkpoint.pickled_inventory import Container, inventory_of
from bufscan.formats.pickle.pickle_values import Pairs

if TYPE_CHECKING:
    from bufscan.formats.containers.torch_zip import Archive
    from bufscan.formats.pickle.pickle_machine import Pickled
    from bufscan.formats.tensors.storages import Extent
    from bufscan.inventory import Inventory

_NOTE = "an archive of torch.package: whoever loads it runs the Python code in it"
_MOST_PICKLES = 1000


def read_torch_package(archive: Archive, target: str, *, plain: bool = False) -> Inventory:
    """The inventory of all pickles in the archive; where there are several, each is a section.

    Raises:
        UnreadableError: one of them is broken, or there is none.
    """
    names = [
        name for record in archive.below("") if (name := archive.name_of(record)).endswith(".pkl")
    ]  # fmt: skip
    if not names or len(names) > _MOST_PICKLES:
        raise UnreadableError("an archive of torch.package without a pickle in it, or with very many")
    pickles: dict[str, Pickled] = {}
    allowance = None
    for name in names:
        pickles[name] = archive.run(name, allowance)
        allowance = pickles[name].allowance
    first = next(iter(pickles.values()))
    root = first.value
    if len(pickles) > 1:
        root = Pairs(part for name, pickled in pickles.items() for part in (name, pickled.value))

    def locate(key: str) -> Extent | None:
        return archive.locate_in(f".data/{key}.storage")

    container = Container(
        format="torch-package",
        locate=locate,
        byteorder=archive.byteorder(),
        storage_keys=(),
        anomalies=archive.anomalies,
        pickle="the pickles",
    )
    whole = msgspec.structs.replace(
        first,
        value=root,
        globals=tuple(name for pickled in pickles.values() for name in pickled.globals),
        persistent_ids=[each for pickled in pickles.values() for each in pickled.persistent_ids],
    )
    inventory = inventory_of(whole, container, target, plain=plain)
    return msgspec.structs.replace(inventory, notes=(*inventory.notes, _NOTE))
