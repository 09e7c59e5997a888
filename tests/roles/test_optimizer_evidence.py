"""What a saved optimizer shows of the model beside it, on real files, and where it must stay silent."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from role_inventories import Holding, said, saved, stepped
from torch import nn

if TYPE_CHECKING:
    from pathlib import Path


def masked_linear() -> nn.Module:
    """Two layers and a mask of the shape of their weights."""
    return nn.Sequential(nn.Linear(4, 4), Holding({}, {"rolled": torch.ones(4, 4)}), nn.Linear(4, 4))


class TestOptimizerNames:
    def test_what_the_optimizer_lists_is_exactly_a_parameter(self, tmp_path: Path) -> None:
        model = masked_linear()
        optimizer = stepped(torch.optim.AdamW(model.named_parameters()))

        found = saved(tmp_path, {"model": model.state_dict(), "optimizer": optimizer})

        listed = {
            t.name: (t.role, t.trains) for t in found.tensors if t.certainty == "exact" and t.section == "model"
        }
        assert dict.fromkeys(("0.weight", "0.bias", "2.weight", "2.bias"), ("parameter", True)) == listed

    def test_a_listed_parameter_that_was_never_updated_may_not_train(self, tmp_path: Path) -> None:
        model = nn.Linear(2, 2)
        model.bias.requires_grad_(False)
        optimizer = stepped(torch.optim.AdamW(model.named_parameters()))

        found = saved(tmp_path, {"model": model.state_dict(), "optimizer": optimizer})

        assert {"weight": True, "bias": None} == {
            t.name: t.trains for t in found.tensors if t.certainty == "exact" and t.role == "parameter"
        }

    def test_names_count_under_the_prefix_of_a_wrapper(self, tmp_path: Path) -> None:
        model = nn.Linear(2, 2)
        optimizer = stepped(torch.optim.AdamW(nn.DataParallel(model).named_parameters()))

        found = saved(tmp_path, {"model": model.state_dict(), "optimizer": optimizer})

        assert {("parameter", "optimizer param_names")} == set(said(found).values())

    def test_names_of_parameters_of_another_shape_are_another_models(self, tmp_path: Path) -> None:
        optimizer = stepped(torch.optim.AdamW(nn.Linear(3, 3).named_parameters()))

        assert {} == said(saved(tmp_path, {"model": nn.Linear(2, 2).state_dict(), "optimizer": optimizer}))

    def test_names_say_nothing_when_two_different_models_have_them(self, tmp_path: Path) -> None:
        first, second = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        optimizer = stepped(torch.optim.SGD(first.named_parameters()))
        states = {"a": first.state_dict(), "b": {**first.state_dict(), **second.state_dict()}}

        assert {} == said(saved(tmp_path, {**states, "optimizer": optimizer}))

    def test_of_a_model_and_its_average_the_names_state_one_and_nobody_knows_which(self, tmp_path: Path) -> None:
        model = nn.Linear(3, 2)
        states = {"model": model.state_dict(), "ema": copy.deepcopy(model.state_dict())}
        optimizer = stepped(torch.optim.AdamW(model.named_parameters()))

        found = saved(tmp_path, {**states, "optimizer": optimizer})

        assert {("parameter", "inferred", None)} == {
            (t.role, t.certainty, t.trains) for t in found.tensors if t.section in states
        }


class TestSeveralOptimizers:
    """Of a generator and a critic of one shape, where one registers as a buffer what the other trains."""

    @staticmethod
    def checkpoint(*, named: bool) -> dict[str, Any]:
        generator = Holding({"weight": torch.ones(2, 2), "temperature": torch.ones(3)}, {})
        critic = Holding({"weight": torch.ones(2, 2)}, {"temperature": torch.ones(3)})
        optimizers = (
            stepped(torch.optim.AdamW(model.named_parameters() if named else model.parameters()))
            for model in (generator, critic)
        )
        models = {"generator": generator.state_dict(), "critic": critic.state_dict()}
        return {**models, **dict(zip(("optimizer_g", "optimizer_c"), optimizers, strict=True))}

    def test_only_what_all_of_them_list_follows_for_models_that_look_alike(self, tmp_path: Path) -> None:
        found = saved(tmp_path, self.checkpoint(named=True))

        assert {"generator.weight", "critic.weight"} == said(found).keys()

    def test_their_shapes_say_nothing_of_models_that_look_alike(self, tmp_path: Path) -> None:
        assert {} == said(saved(tmp_path, self.checkpoint(named=False)))

    def test_each_settles_the_model_that_it_alone_fits(self, tmp_path: Path) -> None:
        checkpoint = self.checkpoint(named=True)
        checkpoint["critic"] = {"bias": torch.ones(1), **checkpoint["critic"]}
        checkpoint["optimizer_c"]["param_groups"][0]["params"].append(2)
        checkpoint["optimizer_c"]["param_groups"][0]["param_names"].append("bias")

        found = saved(tmp_path, checkpoint)

        assert {"critic.weight", "critic.bias"} == said(found).keys()

    def test_two_optimizers_that_share_a_model_and_its_average_settle_both(self, tmp_path: Path) -> None:
        model = nn.Linear(2, 2)
        states = {"model": model.state_dict(), "ema": copy.deepcopy(model.state_dict())}
        halves = [stepped(torch.optim.SGD([pair], momentum=0.9)) for pair in model.named_parameters()]

        found = saved(tmp_path, {**states, "optimizers": halves})

        assert {"model.weight", "model.bias", "ema.weight", "ema.bias"} == said(found).keys()


class TestOptimizerState:
    def test_of_a_model_and_its_average_nobody_knows_which_was_trained(self, tmp_path: Path) -> None:
        model = nn.Linear(3, 2)
        states = {"model": model.state_dict(), "ema": copy.deepcopy(model.state_dict())}
        optimizer = stepped(torch.optim.AdamW(model.parameters()))

        found = saved(tmp_path, {**states, "optimizer": optimizer})

        assert {("parameter", None)} == {(t.role, t.trains) for t in found.tensors if t.section in states}

    def test_a_parameter_that_was_known_before_is_shown_to_have_been_trained(self, tmp_path: Path) -> None:
        model = nn.BatchNorm1d(3)
        optimizer = stepped(torch.optim.AdamW(model.parameters()))

        found = saved(tmp_path, {"model": model.state_dict(), "optimizer": optimizer})

        trained = {t.name: (t.evidence, t.trains) for t in found.tensors if t.name in ("weight", "bias")}
        assert dict.fromkeys(("weight", "bias"), ("beside BatchNorm statistics", True)) == trained

    def test_parameters_numbered_by_their_addresses_are_found(self, tmp_path: Path) -> None:
        """As the optimizers of torch 1.4 and before saved themselves."""
        model = nn.Linear(3, 2)
        optimizer = stepped(torch.optim.AdamW(model.parameters()))
        (group,) = optimizer["param_groups"]
        addresses = [140_000_000_000_000 + 64 * index for index in group["params"]]
        state = {addresses[index]: fields for index, fields in optimizer["state"].items()}
        optimizer = {"state": state, "param_groups": [{**group, "params": addresses}]}

        found = saved(tmp_path, {"model": model.state_dict(), "optimizer": optimizer})

        assert {"optimizer state shapes"} == {t.evidence for t in found.tensors if t.section == "model"}

    def test_shapes_settle_what_the_optimizer_needs_all_of(self, tmp_path: Path) -> None:
        model = masked_linear()
        optimizer = stepped(torch.optim.AdamW(model.parameters()))

        found = saved(tmp_path, {"model": model.state_dict(), "optimizer": optimizer})

        settled = {path for path, claim in said(found).items() if claim == ("parameter", "optimizer state shapes")}
        assert {"model.0.bias", "model.2.bias"} == settled
        assert {True} == {t.trains for t in found.tensors if t.name.endswith("bias")}

    def test_order_settles_what_every_alignment_uses(self, tmp_path: Path) -> None:
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 6), Holding({}, {"rolled": torch.ones(4, 4)}))
        optimizer = stepped(torch.optim.AdamW([model[0].weight, model[1].weight, model[1].bias]))

        found = said(saved(tmp_path, {"model": model.state_dict(), "optimizer": optimizer}))

        assert ("parameter", "optimizer state order") == found["model.0.weight"]
        assert "model.2.rolled" not in found

    def test_a_parameter_kept_from_the_optimizer_is_not_taken_for_a_buffer(self, tmp_path: Path) -> None:
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        optimizer = stepped(torch.optim.AdamW(model[1].parameters()))

        assert {} == said(saved(tmp_path, {"model": model.state_dict(), "optimizer": optimizer}))

    def test_an_optimizer_without_state_says_nothing(self, tmp_path: Path) -> None:
        model = nn.Linear(4, 4)
        optimizer = stepped(torch.optim.SGD(model.parameters(), lr=0.1))

        assert {} == said(saved(tmp_path, {"model": model.state_dict(), "optimizer": optimizer}))

    def test_parameters_without_state_are_settled_when_nothing_is_left_over(self, tmp_path: Path) -> None:
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        model[1].bias.requires_grad_(False)
        optimizer = stepped(torch.optim.AdamW(model.parameters()))

        found = saved(tmp_path, {"model": dict(sorted(model.state_dict().items())), "optimizer": optimizer})

        assert ["model.0.bias", "model.0.weight", "model.1.bias", "model.1.weight"] == list(said(found))
        assert {"0.bias": None, "0.weight": True, "1.bias": None, "1.weight": True} == {
            t.name: t.trains for t in found.tensors if t.section == "model"
        }

    def test_a_parameter_without_state_is_found_between_its_neighbours(self, tmp_path: Path) -> None:
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 6), Holding({}, {"rolled": torch.ones(4)}))
        model[0].bias.requires_grad_(False)
        optimizer = stepped(torch.optim.AdamW(model.parameters()))

        found = saved(tmp_path, {"model": model.state_dict(), "optimizer": optimizer})

        (bias,) = [t for t in found.tensors if t.path == "model.0.bias"]
        assert ("parameter", "optimizer state order", None) == (bias.role, bias.evidence, bias.trains)

    def test_groups_that_change_the_order_are_understood(self, tmp_path: Path) -> None:
        model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 5))
        groups = [{"params": [p for p in model.parameters() if p.ndim == rank]} for rank in (1, 2)]
        optimizer = stepped(torch.optim.AdamW(groups))

        found = saved(tmp_path, {"model": model.state_dict(), "optimizer": optimizer})

        assert {("parameter", "optimizer state shapes")} == set(said(found).values())

    def test_a_model_and_its_moving_average_are_both_settled(self, tmp_path: Path) -> None:
        model = nn.Linear(4, 6)
        state = {"model": model.state_dict(), "ema": copy.deepcopy(model.state_dict())}

        found = saved(tmp_path, {**state, "optimizer": stepped(torch.optim.AdamW(model.parameters()))})

        assert {"model.weight", "model.bias", "ema.weight", "ema.bias"} == said(found).keys()

    def test_of_two_models_the_one_that_fits_is_settled(self, tmp_path: Path) -> None:
        generator, critic = nn.Linear(4, 6), nn.Linear(6, 1)
        states = {"generator": generator.state_dict(), "critic": critic.state_dict()}

        found = saved(tmp_path, {**states, "optimizer": stepped(torch.optim.AdamW(critic.parameters()))})

        assert {"critic.weight", "critic.bias"} == said(found).keys()


def test_only_a_few_optimizers_are_weighed_and_the_user_told(tmp_path: Path) -> None:
    optimizers = [{"state": {}, "param_groups": [{"params": [0]}]} for _ in range(100)]

    found = saved(tmp_path, {"model": nn.Linear(1, 1).state_dict(), "optimizers": optimizers})

    assert ("only 8 of 100 optimizers were weighed as evidence",) == found.notes
