"""torch.save's zip format (torch 1.6 and later)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bufscan.errors import UnreadableError
from bufscan.formats.checkpoint.pickled_inventory import Container, broken_inventory, inventory_of
from bufscan.formats.containers.anomaly_log import AnomalyLog
from bufscan.formats.containers.zip_directory import STORED, ZipDirectory
from bufscan.formats.listing import listed, quoted
from bufscan.formats.pickle.pickle_machine import BrokenPickleError, run_pickle
from bufscan.formats.tensors.storages import Extent
from bufscan.inventory import Skipped

if TYPE_CHECKING:
    from typing import Literal

    from bufscan.bytesource import ByteSource
    from bufscan.formats.containers.unzipped import UnzippedFolder, UnzippedRecords
    from bufscan.formats.containers.zip_directory import Record
    from bufscan.formats.pickle.allowance import Allowance
    from bufscan.formats.pickle.pickle_machine import Pickled
    from bufscan.inventory import Inventory

_MOST_PICKLE_BYTES = 1 << 30
# A compressed pickle may be larger than its file, but what it costs to read must stay in proportion to the file.
_FREE_PICKLE_BYTES = 10_000_000
_MOST_TEXT_BYTES = 64
# kMinSupportedFileFormatVersion and kMaxSupportedFileFormatVersion of caffe2/serialize/versions.h, torch 2.13.
_OLDEST, _NEWEST = 1, 10
_KEY = 2  # among the fields of a persistent id
_OTHER_ARCHIVES = (("model.weights.h5", "a Keras archive, not a PyTorch checkpoint"),)
_UNZIPPED_NOTE = "an unpacked checkpoint: torch loads it when it is packed again, `zip -0 -r model.pt FOLDER`"
_OTHER_VERSION = Skipped(
    what="the rest of the file",
    reason="it says that it has a version of the format which is not known; torch refuses it",
    failed=True,
)


def read_torch_zip(source: ByteSource, target: str, *, plain: bool = False) -> Inventory:
    """The inventory of a checkpoint that torch.save wrote.

    Raises:
        UnreadableError: the archive or its pickle is broken, or it is an archive of another kind.
    """
    anomalies = AnomalyLog()
    directory = ZipDirectory(source, anomalies)
    if any(name.endswith(".npy") for name in directory.records):
        from bufscan.formats.containers.numpy_files import read_npz  # what torch wrote does not wait for it

        return read_npz(directory, anomalies, target)
    if "data.pkl" not in {name.rpartition("/")[2] for name in directory.records}:
        from bufscan.formats.containers.torch_export import is_export, read_torch_export

        names = [record.name for record in directory.records.values()]
        if any(name.endswith("/.data/extern_modules") for name in names):
            from bufscan.formats.containers.torch_package import read_torch_package

            return read_torch_package(Archive(directory, anomalies, source.size, target, "torch.package"), target)
        if is_export(names):
            return read_torch_export(source, directory, anomalies, target)
    archive = Archive(directory, anomalies, source.size, target)
    if archive.is_torchscript:
        from bufscan.formats.containers.torchscript import read_torchscript

        return read_torchscript(archive, target, plain=plain)
    return archive.read(plain=plain)


def read_unzipped(folder: UnzippedFolder, target: str, *, plain: bool = False) -> Inventory:
    """The inventory of a checkpoint that was unpacked into a folder.

    Raises:
        UnreadableError: its pickle is broken.
    """
    from bufscan.formats.containers.unzipped import UnzippedRecords  # what is packed does not wait for it

    inventory = Archive(UnzippedRecords(folder), AnomalyLog(), folder.size, target).read(plain=plain)
    return msgspec.structs.replace(inventory, notes=(*inventory.notes, _UNZIPPED_NOTE))


class Archive:
    """The records of one checkpoint, below its single top folder."""

    def __init__(
        self,
        directory: ZipDirectory | UnzippedRecords,
        anomalies: AnomalyLog,
        file_bytes: int,
        target: str,
        kind: Literal["checkpoint", "torch.package"] = "checkpoint",
    ) -> None:
        self.anomalies = anomalies
        self._directory = directory
        self._file_bytes = file_bytes
        self._target = target
        records = directory.records
        self._top = next(iter(records), "").partition("/")[0]
        if kind == "checkpoint" and self._record("data.pkl") is None:
            raise _other_archive([record.name for record in records.values()], target)

    @property
    def is_torchscript(self) -> bool:
        """Whether torch takes it for one of TorchScript."""
        return self._record("constants.pkl") is not None

    @property
    def most_text(self) -> int:
        """Bytes that records may take whose contents are held: compressed ones can be larger than the file."""
        return max(_FREE_PICKLE_BYTES, self._file_bytes)

    def below(self, folder: str) -> list[Record]:
        """The records in a folder of the top folder, given in lower case and with its slash."""
        prefix = f"{self._top}/{folder}"
        return [record for name, record in self._directory.records.items() if name.startswith(prefix)]

    def name_of(self, record: Record) -> str:
        """The record's name in lower case without the top folder."""
        return record.name.lower().removeprefix(f"{self._top}/")

    def read_record(self, record: Record, limit: int) -> bytes:
        """The contents of a record, at most `limit` bytes."""
        return self._directory.read(record, limit=limit)

    def run(self, name: str, allowance: Allowance | None = None) -> Pickled:
        """The pickle in the record of that name, which must be there.

        Raises:
            UnreadableError: it is broken.
        """
        record = self._record(name)
        if record is None:
            raise UnreadableError(f"an archive without its record `{name}`")
        most = min(_MOST_PICKLE_BYTES, self.most_text)
        data = self._directory.read(record, limit=most)
        pickled = run_pickle(data, file_bytes=self._file_bytes, allowance=allowance)
        self._note_trailing(len(data) - pickled.end)
        return pickled

    def run_if_there(self, name: str, allowance: Allowance) -> Pickled | None:
        """The same; None where there is no such record."""
        return None if self._record(name) is None else self.run(name, allowance)

    def locate_in(self, key: str) -> Extent | None:
        """Where the storage lies whose key begins with the name of its folder."""
        return self._extent(self._record(key.lower()))

    def name_storages(self, pickled: Pickled, folder: str) -> None:
        """Give the storages of a pickle keys that begin with their folder: each pickle counts from 0."""
        for reference in pickled.persistent_ids:
            fields = reference.value
            if type(fields) is tuple and len(fields) > _KEY and type(fields[_KEY]) is str:
                reference.value = (*fields[:_KEY], f"{folder}/{fields[_KEY]}", *fields[_KEY + 1 :])

    def storage_keys(self, *folders: str) -> list[str]:
        """The keys, as `name_storages` makes them, of every record in the folders."""
        return [record.name.partition("/")[2] for folder in folders for record in self.below(f"{folder}/")]

    def _record(self, name: str) -> Record | None:
        """The record of that name, given in lower case, below the top folder."""
        return self._directory.records.get(f"{self._top}/{name}")

    def read(self, *, plain: bool, allowance: Allowance | None = None) -> Inventory:
        pickle_record = self._record("data.pkl")
        assert pickle_record is not None  # noqa: S101 - the constructor made sure
        most = min(_MOST_PICKLE_BYTES, self.most_text)
        data = self._directory.read(pickle_record, limit=most)
        try:
            pickled = run_pickle(data, file_bytes=self._file_bytes, allowance=allowance)
        except BrokenPickleError as error:
            return broken_inventory(error, self._container(pickle_record.name), self._target)
        self._note_trailing(len(data) - pickled.end)
        del data  # its values are made, and its records will take as much again
        self.note_anomalies()
        version = self._text(".data/version") or self._text("version")
        if version is None:
            self.anomalies.note("version", "no record says the format's version; torch refuses the file")
        container = self._container(pickle_record.name)
        if version is not None and not _is_known(version):
            container = container._replace(skipped=(_OTHER_VERSION,))
        return inventory_of(pickled, container, self._target, plain=plain)

    def _container(self, pickle: str) -> Container:
        return Container(
            format="torch-zip",
            locate=self._locate,
            byteorder=self.byteorder(),
            storage_keys=[record.name.rpartition("/")[2] for record in self._data_records()],
            anomalies=self.anomalies,
            pickle=quoted(pickle),
        )

    def _data_records(self) -> list[Record]:
        prefix = f"{self._top}/data/"
        return [record for name, record in self._directory.records.items() if name.startswith(prefix)]

    def _locate(self, key: str) -> Extent | None:
        return self._extent(self._record(f"data/{key.lower()}"))

    def _extent(self, record: Record | None) -> Extent | None:
        if record is None:
            return None
        offset = self._directory.data_offset(record)
        return Extent(record.size, offset if record.method == STORED else None)

    def _text(self, name: str) -> bytes | None:
        """The contents of one of the small records that describe the file."""
        record = self._record(name)
        return None if record is None else self._directory.read(record, limit=_MOST_TEXT_BYTES)

    def byteorder(self) -> Literal["little", "big"]:
        """Of the stored elements."""
        match self._text("byteorder"):
            case None | b"little":
                return "little"
            case b"big":
                return "big"
            case _:
                raise UnreadableError("its record `byteorder` says neither little nor big")

    def _note_trailing(self, trailing: int) -> None:
        if trailing:
            self.anomalies.note("trailing_bytes", f"{trailing} bytes after the end of the pickle")

    def note_anomalies(self) -> None:
        """Say what is odd about the records: foreign ones, compressed ones, values that were never written."""
        note, records = self.anomalies.note, self._directory.records
        foreign = [record.name for name, record in records.items() if not name.startswith(f"{self._top}/")]
        if foreign:
            note("foreign_record", f"{len(foreign)} records outside the checkpoint's folder: {listed(foreign)}")
        # torch itself compresses the code of TorchScript.
        compressed = sum(
            record.method != STORED
            for name, record in records.items()
            if not (self.is_torchscript and name.startswith(f"{self._top}/code/"))
        )
        if compressed:
            note("compressed_record", f"{compressed} records are compressed; torch with mmap=True reads garbage")
        data = [record for record in self._data_records() if record.size]
        pickle_record = self._record("data.pkl")
        if data and pickle_record and pickle_record.crc and not any(record.crc for record in data):
            note("no_values", "no storage has a checksum: saved under skip_data, the values were never written")


def _is_known(version: bytes) -> bool:
    return version.strip().isdigit() and _OLDEST <= int(version) <= _NEWEST


def _other_archive(names: list[str], target: str) -> UnreadableError:
    """What a zip archive without torch's pickle is."""
    if any("\\" in name for name in names) and not any("/" in name for name in names):
        return UnreadableError(
            "a zip archive packed on Windows, with backslashes in its names: torch cannot load it",
            hint="unpack it on Windows or with `7z x`, and name the folder that has `data.pkl` in it",
        )
    for ending, what in _OTHER_ARCHIVES:
        if any(name.endswith(ending) for name in names):
            return UnreadableError(what)
    if any(name.rpartition("/")[2] == "data.pkl" for name in names):
        return UnreadableError("a zip archive whose data.pkl is not in the one top folder that torch requires")
    from bufscan.formats.containers.archives import holding

    return holding("a zip archive", names, target) or UnreadableError(
        "a zip archive, but not a PyTorch checkpoint: it has no data.pkl"
    )
