"""The rows of the benchmark. What makes their inputs is imported when they are asked for: it is large."""

from __future__ import annotations

from typing import TYPE_CHECKING

from measuring import Row, bufscan, python

if TYPE_CHECKING:
    from pathlib import Path

LOAD = "import sys, torch; torch.load(sys.argv[1], mmap=True, weights_only=True)"

SAFE_OPEN = """
import sys
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from safetensors import safe_open
for path in sorted(Path(sys.argv[1]).glob("*.safetensors")):
    with safe_open(path, framework="np") as file:
        for key in file.keys():
            part = file.get_slice(key)
            part.get_shape(), part.get_dtype()
"""

MODELS = """
import time
from torch import nn

def encoder():
    layer = nn.TransformerEncoderLayer(256, 4, 1024)
    return nn.TransformerEncoder(layer, 60, enable_nested_tensor=False)  # 603 modules

def tokenizer():
    model = encoder()
    model.vocabulary = {f"token-{number}": number for number in range(1_000_000)}
    return model

start = time.perf_counter()
model = MAKE()
built = time.perf_counter() - start
"""
BUILD = MODELS + "print(built)"
SCAN = (
    MODELS
    + """
from bufscan import inspect
inspect(nn.Linear(1, 1))  # what is imported once is none of a model's cost
start = time.perf_counter()
inspect(model)
print(time.perf_counter() - start)
"""
)


def inspections(*, quick: bool) -> list[Row]:
    """How long it takes to look into files and models."""
    from inputs import shards, small, state_dict

    imports = python("import typer, rich.table")
    found = [Row("inspect a small file", bufscan("inspect", small()), "import typer, rich.table", imports, 1.0)]
    for tensors in (1_000, 10_000, 100_000) if quick else (1_000, 10_000, 100_000, 1_000_000):
        path = state_dict(tensors)
        ours, theirs = bufscan("inspect", path), python(LOAD, path)
        most = 50 + 1200 * tensors / (1 << 20)
        found.append(Row(f"inspect a .pt of {tensors:,} tensors", ours, "torch.load(mmap)", theirs, 1 / 8, most))
    for files in (20, 200):
        folder = shards(100_000, files)
        ours, theirs = bufscan("inspect", folder), python(SAFE_OPEN, folder)
        found.append(Row(f"inspect 100,000 tensors, {files} shards", ours, "safe_open", theirs, 1.5))
    for name, words in (("encoder", "603 modules"), ("tokenizer", "a million-word vocabulary")):
        ours, theirs = (python(code.replace("MAKE", name)) for code in (SCAN, BUILD))
        found.append(Row(f"scan a model of {words}", ours, "its build", theirs, 0.05))
    return found


def comparisons(size: float) -> list[Row]:
    """How long it takes to compare two files of `size` bytes."""
    import torch
    from inputs import copy_of, values

    same = values(torch.float32, size)
    pairs = [("equal", same, copy_of(same), 1.0)]
    for dtype, moved_by, reach in (
        (torch.float32, 1e-4, 2.0),
        (torch.bfloat16, 1e-3, 3.0),
        (torch.float16, 1e-3, 4.0),
        (torch.float8_e4m3fn, 1e-2, 6.0),
    ):
        words = f"all changed, {str(dtype).removeprefix('torch.')}"
        pairs.append((words, values(dtype, size), values(dtype, size, moved_by=moved_by), reach))
    return [_comparison(words, old, new, reach, same) for words, old, new, reach in pairs]


def large_comparison(size: float) -> Row:
    """One tensor as large as the file: it is cut up for the threads as many small ones are."""
    import torch
    from inputs import values

    old, new = (values(torch.float32, size, moved_by=by, tensors=1) for by in (0.0, 1e-4))
    return _comparison("one tensor, all changed", old, new, 2.0, old)


def _comparison(words: str, old: Path, new: Path, reach: float, same: Path) -> Row:
    from inputs import copy_of

    size = f"{old.stat().st_size / 1e9:.1g} GB"
    theirs = ["cmp", str(same), str(copy_of(same))]
    ours = bufscan("diff", "--quiet", old, new)
    return Row(f"diff of {size}, {words}", ours, "cmp of equal ones", theirs, reach, most=400)


def rows(*, quick: bool) -> list[Row]:
    """All rows, with their inputs made."""
    large = [] if quick else [large_comparison(4e9)]
    return [*inspections(quick=quick), *comparisons(2e8 if quick else 1e9), *large]
