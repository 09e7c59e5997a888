"""Compare two targets: open, match, compare what is stated, then the values."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple, TypedDict

import msgspec

from bufscan.bytesource import OpenFiles
from bufscan.comparing.changes import changes_between, is_role_unsure
from bufscan.comparing.difference import Difference, Entry, NotCompared, Tolerance
from bufscan.comparing.matching import match_tensors
from bufscan.comparing.plain import PlainComparison, compare_plain
from bufscan.comparing.renaming import find_renamed
from bufscan.comparing.selection import Selection
from bufscan.comparing.ties import tie_changes
from bufscan.comparing.verdict import Verdict
from bufscan.comparing.verdicts import Verdicts, compare_values
from bufscan.errors import UsageError, about
from bufscan.formats.checkpoint.pickled_checkpoint import NO_TENSOR
from bufscan.inventory import Inventory
from bufscan.opening.artefact import Artefact, BuildOptions, files_first, open_target
from bufscan.ranks import ALONE
from bufscan.target import name_of, require_target
from bufscan.values.storages import LiveStorages
from bufscan.values.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from bufscan.comparing.difference import Change, Relation
    from bufscan.comparing.matching import Match, Matching
    from bufscan.inventory import Tensor
    from bufscan.opening.artefact import Sides
    from bufscan.ranks import Ranks
    from bufscan.target import Given, Taken
    from bufscan.values.workers import Progress

_SAME = Verdict(same=True)


def diff(  # noqa: PLR0913 - every option of the command
    old: Given,
    new: Given,
    *,
    values: bool = True,
    tensors_only: bool = False,
    rtol: float | None = None,
    atol: float | None = None,
    renames: Sequence[tuple[str, str]] = (),
    sections: Mapping[str, str] | None = None,
    match: Sequence[str] = (),
    ignore: Sequence[str] = (),
    device: str | None = None,
    dtype: str | None = None,
    progress: Progress | None = None,
    files: OpenFiles | None = None,
    ranks: Ranks = ALONE,
) -> Difference:
    """What changed from `old` to `new`: names, shapes, types, roles, ties and every value.

    Files are read by ranges of bytes, without running anything in them. torch is imported only when a side is a
    model, NumPy only when values differ.

    Args:
        old: as `bufscan.inspect` takes it.
        new: the same; any of them goes with any.
        values: whether to compare values; without them nothing is ever called identical.
        tensors_only: leave out what a checkpoint holds beside its tensors, such as a learning rate.
        rtol: of the old value, what a new one may be off, as in `torch.testing.assert_close`.
        atol: what it may be off besides. Every bit counts when both are None.
        renames: regular expressions and replacements that turn old names into new ones, applied in order.
        sections: old and new section of a training checkpoint to compare, and no others; "" is the top level.
        match: shell patterns of the names to compare, or one; all when empty.
        ignore: shell patterns of names to leave out, or one.
        device: where named models are built; None for torch's default.
        dtype: default dtype while named models are built; None for torch's default.
        progress: told now and then how many bytes of how many have been compared.
        files: keeps open what is read; None to close it at the end.
        ranks: the processes that share the values of files, all of which make this call.

    Raises:
        UsageError: an option makes no sense.
        TargetError: a target cannot be read or built, or was written to while it was read.
    """
    tolerance = _tolerance(rtol, atol, values=values)
    build = BuildOptions(device=device, dtype=dtype)
    with_plain = values and not tensors_only
    with OpenFiles() if files is None else nullcontext(files) as opened:
        sides = _opened((require_target(old), require_target(new)), opened, build, ranks, plain=with_plain)
        # What a model holds lies in the memory of each process.
        is_live = sides[0].is_live or sides[1].is_live
        workers = Workers(progress, ALONE if is_live else ranks)
        matching = match_tensors(sides[0].inventory, sides[1].inventory, sections=sections or {}, renames=renames)
        selection = Selection(_patterns(match), _patterns(ignore))
        selection.apply(matching)
        pairs = list(_pairs(matching, sides, values=values, workers=workers))
        verdicts = Verdicts([_SAME] * len(pairs), {})
        if values:
            matches = [pair.match for pair in pairs]
            verdicts = compare_values(matches, matching.groups, sides, tolerance, workers)
        compared = [_Compared(pair, verdict) for pair, verdict in zip(pairs, verdicts.pairs, strict=True)]
        inventories = sides[0].inventory, sides[1].inventory
        difference = _difference(inventories, matching, compared, verdicts.alone)
        plain = PlainComparison()
        if with_plain:
            plain = compare_plain(*inventories, selection, matching, within=bool(sections))
    return msgspec.structs.replace(
        difference,
        plain=plain.entries,
        same_plain=plain.same,
        tensors_only=tensors_only,
        # What is no tensor is skipped by those who list tensors.
        skipped=tuple(each for each in difference.skipped if not (with_plain and each.reason == NO_TENSOR)),
        not_compared=(*difference.not_compared, *plain.not_compared),
        notes=(*difference.notes, *plain.notes),
        compared_values=values,
        tolerance=tolerance,
    )


def _opened(
    targets: tuple[Taken, Taken],
    files: OpenFiles,
    build: BuildOptions,
    ranks: Ranks,
    *,
    plain: bool,
) -> Sides:
    if targets[0] == targets[1] == "-":
        raise UsageError("standard input can be only one of the two sides")
    build.require_model(targets)
    sides: dict[int, Artefact] = {}
    for position in files_first(targets):
        with ranks.agreed(), about(name_of(targets[position])):
            sides[position] = _open(targets[position], files, build, plain=plain)
        sides[position].require_same(ranks)
    return sides[0], sides[1]


def _open(target: Taken, files: OpenFiles, build: BuildOptions, *, plain: bool) -> Artefact:
    if target == os.devnull:  # how git names the side that does not have the file
        return Artefact(None, Inventory(target=os.devnull, format="nothing"), LiveStorages({}))
    return open_target(target, files, build, plain=plain)


def _tolerance(rtol: float | None, atol: float | None, *, values: bool) -> Tolerance | None:
    if rtol is None and atol is None:
        return None
    if not values:
        raise UsageError("a tolerance is for values, and values are not compared")
    tolerance = Tolerance(rtol=rtol or 0.0, atol=atol or 0.0)
    if not (tolerance.rtol >= 0 and tolerance.atol >= 0):
        raise UsageError("a tolerance is a number that is not negative")
    return tolerance


def _patterns(given: Sequence[str]) -> Sequence[str]:
    return (given,) if isinstance(given, str) else given


class _Compared(NamedTuple):
    """A matched tensor and what came of it."""

    pair: _Pair
    verdict: Verdict


def _difference(
    inventories: tuple[Inventory, Inventory],
    matching: Matching,
    compared: Sequence[_Compared],
    alone: Mapping[int, Relation],
) -> Difference:
    unread = tuple(any(skipped.failed for skipped in inventory.skipped) for inventory in inventories)
    entries = [*_entries(compared), *_lone_entries(matching, unread, alone)]
    entries.sort(key=_order_of(inventories))
    differing = {id(entry.new) for entry in entries}
    same = [
        verdict for pair, verdict in compared if verdict.failure is None and id(pair.match.new) not in differing
    ]
    return Difference(
        old=inventories[0].target,
        new=inventories[1].target,
        old_format=inventories[0].format,
        new_format=inventories[1].format,
        entries=tuple(entries),
        unchanged=len(same),
        close=sum(verdict.close for verdict in same),
        incomplete=any(unread),
        not_compared=(
            *matching.not_compared,
            *_failures(compared),
            *_unexamined(inventories),
            *_unknown_fate(matching, unread),
        ),
        left_out=tuple(matching.left_out),
        skipped=tuple(
            dict.fromkeys(each for inventory in inventories for each in inventory.skipped if not each.failed)
        ),
        notes=(*matching.notes, *_notes(compared)),
    )


class _Pair(NamedTuple):
    """A matched tensor and what differs besides its values."""

    match: Match
    changes: tuple[Change, ...]


def _pairs(matching: Matching, sides: Sides, *, values: bool, workers: Workers) -> Iterator[_Pair]:
    devices = not (sides[0].is_live or sides[1].is_live)  # a model is where it was built
    for group in matching.groups:
        renamed = find_renamed(group, sides, workers) if values else []
        matches = [*group.matches, *renamed]
        ties = tie_changes(matches, sides[0].inventory, sides[1].inventory)
        for position, match in enumerate(matches):
            changes = [*changes_between(match.old, match.new, devices=devices)]
            changes += [ties[position]] if position in ties else []
            yield _Pair(match, tuple(changes))


def _entries(compared: Iterable[_Compared]) -> Iterator[Entry]:
    for (match, changes), verdict in compared:
        differs = not verdict.same and verdict.failure is None
        if match.renamed or changes or differs:
            yield Entry(
                status="renamed" if match.renamed else "changed",
                name=match.new_name,
                old_name=None if match.old_name == match.new_name else match.old_name,
                section=match.new.section,
                old_section=None if match.old.section == match.new.section else match.old.section,
                old=match.old,
                new=match.new,
                changes=changes,
                values=verdict.values,
                remark=verdict.remark,
                relation=verdict.relation,
            )


def _lone_entries(matching: Matching, unread: tuple[bool, ...], alone: Mapping[int, Relation]) -> Iterator[Entry]:
    """What only one side has. Nobody knows it where a part of the other side could not be read."""
    for group in matching.groups:
        matched = {tensor.name for match in group.matches for tensor in (match.old, match.new)}
        for name, tensor in group.removed.items() if not unread[1] else ():
            said = _told_of(tensor, matched, alone)
            yield Entry(status="removed", name=name, section=tensor.section, old=tensor, **said)
        for name, tensor in group.added.items() if not unread[0] else ():
            said = _told_of(tensor, matched, alone)
            yield Entry(status="added", name=name, section=tensor.section, new=tensor, **said)


def _unknown_fate(matching: Matching, unread: tuple[bool, ...]) -> Iterator[NotCompared]:
    for group in matching.groups:
        for tensors, side, lacks in ((group.removed, "new", unread[1]), (group.added, "old", unread[0])):
            reason = f"not in what could be read of the {side} side"
            yield from (NotCompared(path=tensor.path, reason=reason) for tensor in tensors.values() if lacks)


class _Said(TypedDict):
    remark: str | None
    relation: Relation | None


def _told_of(tensor: Tensor, matched: set[str], alone: Mapping[int, Relation]) -> _Said:
    relation = alone.get(id(tensor))
    return {"remark": _tie_of(tensor, matched) if relation is None else relation.words, "relation": relation}


def _tie_of(tensor: Tensor, matched: set[str]) -> str | None:
    """That the elements are still, or already were, there under another name."""
    partner = tensor.alias_of
    return f"tied to `{partner}`, which both sides have" if partner in matched else None


def _order_of(inventories: tuple[Inventory, Inventory]) -> Callable[[Entry], tuple[int, int]]:
    """As the old side has them, then what was added as the new side has it."""
    ranks = [{id(tensor): rank for rank, tensor in enumerate(each.tensors)} for each in inventories]

    def order(entry: Entry) -> tuple[int, int]:
        return (1, ranks[1][id(entry.new)]) if entry.old is None else (0, ranks[0][id(entry.old)])

    return order


def _failures(compared: Iterable[_Compared]) -> Iterator[NotCompared]:
    for pair, verdict in compared:
        if verdict.failure is not None:
            yield NotCompared(path=pair.match.new.path, reason=verdict.failure)


def _unexamined(inventories: Iterable[Inventory]) -> Iterator[NotCompared]:
    for inventory in inventories:
        for skipped in inventory.skipped:
            if skipped.failed:
                yield NotCompared(path=f"{inventory.target}: {skipped.what}", reason=skipped.reason)


def _notes(compared: Iterable[_Compared]) -> Iterator[str]:
    matches = [pair.match for pair, _ in compared]
    unsure = [match.new_name for match in matches if is_role_unsure(match.old, match.new)]
    if unsure:
        more = f" and {len(unsure) - 1} more" if len(unsure) > 1 else ""
        yield f"roles that are not certain on both sides are not compared: `{unsure[0]}`{more}"
