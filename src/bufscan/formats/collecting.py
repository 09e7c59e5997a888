"""Gathers the tensors found in a pickle, within what a file of its size can hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bufscan.errors import UnreadableError
from bufscan.formats.object_graph import MAX_DEPTH
from bufscan.formats.storages import MalformedTensorError
from bufscan.inventory import Certainty, Facts, Role, Skipped, Tensor, facts_of

if TYPE_CHECKING:
    from bufscan.formats.object_graph import ObjectPath
    from bufscan.formats.rebuilding import Rebuilder

# A tensor's record takes at least 100 bytes of pickle. A crafted file can name one tensor again and again.
_FREE_ENTRIES = 10_000
_BYTES_PER_ENTRY = 100
_TEXT_PER_ENTRY = 200
_FREE_TEXT = 1_000_000
# Every value takes a byte of pickle, and a reader looks at each only once or twice. A crafted file can show one
# large object in many places.
_FREE_STEPS = 1_000_000
_STEPS_PER_BYTE = 1
_MOST_SKIPPED = 1000
_LONGEST_SKIPPED = 200  # characters


class Statement(msgspec.Struct, frozen=True, gc=False):
    """A role that the artefact states, or that follows from where in it the tensor lies."""

    role: Role
    evidence: str
    certainty: Certainty = "exact"
    holding: str | None = None


class Collector:
    """The tensors and the skipped things of one pickle, in order.

    `most_entries` is how many tensors a pickle of its size can name.
    """

    def __init__(self, rebuilder: Rebuilder, *, pickle_bytes: int) -> None:
        self.tensors: list[Tensor] = []
        self.skipped: list[Skipped] = []
        self.rebuilder = rebuilder
        self.most_entries = _FREE_ENTRIES + pickle_bytes // _BYTES_PER_ENTRY
        self._entries_left = self.most_entries
        self._text_left = _FREE_TEXT + _TEXT_PER_ENTRY * self.most_entries
        self._steps_left = _FREE_STEPS + pickle_bytes * _STEPS_PER_BYTE

    def add(
        self, value: Any, name: str, section: str, statement: Statement | None = None, *, detached: bool = False
    ) -> Tensor | None:
        """Note the tensor that `value` would make.

        A statement overrides what the record itself says, except that a Parameter stays one where the statement is
        None. `detached`: a plain tensor's missing gradient is no evidence, a state_dict detaches every entry.
        Returns the record, or None when it was skipped.
        """
        self._entries_left -= 1
        if self._entries_left < 0 or not self.has_room_for(name, section):
            self.skip("further tensors", "more of them than a file of this size can hold", failed=True)
            return None
        try:
            tensor = self.rebuilder.rebuild(value)
        except MalformedTensorError as error:
            self.skip(f"tensor {name[:_LONGEST_SKIPPED]}", error.message, failed=True)
            return None
        tensor = _placed(tensor, name, section, statement, detached=detached)
        if tensor.type_name or tensor.parts:
            self.has_room_for(tensor.type_name or "", *(part.name for part in tensor.parts))
        self.tensors.append(tensor)
        return tensor

    def has_room_for(self, *texts: str) -> bool:
        """Count texts that will stand in the inventory; False once they are too long for a file of this size."""
        self._text_left -= sum(map(len, texts))
        return self._text_left >= 0

    def spend(self, steps: int) -> None:
        """Count the values that a reader is about to look at.

        Raises:
            UnreadableError: it has looked at more of them than a file of this size can hold.
        """
        self._steps_left -= steps
        if self._steps_left < 0:
            raise UnreadableError("its pickle shows the same objects in far more places than a checkpoint does")

    def skip(self, what: str, reason: str, *, failed: bool = False) -> None:
        """Note something that is not examined; a flood of them is cut. `failed`: as in `Skipped`."""
        if len(self.skipped) < _MOST_SKIPPED:
            note = Skipped(what=what, reason=reason, failed=failed)
            if not self.skipped or self.skipped[-1] != note:
                self.skipped.append(note)

    def skip_deep(self, path: ObjectPath, prefix: str = "") -> None:
        """Note that what lies at `path` is nested too deep."""
        if len(self.skipped) < _MOST_SKIPPED:  # such a path takes long to spell
            where = prefix + path.within(None)
            self.skip(where[:_LONGEST_SKIPPED], f"nested more than {MAX_DEPTH} deep")


def _placed(tensor: Tensor, name: str, section: str, statement: Statement | None, *, detached: bool) -> Tensor:
    if statement is None and tensor.certainty == "assumed":
        requires_grad = None if detached and not tensor.requires_grad else tensor.requires_grad
        return msgspec.structs.replace(tensor, name=name, section=section, requires_grad=requires_grad)
    named = msgspec.structs.replace(tensor, name=name, section=section)
    return stated_as(named, statement or Statement(tensor.role, tensor.evidence, tensor.certainty))


def stated_as(tensor: Tensor, statement: Statement) -> Tensor:
    """The tensor with the stated role and the facts that follow from it."""
    facts = facts_of(statement.role, tensor.requires_grad)
    if statement.holding == "extra_state":
        facts = Facts(saved=True, moves=None, trains=False)
    return msgspec.structs.replace(
        tensor,
        role=statement.role,
        certainty=statement.certainty,
        evidence=statement.evidence,
        holding=statement.holding,
        saved=facts.saved,
        moves=facts.moves,
        trains=facts.trains,
    )
