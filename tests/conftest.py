"""What tests of the command line share."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_line import bufscan

TESTS = Path(__file__).parent

SLOW = (
    *("hostile/", "watching/", "test_cli", "test_demo", "test_ranks", "test_readme", "test_standard_output"),
    *("test_pickled_and_live", "test_surroundings", "test_without_torch", "checking/test_check_fixes"),
    *("comparing/test_diff_leaves", "comparing/test_diff_training", "formats/test_dcp_folder"),
    *("live/test_all_ranks", "opening/test_overwriting", "opening/test_remote", "rehearsing/test_rehearsed_check"),
    *("report/test_html", "report/test_schemas", "roles/test_role_laws"),
)
"""What starts many processes, or reads large files: left out by `-m "not slow and not zoo"`."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow ones by where they stand."""
    for item in items:
        if item.path.relative_to(TESTS).as_posix().startswith(SLOW):
            item.add_marker("slow")


@pytest.fixture(scope="session")
def demo_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's files in a folder of their own; only to be read."""
    folder = tmp_path_factory.mktemp("demo")
    done = bufscan("demo", "--write", str(folder))
    assert done.returncode == 0, done.stderr
    return folder
