"""From a target to what the rules look at: files are read, named models built, modules searched for models."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bufscan.checking.arguments import call_of, entries_for
from bufscan.checking.results import Failure
from bufscan.checking.unbuilt import read_instead
from bufscan.errors import BufscanError
from bufscan.findings import Subject
from bufscan.formats.folders.folder_choice import SeveralCheckpointsError, checkpoints_among
from bufscan.formats.folders.sharded import OTHER_CHECKPOINT, list_files
from bufscan.formats.reading import is_unzipped
from bufscan.inventory import Skipped
from bufscan.opening.artefact import BuildOptions, build_target, open_target
from bufscan.ranks import ALONE, Ranks
from bufscan.rehearsal import Plan, told
from bufscan.target import (
    FolderTarget,
    LoadedCheckpoint,
    ModuleTarget,
    ObjectTarget,
    OpenedFile,
    name_of,
    parse_code_or_target,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn

    from bufscan.bytesource import OpenFiles
    from bufscan.config import BuildEntry
    from bufscan.findings import Finding
    from bufscan.live.building.discovering import Candidate, ClassLines, Discovery
    from bufscan.opening.artefact import Artefact
    from bufscan.target import Taken
    from bufscan.values.workers import Progress


# What Python says of a call whose signature (`*args`) promised that it could be made.
_LACKS_ARGUMENTS = re.compile(r"missing \d+ required (?:positional|keyword-only) argument")


_NO_TENSOR = Failure(
    message="there is nothing to check: no tensor is in it", hint="`bufscan inspect` shows what is"
)


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
        read: how many classes, which could not be built, were read from source.
        said: what their source says.
        digests: of the texts that its edits are for, by file.
    """

    target: str
    subjects: tuple[Subject, ...] = ()
    classes: tuple[ClassLines, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    failure: Failure | None = None
    nothing: Failure | None = None
    file: str | None = None
    read: tuple[Skipped, ...] = ()
    said: tuple[Finding, ...] = ()
    digests: dict[str, str] = {}


class Means(msgspec.Struct, frozen=True, kw_only=True):
    """What it takes to examine targets.

    Attributes:
        files: keeps open what is read.
        entries: the configuration's arguments for models.
        model: target of the model that checkpoints belong to; None to check them alone.
        from_config: whether that model is built from the `config.json` of the Hugging Face folder that they are.
        build: where models are built.
        values: whether the rules may read values.
        plan: how to rehearse every model; None to do as the configuration says.
        ranks: the processes that share the values of files.
        progress: told how far reading the values is.
    """

    files: OpenFiles
    entries: Sequence[BuildEntry] = ()
    model: str | None = None
    from_config: bool = False
    build: BuildOptions = BuildOptions()
    values: bool = False
    plan: Plan | None = None
    ranks: Ranks = ALONE
    progress: Progress | None = None

    @property
    def joins(self) -> bool:
        """Whether checkpoints are held against a model."""
        return self.model is not None or self.from_config


def examine(target: Taken, means: Means) -> Iterator[Examined]:
    """Everything behind one target: one model or artefact, or each model of a module."""
    try:
        if isinstance(target, LoadedCheckpoint | OpenedFile):
            yield _opened(target, means)
            return
        if not isinstance(target, str):
            yield _examined(open_target(target, means.files, means.build), means)
            return
        match parse_code_or_target(target):
            case ModuleTarget(source):
                yield from _models_in(source, target, means)
            case ObjectTarget() as named:
                yield from _built(named, target, means)
            case FolderTarget(path) if not is_unzipped(path):
                yield from _in_folder(path, target, means)
            case _:
                yield _opened(target, means)
    except BufscanError as error:
        yield Examined(target=name_of(target), failure=Failure.of(error))


def _opened(target: Taken, means: Means) -> Examined:
    with means.ranks.agreed():
        artefact = open_target(target, means.files, means.build)
    artefact.require_same(means.ranks)
    examined = _examined(artefact, means)
    return _joined(examined, artefact, means) if means.joins else examined


def _in_folder(folder: Path, target: str, means: Means) -> Iterator[Examined]:
    """The folder's checkpoint, and every other one that lies beside it, without the model that the first has."""
    others = checkpoints_among(list_files(folder))
    try:
        yield _without_others(_opened(target, means))
    except BufscanError as error:
        if means.joins or not isinstance(error, SeveralCheckpointsError):
            yield Examined(target=target, failure=Failure.of(error))
    alone = msgspec.structs.replace(means, model=None, from_config=False)
    for name in others:
        if not means.files.has_read(folder / name):
            yield from examine(os.path.join(target, name), alone)  # noqa: PTH118 - as it was typed


def _without_others(examined: Examined) -> Examined:
    """A folder's own checkpoint, which no longer says that the others were left out."""
    subjects = []
    for subject in examined.subjects:
        skipped = tuple(each for each in subject.inventory.skipped if each.reason != OTHER_CHECKPOINT)
        inventory = msgspec.structs.replace(subject.inventory, skipped=skipped)
        subjects.append(msgspec.structs.replace(subject, inventory=inventory))
    return msgspec.structs.replace(examined, subjects=tuple(subjects))


def _examined(artefact: Artefact, means: Means, plan: Plan | None = None) -> Examined:
    inventory = artefact.inventory
    # A model without tensors is what its class makes of it; a file without any is hardly the one that was meant.
    is_empty = not (artefact.is_live or inventory.tensors or any(each.failed for each in inventory.skipped))
    holds_none = artefact.is_live and not inventory.tensors
    return Examined(
        target=inventory.target,
        failure=_NO_TENSOR if is_empty else None,
        skipped=(Skipped(what="the model", reason="it holds no tensor"),) if holds_none else (),
        subjects=(_subject(artefact, means, means.plan or plan),),
        classes=() if artefact.model is None else _classes_of(artefact.model),
        file=None if artefact.path is None else str(artefact.path),
    )


def _subject(artefact: Artefact, means: Means, plan: Plan | None) -> Subject:
    subject = Subject(inventory=artefact.inventory)
    if means.values:
        from bufscan.values.finiteness import NonFiniteCounter
        from bufscan.values.workers import Workers

        # What a model holds lies in the memory of each process.
        workers = Workers(means.progress, ALONE if artefact.is_live else means.ranks)
        counter = NonFiniteCounter(artefact.inventory, artefact.reader, workers)
        subject = msgspec.structs.replace(subject, count_nonfinite=counter)
    if plan is not None and artefact.model is not None:
        from bufscan.rehearsing.planned import rehearse_as

        rehearsal = rehearse_as(plan, artefact.model, _object(artefact), means.build.dtype)
        subject = msgspec.structs.replace(subject, inventory=told(subject.inventory, rehearsal))
    return subject


def _object(artefact: Artefact) -> ObjectTarget | None:
    return artefact.target if isinstance(artefact.target, ObjectTarget) else None


def _classes_of(model: nn.Module) -> tuple[ClassLines, ...]:
    from bufscan.live.building.discovering import classes_of

    return tuple(classes_of(model))


def _models_in(source: str, target: str, means: Means) -> Iterator[Examined]:
    from bufscan.live.building.discovering import discover

    means.files.note(Path(source))
    discovery = discover(source, configs=means.build.configs)
    skipped = list(discovery.skipped)
    built: list[Examined] = []
    unbuilt: dict[str, tuple[Candidate, str]] = {}
    for candidate in discovery.candidates:
        name = f"{candidate.source}:{candidate.name}"
        configs = candidate.configs if means.build.configs else frozenset()
        missing = [each for each in candidate.missing if each not in configs]
        if missing and not entries_for(name, means.entries):
            unbuilt[name] = (
                candidate._replace(missing=tuple(missing)),
                f"it cannot be built without {', '.join(missing)}",
            )
            continue
        for examined in _built(ObjectTarget(candidate.source, candidate.name), name, means):
            failure = examined.failure
            # What a default configuration leads to says nothing against the class.
            is_tried = bool(candidate.missing) and not entries_for(name, means.entries)
            if failure is not None and (is_tried or _LACKS_ARGUMENTS.search(failure.message)):
                unbuilt[name] = candidate, failure.message
            else:
                built.append(examined)
    read = read_instead(unbuilt)
    skipped += read.skipped
    is_complete = not any(each.failed for each in skipped)
    nothing = _why_nothing(discovery) if is_complete and not built and not read.classes else None
    failure = None
    if is_complete and not discovery.candidates:
        # A name is given for its models. Files may be given in bulk, as `package/*.py`, those without models too.
        if source.endswith(".py"):
            skipped.append(Skipped(what=target, reason="it defines no nn.Module and no factory of one"))
        else:
            failure = nothing
    if skipped or failure or read.classes:
        yield Examined(
            target=target,
            skipped=tuple(skipped),
            failure=failure,
            nothing=nothing,
            read=read.classes,
            said=read.said,
            digests=read.digests,
        )
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


def _built(target: ObjectTarget, name: str, means: Means) -> Iterator[Examined]:
    """The model, once for every set of arguments that the configuration has for it."""
    entries = entries_for(name, means.entries)
    if not entries:
        yield _built_once(target, name, means)
    for entry in entries:
        if entry.skip is not None:
            yield Examined(target=name, skipped=(Skipped(what=name, reason=entry.skip),))
            continue
        call = call_of(target.expression, entry)
        yield _built_once(ObjectTarget(target.source, call), f"{target.source}:{call}", means, entry.plan)


def _built_once(target: ObjectTarget, name: str, means: Means, plan: Plan | None = None) -> Examined:
    try:
        with means.ranks.agreed():
            artefact = build_target(target, name, means.files, means.build)
        return _examined(artefact, means, plan)
    except BufscanError as error:
        return Examined(target=name, failure=Failure.of(error))


def _joined(examined: Examined, artefact: Artefact, means: Means) -> Examined:
    """A checkpoint held against its model, and a named model itself: what it loses on save is in no checkpoint."""
    from bufscan.opening.joined import join_model

    (alone,) = examined.subjects  # read before any code runs
    try:
        with means.ranks.agreed():
            joined = join_model(artefact, means.model, means.build)
    except BufscanError as error:
        return msgspec.structs.replace(examined, failure=Failure.of(error))
    checkpoint = msgspec.structs.replace(alone, inventory=joined.checkpoint)
    if means.model is None:  # of the classes in transformers nothing is the user's to mend
        return msgspec.structs.replace(examined, subjects=(checkpoint,))
    stand_in = Subject(inventory=joined.model, is_stand_in=means.build.device is None)
    return msgspec.structs.replace(examined, subjects=(checkpoint, stand_in), classes=_classes_of(joined.module))
