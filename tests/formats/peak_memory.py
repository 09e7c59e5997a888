"""The memory that reading a hostile file takes, measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# VmHWM and not getrusage: ru_maxrss starts at the size of the process that was forked, pytest with torch in it.
_MEASURE = """
import re
from bufscan.errors import UnreadableError
try:
    {statement}
except UnreadableError as error:
    assert len(error.message) < 300, error.message
status = open("/proc/self/status").read()
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) // 1024)
"""


def peak_mebibytes(statement: str) -> int:
    """Resident memory at its peak, in MiB, of a Python process that runs the statement."""
    if not Path("/proc/self/status").exists():
        pytest.skip("peak memory is read from /proc")
    script = _MEASURE.format(statement=statement)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)
