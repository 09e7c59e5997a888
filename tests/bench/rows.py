"""The rows of the benchmark. What makes their inputs is imported when a row is run: it is large."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from shutil import which

from measuring import Row, Sides, bufscan, python

LOAD = "import sys, torch; torch.load(sys.argv[1], mmap=True, weights_only=True)"

SAFE_OPEN = """
import sys
from pathlib import Path
from safetensors import safe_open
for path in sorted(Path(sys.argv[1]).glob("*.safetensors")):
    with safe_open(path, framework="np") as file:
        for key in file.keys():
            part = file.get_slice(key)
            part.get_shape(), part.get_dtype()
"""

READ_METADATA = """
import sys
from torch.distributed.checkpoint import FileSystemReader
FileSystemReader(sys.argv[1]).read_metadata()
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


def rows(*, quick: bool) -> list[Row]:
    """All rows for which there is what they need."""
    return [*_inspections(quick=quick), *_comparisons(quick=quick), *_peers(quick=quick)]


def _inspections(*, quick: bool) -> list[Row]:
    """How long it takes to look into files and models."""
    found = [Row("inspect a small file", _small_file, "import typer, rich.table", 1.0)]
    for tensors in (1_000, 10_000, 100_000) if quick else (1_000, 10_000, 100_000, 1_000_000):
        words = f"inspect a .pt of {tensors:,} tensors"
        found.append(Row(words, partial(_state_dict, tensors), "torch.load(mmap)", 1 / 8, _most(tensors)))
    for tensors, files in (
        ((100_000, 20), (100_000, 200)) if quick else ((100_000, 20), (100_000, 200), (1_000_000, 100))
    ):
        words = f"inspect {tensors:,} tensors, {files} shards"
        found.append(Row(words, partial(_shards, tensors, files), "safe_open", 1.5, _most(tensors)))
    found.append(Row("inspect a DCP folder of 64 ranks", partial(_dcp, 500, 64), "read_metadata()", 1.0))
    for name, words in (("encoder", "603 modules"), ("tokenizer", "a million-word vocabulary")):
        found.append(Row(f"scan a model of {words}", partial(_scan, name), "its build", 0.05))
    linted = [] if quick else [package for package in ("timm", "transformers") if find_spec(package)]
    return found + [Row(f"lint of {package}", partial(_lint, package), "compileall", 3.0) for package in linted]


def _most(tensors: int) -> float:
    """Mebibytes for so many tensors: 1.2 kB each, and the program."""
    return 50 + 1200 * tensors / (1 << 20)


def _small_file() -> Sides:
    from inputs import small

    return bufscan("inspect", small()), python("import typer, rich.table")


def _state_dict(tensors: int) -> Sides:
    from inputs import state_dict

    path = state_dict(tensors)
    return bufscan("inspect", path), python(LOAD, path)


def _shards(tensors: int, files: int) -> Sides:
    from inputs import shards

    folder = shards(tensors, files)
    return bufscan("inspect", folder), python(SAFE_OPEN, folder)


def _dcp(tensors: int, ranks: int) -> Sides:
    from inputs import dcp

    folder = dcp(tensors, ranks)
    return bufscan("inspect", folder), python(READ_METADATA, folder)


def _scan(model: str) -> Sides:
    ours, theirs = (python(code.replace("MAKE", model)) for code in (SCAN, BUILD))
    return ours, theirs


def _lint(package: str) -> Sides:
    from inputs import source_of

    folder = source_of(package)
    return bufscan("lint", folder), python(
        "import compileall, sys; compileall.compile_dir(sys.argv[1], force=True, quiet=2)", folder
    )


def _comparisons(*, quick: bool) -> list[Row]:
    """How long it takes to compare two files."""
    size = 2e8 if quick else 1e9
    pairs: list[tuple[str, str, float, float]] = [
        ("equal", "float32", 0.0, 1.0),
        ("all changed, float32", "float32", 1e-4, 2.0),
        ("all changed, bfloat16", "bfloat16", 1e-3, 3.0),
        ("all changed, float16", "float16", 1e-3, 4.0),
        ("all changed, float8_e4m3fn", "float8_e4m3fn", 1e-2, 6.0),
    ]
    found = [
        _diff(f"diff of {size / 1e9:.1g} GB, {words}", partial(_pair, dtype, size, moved_by), reach)
        for words, dtype, moved_by, reach in pairs
    ]
    if not quick:  # one tensor as large as the file: it is cut up for the threads as many small ones are
        found.append(
            _diff("diff of 4 GB, one tensor, all changed", partial(_pair, "float32", 4e9, 1e-4, tensors=1), 2.0)
        )
    return found


def _diff(words: str, make: partial[Sides], reach: float) -> Row:
    return Row(words, make, "cmp of equal ones", reach, most=400)


def _pair(dtype: str, size: float, moved_by: float, *, tensors: int = 50) -> Sides:
    import torch
    from inputs import copy_of, values

    same = values(torch.float32, size, tensors=tensors)
    old = values(getattr(torch, dtype), size, tensors=tensors)
    new = values(getattr(torch, dtype), size, moved_by=moved_by, tensors=tensors) if moved_by else copy_of(old)
    return bufscan("diff", "--quiet", old, new), ["cmp", str(same), str(copy_of(same))]


def _peers(*, quick: bool) -> list[Row]:
    """The same work by other programs, where these are on the PATH; nothing is to be reached but theirs."""
    found = [
        ("safetensors-print", Row("inspect a .safetensors of 10,000", _print_header, "safetensors-print", 1.0)),
        ("sft", Row("diff of 0.2 GB, all changed, numbers", _diff_by_sft, "sft diff --delta", 1.0)),
        ("hayward", Row("check a .pt of 10,000 tensors", _scan_by_hayward, "hayward scan", 1.0)),
    ]
    if not quick and find_spec("timm"):
        found.append(("torchfix", Row("lint of timm.layers by both", _lint_by_torchfix, "torchfix", 1.0)))
    return [row for program, row in found if which(program)]


def _print_header() -> Sides:
    from inputs import shards

    (path,) = shards(10_000, 1).glob("*.safetensors")
    return bufscan("inspect", path), ["safetensors-print", "--tensors", str(path)]


def _diff_by_sft() -> Sides:
    ours, _ = _pair("float32", 2e8, 1e-4)
    return ours, ["sft", "diff", "--delta", *ours[-2:]]


def _scan_by_hayward() -> Sides:
    from inputs import state_dict

    path = state_dict(10_000)
    return bufscan("check", path), ["hayward", "scan", "--fail-on", "never", str(path)]


def _lint_by_torchfix() -> Sides:
    from inputs import source_of

    folder = source_of("timm") / "layers"  # all of timm takes it minutes
    return bufscan("lint", folder), ["torchfix", str(folder)]
