"""Which findings count: those that no comment, no entry of the configuration and no baseline lets pass."""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from bufscan.checking.baseline import Baseline, known_as
from bufscan.checking.comments import comments_in
from bufscan.checking.results import Ignored
from bufscan.checking.selecting import covers
from bufscan.findings import Finding
from bufscan.inventory import Location
from bufscan.rules import RULES, unused_ignore
from bufscan.target import named_from_here
from bufscan.tensor_names import in_one_spelling, is_pattern, matches

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from bufscan.checking.comments import Comment
    from bufscan.checking.results import Known
    from bufscan.config import Config, IgnoreEntry
    from bufscan.findings import Rule
    from bufscan.live.building.discovering import ClassLines


class Policy:
    """Decides finding by finding, and remembers what it was asked of, so that unused ignores can be named."""

    def __init__(
        self,
        config: Config,
        rules: Iterable[Rule],
        baseline: Collection[Known] | None,
        texts: Mapping[str, str] | None = None,
    ) -> None:
        """`rules` are those that look at something here: of the others nothing can be said.

        `texts` are sources that do not stand in the files of their names.
        """
        self._config = config
        self._ran = frozenset(rule.code for rule in rules)
        self._wants_unused = unused_ignore.RULE.code in self._ran
        self._baseline = Baseline(baseline or ())
        self._met: set[Known] = set()
        self._used_entries: set[int] = set()
        self._patterns: list[int] = []
        self._named_in: defaultdict[str, list[int]] = defaultdict(list)
        for position, entry in enumerate(config.ignore):
            (self._patterns if is_pattern(entry.tensor) else self._named_in[entry.tensor]).append(position)
        self._used_comments: set[tuple[str, int]] = set()
        self._texts = texts or {}
        self._comments = cache(self._comments_of)
        self._named = cache(named_from_here)

    def verdict(self, target: str, finding: Finding) -> Finding | Ignored:
        """The finding itself where it counts."""
        known = known_as(self._named(target), finding)
        before = self._baseline.matching(known)
        self._met.update(before)
        comment = self._comment_on(finding)
        if comment is not None:
            return Ignored(finding=finding, by="source", reason=comment.reason)
        entry = self._entry_for(finding)
        if entry is not None:
            return Ignored(finding=finding, by="config", reason=entry.reason)
        if before:
            return Ignored(finding=finding, by="baseline", reason="known before")
        return finding

    def fixed(self, *, within: tuple[str, ...], outside: tuple[str, ...]) -> tuple[Known, ...]:
        """What the baseline knows and nobody found, of rules that ran.

        Args:
            within: beginnings of the targets to look at, each of which ends in a NUL.
            outside: beginnings of targets of which nothing can be said, for they were not checked.
        """
        return tuple(
            sorted(
                known
                for known in self._baseline.entries - self._met
                if known.code in self._ran
                and f"{known.target}\0".startswith(within)
                and not f"{known.target}\0".startswith(outside)
            )
        )

    def unused_comments(self, classes: Iterable[ClassLines]) -> Iterator[Finding]:
        """Comments inside classes that were examined and that no finding needed, each told of once."""
        for file, lines in classes if self._wants_unused else ():
            if Path(file).is_absolute():
                continue  # not the user's own: installed beside the project
            for comment in self._comments(file):
                if comment.line not in lines or (file, comment.line) in self._used_comments:
                    continue
                if comment.fault is None and not all(map(self._judges, comment.codes)):
                    continue
                self._used_comments.add((file, comment.line))
                what = f"the ignore of {_listed(comment.codes)}" if comment.codes else "the ignore"
                fault = f"is not in force: {comment.fault}" if comment.fault else "matches no finding"
                mark = f"{file}: # bufscan: ignore[{', '.join(comment.codes)}] {comment.reason}".rstrip()
                yield _unused(f"{what} {fault}", mark, Location(file=file, line=comment.line))

    def unused_entries(self, skips: Iterable[str]) -> Iterator[Finding]:
        """Entries of the configuration that matched nothing in all its targets; `skips` are models to skip."""
        for position, entry in enumerate(self._config.ignore if self._wants_unused else ()):
            if position not in self._used_entries and self._judges(entry.code):
                what = f"ignore of {_listed((entry.code,))} for `{entry.tensor}`"
                yield _unused(f"the {what} matches no finding", what)
        for target in skips if self._wants_unused else ():
            what = f"skip of `{target}`"
            yield _unused(f"the {what} matches no model", what)

    def _judges(self, code: str) -> bool:
        """Whether every rule that the code covers ran, so that no finding means that there is none."""
        return all(rule.code in self._ran for rule in RULES if rule.code.startswith(code))

    def _comments_of(self, file: str) -> tuple[Comment, ...]:
        try:
            return comments_in(self._texts[file] if file in self._texts else Path(file).read_text("utf-8"))
        except (OSError, ValueError):  # the source is gone, in a zip archive, or in another encoding
            return ()

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
        # A check may have thousands of findings and of entries that each name one.
        for position in sorted([*self._named_in.get(in_one_spelling(finding.tensor), []), *self._patterns]):
            entry = self._config.ignore[position]
            if covers((entry.code,), finding.code) and matches(entry.tensor, finding.tensor):
                self._used_entries.add(position)
                return entry
        return None


def _unused(message: str, mark: str, location: Location | None = None) -> Finding:
    rule = unused_ignore.RULE
    return Finding(
        code=rule.code,
        name=rule.name,
        severity="warning",
        tensor="",
        message=message,
        location=location,
        mark=mark,
    )


def _listed(codes: Iterable[str]) -> str:
    return ", ".join(f"`{code}`" for code in codes)
