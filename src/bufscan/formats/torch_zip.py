"""torch.save's zip format (torch 1.6 and later)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bufscan.errors import UnreadableError
from bufscan.formats.anomaly_log import AnomalyLog
from bufscan.formats.listing import listed, quoted
from bufscan.formats.pickle_machine import BrokenPickleError, run_pickle
from bufscan.formats.pickled_inventory import Container, broken_inventory, inventory_of
from bufscan.formats.storages import Extent
from bufscan.formats.unzipped import UnzippedRecords
from bufscan.formats.zip_directory import STORED, ZipDirectory
from bufscan.inventory import Skipped

if TYPE_CHECKING:
    from typing import Literal

    from bufscan.bytesource import ByteSource
    from bufscan.formats.unzipped import UnzippedFolder
    from bufscan.formats.zip_directory import Record
    from bufscan.inventory import Inventory

_MOST_PICKLE_BYTES = 1 << 30
# A compressed pickle may be larger than its file, but what it costs to read must stay in proportion to the file.
_FREE_PICKLE_BYTES = 10_000_000
_MOST_TEXT_BYTES = 64
# kMinSupportedFileFormatVersion and kMaxSupportedFileFormatVersion of caffe2/serialize/versions.h, torch 2.13.
_OLDEST, _NEWEST = 1, 10
_OTHER_ARCHIVES = (
    ("/.data/extern_modules", "a torch.package archive, which holds Python code and which bufscan does not read"),
    ("serialized_exported_program.json", "a torch.export archive (.pt2), which bufscan does not read yet"),
    ("model.weights.h5", "a Keras archive, not a PyTorch checkpoint"),
)
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
        from bufscan.formats.numpy_files import read_npz  # what torch wrote does not wait for it

        return read_npz(directory, anomalies, target)
    return _Archive(directory, anomalies, source.size, target).read(plain=plain)


def read_unzipped(folder: UnzippedFolder, target: str, *, plain: bool = False) -> Inventory:
    """The inventory of a checkpoint that was unpacked into a folder.

    Raises:
        UnreadableError: its pickle is broken.
    """
    inventory = _Archive(UnzippedRecords(folder), AnomalyLog(), folder.size, target).read(plain=plain)
    return msgspec.structs.replace(inventory, notes=(*inventory.notes, _UNZIPPED_NOTE))


class _Archive:
    """The records of one checkpoint, below its single top folder."""

    def __init__(
        self, directory: ZipDirectory | UnzippedRecords, anomalies: AnomalyLog, file_bytes: int, target: str
    ) -> None:
        self._anomalies = anomalies
        self._directory = directory
        self._file_bytes = file_bytes
        self._target = target
        records = directory.records
        self._top = next(iter(records), "").partition("/")[0]
        if self._record("data.pkl") is None:
            raise _other_archive([record.name for record in records.values()], target)
        if self._record("constants.pkl") is not None:
            raise UnreadableError(
                "a TorchScript archive, which bufscan does not read yet",
                hint="save the state_dict: `torch.save(torch.jit.load(path).state_dict(), new_path)`",
            )

    def _record(self, name: str) -> Record | None:
        """The record of that name, given in lower case, below the top folder."""
        return self._directory.records.get(f"{self._top}/{name}")

    def read(self, *, plain: bool) -> Inventory:
        pickle_record = self._record("data.pkl")
        assert pickle_record is not None  # noqa: S101 - the constructor made sure
        most = min(_MOST_PICKLE_BYTES, max(_FREE_PICKLE_BYTES, self._file_bytes))
        data = self._directory.read(pickle_record, limit=most)
        try:
            pickled = run_pickle(data, file_bytes=self._file_bytes)
        except BrokenPickleError as error:
            return broken_inventory(error, self._container(pickle_record.name), self._target)
        self._note_anomalies(trailing=len(data) - pickled.end)
        version = self._text(".data/version") or self._text("version")
        if version is None:
            self._anomalies.note("version", "no record says the format's version; torch refuses the file")
        container = self._container(pickle_record.name)
        if version is not None and not _is_known(version):
            container = container._replace(skipped=(_OTHER_VERSION,))
        return inventory_of(pickled, container, self._target, plain=plain)

    def _container(self, pickle: str) -> Container:
        return Container(
            format="torch-zip",
            locate=self._locate,
            byteorder=self._byteorder(),
            storage_keys=[record.name.rpartition("/")[2] for record in self._data_records()],
            anomalies=self._anomalies,
            pickle=quoted(pickle),
        )

    def _data_records(self) -> list[Record]:
        prefix = f"{self._top}/data/"
        return [record for name, record in self._directory.records.items() if name.startswith(prefix)]

    def _locate(self, key: str) -> Extent | None:
        record = self._record(f"data/{key.lower()}")
        if record is None:
            return None
        offset = self._directory.data_offset(record)
        return Extent(record.size, offset if record.method == STORED else None)

    def _text(self, name: str) -> bytes | None:
        """The contents of one of the small records that describe the file."""
        record = self._record(name)
        return None if record is None else self._directory.read(record, limit=_MOST_TEXT_BYTES)

    def _byteorder(self) -> Literal["little", "big"]:
        match self._text("byteorder"):
            case None | b"little":
                return "little"
            case b"big":
                return "big"
            case _:
                raise UnreadableError("its record `byteorder` says neither little nor big")

    def _note_anomalies(self, trailing: int) -> None:
        note, records = self._anomalies.note, self._directory.records
        if trailing:
            note("trailing_bytes", f"{trailing} bytes after the end of the pickle")
        foreign = [record.name for name, record in records.items() if not name.startswith(f"{self._top}/")]
        if foreign:
            note("foreign_record", f"{len(foreign)} records outside the checkpoint's folder: {listed(foreign)}")
        compressed = sum(record.method != STORED for record in records.values())
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
    if any("/models/" in name for name in names):
        return UnreadableError("a torch.export archive (.pt2), which bufscan does not read yet")
    if any(name.rpartition("/")[2] == "data.pkl" for name in names):
        return UnreadableError("a zip archive whose data.pkl is not in the one top folder that torch requires")
    from bufscan.formats.archives import holding

    return holding("a zip archive", names, target) or UnreadableError(
        "a zip archive, but not a PyTorch checkpoint: it has no data.pkl"
    )
