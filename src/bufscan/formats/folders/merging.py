"""Several shards of one checkpoint made into one inventory, and their contents held against each other."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from bufscan.formats.folders.dcp_pieces import PIECES_NOTE, SHARDING_INFO, join_pieces
from bufscan.formats.listing import counted, listed
from bufscan.inventory import Anomaly, Inventory, ModuleTree, Skipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bufscan.formats.folders.shard_index import ShardIndex
    from bufscan.inventory import Part, Tensor


class Shard(NamedTuple):
    """What one file of a folder holds."""

    file: str
    inventory: Inventory


def merge(shards: Sequence[Shard], target: str) -> Inventory:
    """One inventory of all shards: storages and tensors say which file they are in."""
    shards = [Shard(file, _in_file(inventory, file)) for file, inventory in shards]
    inventories = [shard.inventory for shard in shards]
    formats = {inventory.format for inventory in inventories}
    tensors, incomplete = _merge_tensors(shards)
    return Inventory(
        target=target,
        format="safetensors-sharded" if formats == {"safetensors"} else "torch-sharded",
        tensors=tuple(tensors),
        storages=dict(chain.from_iterable(inventory.storages.items() for inventory in inventories)),
        module_trees=_merge_trees(inventories),
        optimizers=tuple(optimizer for inventory in inventories for optimizer in inventory.optimizers),
        extra_states=tuple(each for inventory in inventories for each in inventory.extra_states),
        training=tuple(each for inventory in inventories for each in inventory.training),
        whole_modules=tuple(section for inventory in inventories for section in inventory.whole_modules),
        foreign_names=tuple(
            replace(name, where=f"{name.where} in {file}" if name.where else file)
            for file, inventory in shards
            for name in inventory.foreign_names
        ),
        anomalies=(
            *(
                replace(anomaly, message=f"{file}: {anomaly.message}")
                for file, inventory in shards
                for anomaly in inventory.anomalies
            ),
            *_find_repeated_names(tensors),
        ),
        skipped=(
            *(
                replace(skipped, what=f"{file}: {skipped.what}")
                for file, inventory in shards
                for skipped in inventory.skipped
            ),
            *incomplete,
        ),
        metadata=_merge_metadata(shards),
        notes=_merge_notes(shards),
        plain=tuple(each for inventory in inventories for each in inventory.plain),
    )


def _merge_tensors(shards: Sequence[Shard]) -> tuple[list[Tensor], list[Skipped]]:
    tensors = list(chain.from_iterable(inventory.tensors for _, inventory in shards))
    sharding_info = {
        file: inventory.metadata[SHARDING_INFO]
        for file, inventory in shards
        if SHARDING_INFO in inventory.metadata
    }
    return join_pieces(tensors, sharding_info) if sharding_info else (tensors, [])


def _in_file(inventory: Inventory, file: str) -> Inventory:
    """The same with the file told in its records, and in the keys of its storages."""
    if inventory.format == "safetensors":
        return inventory  # its reader knew the file already

    def placed(part: Part) -> Part:
        return part if part.storage is None else replace(part, storage=f"{file}:{part.storage}")

    return replace(
        inventory,
        tensors=tuple(
            replace(
                tensor,
                file=file,
                storage=None if tensor.storage is None else f"{file}:{tensor.storage}",
                parts=tuple(map(placed, tensor.parts)),
            )
            for tensor in inventory.tensors
        ),
        storages={
            f"{file}:{key}": replace(storage, key=f"{file}:{key}", file=file)
            for key, storage in inventory.storages.items()
        },
    )


def _merge_trees(inventories: Sequence[Inventory]) -> tuple[ModuleTree, ...]:
    versions: dict[str, dict[str, int | None]] = {}
    for inventory in inventories:
        for tree in inventory.module_trees:
            versions.setdefault(tree.section, {}).update(tree.versions)
    return tuple(ModuleTree(section=section, versions=found) for section, found in versions.items())


def _merge_metadata(shards: Sequence[Shard]) -> dict[str, str]:
    """What all shards say the same once, what they say differently by file."""
    merged: dict[str, str] = {}
    for file, inventory in shards:
        for key, text in inventory.metadata.items():
            if key != SHARDING_INFO and merged.setdefault(key, text) != text:
                merged[f"{file}: {key}"] = text
    return merged


def _merge_notes(shards: Sequence[Shard]) -> tuple[str, ...]:
    """What all shards say once, the rest by file."""
    notes = [(file, note) for file, inventory in shards for note in inventory.notes if note != PIECES_NOTE]
    common = set.intersection(*(set(inventory.notes) for _, inventory in shards))
    return tuple(dict.fromkeys(note if note in common else f"{file}: {note}" for file, note in notes))


def _find_repeated_names(tensors: Sequence[Tensor]) -> Iterator[Anomaly]:
    if len({tensor.path for tensor in tensors}) == len(tensors):
        return
    first: dict[str, Tensor] = {}
    repeated: dict[str | None, list[str]] = {}
    for tensor in tensors:
        if first.setdefault(tensor.path, tensor) is not tensor:
            repeated.setdefault(tensor.file, []).append(tensor.path)
    for file, names in repeated.items():
        message = f"{file} holds {listed(names)}, as another shard does"
        yield Anomaly(kind="repeated_tensor", message=message)


class Comparison(NamedTuple):
    """Where an index and its shards differ, and what else is to be said of it."""

    anomalies: tuple[Anomaly, ...]
    skipped: tuple[Skipped, ...]


def compare_with_index(shards: Sequence[Shard], index: ShardIndex) -> Comparison:
    """Hold the names that each shard has against those that the index expects in it."""
    # A tie that `__metadata__` records is in no index: it takes no place in the file either.
    present = {
        file: {tensor.path: tensor.alias_of is None for tensor in inventory.tensors} for file, inventory in shards
    }
    if all(names.keys() == set(index.names[file]) for file, names in present.items()):
        return Comparison((), ())
    everywhere = {name for names in present.values() for name in names}
    anomalies: list[Anomaly] = []
    skipped: list[Skipped] = []
    for file, names in present.items():
        expected = set(index.names[file])
        absent = [name for name in index.names[file] if name not in names]
        if lost := [name for name in absent if name not in everywhere]:
            reason = f"it lacks {counted(len(lost), 'tensor')} that the index expects in it: {listed(lost)}"
            skipped.append(Skipped(what=file, reason=reason, failed=True))
        if misplaced := [name for name in absent if name in everywhere]:
            message = f"the index expects {listed(misplaced)} in {file}, but another shard holds it"
            anomalies.append(Anomaly(kind="misplaced_tensor", message=message))
        if unlisted := [name for name, is_stored in names.items() if is_stored and name not in expected]:
            message = f"the index does not mention {listed(unlisted)} in {file}"
            anomalies.append(Anomaly(kind="unlisted_tensor", message=message))
    return Comparison(tuple(anomalies), tuple(skipped))


def contradict_total_size(claimed: int, inventory: Inventory) -> Anomaly | None:
    """What is wrong with the size that an index claims; writers count ties and views once or every time."""
    if claimed == inventory.stored_bytes:
        return None
    sizes = [
        (tensor.alias_of, tensor.stored_bytes if tensor.parts else tensor.nbytes or 0)
        for tensor in inventory.tensors
    ]
    distinct = sum(nbytes for alias_of, nbytes in sizes if alias_of is None)
    if claimed in (distinct, sum(nbytes for _, nbytes in sizes)):
        return None
    message = f"the index says that the tensors take {claimed:,} bytes, but they take {inventory.stored_bytes:,}"
    return Anomaly(kind="total_size", message=message)
