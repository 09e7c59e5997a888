"""Reports: a record to text, by the command that made it. Where the text goes is the business of `cli`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from bufscan.checking.results import CheckResult
    from bufscan.comparing.difference import Difference
    from bufscan.inventory import Inventory
    from bufscan.report.check.view import CheckView
    from bufscan.report.diff.view import DiffView
    from bufscan.report.inspect.view import View

    InspectReport: TypeAlias = Callable[[Inventory, View], str]
    CheckReport: TypeAlias = Callable[[CheckResult, CheckView], str]
    DiffReport: TypeAlias = Callable[[Difference, DiffView], str]


def _in(module: str, function: str = "render") -> Callable[[Any, Any], str]:
    """The report in that module, imported when it is asked for: start-up pays for one report, not for all."""

    def render(record: Any, view: Any) -> str:
        text: str = getattr(import_module(f"{__name__}.{module}"), function)(record, view)
        return text

    return render


INSPECT_REPORTS: Final[dict[str, InspectReport]] = {
    "text": _in("inspect.text"),
    "json": _in("inspect.json"),
    "csv": _in("inspect.csv"),
    "html": _in("html.inspect_page"),
}
"""By the name that `--format` takes, as all of these."""

WITH_FINDINGS: Final = frozenset(("json", "html"))
"""Those that show what the rules say: running them takes a tenth of the time that a listing takes."""

CHECK_REPORTS: Final[dict[str, CheckReport]] = {
    "text": _in("check.text"),
    "concise": _in("check.text", "render_concise"),
    "json": _in("check.json"),
    "sarif": _in("check.sarif"),
    "github": _in("check.github"),
    "gitlab": _in("check.gitlab"),
    "junit": _in("check.junit"),
    "markdown": _in("check.markdown"),
    "html": _in("html.check_page"),
}

DIFF_REPORTS: Final[dict[str, DiffReport]] = {
    "text": _in("diff.text"),
    "json": _in("diff.json"),
    "markdown": _in("diff.markdown"),
    "stat": _in("diff.stat"),
    "html": _in("html.diff_page"),
}
