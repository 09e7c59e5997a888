"""What the small JSON files of a model folder say of the checkpoint beside them."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from bufscan.errors import UnreadableError
from bufscan.formats.containers.strict_json import load_json

if TYPE_CHECKING:
    from collections.abc import Collection

    from bufscan.formats.folders.shard_files import Opener

CONFIG = "config.json"
PIPELINE = "model_index.json"
_ADAPTER = "adapter_config.json"
_TRAINER = "trainer_state.json"
_MOST_BYTES = 10_000_000
_LONGEST = 200
_MOST_LISTED = 12


class Description(NamedTuple):
    """What is to be told of a folder.

    Attributes:
        metadata: by a key that begins with the file it is from.
        notes: sentences for people.
    """

    metadata: dict[str, str]
    notes: tuple[str, ...] = ()


def describe(folder: Opener, names: Collection[str]) -> Description:
    """What the folder says of its checkpoint. A file that cannot be read says nothing: it holds no tensors."""
    metadata: dict[str, str] = {}
    notes: list[str] = []
    config = _load(folder, CONFIG, names)
    for key in ("architectures", "model_type", "torch_dtype", "dtype", "tie_word_embeddings", "_class_name"):
        if (text := _text(config.get(key))) is not None:
            metadata[f"{CONFIG}: {key}"] = text
    quantization = config.get("quantization_config")
    if isinstance(quantization, dict):
        metadata[f"{CONFIG}: quantization"] = _quantization(quantization)
    adapter = _load(folder, _ADAPTER, names)
    if adapter:
        notes.append(_adapter(adapter))
    trainer = _load(folder, _TRAINER, names)
    for key in ("global_step", "max_steps", "epoch", "num_train_epochs", "train_batch_size", "best_metric"):
        if (text := _text(trainer.get(key))) is not None:
            metadata[f"{_TRAINER}: {key}"] = text
    logged = trainer.get("log_history")
    rates = [
        each["learning_rate"]
        for each in (logged if isinstance(logged, list) else ())
        if isinstance(each, dict) and "learning_rate" in each
    ]
    if rates and (text := _text(rates[-1])) is not None:
        metadata[f"{_TRAINER}: learning_rate"] = text
    return Description(metadata, tuple(notes))


def pipeline_components(folder: Opener) -> list[str]:
    """The components that the `model_index.json` of diffusers lists: each may have a folder of its name."""
    content = _load(folder, PIPELINE, (PIPELINE,))
    return [
        name for name, value in content.items() if isinstance(value, list) and re.fullmatch(r"\w{1,100}", name)
    ]


def _load(folder: Opener, name: str, names: Collection[str]) -> dict[str, Any]:
    if name in names:
        with suppress(UnreadableError):
            source = folder.open(name)
            content = load_json(source.read(0, min(source.size, _MOST_BYTES)), what=name)
            if isinstance(content, dict):
                return content
    return {}


def _text(value: Any) -> str | None:
    if isinstance(value, list):
        texts = [text for each in value[:_MOST_LISTED] if (text := _text(each)) is not None]
        more = f" and {len(value) - _MOST_LISTED:,} more" if len(value) > _MOST_LISTED else ""
        return ", ".join(texts) + more if texts else None
    if isinstance(value, str | int | float) and not (isinstance(value, str) and not value):
        return str(value)[:_LONGEST]
    return None


def _quantization(config: dict[str, Any]) -> str:
    """`gptq, 4 bits, groups of 128`."""
    method = _text(config.get("quant_method") or config.get("quant_algo")) or "of an unnamed method"
    if config.get("load_in_4bit") or config.get("_load_in_4bit"):
        return f"{method}, 4 bits"
    said = [method, *([text] if (text := _text(config.get("format"))) else [])]
    bits = config.get("bits", config.get("w_bit"))
    if type(bits) is int:
        said.append(f"{bits} bits")
    size = config.get("group_size", config.get("q_group_size"))
    if type(size) is int and size > 0:
        said.append(f"groups of {size}")
    return ", ".join(said)


def _adapter(config: dict[str, Any]) -> str:
    """`an adapter of peft: LORA, rank 8, alpha 16, on q_proj, v_proj; made for org/base`."""
    said = [_text(config.get("peft_type")) or "of an unnamed type"]
    numbers = (("rank", _text(config.get("r"))), ("alpha", _text(config.get("lora_alpha"))))
    said += [f"{word} {text}" for word, text in numbers if text is not None]
    if (targets := _text(config.get("target_modules"))) is not None:
        said.append(f"on {targets}")
    if (saved := _text(config.get("modules_to_save"))) is not None:
        said.append(f"whole: {saved}")
    base = _text(config.get("base_model_name_or_path"))
    return f"an adapter of peft: {', '.join(said)}" + (f"; made for {base}" if base else "")
