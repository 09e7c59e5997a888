"""What a rehearsal of a model's move to another device showed: plain records, made by `rehearsing`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import msgspec

from bufscan.errors import UsageError
from bufscan.inventory import Inventory, Skipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bufscan.inventory import Location, Tensor

_NOT_SAVED = ("plain", "cache")  # kinds of slots that would be registered without being saved
_MOST_NAMES = 3  # in a note

Verdict = Literal["fails", "passes", "not rehearsed"]
Load = Literal["reload", "meta"]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How to rehearse a model.

    Attributes:
        inputs: what to call it with, as the command line writes it; None not to call it.
        loads: ways to load its state_dict into another instance: one built anew, one built on the meta device.
        method: what to call.
        train: whether in training mode, with a backward pass.
        dtype: torch's name of the type that the model is cast to as it moves; None to leave its types.
    """

    inputs: str | None = None
    loads: tuple[Load, ...] = ()
    method: str = "forward"
    train: bool = False
    dtype: str | None = None


def plan_for(words: Sequence[str]) -> Plan:
    """What `--rehearse` asks for, given any number of times: inputs once, and ways to load.

    Raises:
        UsageError: there are several inputs.
    """
    loads = tuple(load for load in get_args(Load) if load in words)
    inputs = [word for word in words if word not in loads]
    if len(inputs) > 1:
        raise UsageError("a rehearsal calls the model once", hint=f"which of {' and '.join(inputs)} is it?")
    return Plan(inputs=inputs[0] if inputs else None, loads=loads)


class Clash(msgspec.Struct, frozen=True, kw_only=True):
    """An operation that would fail once the model has moved.

    Attributes:
        operator: what the user's code calls, or the operator behind it (`add`, `index_select`, `numpy`).
        complaint: what fails, as a clause.
        line: of the user's code that runs the operation; None where only installed code does.
        tensor: path of the tensor that stayed behind, as an inventory writes it; None where the model holds none.
        input: name of the input that had better not move; None where none is to blame.
        made: the line that made the tensor on the CPU during the forward pass.
        maker: what that line calls (`torch.arange(8)`).
        fix: that call with the device it lacks; None where no local name tells it.
        shape: of the tensor that stayed behind.
        dtype: the type that it kept, where not the device but the type is what fails.
    """

    operator: str
    complaint: str
    line: Location | None = None
    tensor: str | None = None
    input: str | None = None
    made: Location | None = None
    maker: str | None = None
    fix: str | None = None
    shape: tuple[int, ...] = ()
    dtype: str | None = None


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What other instances of the model lack once they have loaded its state_dict.

    Attributes:
        differing: tensors that a fresh instance has with other values.
        output_differs: whether it computes something else; None where that is unknown.
        garbage: tensors that nobody wrote to, of an instance that was built on the meta device.
        reason: why not all could be compared; None where it could.
    """

    differing: tuple[str, ...] = ()
    output_differs: bool | None = None
    garbage: tuple[str, ...] = ()
    reason: str | None = None


class Rehearsal(msgspec.Struct, frozen=True, kw_only=True):
    """A forward pass with the model moved to a device that is only pretended.

    Attributes:
        method: the method that was called.
        train: whether in training mode, with a backward pass.
        dtype: what the model was cast to as it moved; None where its types stayed.
        clashes: what would fail, each tensor once, in the order met.
        carried: tensors that the model left behind and that its forward pass carried over at each use, each with
            the line that does it; none of them is in a clash.
        reason: why the rehearsal did not come to its end; None where it did.
        called: whether the model was to be called at all.
        loaded: what loading its state_dict showed; None where that was not tried.
    """

    method: str = "forward"
    train: bool = False
    dtype: str | None = None
    clashes: tuple[Clash, ...] = ()
    carried: dict[str, Location | None] = {}
    reason: str | None = None
    called: bool = True
    loaded: Loaded | None = None

    @property
    def verdict(self) -> Verdict:
        """A clash is one, whatever came after it; without any, only a pass to the end is a pass."""
        if self.clashes:
            return "fails"
        return "passes" if self.reason is None and self.called else "not rehearsed"


class Rehearsed(Inventory, frozen=True, kw_only=True):
    """What a model holds, and what the rehearsal of its move showed; None where there was none."""

    rehearsal: Rehearsal | None = None


def told(inventory: Inventory, rehearsal: Rehearsal) -> Rehearsed:
    """The model's inventory with what the rehearsal showed of its tensors, and why it showed no more."""
    tensors = tuple(
        _told_of(tensor, rehearsal) if tensor.lacks_registration else tensor for tensor in inventory.tensors
    )
    skipped, notes = inventory.skipped, inventory.notes
    if rehearsal.reason is not None:
        what = f"the move to another device, with `{rehearsal.method}()`"
        skipped = (*skipped, Skipped(what=what, reason=f"not rehearsed: {rehearsal.reason}", failed=True))
    if rehearsal.verdict != "not rehearsed":
        notes = (*notes, f"rehearsed: {_outcome(rehearsal)}")
    if rehearsal.loaded is not None:
        notes = (*notes, *_notes_on(rehearsal.loaded))
        if rehearsal.loaded.reason is not None:
            reason = f"not rehearsed: {rehearsal.loaded.reason}"
            skipped = (
                *skipped,
                Skipped(what="another instance that loads the state_dict", reason=reason, failed=True),
            )
    fields = {name: getattr(inventory, name) for name in inventory.__struct_fields__}
    return Rehearsed(**{**fields, "tensors": tensors, "skipped": skipped, "notes": notes, "rehearsal": rehearsal})


