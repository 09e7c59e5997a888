"""From the bytes of a checkpoint's pickle to its inventory; what the zip and the older containers share."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

from bufscan.formats.checkpoint.collecting import Collector
from bufscan.formats.checkpoint.pickled_checkpoint import CheckpointReader
from bufscan.formats.pickle.foreign_names import foreign_names
from bufscan.formats.tensors.rebuilding import Rebuilder
from bufscan.formats.tensors.storages import StorageTable
from bufscan.inventory import Inventory, Skipped
from bufscan.ties import with_ties

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from bufscan.formats.containers.anomaly_log import AnomalyLog
    from bufscan.formats.pickle.pickle_machine import BrokenPickleError, Pickled
    from bufscan.formats.pickle.pickle_values import Global
    from bufscan.formats.tensors.reconstruction import Builder
    from bufscan.formats.tensors.storages import Extent
    from bufscan.inventory import PlainValue


_FIRST_ALONE = "of the values beside its tensors only the first are told; `bufscan diff` compares all of them"


class Container(NamedTuple):
    """What the file around the pickle says.

    Attributes:
        format: the inventory's word for it.
        locate: where the bytes of the storage with a given key lie; None when there are none.
        byteorder: of the stored elements.
        storage_keys: every storage that the file holds.
        anomalies: what is odd about the container itself; its storages add to it.
        pickle: what its pickle is called.
        builders: of the tensors that its reader put into what the pickle describes.
        globals: names in the container's other pickles, of which torch runs every one.
        skipped: what of the container could not be examined.
    """

    format: str
    locate: Callable[[str], Extent | None]
    byteorder: Literal["little", "big"]
    storage_keys: Iterable[str]
    anomalies: AnomalyLog
    pickle: str = "the pickle"
    globals: Iterable[Global] = ()
    builders: Mapping[Global, Builder] = MappingProxyType({})
    skipped: tuple[Skipped, ...] = ()


def inventory_of(pickled: Pickled, container: Container, target: str, *, plain: bool) -> Inventory:
    """Collect everything that a checkpoint's pickle describes; values beside the tensors where `plain`."""
    storages = StorageTable(container.locate, byteorder=container.byteorder, anomalies=container.anomalies)
    rebuilder = Rebuilder(storages, pickled.allowance)
    for func, builder in container.builders.items():
        rebuilder.learn(func, builder)
    collector = Collector(rebuilder, pickled.allowance)
    reader = CheckpointReader(collector)
    reader.read(pickled.value)
    storages.note_unused(container.storage_keys, pickled.persistent_ids)
    training, is_whole = _training_values(pickled, rebuilder, reader.apart)
    return Inventory(
        target=target,
        format=container.format,
        tensors=tuple(with_ties(collector.tensors)),
        storages=storages.storages,
        module_trees=tuple(reader.module_trees),
        optimizers=tuple(reader.optimizers),
        extra_states=tuple(reader.extra_states),
        whole_modules=tuple(reader.whole_modules),
        foreign_names=tuple(foreign_names((*pickled.globals, *container.globals), container.pickle)),
        anomalies=container.anomalies.anomalies(),
        skipped=(*collector.skipped, *storages.unreadable(collector.tensors), *container.skipped),
        notes=tuple(reader.notes if is_whole else (*reader.notes, _FIRST_ALONE)),
        plain=_plain_values(pickled, rebuilder) if plain else (),
        training=training,
    )


def _training_values(
    pickled: Pickled, rebuilder: Rebuilder, apart: frozenset[int]
) -> tuple[tuple[PlainValue, ...], bool]:
    if not apart:
        return (), True
    from bufscan.formats.checkpoint.plain_values import training_values  # only training checkpoints have them

    return training_values(pickled.value, rebuilder, apart)


def _plain_values(pickled: Pickled, rebuilder: Rebuilder) -> tuple[PlainValue, ...]:
    from bufscan.formats.checkpoint.plain_values import plain_values  # only a comparison asks for them

    return plain_values(pickled.value, rebuilder, pickled.allowance)


def broken_inventory(error: BrokenPickleError, container: Container, target: str) -> Inventory:
    """What a pickle says before it breaks: no tensors, but the names that loading it would have resolved by then.

    Raises:
        BrokenPickleError: the same, where there is no such name.
    """
    names = tuple(foreign_names((*error.globals, *container.globals), container.pickle))
    if all(name.library is not None for name in names):
        raise error
    failed = Skipped(what=container.pickle, reason=error.message, failed=True)
    return Inventory(
        target=target,
        format=container.format,
        foreign_names=names,
        anomalies=container.anomalies.anomalies(),
        skipped=(failed, *container.skipped),
    )
