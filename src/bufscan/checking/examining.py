"""From a target to what the rules look at: files are read, named models built, modules searched for models."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from bufscan.checking.arguments import call_of, entries_for
from bufscan.checking.results import Failure
from bufscan.errors import BufscanError, UsageError
from bufscan.findings import Subject
from bufscan.inspecting import inspect
from bufscan.inventory import Skipped
from bufscan.joining.counterpart import build_described, build_named
from bufscan.joining.fit import join
from bufscan.target import FileTarget, FolderTarget, ModuleTarget, ObjectTarget, parse_code_or_target

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import ExitStack

    from torch import nn

    from bufscan.config import BuildEntry
    from bufscan.inventory import Inventory
    from bufscan.live.discovering import ClassLines, Discovery
    from bufscan.target import Target


# What Python says of a call whose signature (`*args`) promised that it could be made.
_LACKS_ARGUMENTS = re.compile(r"missing \d+ required (?:positional|keyword-only) argument")


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """One target, ready for the rules.

    Attributes:
        target: as the user named it, or how a model that was found can be named.
        subjects: the artefact, or the model; both where a checkpoint was joined to a named model.
        classes: where the classes of the model stand in the source.
        skipped: what of a module could not be examined.
        failure: why there is no inventory.
        nothing: why there is nothing to examine, which is a failure where that holds of all targets.
        file: path of the file or folder that the target is; None for a model.
    """

    target: str
    subjects: tuple[Subject, ...] = ()
    classes: tuple[ClassLines, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    failure: Failure | None = None
    nothing: Failure | None = None
    file: str | None = None


class Workshop(msgspec.Struct, frozen=True, kw_only=True):
    """How models are built.

    Attributes:
        entries: the configuration's arguments for them.
        model: target of the model that checkpoints belong to; None to check them alone.
        from_config: whether that model is built from the `config.json` of the Hugging Face folder that they are.
        device, dtype: as in `inspect`.
        files: keeps the files open whose values are to be read; None when they are not.
    """

    entries: Sequence[BuildEntry] = ()
    model: str | None = None
    from_config: bool = False
    device: str | None = None
    dtype: str | None = None
    files: ExitStack | None = None

    @property
    def joins(self) -> bool:
        """Whether checkpoints are held against a model."""
        return self.model is not None or self.from_config


def is_code(target: str | nn.Module) -> bool:
    """Whether examining it runs the user's code."""
    try:
        return not isinstance(target, str) or isinstance(parse_code_or_target(target), ObjectTarget | ModuleTarget)
    except UsageError:
        return False


def examine(target: str | nn.Module, workshop: Workshop) -> Iterator[Examined]:
    """Everything behind one target: one model or artefact, or each model of a module."""
    if not isinstance(target, str):
        yield _of_model(target, type(target).__qualname__, workshop)
        return
    try:
        parsed = parse_code_or_target(target)
        match parsed:
            case ModuleTarget(source):
                yield from _models_in(source, target, workshop)
            case ObjectTarget():
                yield from _built(parsed, target, workshop)
            case _:
                alone = _subject(inspect(target), parsed, workshop)
                examined = Examined(target=target, subjects=(alone,), file=_file_of(parsed))
                yield _joined(examined, parsed, workshop) if workshop.joins else examined
    except BufscanError as error:
        yield Examined(target=target, failure=Failure.of(error))


def _file_of(target: Target | ModuleTarget) -> str | None:
    return str(target.path) if isinstance(target, FileTarget | FolderTarget) else None


def _subject(inventory: Inventory, target: Target | ModuleTarget, workshop: Workshop) -> Subject:
    if workshop.files is None:
        return Subject(inventory=inventory)
    from bufscan.checking.values import values_in_file

    return Subject(inventory=inventory, count_nonfinite=values_in_file(inventory, target, workshop.files))


