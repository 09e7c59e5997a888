"""The first answer, the table of roles and how they are known, and the one sentence that says it all."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from bufscan.inventory import CERTAINTIES, ROLES, RoleTotal
from bufscan.report.shared.layout import Cell, Line, flowed, line, table
from bufscan.report.shared.sizes import count, plural, size
from bufscan.report.shared.wording import ROLE_NOUNS, ROLE_WORDS

if TYPE_CHECKING:
    from bufscan.inventory import Certainty, Inventory, Join, Role
    from bufscan.report.inspect.text.census import Census
    from bufscan.report.inspect.view import View

# Kinds of evidence are few; only a broken file makes many.
_MOST_EVIDENCE = 20

_SIGNS: Final[dict[Role, str]] = {
    "parameter": "█",
    "persistent_buffer": "▓",
    "non_persistent_buffer": "▒",
    "unregistered": "!",
    "training_state": "░",
}
_ASCII_SIGNS: Final[dict[Role, str]] = {
    "parameter": "#",
    "persistent_buffer": "=",
    "non_persistent_buffer": "-",
    "unregistered": "!",
    "training_state": ".",
}
_BAR = 20  # cells
_NOTHING = (Cell(""),) * 4


def verdict(
    inventory: Inventory, census: Census, by_role: dict[Role, RoleTotal], view: View, of: int
) -> list[Line]:
    """What the artefact is and how much of it there is, the roles with a bar of their bytes, and what is odd.

    `of` counts the tensors of the artefact before the selection.
    """
    everything = RoleTotal(*map(sum, zip(*by_role.values(), strict=True))) if by_role else RoleTotal(0, 0, 0)
    title = f"{view.display.show(inventory.target)}: {_subject(census, view, of)}"
    facts = [f"{count(everything.numel)} elements", size(everything.nbytes, units=view.units)] if by_role else []
    facts.append(inventory.format)
    facts += filter(None, (_common(census, view),))
    cells = [Cell(title, "title"), *(cell for fact in facts for cell in (Cell(", "), Cell(fact)))]
    lines = flowed(cells, view.display.width)
    if by_role:
        lines += flowed(_roles(census, by_role, view), view.display.width)
    if odd := _odd(inventory, view):
        lines += flowed(odd, view.display.width)
    return lines


def _common(census: Census, view: View) -> str:
    """What all tensors share of dtype and device: `all float32 on cpu`; "" for nothing."""
    dtypes = {tensor.dtype for tensor, _ in census.kinds.values()}
    devices = {tensor.device for tensor, _ in census.kinds.values()}
    dtype = dtypes.pop() if len(dtypes) == 1 else None
    device = devices.pop() if len(devices) == 1 else None
    words = ([dtype] if dtype else []) + ([f"on {view.display.show(device)}"] if device else [])
    return f"all {' '.join(words)}" if words else ""


def _roles(census: Census, by_role: dict[Role, RoleTotal], view: View) -> list[Cell]:
    """`███▓!  █ 14 parameters  ▓ 4 persistent buffers  ! 7 unregistered`; a single role needs no bar."""
    signs = _SIGNS if view.display.unicode else _ASCII_SIGNS
    nbytes = {role: total.nbytes for role, total in by_role.items()}
    several = len(by_role) > 1
    cells = [Cell(signs[role] * length, role) for role, length in _shares(nbytes).items()] * several
    assumed_of: Counter[Role] = Counter()
    for tensor, number in census.kinds.values():
        assumed_of[tensor.role] += number * (tensor.certainty == "assumed")
    for role, total in by_role.items():
        text = f"{count(total.tensors)} {ROLE_NOUNS[role][total.tensors != 1]}"
        if assumed := assumed_of[role]:
            text += f" ({_of_all(assumed, total.tensors)} assumed)"
        cells += [Cell("  ")] * several + [Cell(f"{signs[role]} {text}" if several else text, role)]
    return cells


def _of_all(number: int, of: int) -> str:
    return "all" if number == of else count(number)


def _shares(nbytes: dict[Role, int]) -> dict[Role, int]:
    """The cells of the bar that each role gets: as its bytes, one at least."""
    whole = sum(nbytes.values()) or 1
    return {role: max(1, round(_BAR * own / whole)) for role, own in nbytes.items()}


def _odd(inventory: Inventory, view: View) -> list[Cell]:
    texts = [
        plural(len(things), noun)
        for things, noun in ((inventory.anomalies, "anomaly"), (inventory.skipped, "thing skipped"))
        if things
    ]
    texts += _misfits(inventory.joins) if not view.selection.narrows else []
    return [cell for text in texts for cell in (Cell(", "), Cell(text, "warning"))][1:]


class Reason(NamedTuple):
    """What decided a role, how sure that is, and of how many tensors."""

    certainty: Certainty
    evidence: str
    number: int


def evidence_of(census: Census) -> dict[Role, list[Reason]]:
    """What decided each role, the surest first."""
    found: Counter[tuple[Role, Certainty, str]] = Counter()
    for tensor, number in census.kinds.values():
        found[tensor.role, tensor.certainty, tensor.evidence] += number
    reasons: dict[Role, list[Reason]] = {role: [] for role in ROLES}
    for (role, certainty, evidence), number in found.items():
        reasons[role].append(Reason(certainty, evidence, number))
    return {role: sorted(own, key=lambda each: CERTAINTIES.index(each.certainty)) for role, own in reasons.items()}


def known_from(census: Census, by_role: dict[Role, RoleTotal], view: View) -> list[Line]:
    """Tensors, elements and bytes of each role, with what decided it and how sure that is."""
    evidence = evidence_of(census)
    rows: list[Line] = [[Cell(title, "dim") for title in ("role", "tensors", "elements", "size", "known from")]]
    left_out = 0
    for role, total in by_role.items():
        reasons = [
            (f"{reason.certainty}: {view.display.show(reason.evidence)}", reason.number)
            for reason in evidence[role]
        ]
        texts = [f"{text} ({count(number)})" if reasons[1:] else text for text, number in reasons]
        lead = _total(role, total, view)
        rows += [(*lead, Cell(texts[0])), *((*_NOTHING, Cell(text)) for text in texts[1:_MOST_EVIDENCE])]
        left_out += len(texts[_MOST_EVIDENCE:])
    lines = table(rows, right=frozenset((1, 2, 3)), width=view.display.width, wrap_last=True)
    if left_out:
        lines.append(line(f"... and {count(left_out)} more kinds of evidence", "warning"))
    return lines


def _total(role: Role, total: RoleTotal, view: View) -> tuple[Cell, ...]:
    return (
        Cell(ROLE_WORDS[role], role),
        Cell(count(total.tensors)),
        Cell(count(total.numel)),
        Cell(size(total.nbytes, units=view.units)),
    )


def sentence(
    inventory: Inventory, census: Census, by_role: dict[Role, RoleTotal], view: View, of: int
) -> list[Line]:
    """All in one sentence, for those who want no more: how many tensors of which role, and what is odd.

    `of` counts the tensors of the artefact before the selection.
    """
    subject = _subject(census, view, of)
    if assumed := sum(number for tensor, number in census.kinds.values() if tensor.certainty == "assumed"):
        subject += f" ({_of_all(assumed, len(census.tensors))} assumed)"
    cells = [Cell(subject)]
    for role, total in by_role.items():
        join = ": " if len(cells) == 1 else ", "
        cells += [Cell(join), Cell(f"{count(total.tensors)} {ROLE_NOUNS[role][total.tensors != 1]}", role)]
    cells += [Cell("; "), Cell(f"{size(inventory.stored_bytes, units=view.units)} stored")]
    for cell in _odd(inventory, view):
        cells += [] if cell.text == ", " else [Cell("; "), cell]
    return flowed(cells, view.display.width)


def _misfits(joins: tuple[Join, ...]) -> list[str]:
    """How many entries keep the checkpoint from fitting its model: `2 missing`, `1 mismatched`."""
    numbers = {
        "missing": sum(len(join.missing) + len(join.missing_extra_states) for join in joins),
        "unexpected": sum(len(join.unexpected) + len(join.saved_non_persistent) for join in joins),
        "mismatched": sum(len(join.mismatched) for join in joins),
    }
    return [f"{count(number)} {kind}" for kind, number in numbers.items() if number]


def _subject(census: Census, view: View, of: int) -> str:
    found = len(census.tensors)
    subject = f"{count(found)} of {plural(of, 'tensor')}" if view.selection.narrows else plural(found, "tensor")
    sections = len({tensor.section for tensor, _ in census.kinds.values()})
    if sections > 1:
        subject += f" in {plural(sections, 'section')}"
    return subject
