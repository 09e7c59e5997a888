"""Run bufscan as a user does: in a process of its own, with an environment that holds nothing of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# What the person who runs the tests may have set, and what would change the output.
_TELLING = (
    *("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "TERM", "PYTHONIOENCODING", "PYTHONUTF8"),
    *("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE", "CI_PROJECT_DIR"),
    *("RANK", "LOCAL_RANK", "WORLD_SIZE"),
)


def environment(**settings: str) -> dict[str, str]:
    """This process's environment without what would show in the output, and with `settings`."""
    kept = {name: value for name, value in os.environ.items() if name not in _TELLING}
    return kept | {"LC_ALL": "C.UTF-8"} | settings


def bufscan(
    *arguments: str, cwd: Path | None = None, stdin: bytes | None = None, **settings: str
) -> subprocess.CompletedProcess[bytes]:
    """Run `python -m bufscan` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "bufscan", *arguments],
        cwd=cwd,
        input=stdin,
        stdin=None if stdin is not None else subprocess.DEVNULL,
        capture_output=True,
        env=environment(**settings),
        timeout=60,
        check=False,
    )
