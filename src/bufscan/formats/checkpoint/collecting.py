"""Gathers the tensors found in a pickle, within what a file of its size can hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bufscan.formats.pickle.object_graph import MAX_DEPTH, holds_any, may_hold, width_of
from bufscan.formats.pickle.pickle_values import Instance
from bufscan.formats.tensors.storages import MalformedTensorError
from bufscan.inventory import Certainty, Facts, Role, Skipped, Tensor, facts_of
from bufscan.tensor_names import names_entry

if TYPE_CHECKING:
    from bufscan.formats.pickle.allowance import Allowance
    from bufscan.formats.pickle.object_graph import ObjectPath
    from bufscan.formats.tensors.rebuilding import Rebuilder

# Bytes of memory.
_RECORD = 400
_VISITED = 100

_TEXT_PER_ENTRY = 200  # characters: the longest names of real models have about a hundred

# Steps: making the path to an object, and finding out what the object is.
VISIT = 4
_ENTER = 6

# Short containers of scalars are looked at again rather than remembered.
_SHORT = 8

_MOST_SKIPPED = 1000
_LONGEST_SKIPPED = 200  # characters


class Statement(msgspec.Struct, frozen=True, gc=False):
    """A role that the artefact states, or that follows from where in it the tensor lies.

    Attributes:
        facts: where they are not those of the role.
    """

    role: Role
    evidence: str
    certainty: Certainty = "exact"
    holding: str | None = None
    holder: str | None = None
    facts: Facts | None = None


class FullError(Exception):
    """There is no room for another tensor."""


class Collector:
    """The tensors and the skipped things of one pickle, in order, within its allowance."""

    def __init__(self, rebuilder: Rebuilder, allowance: Allowance) -> None:
        self.tensors: list[Tensor] = []
        self.skipped: list[Skipped] = []
        self.rebuilder = rebuilder
        self.allowance = allowance

    def add(
        self, value: Any, name: str, section: str, statement: Statement | None = None, *, detached: bool = False
    ) -> Tensor | None:
        """Note the tensor that `value` would make.

        A statement overrides what the record itself says, except that a Parameter stays one where the statement is
        None. `detached`: a plain tensor's missing gradient is no evidence, a state_dict detaches every entry.
        Returns the record, or None when it was skipped.

        Raises:
            FullError: the file names more tensors than one of its size can.
        """
        self.take_room(name, section)
        if statement is not None and statement.holder is not None:
            self.take_text(statement.holder)
        try:
            tensor = self.rebuilder.rebuild(value)
        except MalformedTensorError as error:
            what = f"tensor {name[:_LONGEST_SKIPPED]}" if name else "the tensor"
            self.skip(what, error.message, failed=True)
            return None
        tensor = _placed(tensor, name, section, statement, detached=detached)
        if tensor.type_name:
            self.take_text(tensor.type_name)
        if tensor.placements or tensor.parts:
            for text in (*tensor.placements, *(part.name for part in tensor.parts)):
                self.take_text(text)
        self.tensors.append(tensor)
        return tensor

    def take_room(self, name: str, section: str) -> None:
        """Count an entry of the inventory; the section's name is shared among many.

        Raises:
            FullError: there is no room for it.
        """
        left = self.allowance
        left.entries -= 1
        left.text += _TEXT_PER_ENTRY - len(section)
        self.take_text(name)

    def take_text(self, text: str) -> None:
        """Count a record of the inventory by the text in it.

        Raises:
            FullError: there is no room for it.
        """
        left = self.allowance
        left.text -= len(text)
        left.memory -= _RECORD + len(text)
        if left.entries < 0 or left.text < 0 or left.memory < 0:
            raise FullError

    def enter(self, value: Any, seen: set[int]) -> bool:
        """Whether an object is worth looking into: it holds something, and it is not yet among the `seen` ids.

        Raises:
            UnreadableError: the file is crafted to take long.
            FullError: it is crafted to take much memory.
        """
        if id(value) in seen or not may_hold(value):
            return False
        if type(value) is not Instance and len(value) <= _SHORT and not holds_any(value):
            return False
        seen.add(id(value))
        self.allowance.memory -= _VISITED
        if self.allowance.memory < 0:
            raise FullError
        self.allowance.look_at(_ENTER + width_of(value))
        return True

    @property
    def notes_skipped(self) -> bool:
        """Whether another skipped thing would be noted: spelling out where it lies takes long."""
        return len(self.skipped) <= _MOST_SKIPPED

    def skip(self, what: str, reason: str, *, failed: bool = False) -> None:
        """Note something that is not examined; a flood of them is cut. `failed`: as in `Skipped`."""
        if len(self.skipped) == _MOST_SKIPPED:
            self.skipped.append(Skipped(what="more", reason=f"more than {_MOST_SKIPPED:,} things", failed=True))
        elif len(self.skipped) < _MOST_SKIPPED:
            note = Skipped(what=what, reason=reason, failed=failed)
            if not self.skipped or self.skipped[-1] != note:
                self.skipped.append(note)

    def skip_at(self, path: ObjectPath, reason: str, *, failed: bool = False) -> None:
        """Note that what lies at `path` is not examined."""
        if self.notes_skipped:
            self.skip(path.within(None)[:_LONGEST_SKIPPED], reason, failed=failed)

    def skip_deep(self, path: ObjectPath) -> None:
        """Note that what lies at `path` is nested too deep."""
        self.skip_at(path, f"nested more than {MAX_DEPTH} deep", failed=True)


def _placed(tensor: Tensor, name: str, section: str, statement: Statement | None, *, detached: bool) -> Tensor:
    requires_grad, assumed = tensor.requires_grad, tensor.certainty == "assumed"
    if detached and not requires_grad and assumed:
        requires_grad = None
    if statement is None and assumed:
        # Whether parameter or buffer: it is here, and follows its model.
        known = names_entry(name) or None
        return msgspec.structs.replace(
            tensor,
            name=name,
            section=section,
            requires_grad=requires_grad,
            saved=known,
            moves=known,
            trains=known and requires_grad,
        )
    named = msgspec.structs.replace(tensor, name=name, section=section, requires_grad=requires_grad)
    return stated_as(named, statement or Statement(tensor.role, tensor.evidence, tensor.certainty))


def stated_as(tensor: Tensor, statement: Statement) -> Tensor:
    """The tensor with the stated role and the facts that follow from it."""
    facts = statement.facts or facts_of(statement.role, tensor.requires_grad)
    return msgspec.structs.replace(
        tensor,
        role=statement.role,
        certainty=statement.certainty,
        evidence=statement.evidence,
        holding=statement.holding,
        holder=statement.holder,
        saved=facts.saved,
        moves=facts.moves,
        trains=facts.trains,
    )
