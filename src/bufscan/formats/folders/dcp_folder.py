"""Folders of torch.distributed.checkpoint: `.metadata`, and the `.distcp` files that it leads to.

What was saved is put together again as the nested dict that it was, of inert values, and read as any other
checkpoint. Of each item only the pickle is read: it has the device, and says where in it the elements lie.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from bufscan.bytesource import SliceSource
from bufscan.dtypes import DTYPES
from bufscan.errors import UnreadableError
from bufscan.formats.checkpoint.pickled_inventory import Container, broken_inventory, inventory_of
from bufscan.formats.containers.anomaly_log import AnomalyLog
from bufscan.formats.containers.zip_directory import STORED, ZipDirectory
from bufscan.formats.folders.dcp_metadata import Entry, Item, read_entries
from bufscan.formats.listing import counted, listed
from bufscan.formats.pickle.pickle_machine import BrokenPickleError, run_pickle
from bufscan.formats.pickle.pickle_values import MISSING, Global, Instance, Pairs, PersistentId
from bufscan.formats.tensors.coverage import Region, fault_in_coverage
from bufscan.formats.tensors.storages import Extent, MalformedTensorError
from bufscan.inventory import Skipped, Tensor

if TYPE_CHECKING:
    from bufscan.formats.folders.dcp_metadata import Chunk
    from bufscan.formats.folders.shard_files import Opener
    from bufscan.formats.pickle.allowance import Allowance
    from bufscan.formats.pickle.pickle_machine import Pickled
    from bufscan.formats.tensors.rebuilding import Rebuilder
    from bufscan.inventory import Inventory

METADATA = ".metadata"
_LARGEST_METADATA = 1 << 30
_LARGEST_PICKLE = 1 << 28
_KEY = 2  # in a persistent id


class _Whole(NamedTuple):
    """What makes one tensor: its entry, and the object in each of its chunks, or MISSING."""

    entry: Entry
    values: tuple[Any, ...]


def read_dcp(folder: Opener, target: str, *, plain: bool = False) -> Inventory:
    """The inventory of a folder that torch.distributed.checkpoint wrote.

    Raises:
        UnreadableError: its `.metadata` is broken, or is not torch's.
    """
    source = folder.open(METADATA)
    if source.size > _LARGEST_METADATA:
        raise UnreadableError(f"its `{METADATA}` has more than {_LARGEST_METADATA:,} bytes")
    data = source.read(0, source.size)
    anomalies = AnomalyLog()
    container = Container(
        format="dcp",
        locate=lambda _: None,
        byteorder="little",
        storage_keys=(),
        anomalies=anomalies,
        pickle=f"`{METADATA}`",
    )
    try:
        pickled = run_pickle(data, file_bytes=len(data))
    except BrokenPickleError as error:
        return broken_inventory(error, container, target)
    if pickled.end < len(data):
        anomalies.note("trailing_bytes", f"{len(data) - pickled.end} bytes after the end of `{METADATA}`")
    reader = _FolderReader(folder, pickled, anomalies)
    try:
        root = reader.read()
    except UnreadableError as error:
        broken = BrokenPickleError(error.message, globals_seen=reader.globals, truncated=False)
        return broken_inventory(broken, container, target)
    whole = msgspec.structs.replace(pickled, value=root, globals=reader.globals, persistent_ids=[])
    container = container._replace(
        locate=reader.extents.get, builders={WHOLE: build_whole}, skipped=tuple(reader.skipped())
    )
    inventory = inventory_of(whole, container, target, plain=plain)
    return _with_files(inventory, reader)


def _with_files(inventory: Inventory, reader: _FolderReader) -> Inventory:
    """Storages and tensors say which file they are in; a tensor of several files, its parts' storages do."""
    storages = {
        key: msgspec.structs.replace(storage, file=reader.file_of(key))
        for key, storage in inventory.storages.items()
    }
    tensors = tuple(
        tensor
        if tensor.storage not in storages
        else msgspec.structs.replace(tensor, file=storages[tensor.storage].file)
        for tensor in inventory.tensors
    )
    files = sorted(reader.files)
    notes = (*inventory.notes, f"torch.distributed.checkpoint: {counted(len(files), 'file')}, {listed(files)}")
    return msgspec.structs.replace(inventory, tensors=tensors, storages=storages, notes=notes)


