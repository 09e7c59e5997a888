"""What a scan costs, as a share of building the model it scans. Run by hand: python tests/zoo/scan_speed.py

Models of torch alone, and those of transformers and timm where they are installed.
"""

# ruff: noqa: T201
# It prints its results.

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING

from torch import nn

from bufscan.live.scanning import scan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REACH = 0.05
RUNS = 5


def models() -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    """Names and makers."""
    yield (
        "torch encoder, 12 layers of 768",
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(768, 12, 3072, batch_first=True), 12),
    )
    yield (
        "torch convolutions, 200 layers",
        lambda: nn.Sequential(*[nn.Sequential(nn.Conv2d(64, 64, 3), nn.BatchNorm2d(64)) for _ in range(100)]),
    )
    try:
        import transformers
    except ImportError:
        return
    yield "transformers BertModel, base", lambda: transformers.BertModel(transformers.BertConfig())
    size = {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 16, "num_attention_heads": 16}
    yield "transformers LlamaModel, 240 M", lambda: transformers.LlamaModel(transformers.LlamaConfig(**size))


def main() -> None:
    warnings.simplefilter("ignore")
    scan(nn.Linear(1, 1), "warm")  # what is imported and read once is none of a model's cost
    for name, make in models():
        start = time.perf_counter()
        model = make()
        built = time.perf_counter() - start
        first = seconds(model)
        best = min(first, *(seconds(model) for _ in range(RUNS)))
        verdict = "within" if first <= REACH * built else "over"
        print(
            f"{name:36} build {built:7.3f} s   first scan {first:7.4f} s = {first / built:6.1%}   "
            f"best {best:7.4f} s = {best / built:6.1%}   {verdict} {REACH:.0%}"
        )


def seconds(model: nn.Module) -> float:
    start = time.perf_counter()
    scan(model, "speed")
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
