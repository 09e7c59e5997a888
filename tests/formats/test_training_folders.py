"""Folders that trainers and libraries write: their parts become sections, and what lies beside is evidence."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
import torch
from canary import Canary
from safetensors.torch import save_file
from torch import nn

from bufscan.checking import check
from bufscan.comparing.diffing import diff
from bufscan.inspecting import inspect

if TYPE_CHECKING:
    from pathlib import Path

    from bufscan.inventory import Inventory


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 7)
        self.norm = nn.LayerNorm(7)
        self.last = nn.Linear(7, 3)
        self.register_buffer("table", torch.zeros(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.norm(self.first(x)))


def roles(found: Inventory) -> dict[str, tuple[str, str]]:
    return {each.path: (each.role, each.certainty) for each in found.tensors}


def failed(found: Inventory) -> list[str]:
    return [each.what for each in found.skipped if each.failed]


@pytest.fixture
def trainer(tmp_path: Path) -> Path:
    """What the Trainer of transformers saves: two groups, those that decay first."""
    folder = tmp_path / "checkpoint-10"
    folder.mkdir()
    model = Model()
    decayed = [each for name, each in model.named_parameters() if each.ndim > 1]
    others = [each for name, each in model.named_parameters() if each.ndim == 1]
    optimizer = torch.optim.AdamW([{"params": decayed}, {"params": others, "weight_decay": 0.0}])
    model(torch.randn(2, 4)).sum().backward()
    optimizer.step()
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    torch.save(optimizer.state_dict(), folder / "optimizer.pt")
    torch.save(torch.optim.lr_scheduler.ConstantLR(optimizer).state_dict(), folder / "scheduler.pt")
    torch.save({"python": (3, (1, 2), None), "cpu": torch.get_rng_state()}, folder / "rng_state.pth")
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 10, "epoch": 1.0}))
    (folder / "config.json").write_text(json.dumps({"architectures": ["Model"], "model_type": "mine"}))
    return folder


def test_the_optimizer_beside_the_weights_shows_which_are_parameters(trainer: Path) -> None:
    found = inspect(trainer)
    inferred = {path for path, role in roles(found).items() if role == ("parameter", "inferred")}
    assert inferred == {name for name, _ in Model().named_parameters()}
    assert "the optimizer in optimizer.pt beside it was taken as evidence" in found.notes
    assert ("Model", "10") == (
        found.metadata["config.json: architectures"],
        found.metadata["trainer_state.json: global_step"],
    )
    alone = inspect(trainer / "model.safetensors")
    assert {"assumed"} == {certainty for _, certainty in roles(alone).values()}


def test_names_in_the_pickles_beside_the_weights_are_told_and_nothing_runs(trainer: Path) -> None:
    assert 0 == check(trainer).exit_code
    torch.save(Canary(), trainer / "training_args.bin")
    found = [each for each in check(trainer).findings if each.code == "BUF401"]
    assert ["error"] == [each.severity for each in found]
    assert "in training_args.bin" in found[0].message
    assert not Canary.ran


def test_a_broken_companion_does_not_hide_the_weights(trainer: Path) -> None:
    (trainer / "optimizer.pt").write_bytes(b"\x80\x02garbage")
    found = inspect(trainer)
    assert 7 == len(found.tensors)
    assert "optimizer.pt beside it cannot be read" in "".join(found.notes)


def test_an_adapter_says_what_it_is(tmp_path: Path) -> None:
    weights = {"base_model.model.q_proj.lora_A.weight": torch.zeros(8, 64)}
    save_file(weights, tmp_path / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "r": 8,
        "lora_alpha": 16,
        "target_modules": ["q_proj", "v_proj"],
        "base_model_name_or_path": "org/base",
    }
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    expected = "an adapter of peft: LORA, rank 8, alpha 16, on q_proj, v_proj; made for org/base"
    assert expected in inspect(tmp_path).notes


def test_quantisation_is_told_from_the_configuration(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(1)}, tmp_path / "model.safetensors")
    quantization = {"quant_method": "gptq", "bits": 4, "group_size": 128}
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": quantization}))
    assert "gptq, 4 bits, groups of 128" == inspect(tmp_path).metadata["config.json: quantization"]


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """A pipeline of diffusers: a folder for each component, of which some have weights."""
    folder = tmp_path / "pipeline"
    for name, file in (("unet", "diffusion_pytorch_model"), ("text_encoder", "model")):
        (folder / name).mkdir(parents=True)
        save_file(Model().state_dict(), folder / name / f"{file}.safetensors")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text("{}")
    listed = {name: ["diffusers", "X"] for name in ("unet", "text_encoder", "scheduler")}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"} | listed))
    return folder


def test_a_pipeline_is_one_inventory_with_a_section_for_each_component(pipeline: Path) -> None:
    found = inspect(pipeline)
    assert {"unet", "text_encoder"} == {each.section for each in found.tensors}
    assert 14 == len(found.tensors)
    files = {each.file for each in found.storages.values()}
    assert {"unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"} == files


def test_values_of_a_pipeline_are_compared(pipeline: Path, tmp_path: Path) -> None:
    other = shutil.copytree(pipeline, tmp_path / "other")
    assert diff(str(pipeline), str(other)).identical
    save_file(Model().state_dict(), other / "unet" / "diffusion_pytorch_model.safetensors")
    difference = diff(str(pipeline), str(other))
    assert 4 == len(difference.entries)  # the matrices and their biases in the unet, of which all start as random
    assert 10 == difference.unchanged


def test_a_component_that_is_a_link_to_its_parent_is_not_followed(pipeline: Path) -> None:
    (pipeline / "scheduler" / "scheduler_config.json").unlink()
    (pipeline / "scheduler").rmdir()
    (pipeline / "scheduler").symlink_to(pipeline)
    assert {"unet", "text_encoder"} == {each.section for each in inspect(pipeline).tensors}


@pytest.fixture
def deepspeed(tmp_path: Path) -> Path:
    """ZeRO-2 of two ranks, after `_common_checkpoint_state` of DeepSpeed's engine.py (0.19)."""
    folder = tmp_path / "global_step10"
    folder.mkdir()
    model = Model()
    shapes = {name: each.shape for name, each in model.named_parameters()}
    state = {
        "module": model.state_dict(),
        "buffer_names": ["table"],
        "param_shapes": [shapes],
        "ds_version": "0.19.8",
    }
    torch.save(state, folder / "mp_rank_00_model_states.pt")
    for rank in range(2):
        flat = {
            "base_optimizer_state": {"state": {0: {"exp_avg": torch.zeros(36)}}, "param_groups": [{"params": [0]}]}
        }
        path = folder / f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"
        torch.save({"optimizer_state_dict": flat}, path)
    return folder


