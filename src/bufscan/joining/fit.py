"""Join a checkpoint's inventory to that of a model: records in, records out, no torch and no files."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from bufscan.inventory import Inventory, Join, Mismatch, Tensor
from bufscan.joining.names import Renaming, find_renaming
from bufscan.tensor_names import extra_state_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bufscan.inventory import ModuleTree, Role
    from bufscan.live.building.huggingface import Converted

_COPY = 0.9  # of the best section's matches: an EMA of the same model, say
_COUNTER = "num_batches_tracked"
_FIRST_VERSION_WITH_COUNTER = 2  # of BatchNorm, since torch 0.4.1
_MOST_NAMES = 3  # in a note


class _Model:
    """A live model's records by the keys of its state_dict; `unsaved` is what it holds but does not save.

    Extra states are known by their keys, whatever the tensors in them; not where `state_dict()` failed.
    """

    def __init__(self, inventory: Inventory) -> None:
        self.target = inventory.target
        self.saved: dict[str, Tensor] = {}
        self.unsaved: dict[str, Tensor] = {}
        self.extra_states = [each.key for each in inventory.extra_states]
        self.shows_extra_states = all(tensor.saved is not None for tensor in inventory.tensors)
        for tensor in inventory.tensors:
            (self.saved if _is_saved(tensor) else self.unsaved).setdefault(_key_of(tensor), tensor)


class _Section(NamedTuple):
    """A section of the checkpoint against the model.

    Attributes:
        extra_states: keys of them, with what they are called in the model, if it has them. None where one side
            does not show them, as a whole module in a file.
        matches: the model's records by the section's names.
        converted: of those, the ones that loading renames or rebuilds.
    """

    name: str
    tensors: Mapping[str, Tensor]
    extra_states: Mapping[str, str | None] | None
    renaming: Renaming
    matches: Mapping[str, Tensor]
    converted: Mapping[str, Converted]

    @property
    def keys_found(self) -> dict[str, str]:
        """The section's names by the keys of what the model saves."""
        found = {_key_of(tensor): name for name, tensor in self.matches.items() if _is_saved(tensor)}
        return found | {key: name for name, become in self.converted.items() for key in become.names}


class _Absent(NamedTuple):
    """What the model saves and a section lacks.

    Attributes:
        missing: truly.
        extra_states: keys of them.
        tied: because the same tensor is there under another name.
        filled: counters that torch itself fills in when it loads a BatchNorm from before there were any.
    """

    missing: list[str]
    extra_states: list[str]
    tied: list[str]
    filled: list[str]


def join(checkpoint: Inventory, model: Inventory, converted: Mapping[str, Converted] | None = None) -> Inventory:
    """The checkpoint's inventory with the exact roles of the model's entries, and how the two fit.

    The section that matches best is joined, and with it those that are copies of it. What the model does not
    know keeps the role that the checkpoint gave it.

    Args:
        checkpoint: as read, its roles decided.
        model: as scanned, on any device.
        converted: what loading makes of entries whose names or shapes are not the model's.
    """
    live = _Model(model)
    sections = sorted(_sections(checkpoint, live, converted or {}), key=lambda section: -len(section.keys_found))
    most = len(sections[0].keys_found) if sections else 0
    chosen = [section for section in sections if most and len(section.keys_found) >= _COPY * most]
    chosen = chosen or sections[:1] or [_Section("", {}, {}, Renaming(), {}, {})]
    joins: list[Join] = []
    notes: list[str] = []
    for section in chosen:
        absent = _absent_from(section, live, _versions(checkpoint.module_trees, section.name))
        joins.append(_join_of(section, live, absent))
        notes.extend(_notes_on(section, live, absent))
    by_name = {section.name: section for section in chosen}
    return msgspec.structs.replace(
        checkpoint,
        tensors=tuple(_with_role(tensor, by_name.get(tensor.section), live) for tensor in checkpoint.tensors),
        joins=tuple(joins),
        notes=(*checkpoint.notes, *notes),
    )


