"""On which side of the pretended move a tensor's storage lies, and where what lies there came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import torch

    from bufscan.inventory import Location

Tag = Literal["moved", "stayed", "unknown"]
"""`moved`: on the pretended device. `stayed`: on the CPU. `unknown`: made inside torch, which says not where."""


class Origin(NamedTuple):
    """Where a tensor came from.

    Attributes:
        path: of the model's tensor that it is, shows, or was computed from.
        input: name of the input that it is.
        line: the user's line that made it.
        maker, fix: what that line calls, and that call with the device it lacks.
        chosen: whether that line names a device by something else than a literal.
    """

    path: str | None = None
    input: str | None = None
    line: Location | None = None
    maker: str | None = None
    fix: str | None = None
    chosen: bool = False


NOWHERE = Origin()


class _Entry(NamedTuple):
    held: object  # keeps the storage's address from being given to another one
    tag: Tag
    origin: Origin


class Tags:
    """The tags of all storages that the rehearsal made, and the names of those that were there before.

    A view has its storage's tag, and what is written in place keeps it. Tensors without a storage (sparse, nested)
    are known by themselves.
    """

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}
        self._names: dict[int, tuple[object, str]] = {}

    def name(self, tensor: torch.Tensor, path: str) -> None:
        """Remember what the model calls a tensor that is there before the move; the first name stays."""
        key, held = _key_of(tensor)
        self._names.setdefault(key, (held, path))

    def set(self, tensor: torch.Tensor, tag: Tag, origin: Origin = NOWHERE) -> None:
        """Say where a tensor that the rehearsal made lies."""
        key, held = _key_of(tensor)
        self._entries[key] = _Entry(held, tag, origin)

    def of(self, tensor: torch.Tensor) -> Tag:
        """What nobody tagged was there before, on the CPU."""
        entry = self._entries.get(_key_of(tensor)[0])
        return "stayed" if entry is None else entry.tag

    def origin_of(self, tensor: torch.Tensor) -> Origin:
        """The model's own name first: what was made before the rehearsal has no other origin."""
        key, _ = _key_of(tensor)
        if key in self._names:
            return Origin(path=self._names[key][1])
        entry = self._entries.get(key)
        return NOWHERE if entry is None else entry.origin

    def is_new(self, tensor: torch.Tensor) -> bool:
        """Whether the rehearsal made the tensor's storage."""
        return _key_of(tensor)[0] in self._entries

    def key_of(self, tensor: torch.Tensor) -> int:
        """The same for all tensors that share a storage."""
        return _key_of(tensor)[0]


def _key_of(tensor: torch.Tensor) -> tuple[int, object]:
    from torch.multiprocessing.reductions import StorageWeakRef

    try:
        storage = tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):  # sparse, nested, opaque
        return id(tensor), tensor
    return storage._cdata, StorageWeakRef(storage)  # type: ignore[no-untyped-call]  # noqa: SLF001