class _FolderReader:
    """Reads the items that `.metadata` leads to.

    Attributes:
        extents: where every storage lies, by keys that tell the items apart.
        globals: every name in any of the pickles.
        files: those that were opened.
    """

    def __init__(self, folder: Opener, pickled: Pickled, anomalies: AnomalyLog) -> None:
        self._folder = folder
        self._allowance: Allowance = pickled.allowance
        self._metadata = pickled.value
        self._anomalies = anomalies
        self._globals = {(name.module, name.name): name for name in pickled.globals}
        self._items: list[Item] = []
        self._lost: dict[str, list[str]] = {}
        self._why: dict[str, str] = {}
        self._faults: dict[str, str] = {}
        self._unread: dict[str, int] = {}
        self.extents: dict[str, Extent] = {}
        self.files: set[str] = set()

    @property
    def globals(self) -> tuple[Global, ...]:
        return tuple(self._globals.values())

    def file_of(self, key: str) -> str | None:
        """The file in which the storage of that key lies."""
        number = key.partition(":")[0]
        return self._items[int(number)].file if number.isdecimal() else None

    def read(self) -> Any:
        """The object that was saved, put together from its items."""
        tree = _Tree()
        for entry in read_entries(self._metadata, self._allowance):
            self._allowance.memory -= 400
            if self._allowance.memory < 0:
                raise UnreadableError("its `.metadata` describes more than a file of its size can hold")
            if entry.shape is None:
                opened = self._open(entry.name, entry.item)
                # Its key stays: an optimizer is one, whether or not its learning rate can be read.
                tree.put(entry.path, None if opened is MISSING else opened)
                continue
            values = tuple(self._open(entry.name, chunk.item) for chunk in entry.chunks)
            regions = [Region(chunk.begin, chunk.shape) for chunk in entry.chunks]
            if (fault := fault_in_coverage(entry.shape, regions)) is not None:
                self._faults[entry.name] = fault
            tree.put(entry.path, Instance(WHOLE, (_Whole(entry, values),)))
        self._note_gaps()
        return tree.root()

    def skipped(self) -> list[Skipped]:
        """Files that are missing, short or broken, and tensors whose pieces do not make up the whole."""
        found = [
            Skipped(what=file, reason=f"{self._why[file]}; in it lie parts of {listed(names)}", failed=True)
            for file, names in sorted(self._lost.items())
        ]
        if self._faults:
            names = list(self._faults)
            reason = f"they do not make up the whole: {listed(names)}; of the first, {self._faults[names[0]]}"
            found.append(Skipped(what=f"pieces of {counted(len(names), 'tensor')}", reason=reason, failed=True))
        return found

    def _open(self, name: str, item: Item | None) -> Any:
        """The object that an item holds; MISSING where it cannot be had."""
        try:
            if item is None:
                self._lose(METADATA, name, "it does not say where everything lies")
                return MISSING
            return self._read_item(item)
        except BrokenPickleError as error:
            self._note_globals(error.globals)
            self._lose(item.file if item else METADATA, name, error.message)
        except UnreadableError as error:
            self._lose(item.file if item else METADATA, name, error.message)
        return MISSING

    def _lose(self, file: str, name: str, why: str) -> None:
        self._why.setdefault(file, why)
        names = self._lost.setdefault(file, [])
        if not names or names[-1] != name:
            names.append(name)

    def _read_item(self, item: Item) -> Any:
        source = self._folder.open(item.file)
        self.files.add(item.file)
        if item.offset + item.length > source.size:
            raise UnreadableError(f"it has {source.size:,} bytes and should have {item.offset + item.length:,}")
        # Of one file the items together have no more bytes than it: the same one could be named without end.
        self._unread[item.file] = self._unread.get(item.file, source.size) - max(item.length, 1)
        if self._unread[item.file] < 0:
            raise UnreadableError("its entries overlap")
        number = len(self._items)
        self._items.append(item)
        piece = SliceSource(source, item.offset, item.length, item.file)
        directory = ZipDirectory(piece, self._anomalies)
        top = next(iter(directory.records), "").partition("/")[0]
        record = directory.records.get(f"{top}/data.pkl")
        if record is None:
            raise UnreadableError("an item in it is not what torch.save writes")
        pickle = directory.read(record, limit=min(_LARGEST_PICKLE, max(item.length, 1 << 16)))
        pickled = run_pickle(pickle, origin=item.offset, file_bytes=len(pickle), allowance=self._allowance)
        self._note_globals(pickled.globals)
        for reference in pickled.persistent_ids:
            self._rename(reference, number)
        for key, found in directory.records.items():
            if key.startswith(f"{top}/data/") and found.method == STORED:
                start = item.offset + directory.data_offset(found)
                self.extents[f"{number}:{found.name.rpartition('/')[2]}"] = Extent(found.size, start)
        return pickled.value

    def _rename(self, reference: PersistentId, number: int) -> None:
        """Give the storage a key that no other item has."""
        fields = reference.value
        if type(fields) is tuple and len(fields) > _KEY and type(fields[_KEY]) is str:
            reference.value = (*fields[:_KEY], f"{number}:{fields[_KEY]}", *fields[_KEY + 1 :])

    def _note_globals(self, names: tuple[Global, ...]) -> None:
        for name in names:
            known = self._globals.setdefault((name.module, name.name), name)
            known.called, known.made = known.called or name.called, known.made or name.made

    def _note_gaps(self) -> None:
        """Items lie behind each other: bytes between them are nobody's, and two that overlap contradict."""
        ends: dict[str, int] = {}
        for item in sorted(set(self._items)):
            end = ends.get(item.file, 0)
            if item.offset > end:
                self._anomalies.note(
                    "unused_bytes", f"{item.offset - end} bytes of {item.file} belong to no entry"
                )
            elif item.offset < end:
                self._anomalies.note("overlapping_records", f"two entries of {item.file} overlap")
            ends[item.file] = max(end, item.offset + item.length)
        for file, end in ends.items():
            if (rest := self._folder.open(file).size - end) > 0:
                self._anomalies.note("trailing_bytes", f"{rest} bytes at the end of {file} belong to no entry")


