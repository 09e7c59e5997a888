"""How long `bufscan inspect` takes, as ratios to what people do today, all measured in one run.

    python tests/bench/inspect_speed.py [--tensors 100000] [--runs 5]

Each row runs both sides as whole processes, in turn, and compares the best times: noise only ever adds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

SHARDS = 4


class Row(NamedTuple):
    work: str
    ours: list[str]
    yardstick: str
    theirs: list[str]
    reach: float


def python(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", code, *map(str, arguments)]


def inspect(target: Path) -> list[str]:
    return [sys.executable, "-m", "bufscan", "inspect", str(target)]


SAFE_OPEN = """
import json, sys
from pathlib import Path
from safetensors import safe_open
folder = Path(sys.argv[1])
index = json.loads((folder / "model.safetensors.index.json").read_text())
for name in sorted(set(index["weight_map"].values())):
    with safe_open(folder / name, framework="pt") as file:
        for key in file.keys():
            part = file.get_slice(key)
            part.get_shape(), part.get_dtype()
"""


def make_files(folder: Path, tensors: int) -> tuple[Path, Path, Path]:
    """A small checkpoint, one of many tensors, and the same many in sharded safetensors."""
    import torch
    from safetensors import TensorSpec, serialize_file
    from torch import nn

    small = folder / "small.pt"
    torch.save(nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8)).state_dict(), small)
    state = OrderedDict(
        (f"layers.{i // 10}.block.{i % 10}.weight", torch.ones(1 + i % 3, 2)) for i in range(tensors)
    )
    large = folder / "large.pt"
    torch.save(state, large)
    sharded = folder / "sharded"
    sharded.mkdir()
    weight_map = {}
    names = list(state)
    for shard in range(SHARDS):
        file = f"model-{shard + 1:05}-of-{SHARDS:05}.safetensors"
        own = names[shard::SHARDS]
        specs = {
            name: TensorSpec(
                dtype="float32",
                shape=state[name].shape,
                data_ptr=state[name].data_ptr(),
                data_len=state[name].nbytes,
            )
            for name in own
        }
        serialize_file(specs, sharded / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(own, file)
    total = sum(tensor.nbytes for tensor in state.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (sharded / "model.safetensors.index.json").write_text(json.dumps(index))
    return small, large, sharded


# Compiled once, as when installed: where no bytecode may be written, bufscan alone would be compiled every time.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=ENVIRONMENT)
    return time.perf_counter() - start


def measure(row: Row, runs: int) -> tuple[float, float]:
    ours, theirs = [], []
    for _ in range(runs):
        ours.append(seconds(row.ours))
        theirs.append(seconds(row.theirs))
    return min(ours), min(theirs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tensors", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        small, large, sharded = make_files(Path(name), options.tensors)
        load = python("import sys, torch; torch.load(sys.argv[1], mmap=True, weights_only=True)", large)
        rows = (
            (
                Row(
                    "small file",
                    inspect(small),
                    "import typer, rich.table",
                    python("import typer, rich.table"),
                    1.5,
                ),
                20,
            ),
            (Row(f"{options.tensors:,} tensors .pt", inspect(large), "torch.load(mmap)", load, 0.1), 2),
            (
                Row(
                    f"{options.tensors:,} tensors in {SHARDS} safetensors",
                    inspect(sharded),
                    "safe_open",
                    python(SAFE_OPEN, sharded),
                    1.5,
                ),
                options.runs,
            ),
        )
        print(f"{'inspect':36}{'ours':>9}  {'yardstick':26}{'theirs':>9}{'ratio':>8}{'reach':>8}")
        for row, runs in rows:
            ours, theirs = measure(row, runs)
            ratio = ours / theirs
            print(
                f"{row.work:36}{ours:8.3f}s  {row.yardstick:26}{theirs:8.3f}s{ratio:8.2f}{row.reach:8.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
