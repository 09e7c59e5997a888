"""What a difference is called in words: the one sentence, and the changes of one tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bufscan.report.shared.folding import fold
from bufscan.report.shared.sizes import count, plural
from bufscan.report.shared.wording import ROLE_WORDS, dimensions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bufscan.comparing.difference import (
        Aspect,
        Change,
        Difference,
        Entry,
        PlainEntry,
        ValueStatistics,
    )

_ASPECT_VERBS: dict[Aspect, str] = {
    "shape": "reshaped",
    "dtype": "retyped",
    "layout": "laid out anew",
    "quantization": "quantised anew",
    "role": "re-roled",
    "device": "on another device",
    "requires_grad": "frozen or thawed",
    "tied_to": "tied or untied",
}

PLAIN_HEADING = "beside the tensors"


def verdict(difference: Difference) -> str:
    """The one sentence that says it all."""
    answer, *parts = _answer(difference)
    if difference.not_compared:
        parts.append(f"{count(len(difference.not_compared))} not compared")
    left_out = sum(each.tensors for each in difference.left_out)
    if left_out:
        parts.append(f"{count(left_out)} left out")
    return f"{answer}: {', '.join(parts)}"


def _answer(difference: Difference) -> list[str]:
    """Same or not, and the counts that belong to it."""
    tensors = plural(difference.unchanged, "tensor")
    if difference.entries or difference.plain:
        parts = ["different", *_counts(difference)]
        if difference.plain:
            beside = plural(len(difference.plain), "value beside the tensors")
            parts.append(beside if difference.entries else f"only {beside}")
        parts += [f"{count(difference.unchanged)} unchanged"] if difference.unchanged else []
        parts += [f"{count(difference.close)} of them within the tolerance"] if difference.close else []
        return parts
    if difference.is_empty:
        return [
            "nothing was compared",
            "neither side holds a tensor" + (" or a value" * (not difference.tensors_only)),
        ]
    if difference.not_compared:
        return ["not known to be identical", f"{tensors} found the same"]
    if not difference.compared_values:
        return ["the same structure", tensors, "values not compared"]
    if difference.close and difference.tolerance is not None:
        tolerance = f"rtol {difference.tolerance.rtol:g} and atol {difference.tolerance.atol:g}"
        return [f"equal within {tolerance}", tensors, f"{count(difference.close)} of them not bit for bit"]
    plain = [plural(difference.same_plain, "value beside them")] if difference.same_plain else []
    alone = ["nothing beside the tensors"] if difference.tensors_only else []
    return ["identical", tensors, *plain, "every value compared", *alone]


def plain_change(entry: PlainEntry) -> tuple[str, str]:
    """Before and after; what one side lacks is a dash."""
    return ("-" if entry.old is None else entry.old, "-" if entry.new is None else entry.new)


def _counts(difference: Difference) -> Iterator[str]:
    for status in ("added", "removed", "renamed"):
        number = difference.count(status)
        if number:
            yield f"{count(number)} {status}"
    for aspect, verb in _ASPECT_VERBS.items():
        having = [entry for entry in difference.entries if aspect in entry.aspects]
        if having:
            rounded = sum(entry.values is not None and entry.values.rounding is not None for entry in having)
            only = f" ({count(rounded)} with no more than rounding)" if rounded and aspect == "dtype" else ""
            yield f"{count(len(having))} {verb}{only}"
    in_bits = sum(map(_has_other_bits_alone, difference.entries))
    number = sum(map(_has_other_values, difference.entries)) - in_bits
    if in_bits:
        yield f"{count(in_bits)} with other bits for the same values"
    if number:
        broken = sum(map(has_new_nonfinite, difference.entries))
        yield f"{count(number)} with other values" + (
            f" ({count(broken)} with new NaN or infinity)" if broken else ""
        )


def _has_other_bits_alone(entry: Entry) -> bool:
    """Whether nothing more changed than signs of zeros, payloads of NaNs, and their like."""
    return _has_other_values(entry) and entry.values is not None and entry.values.changed == 0


def _has_other_values(entry: Entry) -> bool:
    """Whether values, or at least bits of them, changed beyond what a new type or shape brings with it."""
    values = entry.values
    if values is None:
        if entry.relation is not None:
            return entry.relation.has_other_values
        return entry.remark is not None and entry.status in ("changed", "renamed")
    if values.rounding is not None:
        return False
    return values.changed != 0 or bool(
        values.zero_signs or values.nan_payloads or (entry.remark and entry.relation is None)
    )


def has_new_nonfinite(entry: Entry) -> bool:
    """Whether there are more NaN or infinities than before."""
    values = entry.values
    return values is not None and (values.nan[1] > values.nan[0] or values.inf[1] > values.inf[0])


def not_compared(difference: Difference) -> list[str]:
    """What is not known and why, repeated blocks folded."""
    unknown = difference.not_compared
    folds = fold((each.path, each.reason) for each in unknown)
    return [f"{name}: {unknown[members[0]].reason}" for name, members in folds]


def changes_of(entry: Entry, *, without: Aspect | None = None) -> str:
    """Everything that changed but the size of the values, in a few words each."""
    words = [_change(change) for change in entry.changes if change.aspect != without]
    if entry.values is not None:
        words += _remarks(entry.values)
    if entry.remark is not None:
        words.append(entry.remark)
    return "; ".join(words)


def _change(change: Change) -> str:
    return _WORDS[change.aspect](change.old, change.new)


def tie_of(entry: Entry) -> str:
    """What it is no longer tied to, or is now."""
    return ", ".join(_change(change) for change in entry.changes if change.aspect == "tied_to")


def _shape(shape: Any) -> str:
    return "no shape" if shape is None else dimensions(shape)


def _tie(before: Any, after: Any) -> str:
    lost = [name for name in before if name not in after]
    gained = [name for name in after if name not in before]
    words = [f"no longer tied to {', '.join(lost[:3])}"] if lost else []
    words += [f"now tied to {', '.join(gained[:3])}"] if gained else []
    return ", ".join(words)


_WORDS: dict[Aspect, Callable[[Any, Any], str]] = {
    "shape": lambda old, new: f"{_shape(old)} to {_shape(new)}",
    "dtype": lambda old, new: f"{old or 'no type'} to {new or 'no type'}",
    "layout": lambda old, new: f"{old} to {new}",
    "quantization": lambda old, new: f"{old or 'not quantised'} to {new or 'not quantised'}",
    "role": lambda old, new: f"{ROLE_WORDS[old]} to {ROLE_WORDS[new]}",
    "device": lambda old, new: f"{old} to {new}",
    "requires_grad": lambda _, new: "now requires grad" if new else "no longer requires grad",
    "tied_to": _tie,
}


def _remarks(values: ValueStatistics) -> Iterator[str]:
    if values.rounding == "rounded":
        yield "only rounding"
    elif values.rounding == "exact":
        yield "the same values"
    for what, (before, after) in (("NaN", values.nan), ("infinite", values.inf)):
        if before != after:
            yield f"{what} {count(before)} to {count(after)}"
        elif after:
            yield f"{count(after)} {what} on both sides"
    if values.zero_signs:
        yield f"{plural(values.zero_signs, 'zero')} with the other sign"
    if values.nan_payloads:
        yield f"{count(values.nan_payloads)} NaN with other bits"


def number(value: float | None) -> str:
    """Two digits that count (`0.0032`, `1.2e-05`); `-` for none."""
    return "-" if value is None else f"{value:.2g}"


def share(changed: int | None, numel: int) -> str:
    """How many values changed: `all`, a few by their number, more in percent."""
    if changed is None:
        return "some"
    if changed == numel:
        return "all"
    if changed < 100:  # noqa: PLR2004 - beyond, only the share tells anything
        return count(changed)
    return f"{min(100 * changed / numel, 99.9):.1f} %"
