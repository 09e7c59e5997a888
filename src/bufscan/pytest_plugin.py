"""The pytest plugin: `pytest --bufscan` looks at the models that the tests build.

pytest loads this in every run of every project where bufscan is installed: until it is asked for, nothing else of
bufscan is imported, and no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.checking.results import CheckResult
    from bufscan.watching.faults import Sightings
    from bufscan.watching.watch import Watch

_OUTPUT = "bufscan"  # of a worker of pytest-xdist
_ON = "--bufscan"


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--bufscan`, and the same for the configuration file."""
    group = parser.getgroup("bufscan", "models whose tensors are not registered (bufscan)")
    group.addoption(
        _ON, action="store_true", default=None, help="look at the models that the tests build, and fail for faults"
    )
    group.addoption(
        "--no-bufscan", action="store_false", dest="bufscan", help="do not, whatever the ini file says"
    )
    group.addoption(
        "--bufscan-source",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="whose faults count; all that is not installed when left out",
    )
    group.addoption(
        "--bufscan-rehearse",
        action="store_true",
        default=False,
        help="rehearse each model's first forward pass as it would be on another device",
    )
    group.addoption(
        "--bufscan-fail-on",
        choices=["error", "warning", "note"],
        default=None,
        help="fail from this severity on; `error` when left out",
    )
    group.addoption("--bufscan-baseline", metavar="FILE", default=None, help="let pass what FILE lists")
    group.addoption("--bufscan-output", metavar="FILE", default=None, help="write the findings to FILE as JSON")
    parser.addini("bufscan", "whether to look at the models that the tests build", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Begin to look on, where that is wanted."""
    asked = config.getoption("bufscan", None)
    if config.getini("bufscan") if asked is None else asked:
        config.pluginmanager.register(_Looking(config), "bufscan-looking")


class _Looking:
    """Looks on, in this process or through the workers of pytest-xdist, and reports at the end."""

    def __init__(self, config: pytest.Config) -> None:
        from bufscan.checking.selecting import selected_rules
        from bufscan.commands.gate import known_in, settings_from
        from bufscan.errors import BufscanError

        try:
            self._settings = settings_from(None).with_flags(
                fail_on=config.getoption("--bufscan-fail-on"), baseline=config.getoption("--bufscan-baseline")
            )
            self._rules = selected_rules(self._settings)
            self._known = known_in(self._settings)
        except BufscanError as error:
            raise pytest.UsageError(f"bufscan: {error.message}") from error
        self._config = config
        self._parts: list[Sightings] = []
        self._result: CheckResult | None = None
        self._watch: Watch | None = None
        if _is_worker(config) or not _has_workers(config):
            from bufscan.watching.watch import Watch

            self._watch = Watch(
                self._rules,
                sources=config.getoption("--bufscan-source"),
                rehearses=config.getoption("--bufscan-rehearse"),
            )
            self._watch.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """A test is over when its fixtures are: what it leaves behind is complete."""
        try:
            return (yield)
        finally:
            if self._watch is not None:
                self._watch.settle(item.nodeid)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker is done."""
        from bufscan.watching.faults import decoded

        data = getattr(node, "workeroutput", {}).get(_OUTPUT)
        if data is not None:
            self._parts.append(decoded(data))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """All tests are over: what counts decides the exit status of a run that would have succeeded."""
        if self._watch is not None:
            self._parts.append(self._watch.stop())
        if _is_worker(self._config):
            from bufscan.watching.faults import encoded

            self._config.workeroutput[_OUTPUT] = encoded(self._parts[0])  # type: ignore[attr-defined]
            return
        from bufscan.watching.concluding import concluded
        from bufscan.watching.faults import merged

        self._result = concluded(
            merged(self._parts),
            config=self._settings,
            rules=self._rules,
            baseline=self._known,
            program="pytest",
            needs_models=False,
        )
        if session.exitstatus == pytest.ExitCode.OK and self._result.exit_code:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """A section of its own."""
        if self._result is None:
            return
        from linecache import getline

        from bufscan.report.check.text import render
        from bufscan.report.check.view import CheckView
        from bufscan.report.shared.display import Display

        writer = terminalreporter._tw  # noqa: SLF001 - pytest has no other that tells the width
        colour, width = bool(writer.hasmarkup), writer.fullwidth if writer.hasmarkup else None
        display = Display(width=width, colour=colour)
        terminalreporter.section("bufscan", **({"red": True} if self._result.exit_code else {}))
        terminalreporter.write(render(self._result, CheckView(display=display, source_line=getline)))
        if output := self._config.getoption("--bufscan-output"):
            from pathlib import Path

            from bufscan.atomicfile import write_whole
            from bufscan.report.check.json import render as render_json

            write_whole(Path(output), render_json(self._result).encode())
            terminalreporter.write_line(f"bufscan: wrote {output}")


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _has_workers(config: pytest.Config) -> bool:
    return bool(getattr(config.option, "tx", None)) or bool(getattr(config.option, "numprocesses", None))
