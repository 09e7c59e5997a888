"""Code that runs while a watch looks on, and what that saw."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from bufscan.config import Config
from bufscan.rules import RULES
from bufscan.watching.concluding import concluded
from bufscan.watching.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bufscan.checking.results import CheckResult
    from bufscan.findings import Finding


@contextmanager
def watching(**options: object) -> Iterator[Watch]:
    """A watch that is stopped, whatever happens."""
    watch = Watch(RULES, **options)  # type: ignore[arg-type]
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()


def result_of(run: Callable[[], object], **options: object) -> CheckResult:
    """What is said of the models that `run` makes."""
    watch = Watch(RULES, **options)  # type: ignore[arg-type]
    watch.start()
    try:
        kept = run()
    finally:
        seen = watch.stop()
    del kept
    return concluded(seen, config=Config(), rules=RULES)


def found_in(run: Callable[[], object], **options: object) -> list[tuple[str, str, str]]:
    """Code, severity and tensor of each finding."""
    return [told(finding) for finding in result_of(run, **options).findings]


def told(finding: Finding) -> tuple[str, str, str]:
    return finding.code, finding.severity, finding.tensor
