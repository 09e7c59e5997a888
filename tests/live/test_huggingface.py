"""Models built from a Hugging Face config; what needs transformers is skipped where it is not installed."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch

from bufscan.errors import BufscanError, UnreadableError, UsageError
from bufscan.inspecting import inspect
from bufscan.joining.fit import join
from bufscan.live.building.huggingface import build_from_config, converted_names
from bufscan.live.scanning import scan

if TYPE_CHECKING:
    from pathlib import Path

    from bufscan.inventory import Inventory

TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 60,
}
TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
BERT = {"model_type": "bert", "architectures": ["BertModel"], **TINY}


def write_config(folder: Path, config: Any) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    return folder


BROKEN = {
    "not JSON": (b"{", "is no JSON"),
    "not UTF-8": (b"\xff\xfe\xff", "is no JSON"),
    "nested without end": (b"[" * 200_000, "is no JSON"),
    "a list": (b"[]", "is no JSON object"),
    "no model type": (b"{}", "config.json names no model_type"),
    "model type that is no text": (b'{"model_type": 3}', "config.json names no model_type"),
    "no architecture": (b'{"model_type": "bert"}', "config.json names no architecture"),
    "empty architectures": (b'{"model_type": "bert", "architectures": []}', "config.json names no architecture"),
    "architecture that is no text": (
        b'{"model_type": "bert", "architectures": [["x"]]}',
        "config.json names no architecture",
    ),
    "layers without end": (
        b'{"model_type": "bert", "architectures": ["BertModel"], "num_hidden_layers": 1000000000}',
        "asks for 1,000,000,000 at `num_hidden_layers`",
    ),
    "experts without end, further inside": (
        b'{"model_type": "bert", "architectures": ["BertModel"], "text": [{"num_experts": [2, 99999]}]}',
        "asks for 99,999 at `num_experts`",
    ),
}


@pytest.mark.parametrize(("data", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_config_is_one_clear_line(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "config.json").write_bytes(data)
    with pytest.raises(UnreadableError) as caught:
        build_from_config(tmp_path)
    assert caught.value.message.endswith(message)


def test_a_huge_config_is_not_parsed(tmp_path: Path) -> None:
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(UnreadableError, match="is over 16 MiB"):
        build_from_config(tmp_path)


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_a_folder_without_a_config_is_one_clear_line(tmp_path: Path, kind: str) -> None:
    if kind == "folder":
        (tmp_path / "config.json").mkdir()
    with pytest.raises(UnreadableError, match=r"there is no config\.json in") as caught:
        build_from_config(tmp_path)
    assert caught.value.hint == "`--build` needs the config of a Hugging Face model"


def test_without_transformers_the_hint_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match="transformers is not installed") as caught:
        build_from_config(write_config(tmp_path, BERT))
    assert caught.value.hint == "pip install transformers"


def test_without_transformers_nothing_is_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setitem(sys.modules, "transformers.conversion_mapping", None)
    assert {} == converted_names(torch.nn.Linear(1, 1), ["weight"])


# From here on transformers itself builds. Its imports warn of what they find missing.
needs_transformers = pytest.mark.filterwarnings("ignore")


@needs_transformers
def test_the_model_is_built_on_the_meta_device(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    model = build_from_config(write_config(tmp_path, BERT))
    assert "BertModel" == type(model).__name__
    assert {"meta"} == {tensor.device.type for tensor in (*model.parameters(), *model.buffers())}


@needs_transformers
def test_the_dtype_is_that_of_the_config(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    model = build_from_config(write_config(tmp_path, {**BERT, "dtype": "bfloat16"}))
    assert {torch.bfloat16} == {tensor.dtype for tensor in model.parameters()}


REFUSED = {
    "unknown model type": ({"model_type": "no_such"}, "has no model type `no_such`"),
    "unknown architecture": ({"architectures": ["NoSuchModel"]}, "has no architecture `NoSuchModel`"),
    "a function of transformers": ({"architectures": ["pipeline"]}, "has no architecture `pipeline`"),
    "a submodule of transformers": ({"architectures": ["utils"]}, "has no architecture `utils`"),
    "a dunder": ({"architectures": ["__class__"]}, "has no architecture `__class__`"),
    "a long name": ({"architectures": ["x" * 5000]}, f"has no architecture `{'x' * 80}…`"),
    "another model's architecture": (
        {"architectures": ["GPT2Model"]},
        "building GPT2Model from config.json raised",
    ),
    "sizes that do not fit": ({"num_attention_heads": 5}, "building BertModel from config.json raised ValueError"),
}


@needs_transformers
@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_what_transformers_cannot_build_is_one_clear_line(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(BufscanError) as caught:
        build_from_config(write_config(tmp_path, {**BERT, **changes}))
    assert message in caught.value.message
    assert "\n" not in caught.value.message


@needs_transformers
@pytest.mark.parametrize("model_type", ["bert", "mine"])
def test_code_that_the_folder_brings_is_never_run(tmp_path: Path, model_type: str) -> None:
    pytest.importorskip("transformers")
    (tmp_path / "modeling_mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass BertModel: pass\n")
    code = {"AutoConfig": "modeling_mine.Config", "AutoModel": "modeling_mine.BertModel"}
    folder = write_config(tmp_path, {**BERT, "model_type": model_type, "auto_map": code})
    if model_type == "bert":
        assert type(build_from_config(folder)).__module__.startswith("transformers.")
    else:
        with pytest.raises(UnreadableError) as caught:
            build_from_config(folder)
        assert "is never run" in (caught.value.hint or "")
    assert not (tmp_path / "ran").exists()


@needs_transformers
def test_nothing_is_fetched_while_building(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    seen: list[bool] = []
    build = transformers.BertModel.__init__

    def watched(model: Any, config: Any) -> None:
        seen.append(constants.HF_HUB_OFFLINE)
        build(model, config)

    monkeypatch.setattr(transformers.BertModel, "__init__", watched)
    build_from_config(write_config(tmp_path, BERT))
    assert [True] == seen
    assert constants.HF_HUB_OFFLINE is False


MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "BERT with its head": ("BertConfig", "BertForMaskedLM", TINY),
    "Llama": ("LlamaConfig", "LlamaForCausalLM", {**TINY, **TOKENS, "num_key_value_heads": 2}),
    "Llama, tied": (
        "LlamaConfig",
        "LlamaForCausalLM",
        {**TINY, **TOKENS, "num_key_value_heads": 2, "tie_word_embeddings": True},
    ),
    "GPT-2, tied": (
        "GPT2Config",
        "GPT2LMHeadModel",
        {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 60, **TOKENS},
    ),
    "ViT, whose checkpoints have older names": (
        "ViTConfig",
        "ViTForImageClassification",
        {**TINY, "image_size": 16, "patch_size": 8},
    ),
    "Mixtral, whose checkpoints have an entry an expert": (
        "MixtralConfig",
        "MixtralForCausalLM",
        {**TINY, **TOKENS, "num_key_value_heads": 2, "num_local_experts": 3},
    ),
}


def saved_and_joined(folder: Path, names: tuple[str, str, dict[str, Any]]) -> tuple[Any, Inventory]:
    transformers = pytest.importorskip("transformers")
    config_name, model_name, sizes = names
    saved = getattr(transformers, model_name)(getattr(transformers, config_name)(**sizes))
    saved.save_pretrained(folder)
    built = build_from_config(folder)
    checkpoint = inspect(str(folder))
    converted = converted_names(built, [tensor.name for tensor in checkpoint.tensors])
    return saved, join(checkpoint, scan(built, model_name), converted)


@needs_transformers
@pytest.mark.parametrize("names", MODELS.values(), ids=MODELS)
def test_a_saved_model_joins_to_its_own_config(tmp_path: Path, names: tuple[str, str, dict[str, Any]]) -> None:
    saved, inventory = saved_and_joined(tmp_path, names)
    (found,) = inventory.joins
    assert ((), (), (), ()) == (found.missing, found.unexpected, found.saved_non_persistent, found.mismatched)
    assert {"exact"} == {tensor.certainty for tensor in inventory.tensors}
    buffers = {name for name, _ in saved.named_buffers()} & set(saved.state_dict())
    assert buffers == {tensor.name for tensor in inventory.tensors if tensor.role != "parameter"}


@needs_transformers
def test_a_base_model_joins_to_the_checkpoint_of_a_head(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    transformers.BertForMaskedLM(transformers.BertConfig(**TINY)).save_pretrained(tmp_path)
    write_config(tmp_path, {**json.loads((tmp_path / "config.json").read_text()), "architectures": ["BertModel"]})
    inventory = join(inspect(str(tmp_path)), scan(build_from_config(tmp_path), "BertModel"))
    (found,) = inventory.joins
    assert "bert." == found.checkpoint_prefix
    assert all(name.startswith("cls.") for name in found.unexpected)
    assert {"pooler.dense.weight", "pooler.dense.bias"} == {tensor.name for tensor in found.missing}
