"""For the tests of models: `assert_registered(model)`."""

from __future__ import annotations

import warnings
from linecache import getline
from typing import TYPE_CHECKING

import msgspec

from bufscan.checking import check
from bufscan.config import Config, IgnoreEntry
from bufscan.errors import UsageError
from bufscan.findings import SEVERITIES
from bufscan.report.check.text import render
from bufscan.report.check.view import CheckView
from bufscan.target import kind_in_words
from bufscan.tensor_names import matches

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from bufscan.findings import Severity

_RULES = ("BUF0", "BUF1")  # on registration; the others are about files and devices


def assert_registered(
    model: nn.Module, *, ignore: Mapping[str, str] | None = None, fail_on: Severity = "error"
) -> None:
    """Fail unless every tensor that the model holds is registered, as what it is meant to be.

    Args:
        model: on any device; it is left as it was.
        ignore: what is meant to be there, with the reason: `{"encoder.cache*": "made anew in forward"}`. A key is
            a shell pattern of tensor paths. `# bufscan: ignore[BUF001] reason` in the source holds here too.
        fail_on: the least severity that fails.

    Raises:
        AssertionError: something is not; the message shows what, where and the line that mends it.
        UsageError: `model` is none, `fail_on` is no severity, or an ignore has no reason.

    Warns:
        UserWarning: an ignore matches nothing any more.
    """
    __tracebackhide__ = True
    if isinstance(model, type) or not hasattr(model, "named_modules"):
        hint = "make one: `assert_registered(Encoder(dim=64))`"
        raise UsageError(f"{kind_in_words(model)} is no model", hint=hint)
    if fail_on not in SEVERITIES:
        raise UsageError(f"no such severity: `{fail_on}`", hint=f"choose from {', '.join(SEVERITIES)}")
    entries = _entries({} if ignore is None else ignore)
    result = check(model, config=Config(select=_RULES, ignore=entries, fail_on=fail_on))
    if result.exit_code:
        raise AssertionError(f"not every tensor is registered\n\n{render(result, CheckView(source_line=getline))}")
    ignored = [each.finding.tensor for target in result.targets for each in target.ignored if each.by == "config"]
    for entry in entries:
        if not any(matches(entry.tensor, tensor) for tensor in ignored):
            warnings.warn(f"the ignore of `{entry.tensor}` matches no finding any more", stacklevel=2)


def _entries(ignore: object) -> tuple[IgnoreEntry, ...]:
    try:
        reasons = msgspec.convert(ignore, dict[str, str])
    except msgspec.ValidationError as error:
        # In the message itself: it is all that a failing test shows of an exception.
        raise UsageError(
            '`ignore` maps patterns to reasons: `{"encoder.cache*": "made anew in forward"}`'
        ) from error
    try:
        return tuple(IgnoreEntry(code="BUF", tensor=tensor, reason=reason) for tensor, reason in reasons.items())
    except ValueError as error:
        raise UsageError(str(error)) from error
