"""Reports of a check: its result to text. Where the text goes is the business of the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from bufscan.checking.results import CheckResult
    from bufscan.report.check_view import CheckView


# Each is imported when it is asked for: start-up pays for one report, not for all.


def _text(result: CheckResult, view: CheckView) -> str:
    from bufscan.report.check_text import render

    return render(result, view)


def _concise(result: CheckResult, view: CheckView) -> str:
    from bufscan.report.check_text import render_concise

    return render_concise(result, view)


def _json(result: CheckResult, _view: CheckView) -> str:
    from bufscan.report.check_json import render

    return render(result)


def _sarif(result: CheckResult, view: CheckView) -> str:
    from bufscan.report.sarif import render

    return render(result, version=view.version, folder=view.folder)


def _github(result: CheckResult, view: CheckView) -> str:
    from bufscan.report.github import render

    return render(result, folder=view.folder)


def _gitlab(result: CheckResult, view: CheckView) -> str:
    from bufscan.report.gitlab import render

    return render(result, folder=view.folder)


def _junit(result: CheckResult, _view: CheckView) -> str:
    from bufscan.report.junit import render

    return render(result)


def _markdown(result: CheckResult, _view: CheckView) -> str:
    from bufscan.report.markdown import render

    return render(result)


def _html(result: CheckResult, view: CheckView) -> str:
    from bufscan.report.html.check_page import render

    return render(result, view)


CHECK_REPORTS: Final[dict[str, Callable[[CheckResult, CheckView], str]]] = {
    "text": _text,
    "concise": _concise,
    "json": _json,
    "sarif": _sarif,
    "github": _github,
    "gitlab": _gitlab,
    "junit": _junit,
    "markdown": _markdown,
    "html": _html,
}
"""By the name that `--format` takes."""
