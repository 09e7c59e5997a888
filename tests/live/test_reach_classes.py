"""Tensors that hang off classes, enums and queues."""

from __future__ import annotations

import enum
import queue

import torch
from models import holding, unregistered
from torch import nn


class Table:
    rows = torch.ones(3)
    by_name = {"k": torch.ones(2)}  # noqa: RUF012  # as people write it


class Wider(Table):
    more = torch.ones(4)


class Means(enum.Enum):
    IMAGENET = torch.ones(3)
    NONE = None


class Sizes(enum.Enum):
    SMALL = 3


class Block(nn.Module):
    built: list[nn.Module] = []  # noqa: RUF012  # a registry of what belongs to others
    mask = torch.ones(2)


def test_a_class_that_is_held_has_its_tensors_found() -> None:
    expected = {
        "cfg.more": "class_attribute",
        "cfg.rows": "class_attribute",
        "cfg.by_name['k']": "class_attribute",
    }
    assert expected == unregistered(holding(cfg=Wider))
    assert {f"kinds[1]{name[3:]}": held for name, held in expected.items()} == unregistered(
        holding(kinds=[3, Wider])
    )


def test_a_class_is_met_once_by_whatever_way() -> None:
    assert {"a.rows", "a.by_name['k']"} == set(unregistered(holding(a=Table, b=Table(), c=[Table])))


def test_classes_of_modules_of_torch_and_of_the_standard_library_are_left_alone() -> None:
    Block.built.append(nn.Linear(2, 2))
    assert {} == unregistered(
        holding(block=Block, of_torch=nn.Linear, normal=torch.distributions.Normal, of_std=int)
    )


def test_a_class_that_forward_only_calls_is_not_looked_into() -> None:
    class Making(nn.Module):
        def forward(self) -> object:
            return Table()

    assert {} == unregistered(Making())


def test_a_class_with_a_metaclass_of_its_own_is_not_asked() -> None:
    class Refusing(type):
        def __getattribute__(cls, name: str) -> object:
            raise SystemExit(name)

        def __hash__(cls) -> int:
            raise SystemExit("hashed")

    class Quiet(metaclass=Refusing):
        rows = torch.ones(3)

    assert {"cfg.rows": "class_attribute"} == unregistered(holding(cfg=Quiet))


def test_a_member_of_an_enum_has_its_value_found() -> None:
    assert {"mean.value": "object"} == unregistered(holding(mean=Means.IMAGENET, size=Sizes.SMALL))
    assert {"means.IMAGENET.value": "class_attribute"} == unregistered(holding(means=Means))


def test_a_member_that_forward_names_is_found() -> None:
    class Centred(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x - Means.IMAGENET.value * Sizes.SMALL.value

    assert {"forward.__globals__['Means'].IMAGENET.value": "global"} == unregistered(Centred())


def test_a_queue_has_its_elements_found() -> None:
    waiting: queue.Queue[torch.Tensor] = queue.Queue()
    waiting.put(torch.ones(2))
    assert {"waiting.queue[0]": "object"} == unregistered(holding(waiting=waiting))