class _Tree:
    """A nested dict or list, filled leaf by leaf; lists are dicts of indices until all is there."""

    def __init__(self) -> None:
        self._root: dict[str | int, Any] = {}

    def put(self, path: tuple[str | int, ...], leaf: Any) -> None:
        here = self._root
        for step in path[:-1]:
            below = here.setdefault(step, {})
            if type(below) is not dict:
                below = here[step] = {}
            here = below
        here[path[-1]] = leaf

    def root(self) -> Any:
        return _as_pairs(self._root)


def _as_pairs(tree: dict[str | int, Any]) -> Pairs | list[Any]:
    below = {key: _as_pairs(value) if type(value) is dict else value for key, value in tree.items()}
    if below and all(type(key) is int for key in below):
        return [below[key] for key in sorted(below)]
    return Pairs(part for entry in below.items() for part in entry)


WHOLE = Global("torch.distributed.checkpoint.metadata", "TensorStorageMetadata")
"""Stands in the object that was saved for a call that makes a tensor of its chunks. Known by identity."""


def build_whole(rebuilder: Rebuilder, args: tuple[Any, ...], depth: int) -> Tensor | None:
    """The record of a tensor that was cut in chunks."""
    whole = args[0]
    if type(whole) is not _Whole:
        return None
    entry = whole.entry
    if entry.shape is None or entry.dtype not in DTYPES:
        raise MalformedTensorError("its type is none of torch's")
    pieces = [
        _piece(rebuilder, chunk, value, depth) for chunk, value in zip(entry.chunks, whole.values, strict=True)
    ]
    held = [piece for piece in pieces if piece is not None]
    bare = Tensor(name="", shape=entry.shape, dtype=entry.dtype, requires_grad=None)
    if not held:
        return bare
    if any(piece.dtype != entry.dtype for piece in held):
        raise MalformedTensorError("a piece of it is of another type than `.metadata` says")
    if len(pieces) == len(held) == 1 and held[0].shape == entry.shape:
        return held[0]
    parts = [
        msgspec.structs.replace(part, name=str(Region(chunk.begin, chunk.shape)))
        for chunk, value in zip(entry.chunks, whole.values, strict=True)
        if value is not MISSING
        for part in rebuilder.parts_of("piece", value, depth)
    ]
    return msgspec.structs.replace(
        bare, device=held[0].device, parts=tuple(parts), stored_bytes=rebuilder.stored_bytes(tuple(parts))
    )


def _piece(rebuilder: Rebuilder, chunk: Chunk, value: Any, depth: int) -> Tensor | None:
    if value is MISSING:
        return None
    piece = rebuilder.rebuild(value, depth + 1)
    if piece.shape != chunk.shape:
        raise MalformedTensorError("a piece of it has another shape than `.metadata` says")
    return piece
