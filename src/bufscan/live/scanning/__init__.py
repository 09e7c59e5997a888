"""A live model as an inventory: what is registered, what is not, and the measured facts of each tensor."""

from __future__ import annotations

from functools import cached_property
from types import FunctionType
from typing import TYPE_CHECKING, Any, Literal

from bufscan.inventory import HARMLESS_HOLDINGS, ExtraState, Inventory, Tensor
from bufscan.live.reach.anatomy import is_torch_class
from bufscan.live.reach.describing import Places, StorageTable, describe, is_uninitialised, subclasses_not_asked
from bufscan.live.reach.measuring import measure
from bufscan.live.reach.origin import origin_of, origin_of_function, origin_of_global
from bufscan.live.reach.registry import registered_modules, registered_tensors, table_of
from bufscan.live.reach.saving import SavedNames
from bufscan.live.reach.walking import walk
from bufscan.live.scanning.classifying import Classifier
from bufscan.live.scanning.renewal import is_reset
from bufscan.live.scanning.shadowing import Shadows
from bufscan.live.scanning.sharing import splits
from bufscan.live.scanning.slots import lacks_values, misregistration_of, slot_at, slot_of
from bufscan.tensor_names import extra_state_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch
    from torch import nn

    from bufscan.inventory import Holding, Role, Skipped, Slot
    from bufscan.live.reach.describing import Elements
    from bufscan.live.reach.measuring import Measurement
    from bufscan.live.reach.naming import Anchor, Place
    from bufscan.live.reach.registry import RegisteredModule, RegisteredTensor
    from bufscan.live.reach.walking import Reached
    from bufscan.source.origins import Origin

_MOST_NAMES = 3  # of what a note is about


def scan(
    model: nn.Module,
    target: str,
    storages: StorageTable | None = None,
    *,
    was_made: Callable[[str, nn.Module, torch.Tensor], bool] | None = None,
) -> Inventory:
    """Everything the model holds, registered or not.

    The model is left as it was; its `state_dict`, `_apply` and `parameters` are called, its `forward` is not.

    Args:
        model: on any device, `meta` included.
        target: how the user named it.
        storages: filled with what the inventory's storages name, for who wants to read values.
        was_made: tells of a path, the registered module that leads there, and the tensor, whether a forward pass
            was seen to make it; None where none was seen.
    """
    modules, skipped = registered_modules(model)
    measurement = measure(model, [entry.module for entry in modules if entry.first])
    met = walk(modules)
    with subclasses_not_asked():
        table = StorageTable() if storages is None else storages
        scanner = _Scanner(modules, measurement, met.reached, table, was_made)
    return Inventory(
        target=target,
        format="live",
        tensors=tuple(scanner.tensors_in_order()),
        storages=scanner.storages.storages,
        extra_states=tuple(
            ExtraState(section="", key=key) for key in measurement.saved or () if extra_state_key(key) == key
        ),
        skipped=(*skipped, *measurement.skipped, *met.skipped, *scanner.skipped),
        notes=tuple(scanner.notes()),
    )


