"""The storages that a pickle's persistent ids refer to, and whether the file holds what they promise."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from bufscan.dtypes import STORAGE_CLASSES, DType
from bufscan.errors import UnreadableError
from bufscan.formats.listing import counted, listed
from bufscan.formats.pickle.pickle_values import Global, PersistentId
from bufscan.inventory import Skipped, Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bufscan.formats.containers.anomaly_log import AnomalyLog
    from bufscan.inventory import Tensor

_LARGEST = 1 << 63  # torch counts elements in int64
_MAX_KEY = 64
_MAX_DEVICE = 64
_MOST_TOLD = 20
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
        whole: bytes of that storage where this is a view of it, as in those files; None for all of it.
    """

    key: str
    dtype: DType
    device: str
    numel: int
    nbytes: int
    offset: int = 0
    whole: int | None = None

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
            return msgspec.structs.replace(
                reference, offset=offset, numel=numel, nbytes=nbytes, whole=reference.nbytes
            )
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
        self._kept: dict[int, str] = {}  # by the ids of objects that live as long as the pickle
        self._unreadable: dict[str, int | None] = {}  # announced bytes by key; None where there are none at all

    def refer(self, value: Any) -> StorageReference:
        """Decode a persistent id and note the storage it refers to.

        Raises:
            MalformedTensorError: the persistent id is not one of a storage.
        """
        reference = read_reference(value)
        key = reference.key
        storage = self.storages.get(key)
        if storage is None or storage.data is not None:  # what stands in the pickle has no key that it could name
            storage = None if key in self._unreadable else self._register(key)
            if storage is None:
                return reference
        announced = reference.nbytes if reference.whole is None else reference.whole
        if announced != storage.nbytes:
            self._unreadable.setdefault(key, announced)
        return reference

    def stored_bytes(self, key: str) -> int:
        """Bytes that the file holds of a storage that was referred to, whatever is announced of it."""
        storage = self.storages.get(key)
        return 0 if storage is None else storage.nbytes

    def keep(self, owner: object, data: bytes, byteorder: Literal["little", "big"]) -> str:
        """The key of a storage whose bytes stand in the pickle itself; `owner` is the object that holds them."""
        key = self._kept.get(id(owner))
        if key is None:
            key = self._kept[id(owner)] = f"pickled {len(self._kept)}"
            self.storages[key] = Storage(key=key, nbytes=len(data), byteorder=byteorder, data=data)
        return key

    def keeps(self, owner: object) -> bool:
        """Whether the bytes of that object are one of the storages."""
        return id(owner) in self._kept

    def _register(self, key: str) -> Storage | None:
        extent = self._locate(key)
        if extent is None:
            self._unreadable[key] = None
            return None
        storage = self.storages[key] = Storage(
            key=key, nbytes=extent.nbytes, offset=extent.offset, byteorder=self._byteorder
        )
        return storage

    def unreadable(self, tensors: Iterable[Tensor]) -> list[Skipped]:
        """The storages that are not as the pickle announces them, with the tensors whose values are lost.

        torch loads no file that has one; with `mmap=True` it takes the bytes beside a short one.
        """
        if not self._unreadable:
            return []
        told = dict(islice(self._unreadable.items(), _MOST_TOLD))
        sharers: dict[str, list[str]] = {key: [] for key in told}
        for tensor in tensors:
            for key in {tensor.storage, *(part.storage for part in tensor.parts)}:
                if key in sharers:
                    sharers[key].append(tensor.path)
        failed = [
            Skipped(what=f"storage {key}", reason=self._why_unreadable(key, sharers[key]), failed=True)
            for key in told
        ]
        if more := len(self._unreadable) - len(told):
            reason = "the file does not hold what is announced of them either"
            failed.append(Skipped(what=counted(more, "more storage"), reason=reason, failed=True))
        return failed

    def _why_unreadable(self, key: str, sharers: Sequence[str]) -> str:
        announced = self._unreadable[key]
        reason = (
            "the file does not hold it"
            if announced is None
            else f"it has {counted(self.stored_bytes(key), 'byte')} in the file where {announced:,} are announced"
        )
        return f"{reason}, so torch cannot load {listed(sharers)}" if any(sharers) else reason

    def note_unused(self, keys: Iterable[str], persistent_ids: Iterable[PersistentId]) -> None:
        """Say which of the storages that the file holds no persistent id of the pickle refers to."""
        unused = [key for key in keys if key not in self.storages and key not in self._unreadable]
        if unused:
            # A storage may belong to something that is no tensor, or to one that was skipped.
            mentioned = {id_.value[_KEY_POSITION] for id_ in persistent_ids if _mentions_key(id_.value)}
            unused = [key for key in unused if key not in mentioned]
        if unused:
            message = f"{len(unused)} storages belong to no tensor: {listed(unused)}"
            self._anomalies.note("unused_storage", message)


def _mentions_key(value: Any) -> bool:
    return type(value) is tuple and len(value) > _KEY_POSITION and type(value[_KEY_POSITION]) is str
