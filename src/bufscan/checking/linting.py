"""Check source: read the files that are meant, and let pass what comments, configuration and baseline let pass."""

from __future__ import annotations

import gc
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bufscan.checking.fixing import Editable
from bufscan.checking.policy import Policy
from bufscan.checking.results import CheckResult, Failure, Ignored, SourceRead, TargetResult
from bufscan.checking.selecting import selected_rules
from bufscan.config import Config
from bufscan.findings import Finding
from bufscan.inventory import Location, Skipped
from bufscan.judging import path_and_code
from bufscan.rules import RULES
from bufscan.source.files import python_files, shown
from bufscan.source.reading import Reading, read_all
from bufscan.values.workers import processors

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from bufscan.checking.results import Known
    from bufscan.source.reading import FileFault

_WORTH_A_PROCESS = 120
"""Files: starting another process for fewer takes longer than reading them."""

LINTED = ("BUF001", "BUF002", "BUF003", "BUF004", "BUF005", "BUF006", "BUF101", "BUF102", "BUF104", "BUF204")
"""The rules that source can break."""

_NAMES = {rule.code: rule.name for rule in RULES}


class StandardInput(NamedTuple):
    """Source that is piped in, and the name that it is to go by."""

    text: str
    filename: str


def lint(
    *paths: str,
    config: Config | None = None,
    baseline: Collection[Known] | None = None,
    stdin: StandardInput | None = None,
    jobs: int | None = None,
) -> CheckResult:
    """Read Python source and run the rules over its classes of modules. Nothing is imported or run.

    A file that cannot be parsed is a failure in the result, and all others are still read.

    Args:
        paths: files and folders; without any, and with nothing piped in, the configured targets that are source
            here, or else the current folder.
        config: what to run and what to let pass; the defaults when None. No file is looked for.
        baseline: findings that are known and pass.
        stdin: source to read too.
        jobs: processes to read with, at most; as many as there are processors when None.

    Raises:
        TargetError: a path names nothing.
        UsageError: the configuration names a rule that does not exist.
    """
    config = config or Config()
    rules = tuple(rule for rule in selected_rules(config) if rule.code in LINTED)
    files = python_files(paths or (() if stdin else _configured(config) or (".",)), config.exclude, config.folder)
    reading = _read(files, stdin, jobs or processors())
    texts = {} if stdin is None else {stdin.filename: stdin.text}
    policy = Policy(config, rules, baseline, texts)
    codes = frozenset(rule.code for rule in rules)
    editable = Editable((), paths)
    faults = {
        name: [finding_of(each) for each in several if each.code in codes]
        for name, several in reading.faults.items()
    }
    for name, findings in faults.items():
        if name not in texts:  # what is piped in is no file to protect
            faults[name] = [editable.without_others(each) for each in findings]
    results = [_result(name, faults.get(name, ()), reading, policy) for name in reading.named()]
    unread = tuple(f"{name}\0" for name in reading.failures)
    fixed = policy.fixed(within=tuple(f"{shown(file)}\0" for file in files), outside=unread)
    return CheckResult(
        targets=tuple(results),
        rules=rules,
        fixed=fixed,
        fail_on=config.fail_on,
        source=SourceRead(
            files=len(files) + (stdin is not None),
            paths=tuple(map(str, files)),
            classes=reading.classes,
        ),
        digests=reading.digests,
    )


def _configured(config: Config) -> list[str]:
    """The files and folders of source that the configured targets name: `package.models` and its like too."""
    found: dict[str, None] = {}
    for target in config.targets:
        source = target if target.endswith(".py") else target.partition(":")[0]
        base = Path(*source.split(".")) if not source.endswith(".py") else None
        for path in (Path(source),) if base is None else (base.with_name(f"{base.name}.py"), base):
            for folder in (Path(), Path("src")):
                place = folder / path
                if (place.suffix == ".py" and place.is_file()) or (place / "__init__.py").is_file():
                    found[str(place)] = None
    return list(found)


def _read(files: Sequence[Path], stdin: StandardInput | None, jobs: int) -> Reading:
    here = Path.cwd()
    piped = None if stdin is None else (Path(stdin.filename), stdin.text)
    processes = min(jobs, len(files) // _WORTH_A_PROCESS)
    if processes < 2:  # noqa: PLR2004 - one is this one
        return Reading.together([read_all(files, here, piped)], _meant(files, stdin))
    with ProcessPoolExecutor(processes, initializer=gc.disable) as pool:
        parts = _shared_out(files, processes)
        readings = list(pool.map(read_all, parts, [here] * len(parts)))
    if piped is not None:
        readings.append(read_all((), here, piped))
    return Reading.together(readings, _meant(files, stdin))


def _shared_out(files: Sequence[Path], count: int) -> list[list[Path]]:
    """Parts of about the same size; neighbours stay together, for they are the ones that import each other."""
    parts: list[list[Path]] = [[] for _ in range(count)]
    sizes = [file.stat().st_size + 1 if file.exists() else 1 for file in files]
    before, whole = 0, sum(sizes)
    for file, size in zip(files, sizes, strict=True):
        parts[before * count // whole].append(file)
        before += size
    return [part for part in parts if part]


def _meant(files: Sequence[Path], stdin: StandardInput | None) -> list[Path]:
    """What the user asked about."""
    return [*files, *([] if stdin is None else [Path(stdin.filename)])]


def _result(name: str, findings: Iterable[Finding], reading: Reading, policy: Policy) -> TargetResult:
    failure = reading.failures.get(name)
    found = [policy.verdict(name, each) for each in sorted(findings, key=_line_and_code)]
    return TargetResult(
        target=name,
        findings=tuple(each for each in found if isinstance(each, Finding)),
        ignored=tuple(each for each in found if isinstance(each, Ignored)),
        skipped=tuple(
            Skipped(what=f"the class {cls}", reason="its construction is too long to follow")
            for cls in reading.too_long.get(name, ())
        ),
        failure=None if failure is None else Failure(message=failure),
        file=name,
    )


def _line_and_code(finding: Finding) -> tuple[object, ...]:
    return (0 if finding.location is None else finding.location.line), *path_and_code(finding)


def finding_of(fault: FileFault) -> Finding:
    """The finding that a fault in source is."""
    return Finding(
        code=fault.code,
        name=_NAMES[fault.code],
        severity=fault.severity,
        tensor=fault.name,
        message=fault.message,
        location=Location(file=fault.file, line=fault.line),
        suggestion=fault.suggestion,
        suggestion_note=fault.note,
        edits=None if fault.fix is None else fault.fix.edits,
        is_safe=fault.fix is not None and fault.fix.applicability == "safe",
        certainty="inferred",
    )
