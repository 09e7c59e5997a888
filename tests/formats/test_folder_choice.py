from __future__ import annotations

import pytest

from bufscan.errors import UnreadableError
from bufscan.formats.folders.folder_choice import Choice, choose, find_absent_shards

FOLDERS = {
    "one safetensors file": (["config.json", "model.safetensors"], "file", "model.safetensors"),
    "a file of any name": (["notes.txt", "epoch3.ckpt"], "file", "epoch3.ckpt"),
    "an index": (["a-00001-of-00001.safetensors", "model.safetensors.index.json"], "index", None),
    "an index of any name": (["x.bin.index.json", "x-00001-of-00001.bin"], "index", "x.bin.index.json"),
    "safetensors before bin": (["model.safetensors", "pytorch_model.bin"], "file", "model.safetensors"),
    "a whole file before an index": (["model.safetensors", "model.safetensors.index.json"], "file", None),
    "an index before shards of another kind": (
        ["pytorch_model-00001-of-00001.bin", "model.safetensors.index.json"],
        "index",
        "model.safetensors.index.json",
    ),
    "a trainer's companions": (
        ["optimizer.pt", "pytorch_model.bin", "rng_state.pth", "scheduler.pt", "training_args.bin"],
        "file",
        "pytorch_model.bin",
    ),
    "companions of a file of any name": (["optimizer.pt", "weights.pt"], "file", "weights.pt"),
    "a name that only begins like a companion": (["optimizers_model.pt"], "file", "optimizers_model.pt"),
    "safetensors before other files": (["a.pt", "b.pt", "c.safetensors"], "file", "c.safetensors"),
    "shards without an index": (["model-00002-of-00003.safetensors", "x.pt"], "shards", None),
    "shards of two kinds": (["m-00001-of-00001.bin", "m-00001-of-00001.safetensors"], "shards", None),
}


@pytest.mark.parametrize(("names", "kind", "expected"), FOLDERS.values(), ids=FOLDERS.keys())
def test_a_folder_gives_its_checkpoint(names: list[str], kind: str, expected: str | None) -> None:
    choice = choose(sorted(names))
    assert kind == choice.kind
    assert expected in (None, choice.names[0])


def test_shards_of_one_series_are_read_together() -> None:
    names = ["a-00001-of-00002.bin", "a-00002-of-00002.bin", "other.txt"]
    assert Choice("shards", ("a-00001-of-00002.bin", "a-00002-of-00002.bin")) == choose(names)


def test_pieces_of_every_process_belong_to_one_series() -> None:
    names = tuple(f"shard-0000{rank}-model-00001-of-00001.safetensors" for rank in (1, 2))
    assert Choice("shards", names) == choose(names)
    assert [] == find_absent_shards(names)


def test_shards_that_the_numbers_promise_and_that_are_not_there_are_found() -> None:
    absent = find_absent_shards(["m-00002-of-00004.safetensors"])
    assert [f"m-0000{number}-of-00004.safetensors" for number in (1, 3, 4)] == absent


FAILURES = {
    "nothing": ([], "without a checkpoint", None),
    "other files": (["config.json", "tokenizer.model"], "without a checkpoint", None),
    "companions alone": (["optimizer.pt", "config.json"], "without a checkpoint", "`optimizer.pt`"),
    "several files": (["a.pt", "b.pt", "c.pth", "d.ckpt", "e.bin"], "`a.pt`, `b.pt`, `c.pth` and 2 more", "name"),
    "several indexes": (["a.bin.index.json", "b.bin.index.json"], "several", "name"),
    "several series": (["a-00001-of-00001.bin", "b-00001-of-00002.bin"], "several", "name"),
    "pieces of torch.distributed.checkpoint alone": (
        ["__0_0.distcp"],
        "without its `.metadata`",
        "copy that file",
    ),
}


@pytest.mark.parametrize(("names", "message", "hint"), FAILURES.values(), ids=FAILURES.keys())
def test_a_folder_that_gives_none_gets_its_own_sentence(names: list[str], message: str, hint: str | None) -> None:
    with pytest.raises(UnreadableError) as failure:
        choose(names)
    assert message in failure.value.message
    assert (hint or "") in (failure.value.hint or "")
    assert (hint is None) == (failure.value.hint is None)
