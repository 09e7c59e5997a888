"""The storages that a pickle's persistent ids refer to, and whether the file holds what they promise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from bufscan.dtypes import STORAGE_CLASSES, DType
from bufscan.errors import UnreadableError
from bufscan.formats.listing import listed
from bufscan.formats.pickle_values import Global, PersistentId
from bufscan.inventory import Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bufscan.formats.anomaly_log import AnomalyLog

_LARGEST = 1 << 63  # torch counts elements in int64
_MAX_KEY = 64
_MAX_DEVICE = 64
_TAG = "storage"
_KEY_POSITION = 2


class MalformedTensorError(UnreadableError):
    """A tensor record that torch could not have written."""


class StorageReference(msgspec.Struct, frozen=True, gc=False):
    """What a persistent id says of a storage.

    Attributes:
        dtype: of the storage's class; an untyped storage counts bytes (uint8).
        numel: elements of `dtype`.
        nbytes: bytes in all.
        offset: first element within the storage called `key`; not 0 only in files of torch 0.3 and before.
    """

    key: str
    dtype: DType
    device: str
    numel: int
    nbytes: int
    offset: int = 0

    def viewed_as(self, dtype: DType) -> StorageReference:
        """The same bytes counted in elements of another type."""
        return StorageReference(self.key, dtype, self.device, self.nbytes * 8 // dtype.bits, self.nbytes)


class Extent(msgspec.Struct, frozen=True, gc=False):
    """Where a storage's bytes really lie: `offset` is None when they are compressed."""

    nbytes: int
    offset: int | None


def read_reference(value: Any) -> StorageReference:
    """Decode `("storage", class, key, location, numel[, view])`.

    Raises:
        MalformedTensorError: it is anything else.
    """
    if type(value) is not PersistentId:
        raise MalformedTensorError("its storage is no persistent id")
    fields = value.value
    if type(fields) is tuple and 5 <= len(fields) <= 6:  # noqa: PLR2004 - old files add a view
        tag, storage_class, key, device, numel = fields[:5]
        if type(key) is int and 0 <= key < 1 << 64:
            key = str(key)
        if (
            type(tag) is type(key) is type(device) is str
            and tag == _TAG
            and len(key) <= _MAX_KEY
            and len(device) <= _MAX_DEVICE
            and type(numel) is int
            and 0 <= numel < _LARGEST
            and (dtype := _storage_dtype(storage_class)) is not None
        ):
            reference = StorageReference(key, dtype, device, numel, dtype.nbytes(numel))
            return reference if len(fields) == 5 else _with_view(reference, fields[5])  # noqa: PLR2004
    raise MalformedTensorError("its storage is not described as torch describes one")


def _storage_dtype(storage_class: Any) -> DType | None:
    if type(storage_class) is Global and storage_class.module in ("torch", "torch.cuda", "torch.storage"):
        return STORAGE_CLASSES.get(storage_class.name)
    return None


def _with_view(reference: StorageReference, view: Any) -> StorageReference:
    match view:
        case None:
            return reference
        case (_, int(offset), int(numel)) if min(offset, numel) >= 0 and offset + numel <= reference.numel:
            nbytes = reference.dtype.nbytes(numel)
            return msgspec.structs.replace(reference, offset=offset, numel=numel, nbytes=nbytes)
        case _:
            pass
    raise MalformedTensorError("its storage is not described as torch describes one")


class StorageTable:
    """Every storage that was referred to, by key, with what the file really holds."""

    def __init__(
        self,
        locate: Callable[[str], Extent | None],
        *,
        byteorder: Literal["little", "big"],
        anomalies: AnomalyLog,
    ) -> None:
        """`locate` tells where the bytes of the storage with a given key lie; None when there are none."""
        self.storages: dict[str, Storage] = {}
        self._anomalies = anomalies
        self._locate = locate
        self._byteorder = byteorder
        self._announced: dict[str, int] = {}

    def refer(self, value: Any) -> StorageReference:
        """Decode a persistent id and note the storage it refers to.

        Raises:
            MalformedTensorError: the persistent id is not one of a storage.
        """
        reference = read_reference(value)
        nbytes = reference.nbytes
        announced = self._announced.get(reference.key)
        if announced is None:
            self._announced[reference.key] = nbytes
            self._register(reference, nbytes)
        elif announced != nbytes and not reference.offset:
            self._anomalies.note("storage_size", f"storage {reference.key} is given two sizes")
        return reference

    def _register(self, reference: StorageReference, nbytes: int) -> None:
        key = reference.key
        extent = self._locate(key)
        if extent is None:
            message = f"storage {key} is referred to, but the file does not hold it"
            self._anomalies.note("missing_storage", message)
            return
        if extent.nbytes != nbytes and not reference.offset:
            message = f"storage {key} has {extent.nbytes} bytes where {nbytes} are announced"
            self._anomalies.note("storage_size", message)
        self.storages[key] = Storage(
            key=key, nbytes=extent.nbytes, offset=extent.offset, byteorder=self._byteorder
        )

    def note_unused(self, keys: Iterable[str], persistent_ids: Iterable[PersistentId]) -> None:
        """Say which of the storages that the file holds no persistent id of the pickle refers to."""
        unused = [key for key in keys if key not in self._announced]
        if unused:
            # A storage may belong to something that is no tensor, or to one that was skipped.
            mentioned = {id_.value[_KEY_POSITION] for id_ in persistent_ids if _mentions_key(id_.value)}
            unused = [key for key in unused if key not in mentioned]
        if unused:
            message = f"{len(unused)} storages belong to no tensor: {listed(unused)}"
            self._anomalies.note("unused_storage", message)


def _mentions_key(value: Any) -> bool:
    return type(value) is tuple and len(value) > _KEY_POSITION and type(value[_KEY_POSITION]) is str