class _Scanner:
    """Makes the records of one model; each tensor's later names are ties to its first."""

    def __init__(
        self,
        modules: list[RegisteredModule],
        measurement: Measurement,
        reached: list[Reached],
        storages: StorageTable,
        was_made: Callable[[str, nn.Module, torch.Tensor], bool] | None,
    ) -> None:
        self.storages = storages
        self._modules = modules
        self._by_path = {entry.path: entry.module for entry in modules}
        self._measurement = measurement
        self._shadows = Shadows(modules)
        self._registered = [entry for module in modules for entry in registered_tensors(module)]
        self._saved = SavedNames(measurement.saved, (entry.name for entry in self._registered))
        self._places = Places()
        self._classifier = Classifier(self._registered, reached, measurement.moved, was_made, self._places)
        self._splits = splits(self._registered, self._classifier.uses_of, self._places)
        self._first_names: dict[int | Elements, str] = {}
        self._by_prefix: dict[str, list[Tensor]] = {}
        self._rest: list[Tensor] = []
        self._meshes: set[str] = set()
        for entry in self._registered:
            if entry.tensor is not None:
                self._by_prefix.setdefault(entry.owner.prefix, []).append(
                    self._registered_record(entry, entry.tensor)
                )
        for met in reached:
            self._add_reached(met)
        self._add_rest_of_state_dict()

    @property
    def skipped(self) -> list[Skipped]:
        """What may hide a registration and may not."""
        return self._shadows.skipped

    def tensors_in_order(self) -> Iterator[Tensor]:
        """Module by module: parameters, buffers, then what is held without registration."""
        for module in self._modules:
            yield from self._by_prefix.get(module.prefix, ())
        yield from self._rest

    def _add_reached(self, reached: Reached) -> None:
        """A tensor that the walk met; nothing is added for another way to a registered Parameter."""
        verdict = self._classifier.verdict(reached)
        if verdict is None:
            return
        place, tensor = reached
        saved, other = self._saved.claim(place.path, tensor)
        evidence = verdict.evidence if other == place.path else f"{verdict.evidence}; saved as `{other}`"
        # A hidden module is one fault, made where the module is put, whatever its own code holds in its turn.
        anchor = place.anchor if place.holder is None else place.holder.anchor
        nothing_to_mend = verdict.holding in HARMLESS_HOLDINGS or _is_torchs(anchor)
        origin = None if nothing_to_mend else origin_at(anchor)
        record = self._record(
            place.path,
            tensor,
            role="unregistered",
            evidence=evidence,
            saved=saved,
            saved_as=other if saved and other != place.path else None,
            moves=verdict.moves,
            holding=verdict.holding,
            alias_of=verdict.alias_of,
            holder=place.holder.path if place.holder is not None else None,
            origin=origin or (None if nothing_to_mend else _origin_around(place)),
            slot=None if nothing_to_mend else slot_at(place, tensor, verdict, origin),
        )
        self._by_prefix.setdefault(place.home.prefix, []).append(record)

    def _add_rest_of_state_dict(self) -> None:
        """Entries of the state_dict that no tensor of the model accounts for."""
        for name, key, tensor in self._saved.unclaimed():
            holding, evidence = self._holding_of_entry(key)
            self._rest.append(
                self._record(
                    name, tensor, role="unregistered", evidence=evidence, saved=True, moves=None, holding=holding
                )
            )

    def _holding_of_entry(self, key: str) -> tuple[Holding, str]:
        prefix, _, last = key.rpartition(".")
        if last == "_extra_state":
            return "extra_state", f"extra state of `{prefix}`" if prefix else "extra state of the model"
        owner = self._by_path.get(prefix)
        if owner is not None and type(owner).__module__.startswith("torch.ao."):
            return "packed_params", f"packed parameters of {type(owner).__name__}"
        return "state_dict_only", "in the state_dict, but no module holds it"

    def _registered_record(self, entry: RegisteredTensor, tensor: torch.Tensor) -> Tensor:
        saved, other = self._saved.claim(entry.name, tensor)
        owner = type(entry.owner.module).__name__
        evidence = f"registered {entry.kind} of {owner}"
        if not entry.persistent:
            evidence += ", persistent=False"
        if entry.kind == "buffer" and tensor.requires_grad:
            evidence += ", an nn.Parameter" if _declared(tensor) == "parameter" else ", requires_grad"
        if is_uninitialised(tensor):
            evidence += ", not initialised yet"
        if other != entry.name:
            evidence += f"; saved as `{other}`"
        shadow = self._shadows.of(entry)
        role: Role = "parameter" if entry.kind == "parameter" else "persistent_buffer"
        split = self._splits.get(entry.name)
        holding = shadow.holding if shadow else split.holding if split else None
        origin = origin_at(shadow.anchor) if shadow else _registration_of(entry, is_split=bool(split))
        return self._record(
            entry.name,
            tensor,
            role=role if entry.persistent else "non_persistent_buffer",
            evidence=f"{evidence}; hidden by {shadow.what}" if shadow else evidence,
            saved=saved,
            saved_as=other if saved and other != entry.name else None,
            moves=self._moves(tensor),
            holding=holding,
            alias_of=split.other if split else None,
            holder=shadow.module if shadow else None,
            is_reset=lacks_values(entry)
            and is_reset((type(entry.owner.module), type(self._modules[0].module)), entry.attribute),
            origin=origin,
            slot=slot_of(entry, holding, origin),
        )

    def _record(
        self,
        name: str,
        tensor: torch.Tensor,
        *,
        alias_of: str | None = None,
        origin: Origin | None = None,
        slot: Slot | None = None,
        **facts: Any,
    ) -> Tensor:
        trained = self._measurement.trained
        described = describe(tensor, self.storages)
        if described.get("placements"):
            self._meshes.add(str(tensor.device_mesh))  # type: ignore[attr-defined]  # what has placements is a DTensor
        return Tensor(
            name=name,
            certainty="exact",
            trains=None if trained is None else id(tensor) in trained,
            alias_of=alias_of or self._first_name(tensor, name),
            declared=_declared(tensor),
            origin=origin.location if origin else None,
            slot=slot,
            **facts,
            **described,
        )

    def _first_name(self, tensor: torch.Tensor, name: str) -> str | None:
        """The name under which this tensor, or another object that shows the very same elements, was met first."""
        elements = self._places.elements_of(tensor)
        first = self._first_names.setdefault(id(tensor) if elements is None else elements, name)
        return None if first == name else first

    def _moves(self, tensor: torch.Tensor) -> bool | None:
        moved = self._measurement.moved
        if moved is None:
            return None
        # An `_apply` of C++ modules hands over `param.data`: another object with the same elements.
        return id(tensor) in moved or self._places.elements_of(tensor) in self._moved_elements

    @cached_property
    def _moved_elements(self) -> set[Elements]:
        found = map(self._places.elements_of, (self._measurement.moved or {}).values())
        return {elements for elements in found if elements is not None}

    def notes(self) -> Iterator[str]:
        """What a person should know about the names and about what is registered without a tensor."""
        root = self._modules[0].module
        wrapped = [name for name in ("module", "_orig_mod") if name in table_of(root, "_modules")]
        if wrapped and is_torch_class(type(root)):
            yield f"the model is wrapped in {type(root).__name__}: names begin with `{wrapped[0]}.`"
        empty = [entry.name for entry in self._registered if entry.tensor is None and entry.kind == "buffer"]
        if empty:
            shown = ", ".join(f"`{name}`" for name in empty[:_MOST_NAMES]) + ", …" * (len(empty) > _MOST_NAMES)
            yield f"registered as None, with no tensor yet: {len(empty)} buffer{'s' * (len(empty) > 1)} ({shown})"
        for mesh in sorted(self._meshes):
            yield f"distributed over {mesh}: shapes are those of the whole tensors"


