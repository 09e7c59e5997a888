"""The names in pickles that torch's tensors do not need: how they are used, and who is known to write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from bufscan.formats.checkpoint.module_instance import module_state
from bufscan.formats.pickle.known_globals import is_known, library_of
from bufscan.formats.pickle.pickle_values import Global, Instance, Pairs, PersistentId
from bufscan.inventory import ForeignName

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MOST_ARGUMENTS = 4
_DEEPEST = 2
_LONGEST_TEXT = 60
_LONGEST_NUMBER = 64  # bits
_LONGEST_CALL = 200


def foreign_names(names: Iterable[Global], pickle: str) -> Iterator[ForeignName]:
    """The names that torch does not write for tensors, each once; `pickle` says where they stand."""
    foreign = {(name.qualified, name.name): name for name in names if not is_known(name)}
    for (qualified, _), name in sorted(foreign.items()):
        use: Literal["called", "made", "named"] = "named"
        if name.called is not None:
            use = "called"
        elif name.made is not None:
            use = "made"
        yield ForeignName(
            name=qualified,
            use=use,
            library=library_of(name, use),
            is_module=use == "made" and module_state(name.made) is not None,
            call="" if name.called is None else _spell_call(name.called, _DEEPEST)[:_LONGEST_CALL],
            where=f"byte {name.position:,} of {pickle}",
        )


def _spell_call(call: Instance, depth: int) -> str:
    name = call.func.qualified if type(call.func) is Global else "…"
    if type(call.args) is not tuple:
        return f"{name}(*{_spell(call.args, depth)})"
    return f"{name}({_spell_all(call.args, depth)})"


def _spell_all(values: Iterable[Any], depth: int) -> str:
    shown = []
    for number, value in enumerate(values):
        if number == _MOST_ARGUMENTS:
            shown.append("…")
            break
        shown.append(_spell(value, depth))
    return ", ".join(shown)


def _spell(value: Any, depth: int) -> str:
    """The value as Python would write it, cut where it is long or deep: a crafted one has no end."""
    kind = type(value)
    if kind in (str, bytes):
        return repr(value) if len(value) <= _LONGEST_TEXT else f"{value[:_LONGEST_TEXT]!r}…"
    if kind is int and value.bit_length() > _LONGEST_NUMBER:
        return f"an integer of {value.bit_length():,} bits"
    if kind is Global:
        return str(value.qualified[:_LONGEST_TEXT])
    if kind is Instance and depth:
        return _spell_call(value, depth - 1)
    if kind in (list, tuple) and depth:
        brackets = "()" if kind is tuple else "[]"
        return f"{brackets[0]}{_spell_all(value, depth - 1)}{brackets[1]}"
    return "…" if kind in (Instance, Pairs, PersistentId, list, tuple) else repr(value)
