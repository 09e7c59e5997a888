"""Checkpoints in folders: sharded ones with an index or without, and the one file that a folder may hold."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from bufscan.errors import UnreadableError
from bufscan.formats.containers.safetensors import read_safetensors
from bufscan.formats.folders.folder_choice import (
    checkpoints_among,
    choose,
    find_absent_shards,
    holds_tensors,
    is_checkpoint_name,
    is_companion,
)
from bufscan.formats.folders.folder_description import PIPELINE, describe, pipeline_components
from bufscan.formats.folders.folder_parts import COMPONENT, absent_ranks, below_folder, together
from bufscan.formats.folders.merging import Shard, compare_with_index, contradict_total_size, merge
from bufscan.formats.folders.shard_files import is_bare, shard_folder
from bufscan.formats.folders.shard_index import read_shard_index
from bufscan.formats.listing import counted, listed, skip_each
from bufscan.formats.signatures import HEAD_BYTES, is_safetensors, is_shard_index
from bufscan.inventory import Anomaly, Skipped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from bufscan.bytesource import ByteSource, OpenFiles
    from bufscan.formats.folders.shard_files import Opener
    from bufscan.formats.folders.shard_index import ShardIndex
    from bufscan.inventory import Inventory

OTHER_CHECKPOINT = "another checkpoint than the one that was read: name it to inspect it"
"""Why a folder's other checkpoints are left out."""

# For a hint: names in a folder, folders, and how deep they lie. In a Hugging Face cache there are the repository,
# `snapshots` and the revision.
_MOST_LOOKED_AT = 1000
_MOST_COMPANIONS = 64  # every rank may have a state of its random numbers
_DEEPEST = 4


class _FolderReader(NamedTuple):
    """How to read one file of a folder."""

    folder: Opener
    target: str
    read: Callable[[ByteSource, str], Inventory]

    def __call__(self, name: str, *, is_shard: bool) -> Inventory:
        source = self.folder.open(name)
        head = source.read(0, min(HEAD_BYTES, source.size))
        if is_shard_index(head):  # indexes that name each other would have no end
            raise UnreadableError("an index, not a file of tensors")
        if is_shard and is_safetensors(head):
            # Its records know their file from the start: adding it later would make them all again.
            return read_safetensors(source, self.target, file=name)
        return self.read(source, self.target)


def read_sharded(
    folder: Path,
    target: str,
    read_shard: Callable[[ByteSource, str], Inventory],
    files: OpenFiles,
    *,
    plain: bool = False,
) -> Inventory:
    """The checkpoint in a folder, as one inventory; the folder's other checkpoint files are listed as skipped.

    Raises:
        UnreadableError: the folder holds no checkpoint or several, or nothing of it can be read.
    """
    names = list_files(folder)
    reader = _FolderReader(shard_folder(folder, files), target, read_shard)
    if components := _components(folder, names, reader.folder):
        return _read_components(components, folder, reader, files, plain=plain)
    with _pointing_below(folder, target):
        kind, chosen = choose(names)
    match kind:
        case "index":
            with _naming(chosen[0]):
                index = read_shard_index(reader.folder.open(chosen[0]))
            inventory = _read_indexed(index, reader)
            chosen = (*chosen, *index.names)
        case "shards":
            inventory = _read_series(chosen, reader)
        case "dcp":
            from bufscan.formats.folders.dcp_folder import read_dcp  # no other folder needs it

            inventory = read_dcp(reader.folder, target, plain=plain)
        case "ranks":
            inventory = _read_ranks(chosen, reader)
        case "file":
            with _naming(chosen[0]):
                inventory = _with_storages_in(chosen[0], reader(chosen[0], is_shard=False))
            inventory = _with_notes(inventory, f"read {chosen[0]}, the checkpoint of this folder")
    if kind in ("file", "index", "shards"):
        inventory = _with_companions(inventory, names, reader)
    rest = [name for name in names if holds_tensors(name) and name not in chosen]
    files.note(folder / "config.json", *(folder / name for name in rest))
    others = set(checkpoints_among(rest))
    skipped = (
        *inventory.skipped,
        *skip_each([name for name in rest if name in others], OTHER_CHECKPOINT),
        *skip_each(
            [name for name in rest if name not in others], "no part of the checkpoint: name it to inspect it"
        ),
    )
    return replace(_with_notes(inventory, *reader.folder.notes), skipped=skipped)