def _is_torchs(anchor: Anchor | None) -> bool:
    """Whether torch's own source assigns it: there is nothing of the user's to show or to mend."""
    owner = anchor[0] if anchor is not None else None
    return isinstance(owner, type) and is_torch_class(owner)


def _origin_around(place: Place) -> Origin | None:
    """Where the source makes the innermost object around it that it shows: a helper may fill that from afar."""
    outer = place.parent if place.holder is None else place.holder.parent
    while outer is not None:
        if found := origin_at(outer.anchor):
            return found
        outer = outer.parent
    return None


def origin_at(anchor: Anchor | None) -> Origin | None:
    """Where the source assigns what the walk came through; None where it does not show it."""
    if anchor is None:
        return None
    owner, name, want, key = anchor
    if isinstance(owner, type):
        return origin_of(owner, name or "", want, key)
    if isinstance(owner, FunctionType) and name is None:
        return origin_of_function(owner)
    return origin_of_global(owner, name or "")


def _registration_of(entry: RegisteredTensor, *, is_split: bool) -> Origin | None:
    """Where a buffer is registered that had better be registered otherwise."""
    if not is_split and misregistration_of(entry) is None:
        return None
    return origin_of(type(entry.owner.module), entry.attribute, "registration")


def _declared(tensor: torch.Tensor) -> Literal["parameter", "buffer"] | None:
    from torch import nn

    if isinstance(tensor, nn.Parameter):
        return "parameter"
    return "buffer" if isinstance(tensor, nn.Buffer) else None