def _told_of(tensor: Tensor, rehearsal: Rehearsal) -> Tensor:
    if rehearsal.loaded is not None and tensor.path in rehearsal.loaded.differing:
        slot = tensor.slot
        if slot is not None and slot.kind in _NOT_SAVED:
            slot = msgspec.structs.replace(slot, kind="state")
        tensor = msgspec.structs.replace(tensor, lost_on_reload=True, slot=slot)
    if tensor.path in rehearsal.carried:
        tensor = msgspec.structs.replace(tensor, moved_by_hand=True, evidence=_by_hand(tensor, rehearsal))
    return tensor


def _notes_on(loaded: Loaded) -> Iterator[str]:
    """What loading showed, for people."""
    if loaded.differing:
        names = [f"`{path}`" for path in loaded.differing[:_MOST_NAMES]]
        more = len(loaded.differing) - len(names)
        output = {None: "", True: "; so does what it computes", False: "; what it computes is the same"}
        yield (
            f"reloaded: a fresh model with this state_dict differs in {', '.join(names)}"
            + f" and {more} more" * (more > 0)
            + output[loaded.output_differs]
        )
    elif loaded.output_differs:
        yield "reloaded: a fresh model with this state_dict computes something else"


def _outcome(rehearsal: Rehearsal) -> str:
    call = f"`{rehearsal.method}()`" + " and its backward pass" * rehearsal.train
    if rehearsal.verdict == "passes":
        return f"{call} would run on another device"
    names = [f"`{clash.tensor}`" for clash in rehearsal.clashes if clash.tensor is not None]
    others = len(rehearsal.clashes) - len(names)
    blamed = [*names[:_MOST_NAMES], *([f"{len(names) - _MOST_NAMES} more"] if len(names) > _MOST_NAMES else [])]
    blamed += [f"{others} made by the forward pass or given to it"] if others else []
    return f"{call} would fail on another device, for tensors that stay behind: {', '.join(blamed)}"


def _by_hand(tensor: Tensor, rehearsal: Rehearsal) -> str:
    line = rehearsal.carried[tensor.path]
    where = f" at {line.file}:{line.line}" if line is not None else ""
    return f"{tensor.evidence}; moved by hand in `{rehearsal.method}`{where}"
