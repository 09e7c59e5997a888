"""Attributes that the overridden `_apply` of a well-known library moves: a pickle names classes, but has no code.

Read in the sources of torchmetrics 1.9, spikingjelly 2.0, gpytorch 1.15, kornia 0.9 and ultralytics 8.4.
"""

from __future__ import annotations

from bufscan.formats.pickle.pickle_values import Pairs, lookup, pairs_of

_TORCHMETRICS_STATES = "_defaults"

# By attributes that objects of the base class have, for its subclasses are the user's own.
_BY_ATTRIBUTES = (
    # torchmetrics.Metric: these, and the states that `_defaults` names
    ({_TORCHMETRICS_STATES, "_persistent", "_reductions"}, {_TORCHMETRICS_STATES, "_computed", "_forward_cache"}),
    # spikingjelly.activation_based.base.MemoryModule
    ({"_memories", "_memories_rv"}, {"_memories", "_memories_rv"}),
    # gpytorch.models.ExactGP
    ({"train_inputs", "_train_targets", "prediction_strategy"}, {"train_inputs", "_train_targets"}),
)
# By where the class is defined. A YOLO model moves these of its last layer.
_YOLO_HEAD = {"stride", "strides", "anchors", "anchor_grid", "grid", "valid_mask"}
_BY_CLASS: tuple[tuple[str, set[str] | None], ...] = (
    ("ultralytics.nn.modules.head.", _YOLO_HEAD),
    ("models.yolo.", _YOLO_HEAD),
    ("kornia.augmentation.random_generator.", None),  # it makes its samplers anew, whatever they are called
)


def moved_attributes(defined_in: str, own: set[str], state: Pairs) -> set[str]:
    """Names of attributes that follow a module although they are not registered.

    Args:
        defined_in: qualified name of the module's class.
        own: names of its attributes.
        state: its instance dict.
    """
    for place, moved in _BY_CLASS:
        if defined_in.startswith(place):
            return own if moved is None else moved
    for marks, moved in _BY_ATTRIBUTES:
        if marks <= own:
            states = pairs_of(lookup(state, _TORCHMETRICS_STATES)) or Pairs()
            return moved | {name for name in states[::2] if type(name) is str}
    return set()