def read_remote_folder(
    names: Sequence[str], folder: Opener, target: str, read_shard: Callable[[ByteSource, str], Inventory]
) -> Inventory:
    """The checkpoint in a folder elsewhere, of whose files the names are given.

    Raises:
        UnreadableError: as `read_sharded`.
    """
    kind, chosen = choose(names)
    reader = _FolderReader(folder, target, read_shard)
    if kind == "index":
        with _naming(chosen[0]):
            return _read_indexed(read_shard_index(folder.open(chosen[0])), reader)
    if kind == "shards":
        return _read_series(chosen, reader)
    if kind == "ranks":
        return _read_ranks(chosen, reader)
    if kind == "dcp":
        from bufscan.formats.folders.dcp_folder import read_dcp  # no other folder needs it

        return read_dcp(folder, target)
    with _naming(chosen[0]):
        return _with_storages_in(chosen[0], reader(chosen[0], is_shard=False))


def read_remote_index(
    source: ByteSource, folder: Opener, target: str, read_shard: Callable[[ByteSource, str], Inventory]
) -> Inventory:
    """The checkpoint whose index is a file elsewhere, with its shards beside it.

    Raises:
        UnreadableError: as `read_index`.
    """
    return _read_indexed(read_shard_index(source), _FolderReader(folder, target, read_shard))


def list_files(folder: Path) -> list[str]:
    """Everything but folders: what only looks like a file is refused with its own sentence when it is opened.

    Raises:
        UnreadableError: the folder cannot be read.
    """
    try:
        return sorted(path.name for path in folder.iterdir() if not path.is_dir())
    except OSError as error:
        raise UnreadableError(os.strerror(error.errno or 0).lower()) from error


