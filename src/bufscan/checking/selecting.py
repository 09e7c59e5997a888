"""Which rules run, by codes and beginnings of codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bufscan.errors import UsageError, did_you_mean
from bufscan.rules import RULES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bufscan.config import Config
    from bufscan.findings import Rule


def selected_rules(config: Config) -> tuple[Rule, ...]:
    """The rules that `select` names, or all, without those that are deselected.

    Raises:
        UsageError: a code that is no rule's and begins none.
    """
    for code in (*config.select, *config.deselect, *(entry.code for entry in config.ignore)):
        require_code(code)
    return tuple(
        rule
        for rule in RULES
        if (not config.select or covers(config.select, rule.code)) and not covers(config.deselect, rule.code)
    )


_CODES = {rule.name: rule.code for rule in RULES}


def covers(codes: Iterable[str], code: str) -> bool:
    """Whether one of `codes` is `code`, a beginning of it, or the name of its rule."""
    return any(code.startswith(_CODES.get(each, each)) for each in codes)


def names_a_rule(code: str) -> bool:
    """Whether it is a code, the beginning of one, or the name of a rule."""
    return bool(code) and any(rule.code.startswith(_CODES.get(code, code)) for rule in RULES)


def require_code(code: str) -> None:
    """Raise UsageError for what `names_a_rule` denies."""
    if not names_a_rule(code):
        known = did_you_mean(code.lower(), _CODES)
        hint = "`bufscan explain` lists the rules"
        raise UsageError(f"no rule has the code `{code}`", hint=f"{known} {hint}" if known else hint)


def rule_of(code: str) -> Rule:
    """The rule with exactly this code or name, whatever the case of its letters.

    Raises:
        UsageError: there is none.
    """
    for rule in RULES:
        if code.upper() == rule.code or code.lower() == rule.name:
            return rule
    if not names_a_rule(code.upper()):
        require_code(code)
    codes = [rule.code for rule in RULES if rule.code.startswith(code.upper())]
    raise UsageError(f"several rules begin with `{code}`", hint=f"choose from {', '.join(codes)}")