def _of_model(model: nn.Module, target: str, workshop: Workshop) -> Examined:
    from bufscan.checking.values import values_in_memory
    from bufscan.live.describing import StorageTable
    from bufscan.live.discovering import classes_of
    from bufscan.live.scanning import scan

    storages = StorageTable()
    inventory = scan(model, target, storages)
    count = None if workshop.files is None else values_in_memory(inventory, storages.live)
    subject = Subject(inventory=inventory, count_nonfinite=count)
    return Examined(target=target, subjects=(subject,), classes=tuple(classes_of(model)))


def _models_in(source: str, target: str, workshop: Workshop) -> Iterator[Examined]:
    from bufscan.live.discovering import discover

    discovery = discover(source)
    skipped = list(discovery.skipped)
    built: list[Examined] = []
    for candidate in discovery.candidates:
        name = f"{candidate.source}:{candidate.name}"
        if candidate.missing and not entries_for(name, workshop.entries):
            skipped.append(Skipped(what=name, reason=f"it cannot be built without {', '.join(candidate.missing)}"))
            continue
        for examined in _built(ObjectTarget(candidate.source, candidate.name), name, workshop):
            if examined.failure is not None and _LACKS_ARGUMENTS.search(examined.failure.message):
                skipped.append(Skipped(what=name, reason=examined.failure.message))
            else:
                built.append(examined)
    is_complete = not any(each.failed for each in skipped)
    nothing = _why_nothing(discovery) if is_complete and not built else None
    failure = None
    if is_complete and not discovery.candidates:
        # A name is given for its models. Files may be given in bulk, as `package/*.py`, those without models too.
        if source.endswith(".py"):
            skipped.append(Skipped(what=target, reason="it defines no nn.Module and no factory of one"))
        else:
            failure = nothing
    if skipped or failure:
        yield Examined(target=target, skipped=tuple(skipped), failure=failure, nothing=nothing)
    yield from built


def _why_nothing(discovery: Discovery) -> Failure:
    if discovery.candidates:
        return Failure(
            message="no model in it can be built without arguments",
            hint="name one with its arguments, or write them under `[[tool.bufscan.build]]`",
        )
    return Failure(
        message="no model found in it", hint="a model is an nn.Module class, or a function that returns a new one"
    )


def _built(target: ObjectTarget, name: str, workshop: Workshop) -> Iterator[Examined]:
    """The model, once for every set of arguments that the configuration has for it."""
    entries = entries_for(name, workshop.entries)
    if not entries:
        yield _built_once(target, name, workshop)
    for entry in entries:
        if entry.skip is not None:
            yield Examined(target=name, skipped=(Skipped(what=name, reason=entry.skip),))
            continue
        call = call_of(target.expression, entry)
        yield _built_once(ObjectTarget(target.source, call), f"{target.source}:{call}", workshop)


def _built_once(target: ObjectTarget, name: str, workshop: Workshop) -> Examined:
    from bufscan.live.importing import build

    try:
        return _of_model(build(target, device=workshop.device, dtype=workshop.dtype), name, workshop)
    except BufscanError as error:
        return Examined(target=name, failure=Failure.of(error))


def _joined(examined: Examined, target: Target | ModuleTarget, workshop: Workshop) -> Examined:
    """A checkpoint held against its model, and a named model itself: what it loses on save is in no checkpoint."""
    (alone,) = examined.subjects  # read before any code runs
    checkpoint = alone.inventory
    try:
        if workshop.model is None:
            other = build_described(target, [tensor.name for tensor in checkpoint.tensors])
        else:
            other = build_named(workshop.model, device=workshop.device, dtype=workshop.dtype)
    except BufscanError as error:
        return msgspec.structs.replace(examined, failure=Failure.of(error))
    built = _of_model(other.model, other.name, msgspec.structs.replace(workshop, files=None))
    live = built.subjects[0].inventory
    joined = msgspec.structs.replace(alone, inventory=join(checkpoint, live, other.converted))
    if workshop.model is None:  # of the classes in transformers nothing is the user's to mend
        return msgspec.structs.replace(examined, subjects=(joined,))
    stand_in = Subject(inventory=live, is_stand_in=workshop.device is None)
    return msgspec.structs.replace(examined, subjects=(joined, stand_in), classes=built.classes)
