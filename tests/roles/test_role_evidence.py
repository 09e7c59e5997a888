"""Each kind of evidence, on real files: what it settles, and where it must stay silent."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest
import torch
from role_inventories import Holding, said, saved, saved_as_safetensors, stepped
from torch import nn
from torch.nn import utils
from torch.nn.utils import parametrizations, prune

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class TestModuleTree:
    def test_an_entry_no_module_owns_is_unregistered(self, tmp_path: Path) -> None:
        state = nn.Linear(2, 2).state_dict()
        state["statistics.range"] = torch.ones(2)

        (range_,) = [t for t in saved(tmp_path, state).tensors if t.name == "statistics.range"]

        assert ("unregistered", "inferred", "no module owns it") == (
            range_.role,
            range_.certainty,
            range_.evidence,
        )
        assert (True, None, False) == (range_.saved, range_.moves, range_.trains)
        assert "state_dict_only" == range_.holding

    @pytest.mark.parametrize(
        "names",
        [("ghost.weight",), ("ghost.a", "ghost.b"), ("ghost.weight", "ghost.bias"), ("a.x", "b.y", "c.z")],
        ids=" ".join,
    )
    def test_where_every_module_has_its_entries_the_others_are_unregistered(
        self, names: tuple[str, ...], tmp_path: Path
    ) -> None:
        state = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.Linear(3, 2)).state_dict()
        state.update(dict.fromkeys(names, torch.ones(2)))

        found = saved(tmp_path, state)

        assert dict.fromkeys(names, ("unregistered", "no module owns it")) == said(found)
        assert () == found.notes

    @pytest.mark.parametrize(
        ("model", "name"),
        [
            (nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), "ghost.weight"),
            (nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2, bias=False)), "ghost.bias"),
            (nn.Sequential(nn.Linear(4, 3), nn.MultiheadAttention(4, 2)), "ghost.in_proj_weight"),
        ],
        ids=["a module without entries", "a module without bias", "a name that another module uses"],
    )
    def test_where_a_listed_module_may_have_lost_it_nothing_is_said(
        self, model: nn.Module, name: str, tmp_path: Path
    ) -> None:
        state = model.state_dict()
        state[name] = torch.ones(2)

        assert name not in said(saved(tmp_path, state))

    def test_more_strangers_than_entries_are_another_model(self, tmp_path: Path) -> None:
        state = nn.Linear(2, 2).state_dict()
        state.update({f"other.{index}": torch.ones(2) for index in range(3)})

        found = saved(tmp_path, state)

        assert {} == said(found)
        assert ("`_metadata` was disregarded: 3 of 5 entries belong to no module it lists",) == found.notes

    def test_a_tree_that_explains_too_little_is_disregarded_and_the_user_told(self, tmp_path: Path) -> None:
        state = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).state_dict()
        for name in list(state):
            state[f"model.{name}"] = state.pop(name)

        found = saved(tmp_path, state)

        assert {} == said(found)
        assert ("`_metadata` was disregarded: 4 of 4 entries belong to no module it lists",) == found.notes

    @pytest.mark.parametrize(
        "new_name", ["1.head", "block"], ids=["moved under another module", "renamed in its place"]
    )
    def test_a_renamed_module_is_not_unregistered(self, new_name: str, tmp_path: Path) -> None:
        model = nn.Sequential(*(nn.BatchNorm1d(2) for _ in range(4)))
        model.add_module("head", Holding({"gamma": torch.ones(2)}, {}))
        state = model.state_dict()
        state[f"{new_name}.gamma"] = state.pop("head.gamma")

        assert f"{new_name}.gamma" not in said(saved(tmp_path, state))

    def test_parameters_that_were_moved_elsewhere_are_not_unregistered(self, tmp_path: Path) -> None:
        state = nn.Sequential(*(nn.BatchNorm1d(2) for _ in range(4))).state_dict()
        state["other.norm.weight"] = state.pop("3.weight")

        assert "other.norm.weight" not in said(saved(tmp_path, state))

    def test_entries_below_a_tensor_are_unregistered_without_any_tree(self, tmp_path: Path) -> None:
        state = {"fc.weight": torch.ones(4, 1), "fc.weight.range": torch.ones(2)}

        assert {"fc.weight.range": ("unregistered", "its prefix names a tensor")} == said(saved(tmp_path, state))

    def test_a_tensor_as_extra_state_is_unregistered(self, tmp_path: Path) -> None:
        class Scaled(nn.Linear):
            def get_extra_state(self) -> torch.Tensor:
                return torch.ones(3)

        found = saved(tmp_path, nn.Sequential(Scaled(2, 2)).state_dict())

        assert {"0._extra_state": ("unregistered", "extra state of a module")} == said(found)


UINT8, INT8, FP8 = torch.uint8, torch.int8, torch.float8_e4m3fn


class TestQuantisedWeights:
    @pytest.mark.parametrize(
        ("state", "said_of_all"),
        [
            (
                {
                    "w": torch.ones(4, 1, dtype=UINT8),
                    "w.absmax": torch.ones(2),
                    "w.quant_map": torch.ones(16),
                    "w.quant_state.bitsandbytes__nf4": torch.ones(78, dtype=UINT8),
                },
                ("parameter", "bitsandbytes 4-bit weight and its state"),
            ),
            (
                {"fc.weight": torch.ones(4, 4, dtype=INT8), "fc.SCB": torch.ones(4)},
                ("parameter", "bitsandbytes 8-bit weight and its scales"),
            ),
            (
                {"fc.weight": torch.ones(4, 4).to(FP8), "fc.weight_scale_inv": torch.ones(1, 1)},
                ("parameter", "fp8 weight and its scales"),
            ),
            (
                {
                    f"fc.{name}": torch.ones(4, dtype=torch.int32)
                    for name in ("qweight", "qzeros", "scales", "g_idx")
                },
                ("persistent_buffer", "packed weight of GPTQ or AWQ"),
            ),
        ],
        ids=["4 bits", "8 bits", "fp8", "GPTQ"],
    )
    def test_the_entries_of_one_weight_have_one_role(
        self, state: dict[str, torch.Tensor], said_of_all: tuple[str, str], tmp_path: Path
    ) -> None:
        named = {f"layers.0.{name}": tensor for name, tensor in state.items()}
        assert dict.fromkeys(named, said_of_all) == said(saved(tmp_path, named))

    def test_a_weight_that_is_not_packed_takes_no_part(self, tmp_path: Path) -> None:
        state = {
            "a.weight": torch.ones(4, 4),
            "a.weight_scale_inv": torch.ones(1),
            "b.weight": torch.ones(4).to(FP8),
        }
        assert {} == said(saved(tmp_path, state))


class TestKnownCompanions:
    def test_the_mask_of_gpt_2_is_a_buffer(self, tmp_path: Path) -> None:
        for mask in (torch.ones(1, 1, 8, 8, dtype=UINT8), torch.ones(1, 1, 8, 8)):
            state = {"h.attn.bias": mask, "h.attn.masked_bias": torch.tensor(-1e4), "h.c_attn.bias": torch.ones(8)}
            mark = ("persistent_buffer", "causal mask of attention")
            assert {"h.attn.bias": mark, "h.attn.masked_bias": mark} == said(saved(tmp_path, state))

    @pytest.mark.parametrize("shape", [(8,), (1, 8, 8), (1, 2, 8, 8), (1, 1, 8, 4)])
    def test_a_bias_of_another_shape_is_no_mask(self, shape: tuple[int, ...], tmp_path: Path) -> None:
        assert {} == said(saved(tmp_path, {"attn.bias": torch.ones(shape, dtype=UINT8)}))

    def test_class_weights_of_a_loss_are_buffers(self, tmp_path: Path) -> None:
        names = ("net.weight", "criterion.weight", "aux_loss.weight", "loss_norm.weight", "loss_norm.bias")
        state = {name: torch.ones(3) for name in names} | {"loss_head.weight": torch.ones(3, 2)}
        mark = ("persistent_buffer", "class weights of a loss")
        assert {"criterion.weight": mark, "aux_loss.weight": mark} == said(saved(tmp_path, state))

    def test_moving_averages_are_buffers(self, tmp_path: Path) -> None:
        state = {"bn.gamma": torch.ones(3), "bn.moving_mean": torch.ones(3), "bn.moving_variance": torch.ones(3)}
        found = said(saved(tmp_path, state))
        assert {"bn.moving_mean", "bn.moving_variance"} == {
            name for name, (role, _) in found.items() if role == "persistent_buffer"
        }

    def test_a_diffusion_schedule_and_its_ema_copies_are_buffers(self, tmp_path: Path) -> None:
        state = {
            "betas": torch.ones(10),
            "alphas_cumprod": torch.ones(10),
            "model.weight": torch.ones(2, 2),
            "model_ema.decay": torch.tensor(0.9),
            "model_ema.num_updates": torch.tensor(3, dtype=torch.int32),
            "model_ema.modelweight": torch.ones(2, 2),
        }
        found = said(saved(tmp_path, state))
        assert state.keys() - {"model.weight"} == found.keys()
        assert {"persistent_buffer"} == {role for role, _ in found.values()}

    def test_a_flat_parameter_of_fsdp_is_a_parameter(self, tmp_path: Path) -> None:
        assert {"layer._flat_param": ("parameter", "flat parameter of FSDP")} == said(
            saved(tmp_path, {"layer._flat_param": torch.ones(9), "layer.step": torch.ones(9)})
        )


class TestSiblings:
    def test_batch_norm_is_recognised_by_its_version(self, tmp_path: Path) -> None:
        found = said(saved(tmp_path, nn.Sequential(nn.BatchNorm2d(3)).state_dict()))

        statistics, affine = (
            ("persistent_buffer", "BatchNorm version 2"),
            ("parameter", "beside BatchNorm statistics"),
        )
        assert found == {
            "0.weight": affine,
            "0.bias": affine,
            "0.running_mean": statistics,
            "0.running_var": statistics,
            "0.num_batches_tracked": statistics,
        }

    def test_batch_norm_is_recognised_in_safetensors(self, tmp_path: Path) -> None:
        found = said(saved_as_safetensors(tmp_path, nn.BatchNorm2d(3).state_dict()))

        assert ("persistent_buffer", "BatchNorm statistics") == found["running_mean"]
        assert ("parameter", "beside BatchNorm statistics") == found["weight"]

    def test_a_frozen_copy_of_batch_norm_keeps_its_weight_open(self, tmp_path: Path) -> None:
        names = ("weight", "bias", "running_mean", "running_var")
        frozen = Holding({}, {name: torch.ones(3) for name in names})

        assert {"running_mean", "running_var"} == said(saved(tmp_path, frozen.state_dict())).keys()

    @pytest.mark.filterwarnings("ignore:`torch.nn.utils:FutureWarning")
    @pytest.mark.parametrize(
        "make",
        [
            lambda: utils.spectral_norm(nn.Conv2d(3, 4, 3)),
            lambda: utils.spectral_norm(nn.ConvTranspose2d(3, 4, 3)),
            lambda: parametrizations.spectral_norm(nn.Linear(6, 8)),
            lambda: prune.random_unstructured(nn.Linear(4, 4), "weight", 0.5),
        ],
        ids=["old spectral norm", "old spectral norm, transposed", "spectral norm", "pruned"],
    )
    def test_a_reparametrized_weight_and_its_helpers_are_told_apart(
        self, make: Callable[[], nn.Module], tmp_path: Path
    ) -> None:
        model = make()
        parameters = {name for name, _ in model.named_parameters()}

        found = said(saved(tmp_path, dict(model.state_dict())))

        assert model.state_dict().keys() - {"bias"} == found.keys() - {"bias"}
        assert {name for name, (role, _) in found.items() if role == "parameter"} == parameters & found.keys()

    def test_weights_registered_after_the_statistics_are_buffers_too(self, tmp_path: Path) -> None:
        names = ("running_mean", "running_var", "num_batches_tracked", "weight", "bias")
        frozen = Holding({}, {name: torch.ones(3) for name in names} | {names[2]: torch.tensor(0)})

        found = said(saved(tmp_path, nn.Sequential(frozen, nn.Linear(3, 3)).state_dict()))

        assert {("persistent_buffer", "follows a buffer of its module")} == {found["0.weight"], found["0.bias"]}

    @pytest.mark.parametrize(
        ("state", "settled"),
        [
            (
                {"a.weight": (3,), "a.running_mean": (3,), "a.running_var": (3,), "a.num_batches_tracked": (1,)},
                {"a.running_mean", "a.running_var", "a.num_batches_tracked"},  # but not the weight
            ),
            ({"a.running_mean": (3, 1), "a.running_var": (3, 1)}, set()),
            ({"a.weight_orig": (4, 6), "a.weight_u": (4,), "a.weight_v": (5,)}, set()),
            ({"a.weight_orig": (4, 6), "a.weight_u": (3,), "a.weight_v": (8,)}, set()),
            ({"a.weight_orig": (4, 6), "a.weight_mask": (6, 4)}, set()),
            ({"a.min_val": (3,), "a.max_val": (4,)}, set()),
            ({"a.min_val": (), "a.eps": (1,)}, set()),
        ],
        ids=[
            "another counter",
            "statistics of rank 2",
            "vectors of another size",
            "vectors of no side",
            "another mask",
            "bounds of two shapes",
            "one bound",
        ],
    )
    def test_siblings_of_the_wrong_shape_are_no_siblings(
        self, state: dict[str, tuple[int, ...]], settled: set[str], tmp_path: Path
    ) -> None:
        tensors = {
            name: torch.zeros(shape, dtype=torch.int64 if name.endswith("tracked") else torch.float32)
            for name, shape in state.items()
        }

        assert settled == said(saved(tmp_path, tensors)).keys()

    def test_scales_of_fake_quantisation_are_buffers_unless_they_are_learned(self, tmp_path: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.ao announces that it moves
            from torch.ao import quantization
            from torch.ao.quantization._learnable_fake_quantize import _LearnableFakeQuantize

            fixed = quantization.FakeQuantize()
            learned = _LearnableFakeQuantize(quantization.MovingAverageMinMaxObserver, 0, 255)

        found = said(saved(tmp_path, nn.ModuleDict({"fixed": fixed, "learned": learned}).state_dict()))

        assert ("persistent_buffer", "fake quantisation") == found["fixed.scale"]
        assert ("parameter", "fake quantisation") == found["learned.scale"]
        assert ("persistent_buffer", "quantisation observer") == found["fixed.activation_post_process.min_val"]

    @pytest.mark.parametrize("keep_vars", [False, True], ids=["detached", "kept"])
    def test_what_is_saved_beside_packed_parameters_is_no_buffer(self, keep_vars: bool, tmp_path: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.ao announces that it moves
            model = torch.ao.quantization.quantize_dynamic(
                nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)), {nn.Linear}
            )

        found = saved(tmp_path, model.state_dict(keep_vars=keep_vars))

        by_name = {t.name: (t.role, t.holding, t.saved) for t in found.tensors}
        packed = ("unregistered", "packed_params", True)
        assert (packed, packed) == (by_name["0.scale"], by_name["0.zero_point"])
        assert set() == {t.name for t in found.tensors if t.role == "persistent_buffer"}


class TestOrder:
    model = staticmethod(
        lambda: Holding(
            {"first": torch.ones(2), "weight": torch.ones(3), "bias": torch.ones(3)},
            {"counter": torch.zeros((), dtype=torch.int64), "floor": torch.ones(2)},
        )
    )

    def test_what_follows_a_buffer_of_its_module_is_one(self, tmp_path: Path) -> None:
        found = said(saved(tmp_path, self.model().state_dict()))

        assert {"counter", "floor"} == found.keys()
        assert ("persistent_buffer", "follows a buffer of its module") == found["floor"]

    def test_what_precedes_a_parameter_of_its_module_is_one(self, tmp_path: Path) -> None:
        model = self.model()
        optimizer = stepped(torch.optim.AdamW([model.weight, model.bias]))

        found = said(saved(tmp_path, {"model": model.state_dict(), "optimizer": optimizer}))

        assert ("parameter", "precedes a parameter of its module") == found["model.first"]

    def test_an_entry_that_was_taken_out_and_put_back_voids_the_order(self, tmp_path: Path) -> None:
        state = self.model().state_dict()
        state["weight"] = state.pop("weight")

        assert {"counter"} == said(saved(tmp_path, state)).keys()

    @pytest.mark.parametrize("rebuild", [lambda state: state, dict], ids=["state_dict", "plain dict"])
    def test_a_module_in_two_places_voids_the_order(self, rebuild: Callable[..., Any], tmp_path: Path) -> None:
        state = nn.Sequential(self.model(), nn.Linear(2, 2)).state_dict()
        state["0.floor"] = state.pop("0.floor")

        assert {"0.counter"} == said(saved(tmp_path, rebuild(state))).keys()

    def test_one_module_against_the_rule_voids_the_order_of_all(self, tmp_path: Path) -> None:
        pruned = {"1.weight_mask": torch.ones(2, 2), "1.weight_orig": torch.ones(2, 2)}

        found = said(saved(tmp_path, {f"0.{k}": v for k, v in self.model().state_dict().items()} | pruned))

        assert {"0.counter", *pruned} == found.keys()

    @pytest.mark.parametrize("rebuild", [sorted, lambda items: list(items)[::-1]], ids=["sorted", "reversed"])
    def test_a_dict_in_another_order_says_nothing_by_it(self, rebuild: Callable[..., Any], tmp_path: Path) -> None:
        found = saved(tmp_path, dict(rebuild(self.model().state_dict().items())))

        assert {"counter"} == said(found).keys()

    def test_the_order_in_safetensors_says_nothing(self, tmp_path: Path) -> None:
        assert {"counter"} == said(saved_as_safetensors(tmp_path, self.model().state_dict())).keys()


class TestSingleEntries:
    @pytest.mark.parametrize(
        ("name", "data", "role"),
        [
            ("steps", torch.zeros((), dtype=torch.int64), "persistent_buffer"),
            ("index", torch.zeros(3, 3, dtype=torch.int64), "persistent_buffer"),
            ("causal", torch.zeros(3, 3, dtype=torch.bool), "persistent_buffer"),
            ("weight", torch.zeros(3, 3, dtype=torch.int64), None),
            ("codes", torch.zeros(3, 3, dtype=torch.int8), None),
            ("codes", torch.zeros(3, 3, dtype=torch.int32), None),
            ("scale", torch.zeros(3), None),
        ],
        ids=["counter", "index", "mask", "integer weight", "int8", "packed int32", "float"],
    )
    def test_an_element_type_that_cannot_train_shows_a_buffer(
        self, name: str, data: torch.Tensor, role: str | None, tmp_path: Path
    ) -> None:
        found = said(saved(tmp_path, {f"a.{name}": data}))

        assert found == ({f"a.{name}": (role, "integer or bool elements")} if role else {})

    def test_integers_beside_quantised_weights_are_left_open(self, tmp_path: Path) -> None:
        state = {"a.qweight": torch.zeros(2, 2, dtype=torch.int32), "a.order": torch.zeros(2, dtype=torch.int64)}

        assert {} == said(saved(tmp_path, state))

    @pytest.mark.parametrize(
        ("data", "settled"),
        [(torch.ones(8), True), (torch.ones(8, 8), False), (torch.ones(8, dtype=torch.int8), False)],
        ids=["as known", "another rank", "another type"],
    )
    def test_a_well_known_name_needs_the_looks_that_go_with_it(
        self, data: torch.Tensor, settled: bool, tmp_path: Path
    ) -> None:
        known = {"rotary.inv_freq": ("persistent_buffer", "well-known buffer name inv_freq")}

        assert (known if settled else {}) == said(saved(tmp_path, {"rotary.inv_freq": data}))


class TestTies:
    def test_the_other_name_of_a_parameter_is_a_parameter(self, tmp_path: Path) -> None:
        model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5))
        model[1].weight = model[0].weight
        optimizer = stepped(torch.optim.AdamW(model.parameters()))

        found = saved(tmp_path, {"model": model.state_dict(), "optimizer": optimizer})

        assert ("parameter", "tied to a parameter") == said(found)["model.1.weight"]
        assert {True} == {t.trains for t in found.tensors if t.section == "model"}

    def test_what_a_known_parameter_is_tied_to_is_one(self, tmp_path: Path) -> None:
        model = nn.Sequential(Holding({"table": torch.ones(3)}, {}), nn.BatchNorm1d(3))
        model[1].weight = model[0].table

        assert ("parameter", "tied to a parameter") == said(saved(tmp_path, model.state_dict()))["0.table"]


class TestRandomState:
    def test_the_states_of_generators_are_training_state(self, tmp_path: Path) -> None:
        cuda = torch.zeros(16, dtype=torch.uint8)
        found = saved(tmp_path, {"cpu": torch.get_rng_state(), "cuda": cuda, "mask": torch.zeros(16)})

        states = [tensor for tensor in found.tensors if tensor.role == "training_state"]
        assert ["cpu", "cuda"] == [state.name for state in states]
        assert {"length and type of a random number generator's state"} == {state.evidence for state in states}
        assert {("inferred", False, None, False)} == {
            (state.certainty, state.saved, state.moves, state.trains) for state in states
        }

    @pytest.mark.parametrize(
        "state",
        [
            {"layer.packed": torch.zeros(5056, dtype=torch.uint8)},
            {"table": torch.zeros(5056)},
            {"packed": torch.zeros(2, 2528, dtype=torch.uint8)},
            {"packed": torch.zeros(16, dtype=torch.uint8)},
        ],
        ids=["an entry of a module", "floats", "a matrix", "short bytes alone"],
    )
    def test_what_only_has_its_length_or_type_is_none(
        self, state: dict[str, torch.Tensor], tmp_path: Path
    ) -> None:
        assert {"parameter"} == {tensor.role for tensor in saved(tmp_path, state).tensors}


def test_what_stays_assumed_is_saved_and_moves(tmp_path: Path) -> None:
    (weight,) = saved(tmp_path, {"weight": torch.ones(2, 2)}).tensors

    assert ("parameter", "assumed", "nothing says otherwise") == (weight.role, weight.certainty, weight.evidence)
    assert (True, True, None) == (weight.saved, weight.moves, weight.trains)


def test_of_a_tensor_in_no_state_dict_nothing_is_said(tmp_path: Path) -> None:
    (bare,) = saved(tmp_path, torch.zeros(3, dtype=torch.int64)).tensors

    assert ("assumed", None, None, None) == (bare.certainty, bare.saved, bare.moves, bare.trains)


def test_buffers_do_not_train(tmp_path: Path) -> None:
    found = saved(tmp_path, nn.BatchNorm1d(2).state_dict())

    assert {(True, True, False)} == {
        (t.saved, t.moves, t.trains) for t in found.tensors if t.role == "persistent_buffer"
    }


def test_a_name_of_very_many_parts_costs_no_more_than_its_length(tmp_path: Path) -> None:
    state = Holding({"weight": torch.ones(1), "bias": torch.ones(1)}, {"floor": torch.ones(1)}).state_dict()
    state |= {"counter": torch.zeros((), dtype=torch.int64), "last": torch.ones(1)}
    deep = {"a." * 20_000 + "b": torch.ones(1)}

    assert {"counter", "last"} == said(saved(tmp_path, dict(state))).keys()
    assert {"counter"} == said(saved(tmp_path, {**state, **deep})).keys()
