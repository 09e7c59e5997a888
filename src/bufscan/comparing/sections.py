"""Which section of the one side belongs to which of the other, and which are beside the question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from bufscan.comparing.difference import LeftOut
from bufscan.errors import UsageError
from bufscan.joining.names import find_renaming

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bufscan.inventory import Tensor

_LEAST_IN_COMMON = 0.5  # of the smaller section's names
_ALIKE = 0.9  # of the best section's names in common: an EMA of the same model, say

_BESIDE_WEIGHTS = "the other side holds weights alone"
_NOT_GIVEN = "it is not among the sections to compare"

Sections = dict[str, list["Tensor"]]


class Pairing(NamedTuple):
    """Sections that are compared, those that are not, and what is to be said of it.

    Attributes:
        pairs: old and new section; None where the other side has none that belongs to it.
    """

    pairs: list[tuple[str | None, str | None]]
    left_out: list[LeftOut]
    notes: list[str]


def by_section(tensors: Iterable[Tensor]) -> Sections:
    """The tensors of each section, both in their order."""
    sections: Sections = {}
    for tensor in tensors:
        sections.setdefault(tensor.section, []).append(tensor)
    return sections


def pair_sections(old: Sections, new: Sections, given: Mapping[str, str]) -> Pairing:
    """Pair sections as the user says, or by their names and by the names in them.

    Raises:
        UsageError: a section that the user names does not exist.
    """
    if given:
        return _pair_as_given(old, new, given)
    pairs = [(name, name) for name in old if name in new and _is_model(old[name]) == _is_model(new[name])]
    rest_old = [name for name in old if (name, name) not in pairs]
    rest_new = [name for name in new if (name, name) not in pairs]
    notes: list[str] = []
    for left, right in _matches(old, new, rest_old, rest_new):
        pairs.append((left, right))
        rest_old.remove(left)
        rest_new.remove(right)
        notes.append(f"{_named(left)} of the old side is compared with {_named(right)} of the new")
        notes += _alternatives(old, new, left, right)
    left_out = []
    if _is_beside_the_question(old, new):
        left_out = _leave_out("old", old, rest_old, _BESIDE_WEIGHTS)
        rest_old = []
    elif _is_beside_the_question(new, old):
        left_out = _leave_out("new", new, rest_new, _BESIDE_WEIGHTS)
        rest_new = []
    alone = [*((name, None) for name in rest_old), *((None, name) for name in rest_new)]
    return Pairing([*pairs, *alone], left_out, notes)


def _pair_as_given(old: Sections, new: Sections, given: Mapping[str, str]) -> Pairing:
    for left, right in given.items():
        for side, sections, name in (("old", old, left), ("new", new, right)):
            if name not in sections:
                known = ", ".join(f"`{each}`" if each else "the top level" for each in list(sections)[:10])
                raise UsageError(f"the {side} side has no section `{name}`", hint=f"it has {known}")
    left_out = [
        *_leave_out("old", old, [name for name in old if name not in given], _NOT_GIVEN),
        *_leave_out("new", new, [name for name in new if name not in given.values()], _NOT_GIVEN),
    ]
    return Pairing(list(given.items()), left_out, [])


def _is_model(tensors: Sequence[Tensor]) -> bool:
    return any(tensor.role != "training_state" for tensor in tensors)


def _is_beside_the_question(whole: Sections, weights: Sections) -> bool:
    """Whether one side is a training checkpoint and the other a model's weights alone.

    With a section of the same name the other is a training checkpoint too, which lacks the other sections.
    """
    if len(weights) != 1 or len(whole) == 1:
        return False
    [(name, tensors)] = weights.items()
    return _is_model(tensors) and not (name in whole and _is_model(whole[name]))


def _matches(
    old: Sections, new: Sections, rest_old: Sequence[str], rest_new: Sequence[str]
) -> list[tuple[str, str]]:
    """Sections of other names that belong together: those with most names in common first, each once."""
    models_old = [name for name in rest_old if _is_model(old[name])]
    models_new = [name for name in rest_new if _is_model(new[name])]
    scored = [(_in_common(old[left], new[right]), left, right) for left in models_old for right in models_new]
    scored.sort(key=lambda each: -each[0])  # stable: the order of the sides decides between equals
    chosen: list[tuple[str, str]] = []
    for score, left, right in scored:
        taken = any(left == one or right == other for one, other in chosen)
        enough = score >= _LEAST_IN_COMMON * min(len(old[left]), len(new[right]))
        # With one candidate on a side there is nothing else to compare it with.
        if not taken and (enough or min(len(models_old), len(models_new)) == 1):
            chosen.append((left, right))
    return chosen


def _in_common(old: Sequence[Tensor], new: Sequence[Tensor]) -> int:
    names_old, names_new = ({key_of(tensor): tensor.shape for tensor in tensors} for tensors in (old, new))
    return len(find_renaming(names_old, names_new).pairs(names_old, names_new))


def key_of(tensor: Tensor) -> str:
    """The name under which a state_dict has it, or would have it."""
    return tensor.saved_as or tensor.name


def _alternatives(old: Sections, new: Sections, left: str, right: str) -> list[str]:
    """Other sections that would have done as well, so that nobody takes an EMA for the model."""
    best = _in_common(old[left], new[right])
    notes = []
    for name, tensors in old.items():
        if name != left and _is_model(tensors) and _in_common(tensors, new[right]) >= _ALIKE * best:
            notes.append(f"{_named(name)} fits as well: `--section {name}:{right}` compares it")
    for name, tensors in new.items():
        if name != right and _is_model(tensors) and _in_common(old[left], tensors) >= _ALIKE * best:
            notes.append(f"{_named(name)} fits as well: `--section {left}:{name}` compares it")
    return notes


def _leave_out(
    side: Literal["old", "new"], sections: Sections, names: Iterable[str], reason: str
) -> list[LeftOut]:
    return [LeftOut(side=side, what=_named(name), tensors=len(sections[name]), reason=reason) for name in names]


def _named(section: str) -> str:
    return f"section `{section}`" if section else "the top level"
