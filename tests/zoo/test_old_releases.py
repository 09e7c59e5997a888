"""Tensors that real packages forgot to register, each in a release that anyone can still install.

Every release is installed without its dependencies into a folder of its own and scanned in a process of its own,
so that nothing of it stays. Deselected by default, for they need a package index: with the extra `zoo` installed,
`pytest -m zoo` runs them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import bufscan
from bufscan.checking.linting import lint

pytestmark = pytest.mark.zoo

SOURCES = Path(bufscan.__file__).parents[1]

PROBE = """
import copy, json, sys, warnings
warnings.simplefilter("ignore")
folder, source, expression = sys.argv[1:]
sys.path[:0] = folder.split(":")
import torch
from bufscan.live.building.importing import build
from bufscan.live.scanning import scan
from bufscan.target import ObjectTarget
model = build(ObjectTarget(source, expression))
before = {tensor.name: tensor for tensor in scan(model, "before").tensors}
moved = copy.deepcopy(model).to(torch.float64)
after = {tensor.name: tensor for tensor in scan(moved, "after").tensors}
print(json.dumps({
    name: {
        "role": tensor.role, "holding": tensor.holding, "saved": tensor.saved, "moves": tensor.moves,
        "line": tensor.origin and tensor.origin.line, "file": tensor.origin and tensor.origin.file,
        "shape": tensor.shape, "became": after[name].dtype, "dtype": tensor.dtype,
    }
    for name, tensor in before.items()
}))
"""


class Bug(NamedTuple):
    """A forgotten tensor.

    Attributes:
        release: what to install, and what it cannot be imported without.
        source: the module to import, or the text of a file that builds the model.
        expression: what to build.
        tensor: its name in the scan.
        holding: how the package holds it.
        shape: of the tensor.
        fixed: a later release that was seen without the fault; None where none was seen.
    """

    release: str
    source: str
    expression: str
    tensor: str
    holding: str
    shape: list[int]
    fixed: str | None = None


TINY_LLAMA = """
from transformers import LlamaConfig, LlamaModel
def make():
    return LlamaModel(LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4, vocab_size=50))
"""

KORNIA = "kornia==0.4.1"
LLAMA = "transformers==4.45.2 tokenizers==0.20.3 huggingface_hub==0.26.5"
ROTARY = "layers[0].self_attn.rotary_emb.original_inv_freq"
NN_AUDIO = ("nnAudio==0.1.5", "nnAudio.Spectrogram", "STFT(n_fft=64, device='cpu')")
BUGS = (
    # Losses
    Bug("pytorch-ssim==0.1", "pytorch_ssim", "SSIM", "window", "cache", [1, 1, 11, 11]),
    Bug("pytorch-msssim==0.2.1", "pytorch_msssim", "SSIM", "win", "attribute", [3, 1, 1, 11]),
    Bug("pytorch-msssim==0.2.1", "pytorch_msssim", "MS_SSIM", "win", "attribute", [3, 1, 1, 11]),
    Bug("torchgeometry==0.1.2", "torchgeometry.losses", "SSIM(3)", "window", "attribute", [3, 3], "kornia 0.5.11"),
    Bug(
        "pytorch-metric-learning==0.9.90",
        "pytorch_metric_learning.losses",
        "MarginLoss",
        "beta",
        "attribute",
        [1],
    ),
    # Vision
    Bug(
        "torchgeometry==0.1.2",
        "torchgeometry.image",
        "GaussianBlur((3, 3), (1.5, 1.5))",
        "kernel",
        "attribute",
        [3, 3],
    ),
    Bug(KORNIA, "kornia.filters", "Laplacian(3)", "kernel", "attribute", [1, 3, 3], "0.5.11"),
    Bug(KORNIA, "kornia.filters", "SpatialGradient", "kernel", "attribute", [2, 3, 3], "0.5.11"),
    Bug(
        KORNIA, "kornia.filters", "GaussianBlur2d((3, 3), (1.5, 1.5))", "kernel", "attribute", [1, 3, 3], "0.5.11"
    ),
    Bug(KORNIA, "kornia.filters", "MedianBlur((3, 3))", "kernel", "attribute", [9, 1, 3, 3], "0.5.11"),
    Bug(KORNIA, "kornia.geometry.transform", "PyrDown", "kernel", "attribute", [1, 5, 5], "0.5.11"),
    Bug(KORNIA, "kornia.feature", "SIFTDescriptor(32)", "gk", "attribute", [32, 32]),
    Bug(KORNIA, "kornia.feature", "PatchAffineShapeEstimator(32)", "weighting", "cache", [32, 32]),
    Bug(KORNIA, "kornia.geometry", "HomographyWarper(4, 4)", "grid", "attribute", [1, 4, 4, 2]),
    Bug(
        "lambda-networks==0.4.0",
        "lambda_networks",
        "LambdaLayer(8, dim_out=8, dim_k=4, n=4)",
        "rel_pos",
        "attribute",
        [16, 16, 2],
    ),
    # Audio
    Bug(*NN_AUDIO, "wsin", "attribute", [33, 1, 64], "0.2.0"),
    Bug(*NN_AUDIO, "kernal_cos_inv", "attribute", [64, 1, 64, 1], "0.2.0"),
    Bug(*NN_AUDIO, "window_mask", "attribute", [1, 64, 1], "0.2.0"),
    # Rotary embeddings
    Bug(LLAMA, TINY_LLAMA, "make", ROTARY, "stale_alias", [4], "5.23.0"),
)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wheels")


def installed(release: str, wheels: Path) -> Path:
    """The folder with the release and nothing else; the test is skipped where it cannot be had."""
    folder = wheels / release.partition(" ")[0]
    if not folder.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
        done = subprocess.run([*command, *release.split()], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot install {release}: {done.stderr[-200:]}")
    return folder


def scanned(bug: Bug, wheels: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """What a process of its own says of the model's tensors, before and after a move."""
    source = bug.source
    if "\n" in source:
        file = folder / "zoo_target.py"
        file.write_text(source, encoding="utf-8")
        source = str(file)
    search = f"{installed(bug.release, wheels)}:{SOURCES}"
    command = [sys.executable, "-W", "ignore", "-c", PROBE, search, source, bug.expression]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    if "ModuleNotFoundError" in done.stderr:
        pytest.skip(f"{bug.release} needs more: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    "bug", BUGS, ids=lambda bug: f"{bug.release.partition('=')[0]} {bug.expression} {bug.tensor}"
)
def test_the_forgotten_tensor_is_found_and_a_real_move_leaves_it_behind(
    bug: Bug, wheels: Path, tmp_path: Path
) -> None:
    found = scanned(bug, wheels, tmp_path)
    tensor = found[bug.tensor]
    facts = tensor["role"], tensor["holding"], tensor["shape"], tensor["saved"], tensor["moves"]
    assert ("unregistered", bug.holding, bug.shape, False, False) == facts
    line = Path(tensor["file"]).read_text(encoding="utf-8").splitlines()[tensor["line"] - 1]
    assert f"self.{bug.tensor.rpartition('.')[2]}" in line
    floating = {name: tensor for name, tensor in found.items() if tensor["dtype"] == "float32"}
    said = {name for name, tensor in floating.items() if tensor["moves"]}
    assert said == {name for name, tensor in floating.items() if tensor["became"] == "float64"}


