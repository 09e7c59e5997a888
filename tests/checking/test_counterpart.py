"""`--build`: a Hugging Face folder held against the model of its own config; skipped without transformers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch

from bufscan.checking import check

if TYPE_CHECKING:
    from pathlib import Path

TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 60,
}

# Its imports warn of what they find missing.
pytestmark = pytest.mark.filterwarnings("ignore")


def saved(folder: Path, model: str = "BertForMaskedLM", config: str = "BertConfig", **sizes: Any) -> str:
    transformers = pytest.importorskip("transformers")
    getattr(transformers, model)(getattr(transformers, config)(**TINY, **sizes)).save_pretrained(folder)
    return str(folder)


def brief(folder: str, **options: Any) -> list[tuple[str, str]]:
    (target,) = check(folder, from_config=True, **options).targets
    assert target.failure is None, target.failure
    return [(each.code, each.tensor) for each in target.findings]


def test_a_saved_model_fits_its_own_config(tmp_path: Path) -> None:
    assert [] == brief(saved(tmp_path))


def test_names_and_shapes_that_loading_converts_are_no_findings(tmp_path: Path) -> None:
    folder = saved(tmp_path, "MixtralForCausalLM", "MixtralConfig", num_key_value_heads=2, num_local_experts=3)
    assert [] == brief(folder)


def test_what_does_not_fit_the_config_is_found(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"vocab_size": 61}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = brief(folder)
    assert ("BUF303", "bert.embeddings.word_embeddings.weight") in found
    assert {"BUF303"} == {code for code, _ in found}


def test_a_folder_without_a_config_is_read_but_not_clean(tmp_path: Path) -> None:
    torch.save({"row": torch.zeros(1000, 1000)[0]}, tmp_path / "pytorch_model.bin")
    (target,) = (result := check(str(tmp_path), from_config=True)).targets
    assert (2, ["BUF305"]) == (result.exit_code, [each.code for each in target.findings])
    assert "there is no config.json" in str(target.failure)


def test_a_file_has_no_config(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(2)}, tmp_path / "model.pt")
    (target,) = check(str(tmp_path / "model.pt"), from_config=True).targets
    assert "only a folder can be built from its `config.json`" == (target.failure and target.failure.message)