def test_a_folder_of_deepspeed_is_one_inventory(deepspeed: Path) -> None:
    found = inspect(deepspeed)
    model = {path: role for path, role in roles(found).items() if path.startswith("mp_rank_00_model.module.")}
    assert ("persistent_buffer", "exact") == model.pop("mp_rank_00_model.module.table")
    assert {("parameter", "exact")} == set(model.values())
    assert "training_state" in {each.role for each in found.tensors if "rank_1" in each.section}
    assert [] == failed(found)


def test_the_file_of_a_rank_in_between_is_missed(deepspeed: Path) -> None:
    (deepspeed / "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt").unlink()
    assert ["bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"] == failed(inspect(deepspeed))
    assert 2 == check(deepspeed).exit_code


def test_the_parts_of_llama_are_sections(tmp_path: Path) -> None:
    for part in (0, 1, 3):
        torch.save({"tok_embeddings.weight": torch.zeros(8, 4)}, tmp_path / f"consolidated.{part:02}.pth")
    found = inspect(tmp_path)
    assert ["consolidated.00", "consolidated.01", "consolidated.03"] == [each.section for each in found.tensors]
    assert ["consolidated.02.pth"] == failed(found)


def test_a_world_size_in_the_name_tells_the_last_rank_that_is_missing(tmp_path: Path) -> None:
    for rank in (0, 1):
        torch.save({"w": torch.zeros(4)}, tmp_path / f"model_world_size_4_rank_{rank}.pt")
    assert [f"model_world_size_4_rank_{rank}.pt" for rank in (2, 3)] == failed(inspect(tmp_path))


def test_the_ranks_of_megatron_lie_in_folders(tmp_path: Path) -> None:
    for rank in range(2):
        (tmp_path / f"mp_rank_{rank:02}").mkdir()
        state = {"model": {"language_model": {"w": torch.zeros(4)}}, "iteration": 10}
        torch.save(state, tmp_path / f"mp_rank_{rank:02}" / "model_optim_rng.pt")
    found = inspect(tmp_path)
    assert ["mp_rank_00", "mp_rank_01"] == [each.section.partition(".")[0] for each in found.tensors]
    assert {f"mp_rank_{rank:02}/model_optim_rng.pt" for rank in range(2)} == {
        e.file for e in found.storages.values()
    }