class Read(NamedTuple):
    """A forgotten tensor as its source shows it, of one of `BUGS`.

    Attributes:
        release: what to install.
        tensor: the name that `lint` gives it.
        folder: where to look, from the folder of the installation on; everywhere when empty.
        fixed: a later release whose source is clean of it; None where none was seen.
    """

    release: str
    tensor: str
    folder: str = ""
    fixed: str | None = None


READ = (
    Read("pytorch-ssim==0.1", "SSIM.window"),
    Read("pytorch-msssim==0.2.1", "SSIM.win"),
    Read("pytorch-msssim==0.2.1", "MS_SSIM.win"),
    Read("torchgeometry==0.1.2", "SSIM.window"),
    Read("torchgeometry==0.1.2", "GaussianBlur.kernel"),
    Read("pytorch-metric-learning==0.9.90", "MarginLoss.beta"),
    Read(KORNIA, "Laplacian.kernel", fixed="kornia==0.5.11"),
    Read(KORNIA, "SpatialGradient.kernel", fixed="kornia==0.5.11"),
    Read(KORNIA, "GaussianBlur2d.kernel", fixed="kornia==0.5.11"),
    Read(KORNIA, "MedianBlur.kernel", fixed="kornia==0.5.11"),
    Read(KORNIA, "PyrDown.kernel", fixed="kornia==0.5.11"),
    Read(KORNIA, "SSIM.window", fixed="kornia==0.5.11"),
    Read(KORNIA, "SIFTDescriptor.gk"),
    Read(KORNIA, "PatchAffineShapeEstimator.weighting"),
    Read(KORNIA, "HomographyWarper.grid"),
    Read("lambda-networks==0.4.0", "LambdaLayer.rel_pos"),
    Read(NN_AUDIO[0], "STFT.wsin", fixed="nnAudio==0.2.0"),
    Read(NN_AUDIO[0], "STFT.kernal_cos_inv", fixed="nnAudio==0.2.0"),
    Read(NN_AUDIO[0], "STFT.window_mask", fixed="nnAudio==0.2.0"),
    Read(
        "transformers==4.45.2",
        "LlamaRotaryEmbedding.original_inv_freq",
        "transformers/models/llama",
        "transformers==5.23.0",
    ),
)


def named_by_lint(release: str, wheels: Path, folder: str, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    monkeypatch.chdir(installed(release, wheels))
    return {finding.tensor for finding in lint(folder or ".").findings}


@pytest.mark.parametrize("read", READ, ids=lambda read: f"{read.release} {read.tensor}")
def test_the_source_alone_shows_the_forgotten_tensor_and_is_clean_once_it_is_fixed(
    read: Read, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read.tensor in named_by_lint(read.release, wheels, read.folder, monkeypatch)
    if read.fixed is not None:
        assert read.tensor not in named_by_lint(read.fixed, wheels, read.folder, monkeypatch)
