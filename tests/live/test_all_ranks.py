"""A model that several processes hold together is reported once: what each has of it, and where they disagree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from launching import launched

HERE = Path(__file__).parent


def inspected(size: int, name: str) -> dict[str, object]:
    first, *others = launched(size, "inspect", f"sharded_models.py:{name}", "--format", "json", cwd=HERE)
    assert [(0, b"")] * (size - 1) == [(done.code, done.out) for done in others]
    assert 0 == first.code, first.err
    report: dict[str, object] = json.loads(first.out)
    return report


@pytest.mark.parametrize("name", ["sharded", "in_own_group"])
def test_local_and_whole_sizes_and_placements_are_told_once(name: str) -> None:
    report = inspected(2, name)
    tensors = {each["name"]: each for each in report["tensors"]}
    body, head, mean = (tensors[name] for name in ("body.weight", "head.weight", "norm.running_mean"))
    assert ([10, 10], [[5, 10]], ["Shard(0)"]) == (body["shape"], body["local_shapes"], body["placements"])
    assert ([3, 10], [[2, 10], [1, 10]]) == (head["shape"], head["local_shapes"])
    assert not {"local_shape", "local_shapes", "placements"} & mean.keys()
    assert [0, 1] == [each["rank"] for each in report["ranks"]]
    assert [] == report["disagreements"]


def test_four_ranks_store_what_their_shards_take() -> None:
    report = inspected(4, "sharded")
    stored = [each["stored_bytes"] for each in report["ranks"]]
    (body,) = (each for each in report["tensors"] if each["name"] == "body.weight")
    assert [[3, 10], [1, 10]] == body["local_shapes"]
    assert 4 == len(stored)
    assert stored[0] == report["stored_bytes"] >= stored[3]


def test_what_ranks_do_not_agree_on_is_named_with_them() -> None:
    found = {(each["name"], each["aspect"]): each for each in inspected(2, "unlike")["disagreements"]}
    assert {
        "name": "head.bias",
        "aspect": "shape",
        "first": "3",
        "others": [{"value": "4", "ranks": [1]}],
    } == found["head.bias", "shape"]
    assert ("absent", "there") == (
        found["only_here", "presence"]["first"],
        found["only_here", "presence"]["others"][0]["value"],
    )


def test_what_only_one_rank_finds_is_found() -> None:
    first, second = launched(2, "check", "sharded_models.py:with_nan", "--values", cwd=HERE)
    assert (1, 1, b"") == (first.code, second.code, second.out)
    assert b"`body.weight` has 1 NaN of 100 elements (on rank 1)" in b" ".join(first.out.split())


def test_a_builder_that_fails_on_one_rank_ends_all_while_the_others_wait_for_it() -> None:
    first, second = launched(2, "inspect", "sharded_models.py:broken", cwd=HERE)
    assert (2, 2, "") == (first.code, second.code, second.err)
    assert "raised ValueError: no GPU here" in first.err
    assert "(rank 1 on " in first.err
    assert 1 == first.err.count("bufscan:")
