"""The words and signs that reports for people use for what the records say."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from bufscan.report.shared.escaping import shorten

if TYPE_CHECKING:
    from bufscan.inventory import Certainty, Role, Tensor

ROLE_WORDS: Final[dict[Role, str]] = {
    "parameter": "parameter",
    "persistent_buffer": "persistent buffer",
    "non_persistent_buffer": "non-persistent buffer",
    "unregistered": "unregistered",
    "training_state": "training state",
}

SHORT_ROLE_WORDS: Final[dict[Role, str]] = {
    **ROLE_WORDS,
    "persistent_buffer": "persistent",
    "non_persistent_buffer": "non-persistent",
}
"""For a column of roles that has little room."""

ROLE_NOUNS: Final[dict[Role, tuple[str, str]]] = {
    "parameter": ("parameter", "parameters"),
    "persistent_buffer": ("persistent buffer", "persistent buffers"),
    "non_persistent_buffer": ("non-persistent buffer", "non-persistent buffers"),
    "unregistered": ("unregistered", "unregistered"),
    "training_state": ("of training state", "of training state"),
}
"""One of them, and several."""

CERTAINTY_MARKS: Final[dict[Certainty, str]] = {"exact": "", "inferred": "~", "assumed": "?"}

UNKNOWN: Final = "?"

TIED: Final = "tied"
"""In the place of a size: the entry shows elements that another entry counts."""

# Four dimensions of any size fit; a broken file may name thousands.
_SHAPE_LIMIT = 48


def role_of(tensor: Tensor, words: dict[Role, str] = ROLE_WORDS) -> str:
    """The role in words, with the mark of its certainty."""
    return words[tensor.role] + CERTAINTY_MARKS[tensor.certainty]


def shape_of(tensor: Tensor) -> str:
    """`64x32`, then what is unusual about it: its layout, or the shard of it that is here."""
    shape = _no_shape(tensor) if tensor.shape is None else dimensions(tensor.shape)
    if tensor.local_shape is not None:
        where = "each" if len(tensor.local_shapes) == 1 else "by rank" if tensor.local_shapes else "here"
        shape += f" ({', '.join(map(dimensions, tensor.local_shapes or (tensor.local_shape,)))} {where})"
    return shape if tensor.layout == "strided" else f"{shape} {tensor.layout}"


def sizes_of(tensor: Tensor) -> str:
    """Its sizes and those of the shard of it that is here, however many: to tell them from others."""
    shape = _no_shape(tensor) if tensor.shape is None else _times(tensor.shape)
    return shape if tensor.local_shape is None else f"{shape} {_times(tensor.local_shape)}"


def _no_shape(tensor: Tensor) -> str:
    return "ragged" if tensor.parts else "lazy"


def dimensions(shape: tuple[int, ...]) -> str:
    """`64x32`; `scalar` when there are none."""
    return shorten(_times(shape), _SHAPE_LIMIT) or "scalar"


# Few, because a search among tuples of integers can be made to look at all of them: their hashes can be foreseen.
@lru_cache(maxsize=64)
def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def facts_of(tensor: Tensor) -> str:
    """`SMT`: saved, moves, trains; `-` is no."""
    return _fact("S", tensor.saved) + _fact("M", tensor.moves) + _fact("T", tensor.trains)


def _fact(letter: str, fact: bool | None) -> str:
    return UNKNOWN if fact is None else letter if fact else "-"
