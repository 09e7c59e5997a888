"""What else there is to know about an artefact: labelled lines, each kind of thing under its label."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

from bufscan.report.inspect.text.training import optimizer_items, parts_of, training_items
from bufscan.report.shared.layout import Cell, Line, Style, flowed, wrapped
from bufscan.report.shared.sizes import count, plural, size
from bufscan.report.shared.wording import ROLE_WORDS, dimensions, shape_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from bufscan.inventory import Inventory, Join, Location, Mismatch, PackedWeight, Role, RoleTotal, Tensor
    from bufscan.report.inspect.text.census import Census, Kind
    from bufscan.report.inspect.view import View

# Ties, views, globals ... that are shown one by one unless everything is asked for.
_MOST_ITEMS = 8

_MOST_FILES = 4
"""Files of one checkpoint that are listed one by one."""

_LABEL = 11

_NARROWEST = 20

# Names in one sentence before it only counts them.
_MOST_NAMES = 3

# Things with one remark before they are only counted.
_MOST_THINGS = 4

# A sentence may name two tensors and a file.
_ITEM_LIMIT = 1000

# Before what belongs to the line above it.
_INDENT = "  "


class Origin(NamedTuple):
    """Where the source assigns a tensor, the line that would be better there, and what that line does."""

    place: str
    suggestion: str | None
    note: str | None


class Particular(NamedTuple):
    """One kind of thing to know, under its label; `in_a_row` where its items are short."""

    label: str
    items: Sequence[str | Origin]  # as they come from the file: not escaped yet
    style: Style = ""
    in_a_row: bool = False  # short things, with commas between them; else each begins a line


def list_particulars(
    inventory: Inventory, census: Census, by_role: dict[Role, RoleTotal], ties: list[str], view: View
) -> list[Line]:
    """Element types and devices, stored against logical bytes, ties, files, and everything odd or left out."""
    return [
        each
        for particular in particulars_of(inventory, census, by_role, ties, view)
        if particular.items
        for each in _labelled(particular, view)
    ]


def ties_of(inventory: Inventory) -> list[str]:
    """`head.weight = embed.weight`: names of the same elements."""
    return [
        f"{tensor.path} = {tensor.section}.{tensor.alias_of}"
        if tensor.section
        else f"{tensor.name} = {tensor.alias_of}"
        for tensor in inventory.tensors
        if tensor.alias_of is not None
    ]


def particulars_of(
    inventory: Inventory, census: Census, by_role: dict[Role, RoleTotal], ties: list[str], view: View
) -> Iterator[Particular]:
    """All of them in order; those without items say nothing."""
    tensors, kinds = inventory.tensors, census.kinds.values()
    if len({tensor.dtype for tensor, _ in kinds}) > 1:  # else the first line says it
        dtypes = _tally(kinds, lambda tensor: tensor.dtype or "none yet", view)
        yield Particular("dtypes", dtypes, in_a_row=True)
    if len({tensor.device for tensor, _ in kinds}) > 1:  # the same
        devices = _tally(kinds, lambda tensor: tensor.device or "not recorded", view)
        yield Particular("devices", devices, in_a_row=True)
    yield Particular("types", _subclasses(kinds), in_a_row=True)
    yield Particular("files", _files(kinds, view))
    yield Particular("stored", _stored(inventory, by_role, view))
    yield Particular("placed", _placements(tensors), in_a_row=True)
    yield Particular("ranks", _ranks(inventory, view))
    yield Particular("disagree", list(_disagreements(inventory)), "warning")
    yield Particular("packed", list(_packed(inventory, view)))
    yield Particular("views", _views(inventory, census, view), "warning")
    yield Particular("origins", _origins(tensors))
    yield Particular("moves", [f"{each.path}: by hand in forward" for each in tensors if each.moved_by_hand])
    yield Particular("tied", ties)
    if not view.selection.narrows:  # else somebody looks at some tensors, and this is about the whole
        yield Particular("metadata", [f"{key}: {value}" for key, value in inventory.metadata.items()])
        yield Particular("globals", list(inventory.globals), in_a_row=True)
        yield Particular("notes", list(inventory.notes))
        yield Particular("training", training_items(inventory, view))
        yield Particular("optimizer", list(optimizer_items(inventory, census)))
        yield Particular("parts", parts_of(inventory, view), in_a_row=True)
        yield from _fit(inventory.joins, view)
    yield Particular("anomalies", [anomaly.message for anomaly in inventory.anomalies], "warning")
    skipped = _together(((each.what, each.reason) for each in inventory.skipped), view)
    yield Particular("skipped", skipped, "warning")


def _packed(inventory: Inventory, view: View) -> Iterator[str]:
    """Quantised weights by how they are packed: how many, what they hold, and what that takes."""
    schemes: dict[tuple[str, int | None], list[PackedWeight]] = {}
    for weight in inventory.packed:
        schemes.setdefault((weight.scheme, weight.bits), []).append(weight)
    for (scheme, bits), weights in schemes.items():
        stored = sum(weight.stored_bytes for weight in weights)
        numbers = [weight.numel for weight in weights]
        text = f"{plural(len(weights), 'weight')} of {scheme}{'' if bits is None else f', {bits} bits'}: "
        if None in numbers:
            yield f"{text}{size(stored, units=view.units)}; how many elements only the configuration tells"
        else:
            total = sum(number or 0 for number in numbers)
            each = f", {8 * stored / total:.2f} bits an element with their scales" if total else ""
            yield f"{text}{count(total)} elements in {size(stored, units=view.units)}{each}"


def _fit(joins: tuple[Join, ...], view: View) -> Iterator[Particular]:
    """What keeps a checkpoint from fitting the model it was joined to."""
    for join in joins:
        start = f"{join.section}." if join.section else ""
        missing = [f"{start}{each.name} ({ROLE_WORDS[each.role]}, {shape_of(each)})" for each in join.missing]
        missing += [f"{start}{key} (extra state)" for key in join.missing_extra_states]
        yield Particular("missing", missing, "warning")
        yield Particular("unexpected", [start + name for name in join.unexpected], "warning")
        saved = [f"{start}{name}: a non-persistent buffer of the model" for name in join.saved_non_persistent]
        yield Particular("unexpected", saved, "warning")
        yield Particular("mismatched", _mismatched(join.mismatched, start, view), "warning")


def _mismatched(mismatches: Sequence[Mismatch], start: str, view: View) -> list[str]:
    """What differs in shape or role one by one; a checkpoint in another precision is one thing to know."""
    odd = [each for each in mismatches if each.shape is not None or each.role is not None]
    recast = [each for each in mismatches if each.shape is None and each.role is None]
    return [f"{start}{each.name}: {_difference(each)}" for each in odd] + _together(
        ((start + each.name, _difference(each)) for each in recast), view
    )


def _together(remarks: Iterable[tuple[str, str]], view: View) -> list[str]:
    """`a, b: remark` for things of which the same is to be said; one by one if everything is asked for."""
    said: defaultdict[str, list[str]] = defaultdict(list)
    for thing, remark in remarks:
        said[remark].append(thing)
    if view.everything:
        return [f"{thing}: {remark}" for remark, things in said.items() for thing in things]
    return [f"{_some_of(things)}: {remark}" for remark, things in said.items()]


def _some_of(things: Sequence[str]) -> str:
    more = len(things) - _MOST_THINGS
    shown = ", ".join(things[:_MOST_THINGS])
    return f"{shown} and {count(more)} more (`--all` lists them)" if more > 0 else shown


def _difference(each: Mismatch) -> str:
    differences = []
    if each.shape is not None:
        stored, built = each.shape
        differences.append(f"{dimensions(stored)}, in the model {dimensions(built)}")
    if each.dtype is not None:
        differences.append(f"{each.dtype[0]}, in the model {each.dtype[1]}")
    if each.role is not None:
        differences.append(f"{ROLE_WORDS[each.role[0]]}, in the model {ROLE_WORDS[each.role[1]]}")
    return "; ".join(differences)


def _tally(kinds: Collection[Kind], value_of: Callable[[Tensor], str], view: View) -> list[str]:
    """`float32 70 (9.4 MB)`, `int64 3 (24 B)`; the most frequent first."""
    numbers: Counter[str] = Counter()
    nbytes: Counter[str] = Counter()
    for kind in kinds:
        value = value_of(kind.first)
        numbers[value] += kind.times
        nbytes[value] += kind.nbytes or 0
    return [
        f"{value} {count(number)} ({size(nbytes[value], units=view.units)})"
        for value, number in numbers.most_common()
    ]


def _subclasses(kinds: Collection[Kind]) -> list[str]:
    found: Counter[str] = Counter()
    for tensor, number in kinds:
        if tensor.type_name is not None:
            found[tensor.type_name] += number
    return [f"{name} {count(number)}" for name, number in found.most_common()]


def _files(kinds: Collection[Kind], view: View) -> list[str]:
    held: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for kind in kinds:
        if kind.first.file is not None:
            held[kind.first.file] += kind.times
            sizes[kind.first.file] += kind.nbytes or 0
    if len(held) > _MOST_FILES and not view.everything:
        first, *_, last = held
        least, most = min(held.values()), max(held.values())
        range_ = " to ".join(size(end(sizes.values()), units=view.units) for end in (min, max))
        return [f"{count(len(held))}: {first} to {last}, {count(least)} to {count(most)} tensors, {range_} each"]
    return [
        f"{file}: {plural(number, 'tensor')}, {size(sizes[file], units=view.units)}"
        for file, number in held.items()
    ]


def _stored(inventory: Inventory, by_role: dict[Role, RoleTotal], view: View) -> list[str]:
    if inventory.ranks:  # of each rank something else
        return []
    logical = sum(total.nbytes for total in by_role.values())
    stored = inventory.stored_bytes
    if stored == logical or not inventory.tensors or inventory.ranks:  # of each rank something else
        return []
    return [f"{size(stored, units=view.units)} for {size(logical, units=view.units)} of elements"]


def _placements(tensors: Sequence[Tensor]) -> list[str]:
    """How distributed tensors are cut: `Shard(0) 70`."""
    found = Counter(" ".join(tensor.placements) for tensor in tensors if tensor.placements)
    return [f"{placements} {count(number)}" for placements, number in found.most_common()]


def _ranks(inventory: Inventory, view: View) -> list[str]:
    """What each process stores, or the range of it where they are many."""
    shares = sorted(inventory.ranks, key=lambda share: share.stored_bytes)
    if len(shares) > _MOST_FILES and not view.everything:
        ends = (
            f"{size(each.stored_bytes, units=view.units)} on rank {each.rank}" for each in (shares[0], shares[-1])
        )
        return [f"{count(len(shares))}: {' to '.join(ends)}"]
    return [
        f"{share.rank}: {size(share.stored_bytes, units=view.units)}, on {share.host}" for share in inventory.ranks
    ]


def _disagreements(inventory: Inventory) -> Iterator[str]:
    for each in inventory.disagreements:
        others = (f"{value} on {_some_ranks(ranks)}" for value, ranks in each.others.items())
        yield f"{each.name}: {each.aspect} {each.first} on rank 0, {', '.join(others)}"


def _some_ranks(ranks: Sequence[int]) -> str:
    more = len(ranks) - _MOST_THINGS
    shown = ", ".join(map(str, ranks[:_MOST_THINGS]))
    return f"rank{'s' * (len(ranks) > 1)} {shown}" + (f" and {count(more)} more" if more > 0 else "")


def _views(inventory: Inventory, census: Census, view: View) -> list[str]:
    """Storages of which the tensors show only a part, the greatest loss first."""
    partial = census.where(lambda tensor: tensor.stored_bytes > (tensor.nbytes or 0)).tensors
    looked_at = {tensor.storage for tensor in partial if tensor.storage is not None} & inventory.storages.keys()
    unseen = {key: inventory.storages[key].nbytes for key in looked_at}
    for tensor in inventory.tensors if unseen else ():
        if tensor.storage in unseen and tensor.alias_of is None:
            unseen[tensor.storage] -= tensor.nbytes or 0
    unseen = {key: nbytes for key, nbytes in unseen.items() if nbytes > 0}
    names: dict[str, list[str]] = {}
    for tensor in inventory.tensors if unseen else ():
        if tensor.storage is not None and tensor.storage in unseen:
            names.setdefault(tensor.storage, []).append(tensor.path)
    kept = {key: inventory.storages[key].nbytes for key in sorted(names, key=lambda key: -unseen[key])}
    return [
        f"{_first_of(names[key])} {size(nbytes - unseen[key], units=view.units)} "
        f"of the {size(nbytes, units=view.units)} kept"
        for key, nbytes in kept.items()
    ]


def _first_of(names: list[str]) -> str:
    others = len(names) - 1
    return f"{names[0]} and {plural(others, 'tensor')} more show" if others else f"{names[0]} shows"


def _origins(tensors: tuple[Tensor, ...]) -> list[Origin]:
    """One for all that the same line of source makes; a note that several share is said once."""
    held: dict[tuple[Location | None, str | None, str | None], list[str]] = {}
    for tensor in tensors:
        if tensor.origin is not None or tensor.suggestion is not None:
            held.setdefault((tensor.origin, tensor.suggestion, tensor.suggestion_note), []).append(tensor.path)
    told: set[str | None] = set()
    origins = []
    for (origin, suggestion, note), names in held.items():
        place = (f"{origin.file}:{origin.line} " if origin else "") + ", ".join(names[:_MOST_NAMES])
        if len(names) > _MOST_NAMES:
            place += f" and {plural(len(names) - _MOST_NAMES, 'tensor')} more"
        origins.append(Origin(place, suggestion, None if note in told else note))
        told.add(note)
    return origins


def _labelled(particular: Particular, view: View) -> Iterator[Line]:
    """The items beside their label; what does not fit goes on below, indented as far."""
    items = list(particular.items)
    if not view.everything and len(items) > _MOST_ITEMS:
        items[_MOST_ITEMS:] = [f"and {count(len(items) - _MOST_ITEMS)} more (`--all` lists them)"]
    room = None if view.display.width is None else max(view.display.width - _LABEL, _NARROWEST)
    lines: list[Line]
    if particular.in_a_row:
        texts = [_shown(item, view) for item in items if isinstance(item, str)]
        commas = [Cell(f"{text}, ", particular.style) for text in texts[:-1]]
        lines = flowed([*commas, Cell(texts[-1], particular.style)], room)
    else:
        lines = [each for item in items for each in _lines_of(item, particular.style, view, room)]
    for number, each in enumerate(lines):
        yield (Cell(f"{particular.label if number == 0 else '':<{_LABEL}}", "dim"), *each)


def _lines_of(item: str | Origin, style: Style, view: View, room: int | None) -> Iterator[Line]:
    if isinstance(item, str):
        for text in wrapped(_shown(item, view), room):
            yield (Cell(text, style),)
        return
    yield from _lines_of(item.place, style, view, room)
    if item.suggestion is not None:
        # Never wrapped: it is there to be copied.
        yield (Cell(f"{_INDENT}better: {_shown(item.suggestion, view)}"),)
    if item.note is not None:
        for text in wrapped(_shown(item.note, view), None if room is None else room - len(_INDENT)):
            yield (Cell(_INDENT + text, "dim"),)


def _shown(text: str, view: View) -> str:
    return view.display.show(text, limit=_ITEM_LIMIT)