def read_index(
    path: Path, target: str, read_shard: Callable[[ByteSource, str], Inventory], files: OpenFiles
) -> Inventory:
    """The checkpoint whose index is the file at `path`, as one inventory.

    Raises:
        UnreadableError: the index is none, or no shard can be read.
    """
    index = read_shard_index(files.open(path))
    reader = _FolderReader(shard_folder(path.parent, files), target, read_shard)
    return _with_notes(_read_indexed(index, reader), *reader.folder.notes)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Say which file of the folder a failure is about."""
    try:
        yield
    except UnreadableError as error:
        raise UnreadableError(f"{name}: {error.message}", hint=error.hint) from error


@contextmanager
def _pointing_below(folder: Path, target: str) -> Iterator[None]:
    """Where there is nothing better to say, name a folder in this one that has a checkpoint."""
    try:
        yield
    except UnreadableError as error:
        if error.hint is None and (below := _find_below(folder)) is not None:
            hint = f"name a folder in it, such as `{os.path.join(target, below)}`"  # noqa: PTH118 - as typed
            raise UnreadableError(error.message, hint=hint) from error
        raise


def _find_below(folder: Path) -> str | None:
    """The path in this folder of the nearest one with a checkpoint in it, going by the names of its files."""
    nearest = [""]
    for _ in range(_DEEPEST):
        below: list[str] = []
        for within in nearest:
            with suppress(OSError), os.scandir(folder / within) as entries:
                found = sorted(islice(entries, _MOST_LOOKED_AT), key=lambda each: each.name)
                if within and any(is_checkpoint_name(each.name) or each.name == "data.pkl" for each in found):
                    return within
                below += (os.path.join(within, each.name) for each in found if each.is_dir(follow_symlinks=False))  # noqa: PTH118 - as typed
        nearest = below[:_MOST_LOOKED_AT]
    return None


def _read_indexed(index: ShardIndex, reader: _FolderReader) -> Inventory:
    expected = {
        file: f"; the index expects {counted(len(names), 'tensor')} in it: {listed(names)}"
        for file, names in sorted(index.names.items())
    }
    shards, failed = _read_shards(expected, reader)
    inventory = merge(shards, reader.target)
    anomalies, skipped = compare_with_index(shards, index)
    if outside := [file for file in index.names if not is_bare(file)]:
        message = f"the index leads out of its folder, to {listed(outside)}"
        anomalies = (*anomalies, Anomaly(kind="escaping_path", message=message))
    notes: list[str] = []
    if index.total_size is not None:
        if failed or skipped:
            notes.append(f"`total_size` of {index.total_size:,} bytes could not be checked: something is missing")
        elif wrong := contradict_total_size(index.total_size, inventory):
            anomalies = (*anomalies, wrong)
        else:
            notes.append(f"`total_size` of {index.total_size:,} bytes holds")
    return replace(
        inventory,
        anomalies=(*inventory.anomalies, *anomalies),
        skipped=(*inventory.skipped, *failed, *skipped),
        metadata=index.metadata | inventory.metadata,
        notes=(*inventory.notes, *notes),
    )


def _read_series(files: Sequence[str], reader: _FolderReader) -> Inventory:
    shards, failed = _read_shards(dict.fromkeys(files, ""), reader)
    inventory = _with_notes(
        merge(shards, reader.target), "there is no index: the shards were found by their names"
    )
    absent = skip_each(find_absent_shards(files), "no such file")
    return replace(inventory, skipped=(*inventory.skipped, *failed, *absent))


def _read_shards(expected: Mapping[str, str], reader: _FolderReader) -> tuple[list[Shard], list[Skipped]]:
    """Every shard that can be read; `expected` says by file what is missed where one cannot.

    Raises:
        UnreadableError: none can be read.
    """
    shards: list[Shard] = []
    failed: list[Skipped] = []
    hints: list[str | None] = []
    reader.folder.prefetch(list(expected))
    for file, missed in expected.items():
        try:
            shards.append(Shard(file, reader(file, is_shard=True)))
        except UnreadableError as error:
            failed.append(Skipped(what=file, reason=f"{error.message}{missed}", failed=True))
            hints.append(error.hint)
    if not shards:
        first = failed[0]
        raise UnreadableError(
            f"none of {counted(len(failed), 'shard')} can be read: {first.what}: {first.reason}", hint=hints[0]
        )
    return shards, failed


def _read_ranks(files: Sequence[str], reader: _FolderReader) -> Inventory:
    """What each rank wrote, one section a file."""
    shards, failed = _read_shards(dict.fromkeys(files, ""), reader)
    parts = [(_section_of(file), _with_storages_in(file, inventory)) for file, inventory in shards]
    inventory = _with_notes(
        together(parts, reader.target, "torch-ranks"), f"written by several ranks: {listed(files)}"
    )
    return replace(inventory, skipped=(*inventory.skipped, *failed, *absent_ranks(files)))


def _section_of(file: str) -> str:
    return file.rpartition(".")[0].removesuffix("_states")


def _components(folder: Path, names: Sequence[str], opener: Opener) -> list[str]:
    """The folders in the folder that are parts of one checkpoint; none where the folder has one itself."""
    if PIPELINE in names:
        return [name for name in pipeline_components(opener) if _has_checkpoint(folder / name)]
    if any(map(is_checkpoint_name, (name for name in names if not is_companion(name)))):
        return []
    with suppress(OSError), os.scandir(folder) as entries:
        found = sorted(each.name for each in islice(entries, _MOST_LOOKED_AT) if COMPONENT.fullmatch(each.name))
        return [name for name in found if _has_checkpoint(folder / name)]
    return []


def _has_checkpoint(folder: Path) -> bool:
    if folder.is_symlink() or not folder.is_dir():  # a link could lead back to where it is found
        return False
    with suppress(UnreadableError):
        return any(is_checkpoint_name(name) or name == ".metadata" for name in list_files(folder))
    return False


def _read_components(
    components: Sequence[str], folder: Path, reader: _FolderReader, files: OpenFiles, *, plain: bool
) -> Inventory:
    """The checkpoints in several folders, one section a folder."""
    parts: list[tuple[str, Inventory]] = []
    failed: list[Skipped] = []
    for name in components:
        try:
            inventory = read_sharded(folder / name, reader.target, reader.read, files, plain=plain)
        except UnreadableError as error:
            failed.append(Skipped(what=name, reason=error.message, failed=True))
        else:
            parts.append((name, below_folder(inventory, name)))
    if not parts:
        raise UnreadableError(f"none of {counted(len(failed), 'component')} can be read: {failed[0].reason}")
    inventory = together(parts, reader.target, "folder")
    return replace(inventory, skipped=(*inventory.skipped, *failed, *absent_ranks(components)))


def _with_companions(inventory: Inventory, names: Sequence[str], reader: _FolderReader) -> Inventory:
    """What lies beside a model: its optimizer's state as evidence, names in pickles, and the configuration."""
    described = describe(reader.folder, names)
    optimizers, foreign, notes = inventory.optimizers, inventory.foreign_names, list(described.notes)
    for name in [name for name in names if is_companion(name)][:_MOST_COMPANIONS]:
        try:
            beside = reader(name, is_shard=False)
        except UnreadableError as error:
            notes.append(f"{name} beside it cannot be read: {error.message}")
            continue
        foreign += tuple(replace(each, where=f"{each.where} in {name}") for each in beside.foreign_names)
        if name.startswith("optimizer") and beside.optimizers and not inventory.optimizers:
            optimizers += tuple(replace(each, section=name) for each in beside.optimizers)
            notes.append(f"the optimizer in {name} beside it was taken as evidence")
    return replace(
        inventory,
        optimizers=optimizers,
        foreign_names=foreign,
        metadata=inventory.metadata | described.metadata,
        notes=(*inventory.notes, *notes),
    )


def _with_storages_in(file: str, inventory: Inventory) -> Inventory:
    return replace(
        inventory, storages={key: replace(storage, file=file) for key, storage in inventory.storages.items()}
    )


def _with_notes(inventory: Inventory, *notes: str) -> Inventory:
    return replace(inventory, notes=(*inventory.notes, *notes))
