"""Inspect a file in a process of its own, and see what it took."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

HANG = 30  # seconds; nothing here should take more than two

# VmHWM and not getrusage: ru_maxrss starts at the size of the process that was forked, pytest with torch in it.
_CHILD = """
import json, re, sys, time
from bufscan.errors import UnreadableError
from bufscan.inspecting import inspect
start = time.perf_counter()
tensors, message, text = 0, None, 0
try:
    inventory = inspect(sys.argv[1])
    tensors = len(inventory.tensors)
    text = sum(len(part) for tensor in inventory.tensors for part in (tensor.path, tensor.type_name or ""))
    text += sum(len(skipped.what) + len(skipped.reason) for skipped in inventory.skipped)
    text += sum(len(anomaly.message) for anomaly in inventory.anomalies)
    text += sum(map(len, inventory.notes + inventory.globals))
except UnreadableError as error:
    message = error.message
seconds = time.perf_counter() - start
found = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())
print(json.dumps([tensors, message, text, seconds, int(found[1]) // 1024]))
"""


class Taken(NamedTuple):
    """What inspecting took: seconds, MiB of memory at the peak, and characters of text in the inventory."""

    tensors: int
    message: str | None
    text: int
    seconds: float
    mebibytes: int


def inspected(path: Path) -> Taken:
    """Inspect the file in a fresh interpreter, which must end by itself and in good order."""
    if not Path("/proc/self/status").exists():
        pytest.skip("peak memory is read from /proc")
    done = run(_CHILD, str(path))
    assert done.returncode == 0, done.stderr
    return Taken(*json.loads(done.stdout))


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script to its end, with a dump of the stack if it crashes."""
    command = [sys.executable, "-X", "faulthandler", "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=HANG, check=False)