def _is_saved(tensor: Tensor) -> bool:
    """Whether the model saves it; by its role where no state_dict could be had."""
    return tensor.role in ("parameter", "persistent_buffer") if tensor.saved is None else tensor.saved


def _key_of(tensor: Tensor) -> str:
    return tensor.saved_as or tensor.name


def _sections(checkpoint: Inventory, live: _Model, converted: Mapping[str, Converted]) -> Iterator[_Section]:
    """Each state_dict of the checkpoint, matched with the model."""
    by_section: dict[str, dict[str, Tensor]] = {}
    extra_states: dict[str, set[str]] = {}
    for each in checkpoint.extra_states:
        extra_states.setdefault(each.section, set()).add(each.key)
    for tensor in checkpoint.tensors:
        if tensor.role != "training_state":
            by_section.setdefault(tensor.section, {})[tensor.name] = tensor
    for name, inside in by_section.items():
        own = {key: converted[key] for key in inside if key in converted and converted[key].names[0] in live.saved}
        taken = {key for become in own.values() for key in become.names}
        left = {key: tensor.shape for key, tensor in inside.items() if key not in own}
        saved = {key: tensor.shape for key, tensor in live.saved.items() if key not in taken}
        renaming = find_renaming(left, saved)
        pairs = renaming.pairs(left, saved)
        unsaved = renaming.pairs([key for key in left if key not in pairs], live.unsaved)
        matches = {key: live.saved[other] for key, other in pairs.items()}
        matches |= {key: live.saved[become.names[0]] for key, become in own.items()}
        matches |= {key: live.unsaved[other] for key, other in unsaved.items()}
        states = {key for key in map(extra_state_key, inside) if key is not None} | extra_states.get(name, set())
        known = dict.fromkeys(sorted(states)) | renaming.pairs(states, live.extra_states)
        shows_them = live.shows_extra_states and name not in checkpoint.whole_modules
        yield _Section(name, inside, known if shows_them else None, renaming, matches, own)


def _versions(trees: Sequence[ModuleTree], section: str) -> Mapping[str, int | None]:
    return next((tree.versions for tree in trees if tree.section == section), {})


def _absent_from(section: _Section, live: _Model, versions: Mapping[str, int | None]) -> _Absent:
    found = section.keys_found
    first_names = {tensor.name: tensor.alias_of or tensor.name for tensor in live.saved.values()}
    present = {first_names[live.saved[key].name] for key in found}
    absent = _Absent([], [], [], [])
    if section.extra_states is not None:
        there = set(section.extra_states.values())
        absent.extra_states.extend(key for key in live.extra_states if key not in there)
    for key, tensor in live.saved.items():
        if key in found or extra_state_key(key) is not None:
            continue
        if first_names[tensor.name] in present:
            absent.tied.append(key)
        elif _is_filled_in(key, found, versions):
            absent.filled.append(key)
        else:
            absent.missing.append(key)
    return absent


def _is_filled_in(key: str, found: Mapping[str, str], versions: Mapping[str, int | None]) -> bool:
    """Whether loading makes up for an absent counter: the module is there, from before it had one."""
    module, _, leaf = key.rpartition(".")
    sibling = found.get(f"{module}.running_mean" if module else "running_mean")
    if leaf != _COUNTER or sibling is None:
        return False
    version = versions.get(sibling.rpartition(".")[0])
    return version is None or version < _FIRST_VERSION_WITH_COUNTER


