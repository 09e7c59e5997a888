"""torch.save's zip format (torch 1.6 and later)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.errors import UnreadableError
from bufscan.formats.pickle_machine import run_pickle
from bufscan.formats.pickled_inventory import Container, inventory_of
from bufscan.formats.storages import Extent
from bufscan.formats.zip_directory import STORED, ZipDirectory
from bufscan.inventory import Anomaly

if TYPE_CHECKING:
    from typing import Literal

    from bufscan.bytesource import ByteSource
    from bufscan.formats.zip_directory import Record
    from bufscan.inventory import Inventory

_MOST_PICKLE_BYTES = 1 << 30
_MOST_NOTE_BYTES = 64
# kMinSupportedFileFormatVersion and kMaxSupportedFileFormatVersion of caffe2/serialize/versions.h, torch 2.13.
_OLDEST, _NEWEST = 1, 10


def read_torch_zip(source: ByteSource, target: str) -> Inventory:
    """The inventory of a checkpoint that torch.save wrote.

    Raises:
        UnreadableError: the archive or its pickle is broken, or it is an archive of another kind.
    """
    return _Archive(source).read(target)


class _Archive:
    """The records of one checkpoint, below its single top folder."""

    def __init__(self, source: ByteSource) -> None:
        self._directory = ZipDirectory(source)
        records = self._directory.records
        self._top = next(iter(records), "").partition("/")[0]
        if self._record("data.pkl") is None:
            raise _other_archive(list(records))
        if self._record("constants.pkl") is not None:
            raise UnreadableError(
                "a TorchScript archive, which bufscan does not read yet",
                hint="save the state_dict: `torch.save(torch.jit.load(path).state_dict(), new_path)`",
            )

    def _record(self, name: str) -> Record | None:
        return self._directory.records.get(f"{self._top}/{name}")

    def read(self, target: str) -> Inventory:
        pickle_record = self._record("data.pkl")
        assert pickle_record is not None  # noqa: S101 - the constructor made sure
        data = self._directory.read(pickle_record, limit=_MOST_PICKLE_BYTES)
        pickled = run_pickle(data)
        anomalies = self._directory.anomalies  # locating storages adds to them
        anomalies += self._own_anomalies(len(data) - pickled.end)
        container = Container(
            format="torch-zip",
            locate=self._locate,
            byteorder=self._byteorder(),
            storage_keys=[name.rpartition("/")[2] for name in self._data_records()],
            anomalies=anomalies,
        )
        return inventory_of(pickled, len(data), container, target)

    def _data_records(self) -> dict[str, Record]:
        prefix = f"{self._top}/data/"
        return {name: record for name, record in self._directory.records.items() if name.startswith(prefix)}

    def _locate(self, key: str) -> Extent | None:
        record = self._record(f"data/{key}")
        if record is None:
            return None
        offset = self._directory.data_offset(record)
        return Extent(record.size, offset if record.method == STORED else None)

    def _note(self, name: str) -> bytes | None:
        """The contents of one of the small records that describe the file."""
        record = self._record(name)
        return None if record is None else self._directory.read(record, limit=_MOST_NOTE_BYTES)

    def _byteorder(self) -> Literal["little", "big"]:
        match self._note("byteorder"):
            case None | b"little":
                return "little"
            case b"big":
                return "big"
            case _:
                raise UnreadableError("its record `byteorder` says neither little nor big")

    def _own_anomalies(self, trailing: int) -> list[Anomaly]:
        records = self._directory.records
        found: list[tuple[str, str]] = []
        if trailing:
            found.append(("trailing_bytes", f"{trailing} bytes after the end of the pickle"))
        foreign = [name for name in records if not name.startswith(f"{self._top}/")]
        if foreign:
            found.append(
                ("foreign_record", f"{len(foreign)} records outside the checkpoint's folder: {foreign[0]}")
            )
        version = self._note("version")
        if version is None:
            found.append(("version", "no record says the format's version; torch refuses the file"))
        elif not version.strip().isdigit() or not _OLDEST <= int(version) <= _NEWEST:
            found.append(("version", "the record `version` names a version that torch cannot read"))
        compressed = sum(record.method != STORED for record in records.values())
        if compressed:
            found.append(
                ("compressed_record", f"{compressed} records are compressed; torch with mmap=True reads garbage")
            )
        data = [record for record in self._data_records().values() if record.size]
        pickle_record = self._record("data.pkl")
        if data and pickle_record and pickle_record.crc and not any(record.crc for record in data):
            found.append(
                ("no_values", "no storage has a checksum: saved under skip_data, the values were never written")
            )
        return [Anomaly(kind=kind, message=message) for kind, message in found]


def _other_archive(names: list[str]) -> UnreadableError:
    """What a zip archive without torch's pickle is."""
    if any(name.endswith("serialized_exported_program.json") or "/models/" in name for name in names):
        return UnreadableError("a torch.export archive (.pt2), which bufscan does not read yet")
    if any(name.endswith(".npy") for name in names):
        return UnreadableError("a NumPy archive (.npz), not a PyTorch checkpoint")
    if any(name.rpartition("/")[2] == "data.pkl" for name in names):
        return UnreadableError("a zip archive whose data.pkl is not in the one top folder that torch requires")
    return UnreadableError("a zip archive, but not a PyTorch checkpoint: it has no data.pkl")
