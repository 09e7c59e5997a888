"""How long `bufscan diff` takes, as ratios to `cmp`, and how much memory, all measured in one run.

    python tests/bench/diff_speed.py [--size 1e9] [--runs 7] [--memory-size 4e9]

Files lie in a temporary folder and in the page cache, so that neither side waits for a disk. `cmp` compares two
equal files. Both sides run in turn and the best times count: noise only ever adds. "work" is the comparison alone,
in a process that has imported torch before; "process" is all of `python -m bufscan diff`, start-up and the import
of torch included.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch

TENSORS = 50
CODES = {torch.float32: "F32", torch.bfloat16: "BF16"}

# Compiled once, as when installed: where no bytecode may be written, bufscan alone would be compiled every time.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

WORK = """
import sys, time
import torch
from bufscan.comparing.diffing import diff
start = time.perf_counter()
diff(sys.argv[1], sys.argv[2])
print(time.perf_counter() - start)
"""

MEMORY = """
import sys, threading, time
from bufscan.comparing.diffing import diff

def anonymous():
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024

peak = 0
done = False
def watch():
    global peak
    while not done:
        peak = max(peak, anonymous())
        time.sleep(0.005)

watcher = threading.Thread(target=watch)
watcher.start()
diff(sys.argv[1], sys.argv[2])
done = True
watcher.join()
print(peak)
"""


class Row(NamedTuple):
    work: str
    old: Path
    new: Path
    reach: float


def write(path: Path, dtype: torch.dtype, nbytes: float, *, moved_by: float = 0.0) -> Path:
    """A safetensors file of so many bytes; values of the same seed, moved by noise."""
    generator, noise = torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)
    numel = int(nbytes) // TENSORS // dtype.itemsize // 1024 * 1024
    size = numel * dtype.itemsize
    header = {
        f"layers.{number}.weight": {
            "dtype": CODES[dtype],
            "shape": [numel // 1024, 1024],
            "data_offsets": [number * size, (number + 1) * size],
        }
        for number in range(TENSORS)
    }
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.flush()  # what follows goes past Python's buffer
        for _ in range(TENSORS):
            values = torch.randn(numel, generator=generator) * 0.02
            if moved_by:
                values += torch.randn(numel, generator=noise) * moved_by
            storage = values.to(dtype).untyped_storage()
            storage._write_file(file, True, False, 1)  # raw bytes; it takes no keywords
    return path


def output_of(code: str, *arguments: object) -> float:
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    return float(subprocess.run(command, check=True, capture_output=True, env=ENVIRONMENT).stdout)


def seconds(*command: object) -> float:
    start = time.perf_counter()
    subprocess.run(list(map(str, command)), check=False, capture_output=True, env=ENVIRONMENT)
    return time.perf_counter() - start


def measure(row: Row, equal: tuple[Path, Path], runs: int) -> tuple[float, float, float]:
    """Best seconds of the work alone, of the whole process, and of cmp."""
    work, process, theirs = [], [], []
    for _ in range(runs):
        theirs.append(seconds("cmp", *equal))
        work.append(output_of(WORK, row.old, row.new))
        process.append(seconds(sys.executable, "-m", "bufscan", "diff", "--quiet", row.old, row.new))
    return min(work), min(process), min(theirs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=float, default=1e9)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--memory-size", type=float, default=4e9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        old = write(folder / "old.safetensors", torch.float32, options.size)
        same = Path(shutil.copy(old, folder / "same.safetensors"))
        new = write(folder / "new.safetensors", torch.float32, options.size, moved_by=1e-4)
        old_half = write(folder / "old16.safetensors", torch.bfloat16, options.size)
        new_half = write(folder / "new16.safetensors", torch.bfloat16, options.size, moved_by=1e-3)
        rows = (
            Row("equal", old, same, 1.0),
            Row("every value changed, float32", old, new, 3.0),
            Row("every value changed, bfloat16", old_half, new_half, 5.0),
        )
        title = f"two files of {options.size / 1e9:g} GB"
        print(f"{title:32}{'work':>9}{'process':>9}{'cmp':>9}{'ratio':>14}{'reach':>7}")
        for row in rows:
            work, process, theirs = measure(row, (old, same), options.runs)
            ratio = f"{work / theirs:.2f} / {process / theirs:.2f}"
            print(f"{row.work:32}{work:8.2f}s{process:8.2f}s{theirs:8.2f}s{ratio:>14}{row.reach:7.1f}", flush=True)
        for path in folder.iterdir():
            path.unlink()
        old = write(folder / "old.safetensors", torch.float32, options.memory_size)
        new = write(folder / "new.safetensors", torch.float32, options.memory_size, moved_by=1e-4)
        peak = output_of(MEMORY, old, new)
        size = options.memory_size / 1e9
        print(
            f"anonymous memory at most, two files of {size:g} GB that differ: {peak / 1e6:.0f} MB (reach: 400 MB)"
        )


if __name__ == "__main__":
    main()