def _join_of(section: _Section, live: _Model, absent: _Absent) -> Join:
    transient = {name for name, found in section.matches.items() if found.role == "non_persistent_buffer"}
    known = {name for name, found in section.matches.items() if _is_saved(found)}
    # What a whole module in a pickle holds beside its state_dict is no entry that anybody would load.
    entries = [
        name
        for name, tensor in section.tensors.items()
        if tensor.saved is not False and extra_state_key(name) is None
    ]
    unexpected = [name for name in entries if name not in known and name not in transient]
    rebuilt = {name for name, become in section.converted.items() if become.reshaped}
    mismatches = (
        _mismatch(section.tensors[name], found, reshaped=name in rebuilt)
        for name, found in section.matches.items()
    )
    return Join(
        model=live.target,
        section=section.name,
        matched=len(known),
        missing=tuple(live.saved[key] for key in absent.missing),
        missing_extra_states=tuple(absent.extra_states),
        unexpected=(*unexpected, *(key for key, other in (section.extra_states or {}).items() if other is None)),
        saved_non_persistent=tuple(name for name in entries if name in transient - known),
        mismatched=tuple(mismatch for mismatch in mismatches if mismatch is not None),
        tied=tuple(absent.tied),
        checkpoint_prefix=section.renaming.checkpoint_prefix,
        model_prefix=section.renaming.model_prefix,
        wrappers=section.renaming.wrappers,
    )


_SAVED_ROLES: frozenset[Role] = frozenset(("parameter", "persistent_buffer"))


def _mismatch(stored: Tensor, found: Tensor, *, reshaped: bool) -> Mismatch | None:
    shape = dtype = role = None
    # torch loads a 1-element vector into a 0-dim tensor: releases before 0.4 knew no other scalars.
    fits = reshaped or (stored.shape, found.shape) == ((1,), ())
    if stored.shape is not None and found.shape is not None and stored.shape != found.shape and not fits:
        shape = (stored.shape, found.shape)
    if stored.dtype is not None and found.dtype is not None and stored.dtype != found.dtype:
        dtype = (stored.dtype, found.dtype)
    # An entry that the model does not save is a case of its own.
    if stored.certainty == "exact" and stored.role != found.role and {stored.role, found.role} <= _SAVED_ROLES:
        role = (stored.role, found.role)
    if shape is None and dtype is None and role is None:
        return None
    return Mismatch(name=stored.name, shape=shape, dtype=dtype, role=role)


def _with_role(tensor: Tensor, section: _Section | None, live: _Model) -> Tensor:
    found = section.matches.get(tensor.name) if section else None
    if found is None or tensor.role == "training_state":
        return tensor
    return msgspec.structs.replace(
        tensor,
        role=found.role,
        certainty="exact",
        evidence=f"model: {live.target}",
        declared=found.declared,
        # What the checkpoint recorded of its parameter says nothing of the model's buffer.
        requires_grad=tensor.requires_grad if tensor.role == found.role else None,
        saved=found.saved,
        moves=found.moves,
        trains=found.trains,
    )


def _notes_on(section: _Section, live: _Model, absent: _Absent) -> Iterator[str]:
    """What a person should know: which section was joined, what was taken off names, what only looks missing."""
    where = f"section `{section.name}` of the checkpoint" if section.name else "the checkpoint"
    matched = len(section.keys_found)
    if not matched:
        yield f"nothing in {where} has a name of the model `{live.target}`"
        return
    yield f"{where} has {matched} of the {len(live.saved)} entries that the model `{live.target}` saves"
    renaming = section.renaming
    taken = [
        *(f"`{prefix}` is taken off the checkpoint's" for prefix in [renaming.checkpoint_prefix] if prefix),
        *(f"`{prefix}` is taken off the model's" for prefix in [renaming.model_prefix] if prefix),
        *(f"`{part}` is left out of all" for part in renaming.wrappers),
    ]
    if taken:
        yield f"names match once {' and '.join(taken)}"
    if section.converted:
        names = [f"{name}` becomes `{become.names[0]}" for name, become in section.converted.items()]
        yield f"loading goes by other names: {_listed(names)}"
    if absent.tied:
        yield f"stored once, under a name that they are tied to: {_listed(absent.tied)}"
    if absent.filled:
        yield f"written before BatchNorm counted batches, so loading fills in {_listed(absent.filled)}"
    if lost := [tensor.name for tensor in live.unsaved.values() if tensor.lacks_registration]:
        yield f"the model also holds what no checkpoint of it has, unregistered: {_listed(lost)}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:_MOST_NAMES])
    more = len(names) - _MOST_NAMES
    return f"{shown} and {more} more" if more > 0 else shown
