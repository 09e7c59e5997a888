"""Tensor records from the calls a pickle describes, over one table of storages. Nothing is called or allocated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bufscan.formats.listing import quoted
from bufscan.formats.pickle.pickle_values import Global, Instance, Pairs, PersistentId, named_class
from bufscan.formats.tensors.numpy_arrays import is_tensor_array, rebuild_array
from bufscan.formats.tensors.reconstruction import BUILDERS, arguments_with_state
from bufscan.formats.tensors.sizes import Geometry, is_count, read_geometry, read_sizes
from bufscan.formats.tensors.storages import MalformedTensorError, StorageReference, StorageTable
from bufscan.inventory import Part, Tensor

if TYPE_CHECKING:
    from bufscan.formats.pickle.allowance import Allowance
    from bufscan.formats.tensors.reconstruction import Builder

_SIZES = 2  # among the arguments: storage, offset, sizes, strides
_MAX_NESTING = 8  # a Parameter of a subclass of a wrapper: 3 in real files

# Real checkpoints have a few hundred. The memory that this takes must not grow with the file.
_MOST_GEOMETRIES = 10_000


class _Builders(dict[Global, "Builder | None"]):
    """The builders of the reconstruction functions that were met; None for everything else."""

    def __missing__(self, func: Global) -> Builder | None:
        builder = self[func] = BUILDERS.get((func.module, func.name))
        return builder


class Rebuilder:
    """Turns the calls of a pickle into nameless tensor records, all over one table of storages."""

    def __init__(self, storages: StorageTable, allowance: Allowance) -> None:
        self.storages = storages
        self._allowance = allowance
        self._builders = _Builders()
        self._geometries: dict[tuple[int, int], Geometry] = {}

    def learn(self, func: Global, builder: Builder) -> None:
        """Take calls of this very name, which a reader made and no file can, for tensors."""
        self._builders[func] = builder

    def is_tensor(self, value: Any) -> bool:
        """Whether the value is a call that makes a tensor, or a storage by itself."""
        if type(value) is Instance:
            func = value.func
            return type(func) is Global and self._builders[func] is not None
        return type(value) is PersistentId and named_class(value) is None

    def has_elements(self, value: Any) -> bool:
        """Whether it makes a tensor or a NumPy array that could be one: in a module only the first counts."""
        return self.is_tensor(value) or is_tensor_array(value)

    def shape_of(self, value: Any) -> tuple[int, ...] | None:
        """The shape of the tensor that the call would make; None where it is no call that torch writes."""
        for _ in range(_MAX_NESTING):
            if type(value) is not Instance or type(value.func) is not Global or type(value.args) is not tuple:
                break
            if value.func.name == "_rebuild_parameter" and value.args:
                value = value.args[0]
            elif value.func.name in ("_rebuild_tensor_v2", "_rebuild_tensor_v3"):
                return self._sizes_of(value.args)
        try:
            return self.rebuild(value).shape
        except MalformedTensorError:
            return None

    def _sizes_of(self, args: tuple[Any, ...]) -> tuple[int, ...] | None:
        try:
            return read_sizes(args[_SIZES]) if len(args) > _SIZES else None
        except MalformedTensorError:
            return None

    def rebuild(self, value: Any, depth: int = 0) -> Tensor:
        """The record of the tensor that the call would make, with an empty name.

        The role is exact where the call itself states it (a Parameter, a Buffer), else assumed.

        Raises:
            MalformedTensorError: torch could not have written these arguments.
        """
        if type(value) is PersistentId:
            return self._bare_storage(value)
        if type(value) is not Instance or type(value.func) is not Global or type(value.args) is not tuple:
            raise MalformedTensorError("it is not a call of a reconstruction function")
        builder = self._builders[value.func]
        if builder is None and is_tensor_array(value):
            return rebuild_array(self, value)
        if builder is None:
            raise MalformedTensorError(f"{quoted(value.func.qualified)} is not a way to make a tensor")
        self._allowance.calls -= 1
        if depth > _MAX_NESTING or self._allowance.calls < 0:
            raise MalformedTensorError("tensors are nested in it without end")
        args = value.args if value.state is None else arguments_with_state(value)
        tensor = builder(self, args, depth)
        if tensor is None:
            raise MalformedTensorError(f"{value.func.name} has arguments that torch does not write")
        return tensor

    def view(
        self,
        reference: StorageReference,
        offset: Any,
        size: Any,
        stride: Any,
        *,
        requires_grad: bool | None,
    ) -> Tensor:
        """A strided look at a storage, checked against the elements that the storage has."""
        shape, steps, reach = self._geometry(size, stride)
        if not is_count(offset):
            raise MalformedTensorError("its offset and sizes do not fit together")
        if reach is not None and offset + reach >= reference.numel:
            raise MalformedTensorError(f"it reaches element {offset + reach} of a storage of {reference.numel}")
        return Tensor(
            name="",
            shape=shape,
            dtype=reference.dtype.name,
            device=reference.device,
            stride=steps,
            storage=reference.key,
            storage_offset=offset + reference.offset,
            stored_bytes=self.storages.stored_bytes(reference.key),
            requires_grad=requires_grad,
        )

    def _geometry(self, size: Any, stride: Any) -> Geometry:
        """The sizes and strides of a tensor, checked only once for the tuples that many tensors share."""
        key = (id(size), id(stride))
        known = self._geometries.get(key)
        if known is None:
            known = read_geometry(size, stride)
            # A kept tuple keeps its id.
            if known.shape is size and known.stride is stride and len(self._geometries) < _MOST_GEOMETRIES:
                self._geometries[key] = known
        return known

    def _bare_storage(self, value: PersistentId) -> Tensor:
        reference = self.storages.refer(value)
        tensor = self.view(reference, 0, (reference.numel,), (1,), requires_grad=False)
        return msgspec.structs.replace(tensor, layout="storage")

    def parts_among(self, states: list[Pairs], depth: int) -> tuple[Part, ...]:
        """The strided tensors among a wrapper's attributes; those of inner wrappers with dotted names."""
        parts: list[Part] = []
        for state in states:
            for name, value in state.entries():
                if type(name) is str and type(value) is Instance and self.is_tensor(value):
                    parts += self.parts_of(name, value, depth)
        return tuple(parts)

    def parts_of(self, name: str, value: Any, depth: int) -> list[Part]:
        """The strided tensors that the call makes, called `name` or, inside a compound, `name.inner`."""
        tensor = self.rebuild(value, depth + 1)
        if tensor.parts:
            return [msgspec.structs.replace(part, name=f"{name}.{part.name}") for part in tensor.parts]
        if tensor.shape is None or tensor.dtype is None or tensor.stride is None:
            return []
        return [
            Part(
                name=name,
                shape=tensor.shape,
                dtype=tensor.dtype,
                stride=tensor.stride,
                storage=tensor.storage,
                storage_offset=tensor.storage_offset,
                device=tensor.device,
            )
        ]

    def stored_bytes(self, parts: tuple[Part, ...]) -> int:
        """Bytes of the distinct storages the parts lie in."""
        storages = self.storages.storages
        return sum(storages[key].nbytes for key in {part.storage for part in parts} if key in storages)

    def compound(
        self, values: dict[str, Any], depth: int, *, shape: tuple[int, ...] | None, layout: str, of: str
    ) -> Tensor:
        """A tensor made of named strided ones; `of` names the one that has its dtype and device."""
        parts = tuple(part for name, value in values.items() for part in self.parts_of(name, value, depth))
        main = next((part for part in parts if part.name == of), None)
        if main is None:
            raise MalformedTensorError(f"its {of} is no tensor")
        return Tensor(
            name="",
            shape=shape,
            dtype=main.dtype,
            device=main.device,
            layout=layout,
            stored_bytes=self.stored_bytes(parts),
            requires_grad=False,
            parts=parts,
        )
