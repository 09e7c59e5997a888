"""What tests of the command line share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from command_line import bufscan

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def demo_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's files in a folder of their own; only to be read."""
    folder = tmp_path_factory.mktemp("demo")
    done = bufscan("demo", "--write", str(folder))
    assert done.returncode == 0, done.stderr
    return folder
