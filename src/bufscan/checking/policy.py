"""Which findings count: those that no comment, no entry of the configuration and no baseline lets pass."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from bufscan.checking.baseline import known_as
from bufscan.checking.comments import comments_in
from bufscan.checking.results import Ignored
from bufscan.checking.selecting import covers
from bufscan.findings import Finding
from bufscan.inventory import Location
from bufscan.rules import unused_ignore

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from bufscan.checking.comments import Comment
    from bufscan.checking.results import Known
    from bufscan.config import Config, IgnoreEntry
    from bufscan.findings import Rule
    from bufscan.live.discovering import ClassLines


class Policy:
    """Decides finding by finding, and remembers what it was asked of, so that idle ignores can be named."""

    def __init__(self, config: Config, rules: Collection[Rule], baseline: Collection[Known] | None) -> None:
        self._config = config
        self._codes = frozenset(rule.code for rule in rules)
        self._baseline = frozenset(baseline or ())
        self._seen: set[Known] = set()
        self._used_entries: set[int] = set()
        self._used_comments: set[tuple[str, int]] = set()
        self._comments = cache(_comments_of)

    def verdict(self, target: str, finding: Finding) -> Finding | Ignored:
        """The finding itself where it counts."""
        known = known_as(target, finding)
        self._seen.add(known)
        comment = self._comment_on(finding)
        if comment is not None:
            return Ignored(finding=finding, by="source", reason=comment.reason)
        entry = self._entry_for(finding)
        if entry is not None:
            return Ignored(finding=finding, by="config", reason=entry.reason)
        if known in self._baseline:
            return Ignored(finding=finding, by="baseline", reason="known before")
        return finding

    def fixed(self, named: Iterable[str], incomplete: Collection[str]) -> tuple[Known, ...]:
        """What the baseline knows of the targets named, and of the models in them, and nobody finds any more."""
        places = tuple(f"{target}{mark}" for target in named for mark in ("\0", ":", "."))
        return tuple(
            sorted(
                known
                for known in self._baseline - self._seen
                if f"{known.target}\0".startswith(places) and known.target not in incomplete
            )
        )

    def idle_comments(self, classes: Iterable[ClassLines]) -> Iterator[Finding]:
        """Comments inside classes that were examined and that no finding needed, each told of once."""
        for file, lines in classes:
            if Path(file).is_absolute():
                continue  # not the user's own: installed beside the project
            for comment in self._comments(file):
                if comment.line not in lines or (file, comment.line) in self._used_comments:
                    continue
                if comment.fault is None and not all(self._ran(code) for code in comment.codes):
                    continue
                self._used_comments.add((file, comment.line))
                what = f"the ignore of {_listed(comment.codes)}" if comment.codes else "the ignore"
                fault = f"is not in force: {comment.fault}" if comment.fault else "matches no finding"
                yield _idle(f"{what} {fault}", Location(file=file, line=comment.line))

    def idle_entries(self) -> Iterator[Finding]:
        """Entries of the configuration that matched nothing in all its targets."""
        for position, entry in enumerate(self._config.ignore):
            if position not in self._used_entries and self._ran(entry.code):
                message = f"the ignore of {_listed((entry.code,))} for `{entry.tensor}` matches no finding"
                yield _idle(message, None)

    def _ran(self, code: str) -> bool:
        """Whether every rule that the code covers was run, and those on ignores are wanted at all."""
        return unused_ignore.RULE.code in self._codes and any(known.startswith(code) for known in self._codes)

    def _comment_on(self, finding: Finding) -> Comment | None:
        location = finding.location
        if location is None:
            return None
        for comment in self._comments(location.file):
            if location.line in comment.covered and comment.fault is None and covers(comment.codes, finding.code):
                self._used_comments.add((location.file, comment.line))
                return comment
        return None

    def _entry_for(self, finding: Finding) -> IgnoreEntry | None:
        for position, entry in enumerate(self._config.ignore):
            if covers((entry.code,), finding.code) and _matches(entry.tensor, finding.tensor):
                self._used_entries.add(position)
                return entry
        return None


def _matches(pattern: str, tensor: str) -> bool:
    """Whether it is the path itself, brackets and all, or a shell pattern of it."""
    return pattern == tensor or fnmatchcase(tensor, pattern)


def _idle(message: str, location: Location | None) -> Finding:
    rule = unused_ignore.RULE
    return Finding(
        code=rule.code, name=rule.name, severity="warning", tensor="", message=message, location=location
    )


def _listed(codes: Iterable[str]) -> str:
    return ", ".join(f"`{code}`" for code in codes)


def _comments_of(file: str) -> tuple[Comment, ...]:
    try:
        return comments_in(Path(file).read_text("utf-8"))
    except (OSError, ValueError):  # the source is gone, in a zip archive, or in another encoding
        return ()
