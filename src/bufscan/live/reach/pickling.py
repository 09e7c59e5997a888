"""A checkpoint in memory as the pickle that `torch.save` writes of it, without the values.

Written as `torch.serialization._save` does (torch 2.13), so that a dict is understood as its file would be.
"""

from __future__ import annotations

import io
import pickle
import sys
from typing import TYPE_CHECKING, Any

from bufscan.errors import UnreadableError
from bufscan.live.reach.describing import StorageTable

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

_PROTOCOL = 2  # torch's own


def pickled(contents: Mapping[Any, Any]) -> tuple[bytes, dict[str, torch.UntypedStorage]]:
    """The pickle, and the storages that it refers to by their keys.

    Raises:
        UnreadableError: something in it cannot be pickled.
    """
    table = StorageTable()
    written = io.BytesIO()
    try:
        _pickler(written, table).dump(contents)
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError, NotImplementedError) as error:
        raise UnreadableError(f"torch.save could not write it: {error}") from error
    return written.getvalue(), table.live


def _pickler(written: io.BytesIO, table: StorageTable) -> pickle.Pickler:
    if "torch" not in sys.modules:  # then nothing in it is torch's
        return pickle.Pickler(written, _PROTOCOL)
    import torch

    class Pickler(pickle.Pickler):
        def persistent_id(self, held: Any) -> tuple[str, type, str, str, int] | None:
            if not torch.is_storage(held):
                return None
            if isinstance(held, torch.storage.TypedStorage):
                storage, elements = held._untyped_storage, held._size()  # type: ignore[no-untyped-call]  # noqa: SLF001
                kind = getattr(torch, held._pickle_storage_type())  # type: ignore[no-untyped-call]  # noqa: SLF001
            else:
                storage, elements, kind = held, held.nbytes(), torch.UntypedStorage
            return "storage", kind, table.key_of(storage), torch.serialization.location_tag(storage), elements

    return Pickler(written, _PROTOCOL)
