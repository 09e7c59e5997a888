"""Which attributes well-known libraries move themselves, told by class or layout, and nothing else."""

from __future__ import annotations

import pytest

from bufscan.formats.checkpoint.own_apply import moved_attributes
from bufscan.formats.pickle.pickle_values import Pairs


@pytest.mark.parametrize(
    ("defined_in", "own", "moved"),
    [
        ("mine.Accuracy", {"_defaults", "_persistent", "_reductions", "total", "table"}, {"_defaults", "total"}),
        ("mine.Neuron", {"_memories", "_memories_rv", "table"}, {"_memories", "_memories_rv"}),
        (
            "mine.GP",
            {"train_inputs", "_train_targets", "prediction_strategy", "table"},
            {"train_inputs", "_train_targets"},
        ),
        ("ultralytics.nn.modules.head.Detect", {"stride", "anchors", "table"}, {"stride", "anchors"}),
        ("models.yolo.Detect", {"anchor_grid", "table"}, {"anchor_grid"}),
        ("kornia.augmentation.random_generator.Plain", {"sampler"}, {"sampler"}),
        ("mine.Detect", {"stride", "anchors", "_defaults", "train_inputs"}, set()),
    ],
    ids=["torchmetrics", "spikingjelly", "gpytorch", "ultralytics", "yolov5", "kornia", "none of them"],
)
def test_what_a_known_library_moves_is_known(defined_in: str, own: set[str], moved: set[str]) -> None:
    state = Pairs(["_defaults", Pairs(["total", None])])
    assert moved == moved_attributes(defined_in, own, state) & own
