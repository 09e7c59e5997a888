"""What a rule says about a tensor, and what a rule is. Nothing here examines anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, get_args

import msgspec

from bufscan.inventory import Certainty, Location, Slot  # noqa: TC001 - msgspec reads them where findings are decoded
from bufscan.rehearsal import Rehearsed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bufscan.inventory import Inventory, Skipped, Tensor
    from bufscan.rehearsal import Rehearsal

Severity = Literal["error", "warning", "note"]

SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""Worst first."""


class Edit(msgspec.Struct, frozen=True, kw_only=True):
    """One run of source text in the place of another.

    Attributes:
        line, column: where it begins, counted from 1, columns in characters.
        end_line, end_column: where it ends; the character there stays.
        text: what comes there.
    """

    line: int
    column: int
    end_line: int
    end_column: int
    text: str


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """Where a program that was watched showed a finding.

    Attributes:
        model: the class of the first model that showed it.
        path: the tensor's path in that.
        test: the test that ran then; None where none did.
        models: how many models show it.
    """

    model: str
    path: str
    test: str | None
    models: int


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A rule's statement about one tensor, or about the module or file that `tensor` is the path of.

    Attributes:
        code, name: of the rule.
        severity: error: it breaks; warning: it may, or costs; note: worth knowing.
        tensor: path of what it is about, as the inventory writes it; "" for the target as a whole.
        message: one sentence without a full stop: what will go wrong.
        location: the line of source to change, where it is known.
        slot: by which names the source has what is held wrongly; only of what was measured.
        suggestion: the line to write there.
        suggestion_note: what that line does to old checkpoints; what to do, where no line is known.
        edits: the change of the source at `location` that mends it, verified; None where none is known.
        is_safe: whether that change keeps the keys of the state_dict, and all else that the program does.
        certainty: `exact` where it was measured, `inferred` where source says so.
        mark: what tells it from the rule's others where `tensor` is ""; it stays when lines shift.
        seen: where it showed; only in the models of a program that was watched.
    """

    code: str
    name: str
    severity: Severity
    tensor: str
    message: str
    location: Location | None = None
    slot: Slot | None = None
    suggestion: str | None = None
    suggestion_note: str | None = None
    edits: tuple[Edit, ...] | None = None
    is_safe: bool = False
    certainty: Certainty = "exact"
    mark: str = ""
    seen: Seen | None = None

    @property
    def identity(self) -> str:
        """What it is about: the same from run to run, unlike the line."""
        return self.tensor or self.mark


class NonFinite(NamedTuple):
    """How many elements of a tensor are no finite numbers.

    Attributes:
        is_mask: whether every element is 0 or negative infinity: what is added to scores to hide some of them.
    """

    nan: int
    infinite: int
    is_mask: bool = False


class CountNonFinite(Protocol):
    """Reads a tensor's values, wherever they lie."""

    def __call__(self, tensor: Tensor) -> NonFinite | None:
        """The counts; None for a type that has only finite values.

        Raises:
            UnreadableError: the values cannot be read.
        """


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules look at.

    Attributes:
        inventory: of the target, with how it fits a model where one was given.
        count_nonfinite: reads values; None when they are not to be read.
        is_stand_in: whether it is a model that was built without values, only to hold a checkpoint against.
    """

    inventory: Inventory
    count_nonfinite: CountNonFinite | None = None
    is_stand_in: bool = False

    @property
    def is_live(self) -> bool:
        """Whether the target is a model in memory rather than an artefact."""
        return self.inventory.format == "live"

    @property
    def rehearsal(self) -> Rehearsal | None:
        """Of its move to another device; None where none was asked for."""
        return self.inventory.rehearsal if isinstance(self.inventory, Rehearsed) else None


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to look for.

    Attributes:
        code: never used again for anything else.
        name: of the problem; reads well after "allow".
        explanation: the only text about it, in Markdown: what it does, why it is bad, an example and what to use
            instead.
        needs: what it looks at, where that is not always there: `--model`, `--values`, `--rehearse`, or source.
        check: finds it. Pure: opens no file, calls nothing of the user's. A `Skipped` is something that the rule
            should have looked at and could not.
    """

    code: str
    name: str
    explanation: str
    needs: Literal["model", "values", "rehearsal", "source"] | None = None
    check: Callable[[Rule, Subject], Iterator[Finding | Skipped]]

    @property
    def summary(self) -> str:
        """What it checks for, in one sentence."""
        return self.section("What it does").partition("\n\n")[0].replace("\n", " ")

    def section(self, title: str) -> str:
        """The text under one heading of the explanation."""
        _, _, rest = self.explanation.partition(f"## {title}\n")
        return rest.partition("\n## ")[0].strip()

    def finding(self, tensor: Tensor, message: str, *, severity: Severity | None = None) -> Finding:
        """A finding about `tensor`, at the line that the inventory gives for it."""
        return Finding(
            code=self.code,
            name=self.name,
            severity=severity or severity_of(tensor),
            tensor=tensor.path,
            message=message,
            location=tensor.origin,
            slot=tensor.slot,
        )

    def finding_on(self, path: str, message: str, *, severity: Severity, suggestion: str | None = None) -> Finding:
        """A finding about something that is no tensor of the inventory: an entry, a section, the whole file."""
        return Finding(
            code=self.code,
            name=self.name,
            severity=severity,
            tensor=path,
            message=message,
            suggestion=suggestion,
        )


def severity_of(tensor: Tensor) -> Severity:
    """How bad it is that a tensor is held wrongly.

    A 0-dim tensor on the CPU meets device tensors without a clash, so all it loses is being saved; one without
    elements has nothing to lose, until something takes its place. A cache is made anew by the forward pass, what
    autograd computed may be, what forward takes to a device itself only is not saved, and what may move or was
    seen to be moved by hand may do no harm.
    """
    if tensor.shape == () or tensor.numel == 0:
        return "note"
    harm_is_sure = (
        tensor.holding not in ("cache", "constant", "maybe_computed")
        and tensor.moves is not None
        and (tensor.lost_on_reload or not (tensor.moved_by_hand or tensor.holding == "carried"))
    )
    return "error" if harm_is_sure else "warning"
