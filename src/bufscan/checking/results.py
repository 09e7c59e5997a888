"""What a check found: plain data for the reports, and the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from bufscan.findings import SEVERITIES

if TYPE_CHECKING:
    from bufscan.errors import BufscanError
    from bufscan.findings import Finding, Rule, Severity
    from bufscan.inventory import Skipped

CLEAN, FOUND, FAILED = 0, 1, 2

IgnoredBy = Literal["source", "config", "baseline"]


class Ignored(msgspec.Struct, frozen=True, kw_only=True):
    """A finding that is meant to be there.

    Attributes:
        by: a comment in the source, the configuration, or the baseline.
        reason: why, as whoever ignored it wrote.
    """

    finding: Finding
    by: IgnoredBy
    reason: str


class Known(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A finding as a baseline remembers it: by what it is about, not by where the line stands today."""

    target: str
    code: str
    tensor: str


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a target could not be checked."""

    message: str
    hint: str | None = None

    @classmethod
    def of(cls, error: BufscanError) -> Failure:
        """What an expected error says."""
        return cls(message=error.message, hint=error.hint)


class TargetResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was found in one target.

    Attributes:
        target: as the user named it; for a model found in a module, how it can be named.
        findings: by path and code.
        ignored: findings that do not count.
        skipped: what was not examined.
        failure: why nothing, or not all, could be examined; None when all could.
        file: path of the file or folder that the target is; None for a model.
        unbuilt: those of its classes that were read from source, each with why it was not built.
    """

    target: str
    findings: tuple[Finding, ...] = ()
    ignored: tuple[Ignored, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    failure: Failure | None = None
    file: str | None = None
    unbuilt: tuple[Skipped, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether everything could be examined that should have been."""
        return self.failure is None and not any(skipped.failed for skipped in self.skipped)


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """A program whose models were looked at.

    Attributes:
        program: what was run.
        ended: how it failed, in words; None where it did not.
        models: how many it made.
        classes: of how many classes these were.
        installed: findings in the code of installed packages, which do not count, by package.
        processes: how many others it made with `multiprocessing`, whose models nobody looked at.
    """

    program: str
    ended: str | None
    models: int
    classes: int
    installed: dict[str, int]
    processes: int = 0


class SourceRead(msgspec.Struct, frozen=True, kw_only=True):
    """What was read of the source.

    Attributes:
        files: how many.
        paths: of these, where they are files.
        classes: how many classes of modules are in them.
    """

    files: int
    paths: tuple[str, ...] = ()
    classes: int


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a whole check found.

    Attributes:
        targets: in the order they were given.
        rules: those that ran.
        fixed: entries of the baseline that no longer occur.
        fail_on: the least severity that fails the check.
        watched: the program whose models these are; None where the targets were named.
        source: what was read, where it was source; then `targets` are the files that there is something to say of.
        mended: how many findings edits have mended, which are none any more.
        digests: of the texts that edits are for, by file.
    """

    targets: tuple[TargetResult, ...]
    rules: tuple[Rule, ...] = ()
    fixed: tuple[Known, ...] = ()
    fail_on: Severity = "error"
    watched: Watched | None = None
    source: SourceRead | None = None
    mended: int = 0
    digests: dict[str, str] = {}

    @property
    def findings(self) -> list[Finding]:
        """Those of all targets."""
        return [finding for target in self.targets for finding in target.findings]

    @property
    def failing(self) -> int:
        """How many findings are at or over the threshold."""
        return sum(self.is_failing(finding) for finding in self.findings)

    def is_failing(self, finding: Finding) -> bool:
        """Whether it is as bad as the threshold, or worse."""
        return SEVERITIES.index(finding.severity) <= SEVERITIES.index(self.fail_on)

    @property
    def exit_code(self) -> int:
        """0 clean, 1 findings at or over the threshold, 2 something could not be checked, which wins."""
        if not all(target.is_complete for target in self.targets):
            return FAILED
        return FOUND if self.failing else CLEAN
