"""What checkpoint a folder holds, by the names of its files alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

from bufscan.errors import UnreadableError
from bufscan.formats.folders.folder_parts import files_of_ranks
from bufscan.formats.listing import listed, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

# In the order in which `from_pretrained` of transformers and diffusers looks for them.
_PREFERRED = tuple(
    f"{stem}{suffix}{index}"
    for stem, suffix in (
        ("model", ".safetensors"),
        ("pytorch_model", ".bin"),
        ("diffusion_pytorch_model", ".safetensors"),
        ("diffusion_pytorch_model", ".bin"),
        ("adapter_model", ".safetensors"),
        ("adapter_model", ".bin"),
    )
    for index in ("", ".index.json")
)
_INDEX_SUFFIXES = (".safetensors.index.json", ".bin.index.json")
_CHECKPOINT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pt2", ".gguf")
_PICKLED_SUFFIXES = (".pt", ".pth", ".bin", ".pkl")
_ARRAY_SUFFIXES = (".pkl", ".npz", ".npy")  # where there is nothing else
_FOREIGN_SUFFIXES = (".h5", ".msgpack", ".onnx", ".distcp")
# What trainers save beside a model. torch.distributed.checkpoint puts `shard-<rank>-` before the name.
_COMPANION = re.compile(r"(optimizer|scheduler|scaler|sampler|training_args|rng_state|random_states)[^a-z]")
_SHARD = re.compile(
    r"(?:shard-\d{5}-)?(?P<stem>.+)-(?P<number>\d{5})-of-(?P<total>\d{5})(?P<suffix>\.safetensors|\.bin)"
)


class SeveralCheckpointsError(UnreadableError):
    """Nothing says which of a folder's checkpoints is meant."""


class Choice(NamedTuple):
    """The names to read: one index, one checkpoint, shards without an index, or what each rank wrote."""

    kind: Literal["index", "file", "shards", "dcp", "ranks"]
    names: tuple[str, ...]


def is_checkpoint_name(name: str) -> bool:
    """Whether a file of this name may be a checkpoint, or say where one is."""
    return name.endswith((*_CHECKPOINT_SUFFIXES, *_ARRAY_SUFFIXES, *_INDEX_SUFFIXES))


def holds_tensors(name: str) -> bool:
    """Whether a file of this name may hold tensors, of whatever kind and format."""
    return is_checkpoint_name(name) or name.endswith(_FOREIGN_SUFFIXES)


def checkpoints_among(names: Sequence[str]) -> list[str]:
    """The files to look at to see every checkpoint of a folder: indexes first, then what they may list."""
    found = [name for name in names if is_checkpoint_name(name) and not _COMPANION.match(name)]
    return sorted(found, key=lambda name: (not name.endswith(_INDEX_SUFFIXES), name))


def is_companion(name: str) -> bool:
    """Whether trainers save a file of this name beside a model."""
    return _COMPANION.match(name) is not None and name.endswith(_PICKLED_SUFFIXES)


def choose(names: Sequence[str]) -> Choice:
    """The checkpoint among a folder's files: what the model's library would load, else the only one there is.

    Raises:
        UnreadableError: there is none, or nothing says which of several it is.
    """
    if ".metadata" in names and any(name.endswith(".distcp") for name in names):
        return Choice("dcp", (".metadata", *(name for name in names if name.endswith(".distcp"))))
    for name in _PREFERRED:
        if name in names:
            return Choice("index" if name.endswith(_INDEX_SUFFIXES) else "file", (name,))
    if indexes := [name for name in names if name.endswith(_INDEX_SUFFIXES)]:
        return Choice("index", (_only(indexes),))
    for suffix in (".safetensors", ".bin"):
        if series := _find_series(names, suffix):
            _only([files[0] for files in series])
            return Choice("shards", series[0])
    if ranks := files_of_ranks(names):
        return Choice("ranks", ranks)
    for suffixes in ((".safetensors",), _CHECKPOINT_SUFFIXES, _ARRAY_SUFFIXES):
        if models := [name for name in names if name.endswith(suffixes) and not _COMPANION.match(name)]:
            return Choice("file", (_only(models),))
    raise _no_checkpoint(names)


def find_absent_shards(names: Sequence[str]) -> list[str]:
    """The shards that a series should have, going by the number in its names, and has not."""
    found = [match for name in names if (match := _SHARD.fullmatch(name))]
    present = {int(match["number"]) for match in found}
    stem, total, suffix = found[0]["stem"], found[0]["total"], found[0]["suffix"]
    absent = (number for number in range(1, int(total) + 1) if number not in present)
    return [f"{stem}-{number:05}-of-{total}{suffix}" for number in absent]


def _find_series(names: Sequence[str], suffix: str) -> list[tuple[str, ...]]:
    series: dict[tuple[str, str], list[str]] = {}
    for name in names:
        match = _SHARD.fullmatch(name)
        if match and match["suffix"] == suffix:
            series.setdefault((match["stem"], match["total"]), []).append(name)
    return [tuple(files) for files in series.values()]


def _only(candidates: Sequence[str]) -> str:
    if len(candidates) > 1:
        raise SeveralCheckpointsError(
            f"a folder with several checkpoints: {listed(candidates)}", hint="name the file to inspect"
        )
    return candidates[0]


def _no_checkpoint(names: Sequence[str]) -> UnreadableError:
    if any(name.endswith(".distcp") for name in names):
        return UnreadableError(
            "a folder of torch.distributed.checkpoint without its `.metadata`",
            hint="copy that file too: it says which tensor lies where",
        )
    if ".metadata" in names:
        return UnreadableError(
            "a folder of torch.distributed.checkpoint that has `.metadata` alone",
            hint="copy the `.distcp` files too: they hold the values",
        )
    companions = list(filter(holds_tensors, names))
    hint = f"name the file to inspect, such as {quoted(companions[0])}" if companions else None
    return UnreadableError("a folder without a checkpoint", hint=hint)
